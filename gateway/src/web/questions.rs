//! What forms ask of control: which way a packet would take, and what the other side of a connection needs.
//!
//! ```text
//!   GET /explain?src=10.1.0.5&dst=10.2.0.7&proto=tcp&dport=443    /api/v1/explain    ──► Request::Explain ──► Walk
//!   GET /c/berlin/peer?kind=strongswan&address=203.0.113.10                          ──► Request::Export  ──► text
//! ```

use std::net::IpAddr;

use clap::ValueEnum as _;

use super::api::{Answer, Asked, html, not_ready};
use super::http::{Request, Response};
use super::page::{self, Scene, Written};
use crate::port::export::Kind;
use crate::status::ConnectionStatus;
use crate::status::protocol::{self, Packet};

/// What was asked, to be shown again beside its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Question {
    Explain { written: Written, json: bool },
    Peer { name: String, kind: Kind, address: String },
}

/// The form, or the question in it.
///
/// # Errors
/// To a program that wrote something else than a packet.
pub(super) fn explain(request: &Request, scene: Scene<'_>) -> Result<Answer, Response> {
    let json = request.path.starts_with("/api/");
    let of = |name: &str| request.asked(name).unwrap_or_default().trim().to_owned();
    let written = Written {
        source: of("src"),
        destination: of("dst"),
        protocol: of("proto"),
        port: of("dport"),
    };
    if written == Written::default() && !json {
        return Ok(Answer::Now(html(page::explain(scene, &written, None))));
    }
    match packet(&written, &of("sport")) {
        Ok(packet) => {
            let question = Question::Explain { written, json };
            Ok(Answer::Ask(protocol::Request::Explain(packet), Asked::Question(question)))
        }
        Err(sentence) if json => Err(Response::say(400, sentence)),
        Err(sentence) => {
            let text = page::explain(scene, &written, Some(Err(sentence)));
            Ok(Answer::Now(Response { status: 400, ..html(text) }))
        }
    }
}

/// What is written as a packet.
fn packet(written: &Written, source_port: &str) -> Result<Packet, &'static str> {
    let address = |text: &str| {
        text.parse::<IpAddr>().map_err(|_| "source and destination are addresses, such as 10.1.0.5")
    };
    let port = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "a port is a number from 0 to 65535"),
    };
    let packet = Packet {
        source: address(&written.source)?,
        destination: address(&written.destination)?,
        protocol: match written.protocol.as_str() {
            "" => None,
            word => Some(
                protocol::number_of(word)
                    .ok_or("`proto` is tcp, udp, icmp, icmpv6, sctp or 0 to 255")?,
            ),
        },
        source_port: port(source_port)?,
        destination_port: port(&written.port)?,
    };
    let has_port = packet.source_port.or(packet.destination_port).is_some();
    if has_port && !packet.protocol.is_some_and(protocol::has_ports) {
        return Err("ports belong to a protocol that has some: choose TCP or UDP");
    }
    Ok(packet)
}

/// The other side of a connection. Our address is the one that the tunnel runs over, unless another is written.
///
/// # Errors
/// `kind` is none.
pub(super) fn peer(request: &Request, connection: &ConnectionStatus) -> Result<Answer, Response> {
    let kind = request.asked("kind").unwrap_or("s2s-gw");
    let kind = Kind::from_str(kind, false).ok().filter(|kind| *kind != Kind::Routes);
    let kind = kind.ok_or_else(|| {
        Response::say(400, "`kind` is one of strongswan, ipsec, vpnaas, aws, s2s-gw and sheet")
    })?;
    let written = request.asked("address").map(str::trim).filter(|text| !text.is_empty());
    if written.is_some_and(|text| !crate::config::is_host(text)) {
        return Err(Response::say(400, "`address` is an address or the name of a host"));
    }
    let local = connection.peer.local.as_deref().and_then(|local| local.parse().ok());
    let local = local.map(|local: std::net::SocketAddr| local.ip().to_string());
    let address = written.map(str::to_owned);
    let name = connection.name.clone();
    let shown = address.clone().unwrap_or_default();
    let question = Question::Peer { name: name.clone(), kind, address: shown };
    let asked = protocol::Request::Export { name, kind, address, guess: local };
    Ok(Answer::Ask(asked, Asked::Question(question)))
}

/// The page, or the object, with what control said.
pub(super) fn answered(
    scene: Scene<'_>,
    question: &Question,
    said: protocol::Response,
) -> Response {
    match (question, said) {
        (Question::Explain { json: true, .. }, protocol::Response::Explained { walk }) => {
            Response::json(&walk)
        }
        (Question::Explain { written, json: false }, protocol::Response::Explained { walk }) => {
            html(page::explain(scene, written, Some(Ok(&walk))))
        }
        (Question::Explain { json: true, .. }, protocol::Response::Refused { message, .. }) => {
            Response::say(409, &message)
        }
        (Question::Explain { written, .. }, protocol::Response::Refused { message, .. }) => {
            html(page::explain(scene, written, Some(Err(&message))))
        }
        (Question::Peer { name, kind, address }, protocol::Response::Done { message }) => {
            html(page::exported(scene, name, *kind, address, Ok(&message)))
        }
        (Question::Peer { name, kind, address }, protocol::Response::Refused { message, .. }) => {
            html(page::exported(scene, name, *kind, address, Err(&message)))
        }
        _ => not_ready(),
    }
}
