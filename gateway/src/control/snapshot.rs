//! The state of everything, as status shows it. Nothing here changes anything.
//!
//! ```text
//!   connections, installer, counters, routes ──► status::Snapshot
//! ```

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ikev2::{Traffic, TrafficSelector};
use jiff::Timestamp;

use super::Control;
use super::certificates;
use super::connection::{Child, Connection, Failed, Phase};
use super::events::hex;
use super::install::Installed;
use super::paths;
use crate::clock;
use crate::config;
use crate::status::{
    AuthStatus, CertificateStatus, ChildStatus, Code, ConnectionStatus, Drops, IkeStatus,
    MonitorStatus, PairStatus, PeerStatus, SCHEMA, SaStatus, Snapshot, State, TunStatus, Warning,
    WorkerSaStatus, words,
};

impl Control {
    pub(super) fn snapshot(&self, now: Instant, wall: Timestamp) -> Snapshot {
        let warning_details = self.all_warnings(now);
        Snapshot {
            schema: SCHEMA.to_owned(),
            gateway: self.gateway.name.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            time: to_millis(wall),
            uptime_seconds: now.saturating_duration_since(self.started).as_secs(),
            external: self.external(),
            tun: TunStatus { name: self.gateway.tun.clone(), mtu: self.mtu },
            connections: self.connections.iter().map(|c| self.connection(c, now)).collect(),
            drops: self.drops(),
            refused: self.refused.iter().cloned().collect(),
            started: Some(to_millis(self.started_wall)),
            config: self.reloading.status(),
            ike_retransmits: self.endpoint.retransmits(),
            warnings: codes(&warning_details),
            warning_details,
        }
    }

    /// Our addresses that peers talk to: as configured, otherwise those of the paths in use.
    fn external(&self) -> Vec<String> {
        let mut addresses = self.gateway.listen.clone();
        for connection in &self.connections {
            let used = match &connection.phase {
                Phase::Up { info } => Some(info.path),
                Phase::Connecting { path, .. } => Some(*path),
                Phase::Idle | Phase::Failed { .. } => None,
            };
            for path in used.iter().chain(&connection.paths) {
                if !addresses.contains(&path.local.ip()) {
                    addresses.push(path.local.ip());
                }
            }
        }
        addresses.iter().map(ToString::to_string).collect()
    }

    pub(super) fn drops(&self) -> Drops {
        let counters = self.dataplane.counters();
        let mut esp: BTreeMap<String, u64> = BTreeMap::new();
        for (word, count) in counters
            .drops()
            .map(|(reason, count)| (reason.word(), count))
            .chain(counters.losses().map(|(loss, count)| (loss.word(), count)))
        {
            *esp.entry(word.to_owned()).or_default() += count;
        }
        let ike = self.drops.iter().map(|(reason, count)| (reason.word().to_owned(), *count));
        let told = counters.answers().map(|(why, count)| (why.word().to_owned(), count));
        let tun_queue = format!("/sys/class/net/{}/statistics/tx_dropped", self.gateway.tun);
        let tun_queue = std::fs::read_to_string(tun_queue).ok();
        let tun_queue = tun_queue.and_then(|text| text.trim().parse().ok()).unwrap_or(0);
        Drops { esp, ike: ike.collect(), told: told.collect(), tun_queue }
    }

    fn connection(&self, connection: &Connection, now: Instant) -> ConnectionStatus {
        let config = &connection.config;
        let state = connection.state(now);
        let until = |at: Instant| at.saturating_duration_since(now).as_secs();
        let attempt = match &connection.phase {
            Phase::Connecting { attempt, .. } => Some(*attempt),
            Phase::Idle | Phase::Up { .. } | Phase::Failed { .. } => None,
        };
        let refused = self.tunnel.is_incomplete(config);
        let superseding = connection.superseding.as_ref();
        let warnings = [
            (refused, Code::RouteRefused),
            (connection.standby().is_some(), Code::OnStandby),
            (superseding.is_some_and(|one| one.failures > 0), Code::OldCredentials),
        ];
        let warned = warnings.into_iter().filter(|(holds, _)| *holds);
        let warned = warned.map(|(_, code)| Warning::of(code));
        let warning_details: Vec<Warning> =
            warned.chain(certificates::warnings(connection, clock::unix())).collect();
        ConnectionStatus {
            name: config.name.clone(),
            description: config.description.clone(),
            state,
            since: to_millis(connection.since_wall),
            since_seconds: now.saturating_duration_since(connection.since).as_secs(),
            desired_up: connection.desired_up(),
            awaits: connection.awaits(now),
            vpnaas_status: state.vpnaas().to_owned(),
            cloudstack_state: state.cloudstack().to_owned(),
            aws_status: state.aws().to_owned(),
            reason: connection.reason(now),
            attempt,
            retry_in_seconds: connection.retry_at().map(until),
            policy: config.policy.name.clone(),
            peer: self.peer_status(connection, now),
            auth: Some(auth(connection)),
            ike: ike(connection, now),
            children: self.children(connection, now),
            path_mtu: connection.path_mtu.status(self.mtu),
            monitors: monitors(connection),
            totals: connection.tally.totals.clone(),
            routes: self.tunnel.of(config),
            warnings: codes(&warning_details),
            warning_details,
        }
    }

