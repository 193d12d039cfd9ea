//! The control protocol: one JSON object per line in each direction, one answer per request, over a unix stream socket.
//!
//! ```text
//!   {"command":"status"}                          ──►  {"result":"status","snapshot":{..}}
//!   {"command":"up","name":"berlin"}              ──►  {"result":"done","message":"berlin: connecting"}
//!   {"command":"rekey","name":"x","ike":true}     ──►  {"result":"refused","kind":"unknown-name","message":".."}
//! ```
//!
//! A request is at most [`MAX_REQUEST_LEN`] octets with its line end. Requests on one connection are answered in order.
//! Who asks for events and follows them gets one answer after the other until he hangs up; he can ask nothing else.
//!
//! Client and daemon may be of different versions: a command or a field that the daemon does not know is refused as such, for
//! doing half of what was asked is worse than nothing; an answer may have fields that the client does not know.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Snapshot;
use super::capture::{Captured, Filter, Side};
use super::diagnosis::Walk;
use super::reload::Reload;
use super::show::Table;
use crate::log::Record;

/// Its members may look at a daemon, and not touch it.
pub const GROUP: &str = "s2s-gw";

/// The longest request that the daemon reads, octets.
pub const MAX_REQUEST_LEN: usize = 4096;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// A [`Snapshot`].
    Status,
    /// Bring a connection up, also one that `down` or the configuration switched off.
    Up {
        /// `NAME` or `NAME/CHILD`, see [`Target`].
        name: String,
    },
    /// Take a connection down and keep it down.
    Down {
        /// `NAME` or `NAME/CHILD`, see [`Target`].
        name: String,
    },
    /// Take a connection down and bring it up again.
    Restart {
        /// `NAME` or `NAME/CHILD`, see [`Target`].
        name: String,
    },
    /// Replace the SAs of a connection, make before break.
    Rekey {
        /// `NAME` or `NAME/CHILD`, see [`Target`].
        name: String,
        /// True: the IKE SA. False: every child SA.
        #[serde(default)]
        ike: bool,
    },
    /// Send the peers of connections to another gateway (RFC 5685), now and whenever they call, or let them stay again.
    Redirect {
        /// Its address or name; `None`: they may stay.
        to: Option<String>,
        /// Of the connections; all if empty.
        #[serde(default)]
        names: Vec<String>,
    },
    /// Read the configuration again and make what runs equal to it.
    Reload {
        /// Only say what would be done.
        #[serde(default)]
        dry_run: bool,
        /// Also what could wait for the next rekey.
        #[serde(default)]
        now: bool,
    },
    /// Move a connection to another endpoint of its peer.
    Failover {
        /// Its name.
        connection: String,
        /// Address or name of the endpoint; `None`: the next one.
        to: Option<String>,
        /// Only ask whether the endpoint answers.
        #[serde(default)]
        probe: bool,
    },
    /// The way that a packet would take; nothing is sent.
    Explain(Packet),
    /// One table of what the gateway holds.
    Show {
        /// Which.
        what: Topic,
    },
    /// Let the counters start from zero.
    Reset {
        /// Of this connection; `None`: of all.
        connection: Option<String>,
    },
    /// What happened lately.
    Events {
        /// And what happens from now on, until the client hangs up.
        #[serde(default)]
        follow: bool,
        /// Only of this connection.
        connection: Option<String>,
    },
    /// Copies of packets from now on, until the client hangs up: [`Response::Capturing`], then [`Response::Packets`].
    Capture {
        /// Where they are looked at.
        sides: Vec<Side>,
        /// Only those of this connection.
        connection: Option<String>,
        /// And of those only these.
        #[serde(default)]
        filter: Filter,
        /// Octets of each; `None`: all.
        #[serde(default)]
        snap: Option<usize>,
    },
    /// The keys of a connection, for a program that looks into recorded packets.
    Keys {
        /// Its name.
        connection: String,
    },
    /// The configuration of the other side of a connection, without secrets. [`Response::Done`] has its text.
    Export {
        /// The connection.
        name: String,
        /// For what.
        kind: crate::port::export::Kind,
        /// Our address as the peer sees it, where the configuration does not say it.
        address: Option<String>,
        /// The address that is taken where neither says it.
        guess: Option<String>,
    },
    /// Log more, or less, from now on.
    LogLevel {
        /// A level or a list such as `info,ike=debug`.
        filter: String,
        /// So long, then as before; `None`: until the end.
        seconds: Option<u64>,
    },
}

