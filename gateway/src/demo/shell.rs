//! Commands as a user types them on a gateway, and what this very program says to them.
//!
//! ```text
//!   gw-a$ s2s-gw doctor -c gw-a.toml      in the gateway's namespace, $S2S_GW_CONTROL is its socket
//!   ..                                    told by the program itself, with its colours and as wide as the terminal
//! ```

use std::path::Path;
use std::process::Stdio;

use super::gateways::Gateway;
use super::launch::inside_namespace;
use super::stage::Stage;
use super::{DemoError, During as _};
use crate::sys::netns::Netns;

/// A shell on one gateway.
pub(super) struct Shell<'a> {
    pub(super) stage: &'a Stage,
    pub(super) namespace: &'a Netns,
    pub(super) directory: &'a Path,
}

impl Shell<'_> {
    /// Types a command and lets the program say what it has to say; its exit code.
    pub(super) fn types(&self, on: &Gateway, arguments: &[&str]) -> Result<i32, DemoError> {
        self.stage.prompt(on.name(), &format!("s2s-gw {}", arguments.join(" ")));
        let mut command = self.command(on, arguments);
        if self.stage.is_silent() {
            command.stdout(Stdio::null()).stderr(Stdio::null());
        }
        let status = command.status().during(format!("run s2s-gw {}", arguments.join(" ")))?;
        Ok(status.code().unwrap_or(1))
    }

    /// The same unseen, with what came to stdout.
    pub(super) fn asks(
        &self,
        on: &Gateway,
        arguments: &[&str],
    ) -> Result<(i32, String), DemoError> {
        let output = self.command(on, arguments).output();
        let output = output.during(format!("run s2s-gw {}", arguments.join(" ")))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok((output.status.code().unwrap_or(1), said))
    }

    fn command(&self, on: &Gateway, arguments: &[&str]) -> std::process::Command {
        let mut command = inside_namespace(self.namespace.number());
        command.args(arguments).env("S2S_GW_CONTROL", on.control());
        command.current_dir(self.directory).stdin(Stdio::null());
        command
    }
}