    fn peer_status(&self, connection: &Connection, now: Instant) -> PeerStatus {
        let rtt = connection.peer.and_then(|peer| self.endpoint.rtt(peer));
        // A ten-thousandth of a second is what two hosts in one room need.
        let rtt = rtt.map(|rtt| (rtt.as_secs_f64() * 1e4).round() / 1e4);
        PeerStatus { rtt_seconds: rtt, ..peer(connection, now) }
    }

    fn children(&self, connection: &Connection, now: Instant) -> Vec<ChildStatus> {
        let configured = connection.config.children.iter().zip(&connection.children);
        configured.map(|(config, child)| self.child(config, child, now)).collect()
    }

    fn child(&self, config: &config::Child, child: &Child, now: Instant) -> ChildStatus {
        let counters = &child.counters;
        let traffic = |sa: &Installed| Traffic::new(sa.local_ts.clone(), sa.remote_ts.clone());
        let all = || self.installer.of_slot(child.slot).map(|(_, sa)| sa);
        // One of those that are for a worker stands for the child only if there is no other: the peer deleted that one.
        let for_all = all().any(|sa| sa.worker.is_none());
        let standing = || all().filter(|sa| sa.worker.is_none() || !for_all);
        let installed = standing().map(|sa| (traffic(sa), self::sa(sa, now)));
        let newest = standing().last();
        let is_newest = |sa: &&Installed| newest.is_some_and(|newest| newest.spi_in == sa.spi_in);
        let of_workers = all().filter(|sa| !is_newest(sa)).filter_map(|sa| of_worker(sa, now));
        let last_rx = counters.last_inbound().map(|at| now.saturating_duration_since(at));
        let drops = counters.drops().map(|(reason, count)| (reason.word().to_owned(), count));
        ChildStatus {
            name: config.name.clone(),
            local: config.local.iter().map(ToString::to_string).collect(),
            remote: config.remote.iter().map(ToString::to_string).collect(),
            state: child.state(now),
            since: Some(to_millis(child.since_wall)),
            since_seconds: Some(now.saturating_duration_since(child.since).as_secs()),
            pfs: child.pfs.word().map(str::to_owned),
            mss: newest.and_then(Installed::mss),
            reason: child.fault().cloned(),
            pairs: pairs(config, child, installed, now),
            sa: newest.map(|sa| self::sa(sa, now)),
            of_workers: of_workers.collect(),
            rekeys: child.rekeys,
            rx_bytes: counters.octets_in(),
            tx_bytes: counters.octets_out(),
            rx_packets: counters.packets_in(),
            tx_packets: counters.packets_out(),
            rx_bytes_per_second: child.rate.rx,
            tx_bytes_per_second: child.rate.tx,
            last_rx_seconds: last_rx.map(tenths),
            last_tx_seconds: child.last_sent.map(|at| tenths(now.saturating_duration_since(at))),
            drops: drops.collect(),
        }
    }
}

fn monitors(connection: &Connection) -> Vec<MonitorStatus> {
    let each = connection.config.monitors.iter().zip(&connection.monitors);
    let status = |(monitor, health): (&config::Monitor, &super::monitors::Health)| MonitorStatus {
        target: super::monitors::described(monitor),
        failed: health.failed,
    };
    each.map(status).collect()
}

fn codes(warnings: &[Warning]) -> Vec<String> {
    warnings.iter().map(|warning| warning.code.clone()).collect()
}

/// Three digits behind the second are enough for people and programs.
fn to_millis(time: Timestamp) -> Timestamp {
    time.round(jiff::Unit::Millisecond).unwrap_or(time)
}

/// To a tenth of a second: more would be noise.
fn tenths(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 10.0).round() / 10.0
}

