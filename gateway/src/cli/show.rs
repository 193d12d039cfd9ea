//! `show` and `reset`: the tables of what the gateway holds.

use clap::ValueEnum;
use ikev2::keyword::{Standing, TABLE};

use super::client::{Daemon, answer, command};
use super::output::{json_line, print};
use super::{Code, Failure, Outcome, screen};
use crate::status::protocol::{Request, Response, Topic};
use crate::status::show::{AlgorithmRow, Table};
use crate::status::text;
use crate::status::words::Kind;

/// Show what the gateway holds: SAs, policies, routes, counters ..
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw show sas\n  s2s-gw show config --effective\n  s2s-gw show counters --json\n  s2s-gw show algorithms"
)]
pub(super) struct Show {
    /// Which table: sas, policies, routes, counters, config, algorithms,
    /// listeners
    #[arg(hide_possible_values = true, verbatim_doc_comment)]
    what: What,
    /// Of the configuration: also what is as it is by default
    #[arg(long)]
    effective: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// IKE and child SAs
    Sas,
    /// Which packet belongs to which child
    Policies,
    /// Kernel routes of the gateway
    Routes,
    /// Packets, octets and drops since the last reset
    Counters,
    /// The configuration in force, without secrets
    Config,
    /// What proposals may have, and how the RFCs rate it; needs no daemon
    Algorithms,
    /// Sockets
    Listeners,
}

impl Show {
    pub(super) fn run(self) -> Outcome {
        if self.effective && self.what != What::Config {
            return Err(Failure::new(Code::Usage, "--effective belongs to `show config`"));
        }
        let what = match self.what {
            What::Sas => Topic::Sas,
            What::Policies => Topic::Policies,
            What::Routes => Topic::Routes,
            What::Counters => Topic::Counters,
            What::Config => Topic::Config,
            What::Listeners => Topic::Listeners,
            What::Algorithms => return self.print(&algorithms()),
        };
        match answer(&self.daemon.control, &Request::Show { what })? {
            Response::Shown { table } => self.print(&table),
            Response::Status { .. }
            | Response::Explained { .. }
            | Response::Done { .. }
            | Response::Events { .. }
            | Response::Capturing { .. }
            | Response::Packets { .. }
            | Response::Keys { .. }
            | Response::Reload { .. }
            | Response::Refused { .. } => Err(super::client::strange()),
        }
    }

    fn print(&self, table: &Table) -> Outcome {
        if self.json {
            return print(&json_line(table)?);
        }
        let columns = screen::size().map(|size| size.columns);
        if let (Table::Config { effective, .. }, true) = (table, self.effective) {
            return print(&text::toml(effective));
        }
        print(&text::table(table, columns))
    }
}

/// Every algorithm that a proposal may have, those of one kind together.
fn algorithms() -> Table {
    let mut rows: Vec<(usize, AlgorithmRow)> = Vec::new();
    for algorithm in TABLE.iter().filter(|row| row.standing != Standing::Unsupported) {
        let kind = Kind::of(&algorithm.transform);
        let levels = [("ike", algorithm.ike), ("esp", algorithm.esp)];
        let levels = levels.into_iter().filter_map(|(proposal, level)| Some((proposal, level?)));
        let place = Kind::ALL.iter().position(|other| *other == kind).unwrap_or(Kind::ALL.len());
        let needs = match algorithm.standing {
            Standing::Legacy { .. } => Some("allow_legacy"),
            Standing::Unencrypted => Some("allow_unencrypted"),
            Standing::Offered | Standing::Unsupported => None,
        };
        let row = AlgorithmRow {
            kind: kind.word().to_owned(),
            keyword: algorithm.word().to_owned(),
            aliases: algorithm.words.iter().skip(1).map(|word| (*word).to_owned()).collect(),
            name: ikev2::keyword::iana_name(&algorithm.transform),
            proposals: levels.clone().map(|(proposal, _)| proposal.to_owned()).collect(),
            levels: levels
                .map(|(proposal, level)| (proposal.to_owned(), level.to_string()))
                .collect(),
            needs: needs.map(str::to_owned),
        };
        rows.push((place, row));
    }
    rows.sort_by_key(|(place, _)| *place);
    Table::Algorithms { algorithms: rows.into_iter().map(|(_, row)| row).collect() }
}

/// Let counters begin anew, for people; those in JSON go on
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  s2s-gw reset counters\n  s2s-gw reset counters berlin")]
pub(super) struct Reset {
    /// Of what
    what: Resettable,
    /// Only of this connection
    name: Option<String>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Resettable {
    /// Packets, octets and drops
    Counters,
}

impl Reset {
    pub(super) fn run(self) -> Outcome {
        match self.what {
            Resettable::Counters => {
                command(&self.daemon.control, &Request::Reset { connection: self.name }, self.json)
            }
        }
    }
}
