//! `explain`: the way that a packet would take, without sending one.
//!
//! ```text
//!   explain 10.1.0.5 10.2.0.7 -p tcp --dport 443 ──► Request::Explain ──► Walk ──► a line for each stage; exit 1 if one refuses
//! ```

use std::io;
use std::net::IpAddr;

use super::client::{Daemon, answer, strange};
use super::output::{has_colour, json_line, print};
use super::{Code, Failure, Outcome, screen};
use crate::status::diagnosis::Walk;
use crate::status::protocol::{self, Packet, Request, Response};
use crate::status::text::{Colour, Look};

/// Say which way a packet would take, and where it would stop
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw explain 10.1.0.5 10.2.0.7\n  s2s-gw explain 10.1.0.5 10.2.0.7 -p tcp --dport 443\n  s2s-gw explain 10.2.0.7 10.1.0.5      (what comes from there)\n\nSends nothing. Exit code 0 if the packet would pass, 1 if not."
)]
pub(super) struct Explain {
    /// Source address
    #[arg(value_name = "SRC")]
    source: IpAddr,
    /// Destination address
    #[arg(value_name = "DST")]
    destination: IpAddr,
    /// IP protocol: tcp, udp, icmp, icmpv6, sctp or a number
    #[arg(short, long, value_name = "PROTO", value_parser = protocol)]
    protocol: Option<u8>,
    /// Source port
    #[arg(long, value_name = "N")]
    sport: Option<u16>,
    /// Destination port
    #[arg(long, value_name = "N")]
    dport: Option<u16>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    daemon: Daemon,
}

impl Explain {
    pub(super) fn run(self) -> Outcome {
        let has_port = self.sport.or(self.dport).is_some();
        if has_port && !self.protocol.is_some_and(protocol::has_ports) {
            let sentence = "ports belong to a protocol that has some: add `-p tcp` or `-p udp`";
            return Err(Failure::new(Code::Usage, sentence));
        }
        let packet = Packet {
            source: self.source,
            destination: self.destination,
            protocol: self.protocol,
            source_port: self.sport,
            destination_port: self.dport,
        };
        let walk = ask(&self.daemon, packet)?;
        let text = if self.json { json_line(&walk)? } else { walk.text(look()) };
        let printed = print(&text);
        if walk.passes { printed } else { printed.and(Err(Failure::silent(Code::Failed))) }
    }
}

/// What the daemon says of a packet.
pub(super) fn ask(daemon: &Daemon, packet: Packet) -> Result<Walk, Failure> {
    match answer(&daemon.control, &Request::Explain(packet))? {
        Response::Explained { walk } => Ok(*walk),
        Response::Status { .. }
        | Response::Shown { .. }
        | Response::Done { .. }
        | Response::Events { .. }
        | Response::Capturing { .. }
        | Response::Packets { .. }
        | Response::Keys { .. }
        | Response::Reload { .. }
        | Response::Refused { .. } => Err(strange()),
    }
}

/// What stdout can show.
pub(super) fn look() -> Look {
    let colour = if has_colour(&io::stdout()) { Colour::On } else { Colour::Off };
    Look { colour, columns: screen::size().map(|size| size.columns) }
}

/// The number of a protocol (IANA, Assigned Internet Protocol Numbers).
pub(super) fn protocol(text: &str) -> Result<u8, String> {
    protocol::number_of(text)
        .ok_or_else(|| "write tcp, udp, icmp, icmpv6, sctp or 0 to 255".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protocols_have_names_and_numbers() {
        assert_eq!(protocol("TCP"), Ok(6));
        assert_eq!(protocol("47"), Ok(47));
        assert!(protocol("256").is_err() && protocol("http").is_err());
    }
}
