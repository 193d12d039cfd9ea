//! What `s2s-gw show` asks for, and the reset of counters. Nothing else here changes anything.

use std::collections::BTreeMap;
use std::time::Instant;

use super::Control;
use super::connection::{Child, Connection, Phase};
use super::events::hex;
use super::install::Installed;
use super::settings;
use crate::config::HttpListen;
use crate::status::protocol::{Response, Topic};
use crate::status::show::{Counted, CounterRow, ListenerRow, PolicyRow, RouteRow, SaRow, Table};

impl Control {
    pub(super) fn show(&self, now: Instant, what: Topic) -> Response {
        let table = match what {
            Topic::Sas => Table::Sas { sas: self.sa_rows(now) },
            Topic::Policies => Table::Policies { policies: self.policy_rows() },
            Topic::Routes => Table::Routes { routes: self.route_rows() },
            Topic::Counters => self.counters(now),
            Topic::Config => {
                let (config, effective) =
                    settings::of(&self.gateway, &self.log, &self.security, &self.connections);
                Table::Config { config, effective }
            }
            Topic::Listeners => Table::Listeners { listeners: self.listener_rows() },
        };
        Response::Shown { table: Box::new(table) }
    }

    /// Lets the counters of a connection, or of all, begin anew for people.
    pub(super) fn reset_counters(&mut self, now: Instant, index: Option<usize>) -> Response {
        let all = self.connections.iter_mut().enumerate();
        let mut names = Vec::new();
        for (_, connection) in all.filter(|(place, _)| index.is_none_or(|index| index == *place)) {
            for child in &mut connection.children {
                child.baseline = Some((now, counted(child)));
            }
            names.push(connection.config.name.clone());
        }
        tracing::info!(target: "gateway", event = "counters-reset", conns = names.join(","));
        let of = index.and_then(|_| names.first()).map_or("all connections", String::as_str);
        Response::Done { message: format!("the counters of {of} begin anew") }
    }

    fn sa_rows(&self, now: Instant) -> Vec<SaRow> {
        let mut rows = Vec::new();
        for connection in &self.connections {
            let Phase::Up { info } = &connection.phase else { continue };
            let name = || connection.config.name.clone();
            let peer = info.path.remote.to_string();
            rows.push(SaRow {
                connection: name(),
                child: None,
                kind: "ike".into(),
                state: "current".into(),
                spi_in: format!("{:016x}", info.spis.0),
                spi_out: format!("{:016x}", info.spis.1),
                suite: info.suite.to_string(),
                peer: Some(peer.clone()),
                encapsulation: None,
                worker: None,
                packets: 0,
                bytes: 0,
                rekey_in_seconds: info.rekey_at.saturating_duration_since(now).as_secs(),
            });
            for (config, child) in connection.config.children.iter().zip(&connection.children) {
                let all: Vec<&Installed> =
                    self.installer.of_slot(child.slot).map(|(_, sa)| sa).collect();
                for (place, sa) in all.iter().enumerate() {
                    let alike = |other: &&&Installed| {
                        (&other.local_ts, &other.remote_ts, other.worker)
                            == (&sa.local_ts, &sa.remote_ts, sa.worker)
                    };
                    let newer = all.iter().skip(place + 1).any(|other| alike(&other));
                    let (packets, bytes) = sa.carried();
                    rows.push(SaRow {
                        connection: name(),
                        child: Some(config.name.clone()),
                        kind: "esp".into(),
                        state: if newer { "replaced" } else { "current" }.into(),
                        spi_in: hex(sa.spi_in.0.get()),
                        spi_out: hex(sa.spi_out.0.get()),
                        suite: sa.suite.to_string(),
                        peer: Some(peer.clone()),
                        encapsulation: Some(if sa.udp_encap { "udp" } else { "esp" }.into()),
                        worker: sa.worker,
                        packets,
                        bytes,
                        rekey_in_seconds: sa.rekey_at.saturating_duration_since(now).as_secs(),
                    });
                }
            }
        }
        rows
    }

