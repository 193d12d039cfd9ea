//! What the daemon tells about itself: one snapshot feeds the text, the JSON and whatever else wants to know.
//!
//! ```text
//!   control ──► Snapshot ──► newline JSON over the control socket ──► client ──► text (people)
//!                                                                           └──► --json (programs)
//! ```
//!
//! The JSON only ever grows: fields are added, never renamed or removed ("schema": [`SCHEMA`]). Times are RFC 3339 and
//! their distances are `_seconds`; numbers are numbers.

pub mod client;
mod codes;
#[cfg(test)]
pub(crate) mod conforms;
pub mod protocol;
pub mod reason;
pub mod reload;
pub mod show;
pub mod text;
pub mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Diagnostic, Severity};

pub use codes::Code;
pub use reason::Reason;

/// The JSON Schema of a [`Snapshot`], for programs that read it.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Snapshot).to_value()
}

/// The name and version of the JSON form.
pub const SCHEMA: &str = "s2s-gw/status/1";

/// Everything that the daemon knows about itself at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Snapshot {
    /// [`SCHEMA`].
    pub schema: String,
    /// Name of the gateway.
    pub gateway: String,
    /// Version of the program.
    pub version: String,
    /// Process id of the daemon.
    pub pid: u32,
    /// When this snapshot was taken.
    pub time: Timestamp,
    /// Since the daemon started.
    pub uptime_seconds: u64,
    /// Our addresses that peers talk to.
    pub external: Vec<String>,
    /// The device that inner packets go through.
    pub tun: TunStatus,
    /// Every configured connection, in the order of the configuration.
    pub connections: Vec<ConnectionStatus>,
    /// Dropped packets and datagrams that belong to no connection.
    pub drops: Drops,
    /// Peers that were turned away, newest last; only the last few.
    #[serde(default)]
    pub refused: Vec<Refusal>,
    /// Codes of the warnings about the configuration and the host.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The same with what there is to say about them.
    #[serde(default)]
    pub warning_details: Vec<Warning>,
}

/// The TUN device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TunStatus {
    /// Its name.
    pub name: String,
    /// Its MTU: the largest inner packet, octets.
    pub mtu: u16,
}

/// Something that should be looked at although it works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// Stable code, `W0501`.
    pub code: String,
    /// What it is, in a few words.
    pub title: String,
    /// `warning`.
    pub severity: String,
    /// What was seen, one sentence without full stop; `None`: the title says all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What to do about it, one sentence without full stop.
    pub fix: String,
}

impl Warning {
    /// Of the running gateway.
    pub(crate) fn of(code: Code) -> Self {
        let severity = Severity::Warning.word().to_owned();
        let (title, fix) = (code.title().to_owned(), code.fix().to_owned());
        Self { code: code.id().to_owned(), title, severity, message: None, fix }
    }

    /// Of the configuration.
    pub(crate) fn of_config(found: &Diagnostic) -> Self {
        let id = found.code.id();
        let fix = found.fix.clone().or_else(|| found.help.clone());
        Self {
            code: id.to_owned(),
            title: found.code.title().to_owned(),
            severity: found.severity().word().to_owned(),
            message: Some(found.message.clone()),
            fix: fix.unwrap_or_else(|| format!("s2s-gw error {id}")),
        }
    }
}

/// Dropped packets by reason; reasons that never happened are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Drops {
    /// By the data plane: inner packets and ESP packets.
    pub esp: BTreeMap<String, u64>,
    /// IKE datagrams.
    pub ike: BTreeMap<String, u64>,
}

/// Somebody whom we turned away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Refusal {
    /// When.
    pub time: Timestamp,
    /// The connection that it claimed or came close to.
    pub connection: Option<String>,
    /// Its address and port.
    pub from: String,
    /// Why.
    pub reason: Reason,
}

/// The state of a connection: the state of its packets, not of anybody's intentions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Switched off in the configuration or by `down`.
    Disabled,
    /// Nothing wrong, nothing up: it waits for the peer, a packet or a command.
    Waiting,
    /// An attempt runs.
    Connecting,
    /// Every child has its SAs.
    Up,
    /// Packets pass, and something is wrong: children or routes are missing, SAs are not replaced, or nothing comes back.
    Degraded,
    /// It should be up, and the last attempt failed.
    Down,
    /// It cannot work until somebody edits something; attempts go on.
    Error,
}

impl State {
    /// Every state.
    pub const ALL: [Self; 7] = [
        Self::Disabled,
        Self::Waiting,
        Self::Connecting,
        Self::Up,
        Self::Degraded,
        Self::Down,
        Self::Error,
    ];

