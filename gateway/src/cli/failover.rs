//! `failover`: another endpoint of the same peer, asked first whether it answers.
//!
//! ```text
//!   failover berlin           ──► the next endpoint answers?  yes: there, make before break
//!   failover berlin --probe   ──► the same question alone     no: exit 1, nothing has changed
//! ```

use super::Outcome;
use super::client::{Daemon, command};
use crate::status::protocol::Request;

/// Move a connection to another endpoint of its peer
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw failover berlin\n  s2s-gw failover berlin --to ber-b.example.com\n  s2s-gw failover berlin --to 198.51.100.20 --probe"
)]
pub(super) struct Failover {
    /// The connection
    name: String,
    /// As in `peer`, or its address; by default the next one
    #[arg(long, value_name = "ENDPOINT")]
    to: Option<String>,
    /// Only ask whether it answers
    #[arg(long)]
    probe: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Failover {
    pub(super) fn run(self) -> Outcome {
        let request = Request::Failover { connection: self.name, to: self.to, probe: self.probe };
        command(&self.daemon.control, &request, self.json)
    }
}
