//! `run`: the daemon itself, in the foreground.
//!
//! ```text
//!   configuration ─► errors? exit 2     broken included file? said loudly, and on without it
//!        └─► log filter: --log, else $S2S_GW_LOG, else `level` of [log], else info
//! ```

use std::io;
use std::path::PathBuf;

use super::output::{DONE, has_colour, say};
use super::{Code, DEFAULT_CONFIG, Failure, Outcome};
use crate::config::Config;
use crate::io::Handed;
use crate::{control, log};

/// Run the gateway in the foreground
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  s2s-gw run -c /etc/s2s-gw/s2s-gw.toml --log info,ike=debug")]
pub(super) struct Run {
    /// The configuration file
    #[arg(short, long, value_name = "FILE", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    /// A level or a list: info,ike=debug; else as [log] says
    #[arg(long, value_name = "FILTER", env = "S2S_GW_LOG", hide_env = true)]
    log: Option<String>,
}

impl Run {
    pub(super) fn run(self) -> Outcome {
        // Before this process opens anything itself.
        let handed = Handed::of_process().map_err(|error| Failure::new(Code::Failed, error))?;
        let colour = has_colour(&io::stderr());
        let config = Config::load_to_run(&self.config).map_err(|report| {
            say(&report.render(colour));
            Failure::silent(Code::Usage)
        })?;
        log::start(self.log.as_deref(), &config.log, log::levels(&config.connections))
            .map_err(|error| Failure::new(Code::Usage, error))?;
        say(&config.render_left_out(colour));
        say(&config.render_warnings(colour));
        for file in &config.left_out_files {
            tracing::error!(
                target: "gateway", event = "include-left-out", file = %file.display(),
                fix = "s2s-gw check shows what is wrong in it; s2s-gw reload when it is mended"
            );
        }
        control::run(config, handed).map_err(|error| Failure::new(Code::Failed, error))?;
        DONE
    }
}