    /// The word for it, as in the JSON.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Disabled => "disabled",
            Self::Waiting => "waiting",
            Self::Connecting => "connecting",
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Error => "error",
        }
    }

    /// The same in the words of OpenStack VPNaaS.
    #[must_use]
    pub const fn vpnaas(self) -> &'static str {
        match self {
            Self::Up | Self::Degraded => "ACTIVE",
            Self::Connecting => "BUILD",
            Self::Error => "ERROR",
            Self::Disabled | Self::Waiting | Self::Down => "DOWN",
        }
    }

    /// The same in the words of AWS, whose tunnels are up or not.
    #[must_use]
    pub const fn aws(self) -> &'static str {
        match self {
            Self::Up | Self::Degraded => "UP",
            Self::Connecting | Self::Error | Self::Disabled | Self::Waiting | Self::Down => "DOWN",
        }
    }

    /// The same in the words of CloudStack.
    #[must_use]
    pub const fn cloudstack(self) -> &'static str {
        match self {
            Self::Up | Self::Degraded => "Connected",
            Self::Connecting => "Connecting",
            Self::Error => "Error",
            Self::Disabled | Self::Waiting | Self::Down => "Disconnected",
        }
    }
}

/// One configured connection.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionStatus {
    /// Its name.
    pub name: String,
    /// What the operator wrote about it.
    pub description: Option<String>,
    /// Its state.
    pub state: State,
    /// When it entered this state.
    pub since: Timestamp,
    /// How long ago that was.
    pub since_seconds: u64,
    /// Whether it should be up.
    pub desired_up: bool,
    /// What it waits for, if it waits.
    #[serde(default)]
    pub awaits: Option<String>,
    /// The state in the words of OpenStack VPNaaS.
    pub vpnaas_status: String,
    /// The state in the words of CloudStack.
    pub cloudstack_state: String,
    /// The state in the words of AWS: `UP` or `DOWN`.
    #[serde(default)]
    pub aws_status: String,
    /// Why it is not up, or not fully.
    pub reason: Option<Reason>,
    /// The number of the running attempt, 1 for the first.
    pub attempt: Option<u32>,
    /// Until the next attempt.
    pub retry_in_seconds: Option<u64>,
    /// Name of the policy.
    pub policy: String,
    /// The peer.
    pub peer: PeerStatus,
    /// The IKE SA, while there is one.
    pub ike: Option<IkeStatus>,
    /// Every configured child, in order.
    pub children: Vec<ChildStatus>,
    /// What its path carries, where that is less than the device takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<PathMtuStatus>,
    /// The kernel routes into the tunnel.
    pub routes: Vec<String>,
    /// Codes of warnings.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The same with what there is to say about them.
    #[serde(default)]
    pub warning_details: Vec<Warning>,
}

/// The path MTU of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PathMtuStatus {
    /// The largest outer packet, octets.
    pub outer: u16,
    /// The largest inner packet that it leaves room for, octets.
    pub inner: u16,
}

/// Where the peer is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PeerStatus {
    /// As configured: addresses, names or `any`.
    pub configured: Vec<String>,
    /// The address and port in use or tried last.
    pub active: Option<String>,
    /// Our address and port on that path.
    pub local: Option<String>,
    /// A NAT stands on either side, as far as one can see.
    pub nat: bool,
    /// A NAT stands before us.
    pub nat_local: bool,
    /// The peer says that a NAT stands before it; one that forces encapsulation says so, too.
    pub nat_remote: bool,
    /// The round trip time, where it is known.
    pub rtt_seconds: Option<f64>,
    /// The gateway to which the peer sent us, address or name, while we are there.
    #[serde(default)]
    pub redirected_to: Option<String>,
    /// Every endpoint in order of preference, where there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointStatus>,
}

/// One endpoint of a peer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointStatus {
    /// Its address and the port that it is called at.
    pub address: String,
    /// Whether the SAs are there.
    pub active: bool,
    /// What the last probe said, `ok` or `failed`; `None` if there was none.
    pub probe: Option<String>,
    /// How long the last answer took.
    pub rtt_seconds: Option<f64>,
    /// Since the last answer.
    pub last_answer_seconds: Option<f64>,
}