fn peer(connection: &Connection, now: Instant) -> PeerStatus {
    let configured = match &connection.config.peer {
        config::Peer::Any => vec!["any".to_owned()],
        config::Peer::Hosts(hosts) => hosts.iter().map(ToString::to_string).collect(),
    };
    let mut status = PeerStatus { configured, ..PeerStatus::default() };
    let path = match &connection.phase {
        Phase::Up { info } => {
            status.nat_local = info.nat_local;
            status.nat_remote = info.nat_remote;
            status.nat =
                info.nat_local || (info.nat_remote && is_translated(connection, info.path.remote));
            Some(info.path)
        }
        Phase::Connecting { path, .. } => Some(*path),
        Phase::Idle | Phase::Failed { .. } => None,
    };
    status.active = path.map(|path| path.remote.to_string());
    status.endpoints = connection.endpoints_status(now);
    status.local = path.map(|path| path.local.to_string());
    status.redirected_to = connection.redirected_to().map(ToString::to_string);
    status
}

/// Whether the peer is seen at another address or port than its own: then the NAT that it claims is real. One that wants
/// ESP in UDP claims a NAT without having one.
fn is_translated(connection: &Connection, remote: SocketAddr) -> bool {
    let own_port = |port: u16| {
        [500, 4500].contains(&port)
            || connection.paths.iter().any(|path| path.remote.port() == port)
    };
    let paths = &connection.paths;
    let own_address = paths.iter().any(|path| path.remote.ip() == remote.ip());
    // Where we were sent we called the peer itself; of one that called us from anywhere the port is all that tells.
    let own_address = own_address || paths.is_empty() || connection.redirected_to().is_some();
    !own_address || !own_port(remote.port())
}

fn auth(connection: &Connection) -> AuthStatus {
    let auth = &connection.config.auth;
    let now = clock::unix();
    let of = |certificate: &ikev2::pki::Certificate| CertificateStatus::of(certificate, now);
    let mut status = AuthStatus {
        local: auth.our_word().to_owned(),
        remote: auth.their_word().to_owned(),
        local_certificate: auth.our_certificate().map(of),
        ..AuthStatus::default()
    };
    if let Phase::Up { info } = &connection.phase {
        status.local_method = Some(info.local_auth.to_owned());
        status.remote_method = Some(info.remote_auth.to_owned());
        status.remote_certificate = info.remote_certificate.as_ref().map(of);
    }
    status
}

fn ike(connection: &Connection, now: Instant) -> Option<IkeStatus> {
    let Phase::Up { info } = &connection.phase else { return None };
    Some(IkeStatus {
        suite: info.suite.to_string(),
        started_by: if info.initiator { "us" } else { "peer" }.to_owned(),
        local_id: words::identity(&info.local_id),
        remote_id: words::identity(&info.remote_id),
        spi_i: format!("{:016x}", info.spis.0),
        spi_r: format!("{:016x}", info.spis.1),
        established: connection.tally.up_since.map(to_millis),
        rekey_in_seconds: info.rekey_at.saturating_duration_since(now).as_secs(),
        rekeys: connection.rekeys,
        extensions: extensions(info),
        ppk: info.ppk.as_ref().map(ToString::to_string),
    })
}

fn extensions(info: &ikev2::IkeSaInfo) -> Vec<String> {
    let all = [
        (info.mobike, "mobike"),
        (info.fragmentation, "fragmentation"),
        (info.redirect, "redirect"),
        (info.message_id_sync, "message-id-sync"),
        (info.ppk_early, "ppk-before-auth"),
    ];
    all.into_iter().filter(|(agreed, _)| *agreed).map(|(_, word)| word.to_owned()).collect()
}

/// A row for each pair of networks, in the order of their addresses; none while one SA pair stands, or would, for the whole
/// child. `installed` is oldest first.
fn pairs(
    config: &config::Child,
    child: &Child,
    installed: impl Iterator<Item = (Traffic, SaStatus)>,
    now: Instant,
) -> Vec<PairStatus> {
    let mut rows: Vec<(Traffic, PairStatus)> = Vec::new();
    for (traffic, sa) in installed {
        // While one is replaced, the newer stands for both.
        rows.retain(|(other, _)| *other != traffic);
        let failed = child.failures.iter().find(|failed| failed.traffic == traffic);
        let row = pair(&traffic, failed, Some(sa), now);
        rows.push((traffic, row));
    }
    for failed in child.missing() {
        rows.push((failed.traffic.clone(), pair(&failed.traffic, Some(failed), None, now)));
    }
    let side = |networks: &[ipnet::IpNet]| networks.iter().map(paths::selector).collect();
    let whole = Traffic::new(side(&config.local), side(&config.remote));
    if let [(only, row)] = rows.as_slice()
        && (row.sa.is_some() || *only == whole)
    {
        return Vec::new();
    }
    let starts = |side: &[TrafficSelector]| side.iter().map(|s| s.start).collect::<Vec<_>>();
    rows.sort_by_cached_key(|(traffic, _)| (starts(&traffic.local), starts(&traffic.remote)));
    rows.into_iter().map(|(_, row)| row).collect()
}