/// What [`Request::Explain`] is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    /// Its source.
    pub source: IpAddr,
    /// Its destination, of the same family.
    pub destination: IpAddr,
    /// IP protocol; `None`: any.
    #[serde(default)]
    pub protocol: Option<u8>,
    /// Of TCP, UDP and their like.
    #[serde(default)]
    pub source_port: Option<u16>,
    /// Of TCP, UDP and their like.
    #[serde(default)]
    pub destination_port: Option<u16>,
}

/// The number of a protocol (IANA, Assigned Internet Protocol Numbers) by its word, or as it is.
#[must_use]
pub fn number_of(word: &str) -> Option<u8> {
    let known = [("icmp", 1), ("tcp", 6), ("udp", 17), ("esp", 50), ("icmpv6", 58), ("sctp", 132)];
    let named = known.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name));
    named.map(|(_, number)| number).or_else(|| word.parse().ok())
}

/// Whether a protocol has ports: TCP, UDP, DCCP, SCTP, UDP-Lite.
#[must_use]
pub const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 33 | 132 | 136)
}

/// What [`Request::Show`] can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Topic {
    /// IKE and child SAs.
    Sas,
    /// Which packet belongs to which child.
    Policies,
    /// The kernel routes of the gateway.
    Routes,
    /// Packets, octets, drops.
    Counters,
    /// The configuration in force.
    Config,
    /// Sockets.
    Listeners,
}

/// What a command works on: a connection, or one child of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Target<'n> {
    /// Name of the connection.
    pub connection: &'n str,
    /// Name of the child, `lan-1`.
    pub child: Option<&'n str>,
}

impl<'n> Target<'n> {
    /// Reads `NAME` or `NAME/CHILD`; no name has a `/` in it.
    #[must_use]
    pub fn of(text: &'n str) -> Self {
        match text.split_once('/') {
            Some((connection, child)) => Self { connection, child: Some(child) },
            None => Self { connection: text, child: None },
        }
    }
}

impl Request {
    /// Whether it changes nothing, so that who may only look may ask for it.
    #[must_use]
    pub const fn only_looks(&self) -> bool {
        match self {
            Self::Status
            | Self::Explain(_)
            | Self::Show { .. }
            | Self::Export { .. }
            | Self::Events { .. } => true,
            Self::Up { .. }
            | Self::Down { .. }
            | Self::Restart { .. }
            | Self::Rekey { .. }
            | Self::Redirect { .. }
            | Self::Reload { .. }
            | Self::Failover { .. }
            | Self::Reset { .. }
            | Self::Capture { .. }
            | Self::Keys { .. }
            | Self::LogLevel { .. } => false,
        }
    }

    /// Reads a line that a client sent.
    ///
    /// # Errors
    /// The refusal to answer with: `BadRequest` for what is no request of any version, `UnknownRequest` for what a newer
    /// client may mean by it.
    pub fn parse(line: &[u8]) -> Result<Self, Response> {
        let why = match serde_json::from_slice(line) {
            Ok(request) => return Ok(request),
            Err(error) => error.to_string(),
        };
        let value: Option<Value> = serde_json::from_slice(line).ok();
        let command = value.as_ref().and_then(|value| value.get("command")?.as_str());
        let is_newer = ["unknown variant", "unknown field"].iter().any(|it| why.starts_with(it));
        Err(match command {
            Some(command) if is_newer => Response::Refused {
                kind: RefusalKind::UnknownRequest,
                message: format!(
                    "the daemon does not know `{command}` as you asked it: {OLDER} ({why})"
                ),
            },
            _ => Response::Refused {
                kind: RefusalKind::BadRequest,
                message: format!("{NO_REQUEST}{why}"),
            },
        })
    }
}