    /// In the order of the table of the data plane: by the size of the remote range, then by metric, then as configured.
    fn policy_rows(&self) -> Vec<PolicyRow> {
        let mut rows = Vec::new();
        for connection in self.connections.iter().filter(|c| c.wanted || c.peer.is_some()) {
            for (config, child) in connection.config.children.iter().zip(&connection.children) {
                let local: Vec<String> = config.local.iter().map(ToString::to_string).collect();
                for remote in &config.remote {
                    let row = PolicyRow {
                        local: local.join(","),
                        remote: remote.to_string(),
                        metric: connection.config.metric,
                        connection: connection.config.name.clone(),
                        child: config.name.clone(),
                        action: if child.live.is_empty() { "hold" } else { "protect" }.into(),
                    };
                    let host_bits = remote.max_prefix_len() - remote.prefix_len();
                    rows.push((remote.addr().is_ipv6(), host_bits, row));
                }
            }
        }
        rows.sort_by_key(|(is_v6, host_bits, row)| (*is_v6, *host_bits, row.metric));
        rows.into_iter().map(|(_, _, row)| row).collect()
    }

    fn route_rows(&self) -> Vec<RouteRow> {
        self.connections.iter().flat_map(|c| self.tunnel.rows(&c.config)).collect()
    }

    fn counters(&self, now: Instant) -> Table {
        let row = |connection: &Connection, config: &crate::config::Child, child: &Child| {
            let total = counted(child);
            let since_reset = child.baseline.as_ref().map(|(_, before)| total.since(before));
            let ago = |at: Instant| now.saturating_duration_since(at).as_secs();
            CounterRow {
                connection: connection.config.name.clone(),
                child: config.name.clone(),
                since_reset: since_reset.unwrap_or_else(|| total.clone()),
                total,
                reset_seconds: child.baseline.as_ref().map(|(at, _)| ago(*at)),
            }
        };
        let children = self.connections.iter().flat_map(|c| {
            c.config
                .children
                .iter()
                .zip(&c.children)
                .map(move |(config, child)| row(c, config, child))
        });
        let counters = self.dataplane.counters();
        let drops = self.drops();
        Table::Counters {
            children: children.collect(),
            drops_esp: drops.esp,
            drops_ike: drops.ike,
            ike_messages: counters.ike(),
            keepalives: counters.keepalives(),
        }
    }

    fn listener_rows(&self) -> Vec<ListenerRow> {
        let sockets =
            self.devices.sockets.0.iter().enumerate().map(|(index, socket)| ListenerRow {
                kind: if index < self.devices.ike_sockets { "ike" } else { "nat" }.into(),
                protocol: "udp".into(),
                address: socket.local().to_string(),
            });
        let other = |kind: &str, protocol: &str, address: String| ListenerRow {
            kind: kind.into(),
            protocol: protocol.into(),
            address,
        };
        let control = self.devices.server.path().display().to_string();
        let mut rows: Vec<ListenerRow> = sockets.collect();
        rows.push(other("control", "unix", control));
        let pages = self.gateway.http.iter().flat_map(|http| &http.listen);
        rows.extend(pages.map(|place| match place {
            HttpListen::Tcp(address) => other("http", "tcp", address.to_string()),
            HttpListen::Unix(path) => other("http", "unix", path.display().to_string()),
        }));
        rows.push(other("tun", "device", self.gateway.tun.clone()));
        rows
    }
}

fn counted(child: &Child) -> Counted {
    let counters = &child.counters;
    let drops: BTreeMap<String, u64> =
        counters.drops().map(|(reason, count)| (reason.word().to_owned(), count)).collect();
    Counted {
        rx_packets: counters.packets_in(),
        rx_bytes: counters.octets_in(),
        tx_packets: counters.packets_out(),
        tx_bytes: counters.octets_out(),
        drops,
    }
}