/// What the IKE SA agreed on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct IkeStatus {
    /// The algorithms, IANA names.
    pub suite: String,
    /// `us` or `peer`.
    pub started_by: String,
    /// Our identity.
    pub local_id: String,
    /// The peer's.
    pub remote_id: String,
    /// SPI of the original initiator, hexadecimal.
    pub spi_i: String,
    /// SPI of the original responder, hexadecimal.
    pub spi_r: String,
    /// Until we replace it.
    pub rekey_in_seconds: u64,
    /// How often it was replaced since the connection came up.
    pub rekeys: u64,
    /// What both sides can do beyond RFC 7296: `mobike`, `fragmentation`, `redirect` (the peer follows one),
    /// `message-id-sync`.
    #[serde(default)]
    pub extensions: Vec<String>,
}

/// One configured child. The counters survive rekeying.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ChildStatus {
    /// Its name.
    pub name: String,
    /// Our networks.
    pub local: Vec<String>,
    /// The peer's networks.
    pub remote: Vec<String>,
    /// `up`, `down`, or `degraded` if only some pairs of its networks are up.
    pub state: State,
    /// When it entered this state.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// How long ago that was.
    #[serde(default)]
    pub since_seconds: Option<u64>,
    /// Why it is not up, or not fully.
    pub reason: Option<Reason>,
    /// Whether both sides agree on PFS: `verified`, `mismatch`, or `pending` while that is being found out.
    #[serde(default)]
    pub pfs: Option<String>,
    /// The size of segments that TCP is told, octets.
    #[serde(default)]
    pub mss: Option<u16>,
    /// Each pair of its networks by itself, where the peer keeps only one pair in each child SA; otherwise empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pairs: Vec<PairStatus>,
    /// The newest SA pair, while there is one; its fields lie beside these.
    #[serde(flatten)]
    pub sa: Option<SaStatus>,
    /// Further SA pairs of the same networks, each for one of several workers (RFC 9611); what they carry is counted with the
    /// child, too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub of_workers: Vec<WorkerSaStatus>,
    /// How often it was replaced since it came up.
    pub rekeys: u64,
    /// Octets of inner packets received.
    pub rx_bytes: u64,
    /// Octets of inner packets sent.
    pub tx_bytes: u64,
    /// Inner packets received.
    pub rx_packets: u64,
    /// Inner packets sent.
    pub tx_packets: u64,
    /// Octets received in the last second.
    pub rx_bytes_per_second: u64,
    /// Octets sent in the last second.
    pub tx_bytes_per_second: u64,
    /// Since the last packet came in.
    pub last_rx_seconds: Option<f64>,
    /// Since the last packet was sent, to a second.
    #[serde(default)]
    pub last_tx_seconds: Option<f64>,
    /// Dropped packets by reason.
    pub drops: BTreeMap<String, u64>,
}

/// An SA pair that one worker sends on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerSaStatus {
    /// Which worker, from 0.
    pub worker: usize,
    /// The SA pair; its fields lie beside these.
    #[serde(flatten)]
    pub sa: SaStatus,
    /// Packets that it has carried in both directions.
    pub packets: u64,
    /// Octets of inner packets that it has carried in both directions.
    pub bytes: u64,
}

/// One pair of networks of a child that the peer wants split.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PairStatus {
    /// Our side.
    pub local: Vec<String>,
    /// The peer's.
    pub remote: Vec<String>,
    /// `up` or `down`.
    pub state: State,
    /// Why it is not up, or was not rekeyed.
    pub reason: Option<Reason>,
    /// Until it is asked for again.
    pub retry_in_seconds: Option<u64>,
    /// Its SA pair, while there is one; its fields lie beside these.
    #[serde(flatten)]
    pub sa: Option<SaStatus>,
}