/// What to do when the client knows more than the daemon.
pub(super) const OLDER: &str = "this daemon is older than the client: restart it";

/// How the refusal of something that is no request begins.
pub(super) const NO_REQUEST: &str = "not a request: ";

/// What the daemon answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "result", rename_all = "kebab-case")]
pub enum Response {
    /// The answer to [`Request::Status`].
    Status {
        /// The state of everything.
        snapshot: Box<Snapshot>,
    },
    /// The answer to [`Request::Show`].
    Shown {
        /// What was asked for.
        table: Box<Table>,
    },
    /// The answer to [`Request::Explain`].
    Explained {
        /// What would happen to it.
        walk: Box<Walk>,
    },
    /// The answer to [`Request::Reload`].
    Reload {
        /// What was done, or would be, or why nothing was.
        report: Box<Reload>,
    },
    /// The answer to [`Request::Events`]; many of them to a client that follows.
    Events {
        /// What happened, oldest first.
        events: Vec<Record>,
        /// How many went by because the client did not read in time.
        lost: u64,
    },
    /// The first answer to [`Request::Capture`].
    Capturing {
        /// Name of the TUN device.
        tun: String,
    },
    /// The further ones.
    Packets {
        /// What passed, oldest first.
        packets: Vec<Captured>,
        /// How many, of all so far, went by because the client did not read in time.
        lost: u64,
    },
    /// The answer to [`Request::Keys`].
    Keys {
        /// What there is.
        keys: KeyTables,
    },
    /// It was done, or has begun.
    Done {
        /// A sentence about it; the text that [`Request::Export`] asks for.
        message: String,
    },
    /// It was not done.
    Refused {
        /// Why, for programs.
        kind: RefusalKind,
        /// Why, for people.
        message: String,
    },
}

/// The keys of a connection, as Wireshark reads them.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyTables {
    /// Lines of `ikev2_decryption_table`, one for each IKE SA.
    pub ike: Vec<String>,
    /// Lines of `esp_sa`, two for each child SA.
    pub esp: Vec<String>,
    /// What is missing, and why: sentences.
    pub missing: Vec<String>,
}

impl std::fmt::Debug for KeyTables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyTables(hidden)")
    }
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusalKind {
    /// No connection has this name.
    UnknownName,
    /// It does not fit the state: rekeying what is down.
    NotNow,
    /// The request makes no sense.
    BadRequest,
    /// This daemon has never heard of such a request; a newer one may have.
    UnknownRequest,
    /// This daemon knows what is meant and cannot do it.
    NotSupported,
    /// The client may look but not touch.
    Permission,
    /// A kind that a newer daemon has.
    #[serde(other)]
    Other,
}

