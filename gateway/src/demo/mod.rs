//! `s2s-gw demo`: from nothing to an encrypted ping in one command, without root, configuration or other programs.
//!
//! ```text
//!   s2s-gw demo                       makes a directory, removes it at the end, whatever happens
//!     └─ s2s-gw demo-inside           root of a user and network namespace of its own: this is "the internet"
//!          ├─ namespaces              host-a ── gw-a ══ internet ══ gw-b ── host-b        topology.rs
//!          ├─ s2s-gw demo-enter ► s2s-gw run     the real daemon, in gw-b                 gateways.rs
//!          ├─ s2s-gw demo-enter ► s2s-gw run     the real daemon, in gw-a
//!          ├─ pings and TCP from host-a to host-b, commands as users type them            ping.rs, speed.rs, shell.rs
//!          └─ eyes on the wire: what crosses the internet, and is any of it readable?     wire.rs
//! ```
//!
//! Who starts whom, and how all end, is in `launch.rs`. The story is in `sound.rs`, what it proves in `evidence.rs`, its frame in `story.rs`, how it looks in `stage.rs` and `hexview.rs`. Other stories
//! in the same frame: one fault and its end (`broken.rs`, `faults.rs`), a gateway that is killed (`failover.rs`), strongSwan
//! on the other side (`swan.rs`). Beside each: the status page in a browser (`page.rs`) and what is kept (`keep.rs`, `capture.rs`). Every process
//! dies with its parent, every namespace with its last process, so there is nothing to clean up but the directory.
//!
//! A `main` function uses it like this:
//!
//! ```no_run
//! use std::process::ExitCode;
//! use clap::Parser;
//! use gateway::demo::{self, DemoArgs};
//!
//! #[derive(Parser)]
//! enum Command {
//!     /// See an encrypted tunnel on this machine; needs no root
//!     Demo(DemoArgs),
//! }
//!
//! fn main() -> ExitCode {
//!     // First of all, while there is one thread: the kernel gives a user namespace to nobody else.
//!     if let Some(code) = demo::run_inner() {
//!         return code;
//!     }
//!     match Command::parse() {
//!         Command::Demo(args) => demo::run(&args),
//!     }
//! }
//! ```

mod broken;
mod capture;
mod evidence;
mod failover;
mod faults;
mod gateways;
mod hexview;
mod keep;
mod launch;
mod page;
mod ping;
mod shell;
mod sound;
mod speed;
mod stage;
mod story;
mod swan;
mod topology;
mod wire;

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{Timespec, poll};

use crate::sys::netlink::{NetlinkError, plain};

pub use self::faults::Fault;
pub use self::launch::{run, run_inner};

/// What `s2s-gw demo` can be told.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
pub struct DemoArgs {
    /// Break psk, proposal, subnet, pfs, mtu or blackhole
    #[arg(long = "break", value_name = "FAULT", conflicts_with_all = ["failover", "against"], hide_possible_values = true)]
    pub fault: Option<Fault>,
    /// Kill the other site's gateway; a second one follows
    #[arg(long, conflicts_with = "against")]
    pub failover: bool,
    /// Have another program on the other side: strongswan
    #[arg(long, value_name = "PROGRAM", hide_possible_values = true)]
    pub against: Option<Against>,
    /// Stay, with the page of gw-a for a local browser
    #[arg(long, conflicts_with = "json")]
    pub web: bool,
    /// Stay for so long only
    #[arg(long, value_name = "N", requires = "web")]
    pub seconds: Option<u64>,
    /// Keep configurations, logs and captures there
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
    /// Print one JSON object at the end instead of the story
    #[arg(long)]
    pub json: bool,
}

/// Whom `--against` can have on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Against {
    /// charon of strongSwan, with ESP in user space (kernel-libipsec)
    Strongswan,
}

/// Why the demo cannot go on, as a sentence for the user.
#[derive(Debug, thiserror::Error)]
pub(super) enum DemoError {
    #[error("this system lets only root make network namespaces ({why}); try: sudo s2s-gw demo")]
    NeedsRoot { why: String },
    #[error(
        "even root may not make network namespaces here ({why}); \
         a container needs --cap-add SYS_ADMIN --cap-add NET_ADMIN --device /dev/net/tun"
    )]
    Caged { why: String },
    #[error(
        "the kernel offers no TUN device (/dev/net/tun: {}); try: sudo modprobe tun, \
         or --device /dev/net/tun for a container",
        plain(.0)
    )]
    NoTun(io::Error),
    #[error(transparent)]
    Netlink(#[from] NetlinkError),
    #[error("cannot {what}: {}", plain(.source))]
    Io { what: String, source: io::Error },
    #[error("gateway {name} ended while the tunnel was coming up; the last it said:\n{log}")]
    GatewayEnded { name: &'static str, log: String },
    #[error(
        "the tunnel did not come up within {seconds} s: {reason}; the last that {name} said:\n{log}"
    )]
    NotUp { seconds: u64, reason: String, name: &'static str, log: String },
    #[error(
        "{} is not empty, and nothing in it is to be overwritten; give --keep a new directory",
        .0.display()
    )]
    NotEmpty(PathBuf),
    #[error(
        "strongSwan is not installed, at least not all that is needed; on Debian and Ubuntu: sudo apt install {}",
        .0.join(" ")
    )]
    NoStrongSwan(Vec<&'static str>),
    #[error("cannot {what}: {said}")]
    Said { what: String, said: String },
    #[error("this does not prove that the tunnel works: {}", .0.join("; "))]
    Doubts(Vec<String>),
}

/// Waits where there is no event to wait for.
fn pause(time: Duration) -> Result<(), DemoError> {
    let time = Timespec::try_from(time).map_err(io::Error::other).during("wait")?;
    match poll(&mut [], Some(&time)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error).during("wait"),
    }
}

/// Says what was being done when an [`io::Error`] came.
trait During<T> {
    fn during(self, what: impl Into<String>) -> Result<T, DemoError>;
}

impl<T, E: Into<io::Error>> During<T> for Result<T, E> {
    fn during(self, what: impl Into<String>) -> Result<T, DemoError> {
        self.map_err(|source| DemoError::Io { what: what.into(), source: source.into() })
    }
}
