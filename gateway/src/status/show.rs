//! The tables of `s2s-gw show`: what the daemon holds, by topic, each with a schema of its own.
//!
//! ```text
//!   sas         every SA: IKE and ESP, also those that are on their way out
//!   policies    which packets belong to which child, first match first
//!   routes      into the tunnel, and those that keep peers out of it
//!   counters    packets, octets, drops; those of people begin at the last reset, those of programs never
//!   config      the configuration in force, secrets masked
//!   listeners   sockets
//!   algorithms  what proposals may have, and how the RFCs rate it; needs no daemon
//! ```
//!
//! As with the status, fields are only ever added.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// One table. Its JSON names itself in `schema`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "schema")]
pub enum Table {
    /// SAs.
    #[serde(rename = "s2s-gw/show-sas/1")]
    Sas {
        /// IKE SAs before their children, in the order of the configuration.
        sas: Vec<SaRow>,
    },
    /// Policies.
    #[serde(rename = "s2s-gw/show-policies/1")]
    Policies {
        /// In the order in which they are looked at.
        policies: Vec<PolicyRow>,
    },
    /// Routes.
    #[serde(rename = "s2s-gw/show-routes/1")]
    Routes {
        /// By connection.
        routes: Vec<RouteRow>,
    },
    /// Counters.
    #[serde(rename = "s2s-gw/show-counters/1")]
    Counters {
        /// A row for each child.
        children: Vec<CounterRow>,
        /// What belongs to no child, by reason: packets.
        drops_esp: BTreeMap<String, u64>,
        /// The same: IKE datagrams.
        drops_ike: BTreeMap<String, u64>,
        /// IKE datagrams that came in on the NAT port.
        ike_messages: u64,
        /// NAT keepalives that came in.
        keepalives: u64,
    },
    /// The configuration.
    #[serde(rename = "s2s-gw/show-config/1")]
    Config {
        /// What is not as it is by default.
        config: serde_json::Value,
        /// Everything.
        effective: serde_json::Value,
    },
    /// Sockets.
    #[serde(rename = "s2s-gw/show-listeners/1")]
    Listeners {
        /// One row for each.
        listeners: Vec<ListenerRow>,
    },
    /// Algorithms.
    #[serde(rename = "s2s-gw/show-algorithms/1")]
    Algorithms {
        /// One row for each.
        algorithms: Vec<AlgorithmRow>,
    },
}

/// An SA, or a pair of ESP SAs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SaRow {
    /// The connection.
    pub connection: String,
    /// The child; `None`: the IKE SA.
    pub child: Option<String>,
    /// `ike` or `esp`.
    pub kind: String,
    /// `current`, or `replaced` while a newer one is there.
    pub state: String,
    /// SPI of packets to us; of an IKE SA that of the initiator.
    pub spi_in: String,
    /// SPI of packets to the peer; of an IKE SA that of the responder.
    pub spi_out: String,
    /// The algorithms, IANA names.
    pub suite: String,
    /// Address and port of the peer.
    pub peer: Option<String>,
    /// `udp` or `esp`; of ESP SAs alone.
    pub encapsulation: Option<String>,
    /// The worker that it is for, if it is for one.
    pub worker: Option<usize>,
    /// Packets that it has carried in both directions.
    pub packets: u64,
    /// Octets of those.
    pub bytes: u64,
    /// Until we replace it.
    pub rekey_in_seconds: u64,
}

/// Packets of these networks belong to this child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyRow {
    /// Our side.
    pub local: String,
    /// The peer's side.
    pub remote: String,
    /// Among equals the lower wins.
    pub metric: u32,
    /// The connection.
    pub connection: String,
    /// The child.
    pub child: String,
    /// `protect`: an SA is there. `hold`: packets are dropped until there is one.
    pub action: String,
}

/// A kernel route.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    /// The connection.
    pub connection: String,
    /// Where it leads.
    pub destination: String,
    /// Through which device.
    pub device: String,
    /// Its metric.
    pub metric: u32,
    /// The address that this host takes itself.
    pub source: Option<String>,
    /// Octets, if less than the device takes.
    pub mtu: Option<u16>,
    /// `installed` or `refused`.
    pub state: String,
}

/// What a child has carried since the daemon started, and since the last reset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterRow {
    /// The connection.
    pub connection: String,
    /// The child.
    pub child: String,
    /// Since the start; never less than before.
    #[serde(flatten)]
    pub total: Counted,
    /// Since the last `reset counters`, or the start.
    pub since_reset: Counted,
    /// How long ago that was; `None`: never.
    pub reset_seconds: Option<u64>,
}

/// Packets and octets of inner packets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Received.
    pub rx_packets: u64,
    /// Received.
    pub rx_bytes: u64,
    /// Sent.
    pub tx_packets: u64,
    /// Sent.
    pub tx_bytes: u64,
    /// Dropped, by reason.
    pub drops: BTreeMap<String, u64>,
}

impl Counted {
    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let drops = self.drops.iter().filter_map(|(word, count)| {
            let more = count - before.drops.get(word).unwrap_or(&0).min(count);
            (more > 0).then(|| (word.clone(), more))
        });
        Self {
            rx_packets: self.rx_packets.saturating_sub(before.rx_packets),
            rx_bytes: self.rx_bytes.saturating_sub(before.rx_bytes),
            tx_packets: self.tx_packets.saturating_sub(before.tx_packets),
            tx_bytes: self.tx_bytes.saturating_sub(before.tx_bytes),
            drops: drops.collect(),
        }
    }
}

/// A socket that something may come in on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerRow {
    /// `ike`, `nat`, `control` or `tun`.
    pub kind: String,
    /// `udp`, `unix` or `device`.
    pub protocol: String,
    /// Address and port, path, or name.
    pub address: String,
}

/// An algorithm that proposals may have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AlgorithmRow {
    /// What it decides: `cipher`, `integrity`, `PRF`, `key exchange group`, `sequence numbers`.
    pub kind: String,
    /// The keyword.
    pub keyword: String,
    /// Other keywords for the same.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// The IANA name.
    pub name: String,
    /// Where it may stand: `ike`, `esp`.
    pub proposals: Vec<String>,
    /// There, how much an implementation has to have it, in the words of RFC 8247 (`ike`) and RFC 8221 (`esp`): `MUST`,
    /// `SHOULD NOT` ..
    #[serde(default)]
    pub levels: BTreeMap<String, String>,
    /// What the policy has to say before it may be used: `allow_legacy` or `allow_unencrypted`; `None`: nothing.
    #[serde(default)]
    pub needs: Option<String>,
}