impl Response {
    /// The answer as one line.
    #[must_use]
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).unwrap_or_else(|_| {
            br#"{"result":"refused","kind":"bad-request","message":"no answer"}"#.to_vec()
        });
        line.push(b'\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn requests_are_what_the_documentation_says() {
        let cases = [
            (r#"{"command":"status"}"#, Request::Status),
            (r#"{"command":"up","name":"a"}"#, Request::Up { name: "a".into() }),
            (r#"{"command":"rekey","name":"a"}"#, Request::Rekey { name: "a".into(), ike: false }),
            (
                r#"{"command":"rekey","name":"a","ike":true}"#,
                Request::Rekey { name: "a".into(), ike: true },
            ),
        ];
        for (line, request) in cases {
            assert_eq!(serde_json::from_str::<Request>(line).expect(line), request);
        }
        for line in ["", "{}", r#"{"command":"up"}"#, r#"{"command":"reboot"}"#, "[1]"] {
            assert!(serde_json::from_str::<Request>(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_a_newer_client_asks_is_told_from_rubbish() {
        let kind = |line: &str| match Request::parse(line.as_bytes()) {
            Err(Response::Refused { kind, message }) => (kind, message),
            other => panic!("{line}: {other:?}"),
        };
        for line in [
            r#"{"command":"reboot"}"#,
            r#"{"command":"up","name":"a","gently":true}"#,
            r#"{"command":"show","what":"nat"}"#,
        ] {
            let (kind, message) = kind(line);
            assert_eq!(kind, RefusalKind::UnknownRequest, "{line}: {message}");
            assert!(
                message.contains("this daemon is older than the client: restart it"),
                "{message}"
            );
        }
        for line in ["", "{}", "[1]", "\u{7f}", r#"{"command":"up"}"#, r#"{"command":7}"#] {
            assert_eq!(kind(line).0, RefusalKind::BadRequest, "{line}");
        }
        let status = Request::parse(br#"{"command":"status"}"#).expect("a request");
        assert_eq!(status, Request::Status);
    }

    #[test]
    fn every_request_survives_the_wire() {
        let name = || "a".to_owned();
        for request in [
            Request::Reload { dry_run: true, now: false },
            Request::Failover { connection: name(), to: None, probe: true },
            Request::Show { what: Topic::Listeners },
            Request::Explain(Packet {
                source: [10, 1, 0, 1].into(),
                destination: [10, 2, 0, 1].into(),
                protocol: Some(6),
                source_port: None,
                destination_port: Some(443),
            }),
            Request::Reset { connection: Some(name()) },
            Request::Events { follow: true, connection: None },
            Request::LogLevel { filter: "ike=debug".into(), seconds: Some(300) },
            Request::Capture {
                sides: vec![Side::Lan, Side::Wire],
                connection: Some(name()),
                filter: Filter { port: Some(443), ..Filter::default() },
                snap: None,
            },
            Request::Keys { connection: name() },
            Request::Export {
                name: name(),
                kind: crate::port::export::Kind::S2sGw,
                address: None,
                guess: None,
            },
        ] {
            let line = serde_json::to_vec(&request).expect("serializes");
            assert_eq!(Request::parse(&line).expect("parses"), request);
        }
        let short = Request::parse(br#"{"command":"reload"}"#).expect("parses");
        assert_eq!(short, Request::Reload { dry_run: false, now: false });
    }

    #[test]
    fn a_refusal_of_a_newer_daemon_is_still_a_refusal() {
        let line = r#"{"result":"refused","kind":"full-moon","message":"wait"}"#;
        let response: Response = serde_json::from_str(line).expect("parses");
        let expected = Response::Refused { kind: RefusalKind::Other, message: "wait".into() };
        assert_eq!(response, expected);
    }

    #[test]
    fn a_target_is_a_connection_or_a_child_of_one() {
        let target = |connection, child| Target { connection, child };
        assert_eq!(Target::of("berlin"), target("berlin", None));
        assert_eq!(Target::of("berlin/lan-2"), target("berlin", Some("lan-2")));
        assert_eq!(Target::of("berlin/"), target("berlin", Some("")));
    }

    #[test]
    fn keys_are_not_printed() {
        let keys = KeyTables { ike: vec!["5a5a".into()], ..KeyTables::default() };
        assert_eq!(format!("{keys:?}"), "KeyTables(hidden)");
    }

    #[test]
    fn an_answer_is_one_line() {
        let response = Response::Status { snapshot: Box::new(sample()) };
        let line = response.to_line();
        let end = line.iter().position(|octet| *octet == b'\n');
        assert_eq!(end, Some(line.len() - 1));
        assert_eq!(serde_json::from_slice::<Response>(&line).expect("parses"), response);
    }
}