/// A pair of ESP SAs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SaStatus {
    /// The algorithms, IANA names.
    pub suite: String,
    /// `udp` (RFC 3948) or `esp` (IP protocol 50).
    pub encapsulation: String,
    /// SPI of packets to us, hexadecimal.
    pub spi_in: String,
    /// SPI of packets to the peer, hexadecimal.
    pub spi_out: String,
    /// Our selectors after narrowing.
    pub narrowed_local: Vec<String>,
    /// The peer's selectors after narrowing.
    pub narrowed_remote: Vec<String>,
    /// Whether the peer would take what is missing of our networks in another child SA (ADDITIONAL_TS_POSSIBLE).
    #[serde(default)]
    pub more_possible: bool,
    /// Until we replace it.
    pub rekey_in_seconds: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A snapshot with one connection up and one down.
    pub(crate) fn sample() -> Snapshot {
        let time: Timestamp = "2026-11-20T08:01:21Z".parse().expect("a time");
        Snapshot {
            schema: SCHEMA.into(),
            gateway: "fra1".into(),
            version: "0.1.0".into(),
            pid: 4711,
            time,
            uptime_seconds: 273_600,
            external: vec!["203.0.113.10".into(), "2001:db8::10".into()],
            tun: TunStatus { name: "s2s0".into(), mtu: 1422 },
            connections: vec![up(time), down(time)],
            drops: Drops {
                esp: BTreeMap::from([("unknown-spi".to_owned(), 3)]),
                ike: BTreeMap::from([("malformed".to_owned(), 2)]),
            },
            refused: Vec::new(),
            warnings: vec!["W0501".into()],
            warning_details: vec![Warning::of(Code::NotForwarding)],
        }
    }

    fn up(time: Timestamp) -> ConnectionStatus {
        ConnectionStatus {
            name: "berlin".into(),
            description: Some("Berlin office".into()),
            state: State::Up,
            since: time,
            since_seconds: 93_600,
            desired_up: true,
            awaits: None,
            vpnaas_status: State::Up.vpnaas().into(),
            cloudstack_state: State::Up.cloudstack().into(),
            aws_status: State::Up.aws().into(),
            reason: None,
            attempt: None,
            retry_in_seconds: None,
            policy: "default".into(),
            peer: PeerStatus {
                configured: vec!["198.51.100.20".into()],
                active: Some("198.51.100.20:4500".into()),
                local: Some("203.0.113.10:4500".into()),
                nat: false,
                nat_local: false,
                nat_remote: false,
                rtt_seconds: Some(0.011),
                redirected_to: None,
                endpoints: Vec::new(),
            },
            ike: Some(IkeStatus {
                suite: "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384".into(),
                started_by: "us".into(),
                local_id: "fra1.example.com".into(),
                remote_id: "berlin.example.com".into(),
                spi_i: "0011223344556677".into(),
                spi_r: "8899aabbccddeeff".into(),
                rekey_in_seconds: 13_260,
                rekeys: 3,
                extensions: vec!["mobike".into(), "fragmentation".into()],
            }),
            children: vec![ChildStatus {
                name: "lan".into(),
                local: vec!["10.1.0.0/16".into(), "10.9.0.0/24".into()],
                remote: vec!["10.2.0.0/16".into()],
                state: State::Up,
                since: Some(time),
                since_seconds: Some(93_600),
                reason: None,
                pfs: Some("verified".into()),
                mss: Some(1382),
                pairs: Vec::new(),
                sa: Some(SaStatus {
                    suite: "AES_GCM_16_256/ESN".into(),
                    encapsulation: "udp".into(),
                    spi_in: "c1a20001".into(),
                    spi_out: "9f0e0002".into(),
                    narrowed_local: vec!["10.1.0.0/16".into(), "10.9.0.0/24".into()],
                    narrowed_remote: vec!["10.2.0.0/16".into()],
                    more_possible: false,
                    rekey_in_seconds: 1320,
                }),
                of_workers: Vec::new(),
                rekeys: 26,
                rx_bytes: 100_873_012,
                tx_bytes: 52_428_800,
                rx_packets: 100_000,
                tx_packets: 60_000,
                rx_bytes_per_second: 12_100_000,
                tx_bytes_per_second: 890_000,
                last_rx_seconds: Some(0.2),
                last_tx_seconds: Some(0.1),
                drops: BTreeMap::from([("replayed".to_owned(), 1)]),
            }],
            path_mtu: None,
            routes: vec!["10.2.0.0/16 dev s2s0 metric 100".into()],
            warnings: Vec::new(),
            warning_details: Vec::new(),
        }
    }

    fn down(time: Timestamp) -> ConnectionStatus {
        let mut connection = up(time);
        connection.name = "paris".into();
        connection.description = None;
        connection.state = State::Down;
        connection.since_seconds = 12;
        connection.vpnaas_status = State::Down.vpnaas().into();
        connection.cloudstack_state = State::Down.cloudstack().into();
        connection.aws_status = State::Down.aws().into();
        connection.peer.rtt_seconds = None;
        connection.peer.active = None;
        connection.reason = Some(Reason {
            code: "E1003".into(),
            alert: "proposal-mismatch-ike".into(),
            message: "no IKE proposal suits both sides; the peer offered aes256-sha256-modp1024"
                .into(),
            fix: "add one of ours on the peer".into(),
            detail: vec!["ours    1: aes256-sha256-modp2048".into()],
        });
        connection.retry_in_seconds = Some(12);
        connection.peer.configured = vec!["paris.example.com".into()];
        connection.ike = None;
        for child in &mut connection.children {
            child.state = State::Down;
            child.sa = None;
            child.last_rx_seconds = None;
            child.last_tx_seconds = None;
            child.pfs = None;
            child.mss = None;
        }
        connection
    }

    #[test]
    fn the_json_has_the_promised_shape() {
        let json = serde_json::to_value(sample()).expect("serializes");
        assert_eq!(json["schema"], "s2s-gw/status/1");
        assert_eq!(json["uptime_seconds"], 273_600);
        assert_eq!(json["external"][1], "2001:db8::10");
        let paris = &json["connections"][1];
        assert_eq!(paris["state"], "down");
        assert_eq!(paris["since"], "2026-11-20T08:01:21Z");
        assert_eq!(paris["desired_up"], true);
        assert_eq!(paris["vpnaas_status"], "DOWN");
        assert_eq!(paris["cloudstack_state"], "Disconnected");
        assert_eq!(paris["aws_status"], "DOWN");
        assert_eq!(json["warning_details"][0]["severity"], "warning");
        assert_eq!(paris["reason"]["code"], "E1003");
        assert_eq!(paris["reason"]["alert"], "proposal-mismatch-ike");
        assert_eq!(paris["retry_in_seconds"], 12);
        assert_eq!(paris["peer"]["configured"][0], "paris.example.com");
        assert_eq!(paris["peer"]["nat"], false);
        assert!(paris["peer"]["rtt_seconds"].is_null());
        let lan = &json["connections"][0]["children"][0];
        assert_eq!(lan["name"], "lan");
        assert_eq!(lan["rx_bytes"], 100_873_012);
        assert_eq!(lan["spi_in"], "c1a20001");
        assert_eq!(json["connections"][0]["ike"]["extensions"][0], "mobike");
        assert!(lan.get("pairs").is_none(), "only where the peer wants it so");
        assert!(paris["children"][0]["spi_in"].is_null());
        assert_eq!(lan["drops"]["replayed"], 1);
        assert_eq!(json["drops"]["ike"]["malformed"], 2);
    }

    #[test]
    fn what_was_written_is_read_again() {
        let line = serde_json::to_string(&sample()).expect("serializes");
        let back: Snapshot = serde_json::from_str(&line).expect("parses");
        assert_eq!(back, sample());
    }

    #[test]
    fn the_word_of_a_state_is_its_json() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).expect("serializes"), state.word());
        }
    }

    #[test]
    fn the_schema_describes_what_is_sent() {
        let schema = schema();
        let mut sample = serde_json::to_value(sample()).expect("serializes");
        assert_eq!(conforms::faults(&sample, &schema, &schema, ""), [""; 0]);
        sample["connections"][0]["state"] = "sleepy".into();
        sample["pid"] = "4711".into();
        let faults = conforms::faults(&sample, &schema, &schema, "");
        assert_eq!(faults.len(), 2, "{faults:?}");
    }

    /// Everything that the schema of before promised is promised still: programs that read it go on working.
    #[test]
    fn fields_are_only_ever_added() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/status/golden/status.schema.json");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            let text = serde_json::to_string_pretty(&schema()).expect("serializes");
            std::fs::write(path, text + "\n").expect("writes");
        }
        let before = std::fs::read_to_string(path).expect("there is such a file");
        let before: serde_json::Value = serde_json::from_str(&before).expect("JSON");
        kept(&before, &schema(), "");
        assert_eq!(before, schema(), "{path} is behind; UPDATE_GOLDEN=1 writes it anew");
    }

    /// Fails if a property, a word or a promise of `before` is not in `now`.
    fn kept(before: &serde_json::Value, now: &serde_json::Value, at: &str) {
        use serde_json::Value;
        match (before, now) {
            (Value::Object(before), Value::Object(now)) => {
                for (key, value) in before.iter().filter(|(key, _)| *key != "description") {
                    let found = now.get(key).unwrap_or_else(|| panic!("{at}/{key} is gone"));
                    kept(value, found, &format!("{at}/{key}"));
                }
            }
            (Value::Array(before), Value::Array(now)) => {
                for value in before {
                    assert!(now.contains(value), "{at}: {value} is gone");
                }
            }
            (before, now) => assert_eq!(before, now, "{at} is something else"),
        }
    }

    #[test]
    #[should_panic(expected = "/properties/pid is gone")]
    fn a_field_that_goes_is_noticed() {
        let mut less = schema();
        less["properties"].as_object_mut().expect("properties").remove("pid");
        kept(&schema(), &less, "");
    }
}