fn pair(
    traffic: &Traffic,
    failed: Option<&Failed>,
    sa: Option<SaStatus>,
    now: Instant,
) -> PairStatus {
    let retry_at = failed.and_then(|failed| failed.retry_at);
    PairStatus {
        local: list(&traffic.local),
        remote: list(&traffic.remote),
        state: if sa.is_some() { State::Up } else { State::Down },
        reason: failed.map(|failed| failed.reason.clone()),
        retry_in_seconds: retry_at.map(|at| at.saturating_duration_since(now).as_secs()),
        sa,
    }
}

fn list(selectors: &[TrafficSelector]) -> Vec<String> {
    selectors.iter().map(ToString::to_string).collect()
}

fn of_worker(sa: &Installed, now: Instant) -> Option<WorkerSaStatus> {
    let (packets, bytes) = sa.carried();
    Some(WorkerSaStatus { worker: sa.worker?, sa: self::sa(sa, now), packets, bytes })
}

fn sa(sa: &Installed, now: Instant) -> SaStatus {
    SaStatus {
        suite: sa.suite.to_string(),
        encapsulation: if sa.udp_encap { "udp" } else { "esp" }.to_owned(),
        spi_in: hex(sa.spi_in.0.get()),
        spi_out: hex(sa.spi_out.0.get()),
        narrowed_local: list(&sa.local_ts),
        narrowed_remote: list(&sa.remote_ts),
        more_possible: sa.more_possible,
        rekey_in_seconds: sa.rekey_at.saturating_duration_since(now).as_secs(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use crate::control::connection::tests::{connection, mismatch, traffic};

    fn sa(spi: u32) -> SaStatus {
        SaStatus {
            suite: "AES_GCM_16_256/ESN".into(),
            encapsulation: "udp".into(),
            spi_in: hex(spi),
            spi_out: hex(spi),
            narrowed_local: Vec::new(),
            narrowed_remote: Vec::new(),
            more_possible: false,
            rekey_in_seconds: 1320,
        }
    }

    fn rows(pairs: &[PairStatus]) -> Vec<String> {
        let row = |pair: &PairStatus| {
            let spi = pair.sa.as_ref().map_or("", |sa| sa.spi_in.as_str());
            let code = pair.reason.as_ref().map_or("", |reason| reason.code.as_str());
            format!("{} {} {} {spi}{code}", pair.local[0], pair.remote[0], pair.state.word())
        };
        pairs.iter().map(row).collect()
    }

    #[test]
    fn each_pair_has_a_row_in_the_order_of_addresses() {
        let now = clock::now();
        let mut connection = connection(ikev2::Start::Always, now);
        let networks = ["10.1.0.0/16", "10.3.0.0/16", "10.10.0.0/16"];
        connection.config.children[0].local =
            networks.iter().map(|network| network.parse().expect("a network")).collect();
        let config = connection.config.children[0].clone();
        let child = &mut connection.children[0];
        let failed = |local| Failed {
            traffic: traffic(local, 2),
            reason: mismatch(),
            retry_at: Some(now + Duration::from_secs(7)),
        };
        child.on_failed(failed(3));
        let mut live = Vec::new();
        for (id, local) in [(1, 10), (2, 1), (3, 10)] {
            child.on_up(ikev2::ChildId(id.into()), traffic(local, 2), false, now);
            live.push((traffic(local, 2), sa(id)));
        }
        let found = pairs(&config, child, live.into_iter(), now);
        let expected = [
            "10.1.0.0/16 10.2.0.0/16 up 00000002",
            "10.3.0.0/16 10.2.0.0/16 down E1005",
            "10.10.0.0/16 10.2.0.0/16 up 00000003",
        ];
        assert_eq!(rows(&found), expected);
        assert_eq!(found[1].retry_in_seconds, Some(7));
    }

    #[test]
    fn a_child_that_is_one_sa_has_no_rows() {
        let now = clock::now();
        let mut connection = connection(ikev2::Start::Always, now);
        let config = connection.config.children[0].clone();
        let child = &mut connection.children[0];
        let whole = traffic(1, 2);
        let rekeyed = [(whole.clone(), sa(1)), (whole.clone(), sa(2))];
        assert!(pairs(&config, child, rekeyed.into_iter(), now).is_empty());
        child.on_failed(Failed { traffic: whole, reason: mismatch(), retry_at: None });
        assert!(pairs(&config, child, std::iter::empty(), now).is_empty());
    }
}
