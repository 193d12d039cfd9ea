//! What the daemon tells about itself: one snapshot feeds the text, the JSON and whatever else wants to know.
//!
//! ```text
//!   control ──► Snapshot ──► newline JSON over the control socket ──► client ──► text (people)
//!                                                                           └──► --json (programs)
//! ```
//!
//! ```text
//!   the socket       protocol, client
//!   what it brings   show, totals, certificate, capture, diagnosis, reload    beside the snapshot, which is here
//!   in words         text, words       tables, and how sizes, times and proposals are spelled
//!                    reason, codes     why a connection is not up, and each code at length
//! ```
//!
//! The JSON only ever grows: fields are added, never renamed or removed ("schema": [`SCHEMA`]). Times are RFC 3339 and
//! their distances are `_seconds`; numbers are numbers.

pub mod capture;
pub mod certificate;
pub mod client;
mod codes;
#[cfg(test)]
pub(crate) mod conforms;
pub mod diagnosis;
pub mod protocol;
pub mod reason;
pub mod reload;
pub mod show;
pub mod text;
pub mod totals;
pub mod words;

use std::collections::BTreeMap;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::{Diagnostic, Severity};

pub use certificate::{AuthStatus, CertificateStatus};
pub use codes::Code;
pub use reason::Reason;
pub use totals::{Histogram, Outcomes, Totals};

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
    /// When the daemon started.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// The configuration that runs.
    #[serde(default)]
    pub config: ConfigStatus,
    /// How often an IKE request was sent once more because no answer came.
    #[serde(default)]
    pub ike_retransmits: u64,
    /// Codes of the warnings about the configuration and the host.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The same with what there is to say about them.
    #[serde(default)]
    pub warning_details: Vec<Warning>,
}

/// The configuration that runs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigStatus {
    /// When it was read.
    #[serde(default)]
    pub loaded: Option<Timestamp>,
    /// A later one was refused, and nothing of it is in force.
    #[serde(default)]
    pub refused: bool,
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
    /// Not drops but what came of some: ICMP messages to hosts of ours that say why a packet of theirs was dropped, by reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub told: BTreeMap<String, u64>,
    /// Packets that the kernel dropped since they were not taken from the TUN device in time, or while it was down.
    #[serde(default)]
    pub tun_queue: u64,
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

    /// How much it deserves to be looked at: the greater, the sooner.
    pub(crate) const fn badness(self) -> u8 {
        match self {
            Self::Error => 6,
            Self::Down => 5,
            Self::Degraded => 4,
            Self::Connecting => 3,
            Self::Up => 2,
            Self::Waiting => 1,
            Self::Disabled => 0,
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
    /// How both sides prove who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<AuthStatus>,
    /// The IKE SA, while there is one.
    pub ike: Option<IkeStatus>,
    /// Every configured child, in order.
    pub children: Vec<ChildStatus>,
    /// What its path carries, where that is less than the device takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_mtu: Option<PathMtuStatus>,
    /// The hosts behind the peer that have to answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub monitors: Vec<MonitorStatus>,
    /// What happened to it since the daemon started.
    #[serde(default)]
    pub totals: Totals,
    /// The kernel routes into the tunnel.
    pub routes: Vec<String>,
    /// Codes of warnings.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The same with what there is to say about them.
    #[serde(default)]
    pub warning_details: Vec<Warning>,
}

/// A host behind a peer that has to answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MonitorStatus {
    /// Its address, with the port if it is asked by TCP.
    pub target: String,
    /// It does not answer.
    pub failed: bool,
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
    /// When it, or the first of those that it takes the place of, came up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub established: Option<Timestamp>,
    /// Until we replace it.
    pub rekey_in_seconds: u64,
    /// How often it was replaced since the connection came up.
    pub rekeys: u64,
    /// What both sides can do beyond RFC 7296: `mobike`, `fragmentation`, `redirect` (the peer follows one),
    /// `message-id-sync`, `ppk-before-auth` (the post-quantum key protects the IKE SA and the identities too, RFC 9867).
    #[serde(default)]
    pub extensions: Vec<String>,
    /// The name of the post-quantum pre-shared key that is mixed into its keys (RFC 8784, RFC 9867).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ppk: Option<String>,
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
pub(crate) mod tests;
