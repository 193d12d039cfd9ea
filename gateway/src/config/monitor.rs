//! How a connection watches its peer: failover, monitors, and the address that they ask from.
//!
//! ```text
//!   management_ip ──► inside local_subnets?   E0402      10.1.255.1
//!        │                                                  │ ICMP echo, TCP connect
//!   monitor target ─► inside remote_subnets?  E0149      10.2.0.1
//! ```

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::address::address;
use super::codes::Code;
use super::model::{Failback, Failover, Monitor, MonitorKind};
use super::raw_connection::{RawConnection, RawMonitor, RawMonitorKind};
use super::report::Diagnostic;
use super::section::{Field, Findings};
use super::source::{At, Place};

/// Of `[connection.NAME.failover]`; E0140 for a peer that we cannot call.
pub(super) fn failover(
    raw: &RawConnection,
    any: bool,
    findings: &mut Findings,
) -> Option<Failover> {
    let at = raw.failover.given()?;
    if any {
        findings.add(
            Diagnostic::at(
                Code::AnyNeedsId,
                &at.place,
                "peer \"any\" has no endpoints to choose from",
            )
            .label("there is nothing to fail over to")
            .fix("delete `failover`, or list the addresses of the peer"),
        );
    }
    Some(Failover {
        failback: at.value.failback.value().copied().unwrap_or(Failback::Auto),
        probe: at.value.probe.value().copied().unwrap_or(Duration::from_secs(10)),
    })
}

/// An address of `management_ip`.
pub(super) fn management_ip(field: &Field<String>, findings: &mut Findings) -> Option<At<IpAddr>> {
    address("management_ip", field.given()?, findings)
}

/// E0402: an address outside every one of these networks, where they are known.
pub(super) fn check_inside<'n>(
    ours: &At<IpAddr>,
    mut networks: impl Iterator<Item = &'n IpNet>,
    whose: &str,
    findings: &mut Findings,
) {
    if networks.any(|network| network.contains(&ours.value)) {
        return;
    }
    findings.add(
        Diagnostic::at(
            Code::ManagementOutside,
            &ours.place,
            format!("`management_ip` {} is outside the local subnets of {whose}", ours.value),
        )
        .label("no tunnel carries packets from it")
        .why("packets of monitors and pings have to fit the networks that the peer agreed to")
        .fix("take an address of this host inside `local_subnets`"),
    );
}

/// The monitors of a connection, each with what is wrong with it. `remote`: where targets may be, if that is known.
pub(super) fn monitors(
    raw: &RawConnection,
    remote: Option<&[At<IpNet>]>,
    findings: &mut Findings,
) -> Vec<Monitor> {
    raw.monitors.iter().filter_map(|one| monitor(one, remote, findings)).collect()
}

fn monitor(
    raw: &RawMonitor,
    remote: Option<&[At<IpNet>]>,
    findings: &mut Findings,
) -> Option<Monitor> {
    let kind = kind(raw, findings);
    let target = raw.target.given().and_then(|text| address("target", text, findings));
    if let (Some(target), Some(remote)) = (&target, remote)
        && !remote.iter().any(|network| network.value.contains(&target.value))
    {
        findings.add(
            cannot_work(
                &target.place,
                format!("monitor target {} is not behind the peer", target.value),
            )
            .label("outside `remote_subnets`")
            .why("a question to it would not go through the tunnel")
            .fix("name a host inside `remote_subnets`"),
        );
    }
    let fail_after = raw.fail_after.value().and_then(|&count| u32::try_from(count).ok());
    Some(Monitor {
        kind: kind?,
        target: target?.value,
        interval: raw.interval.value().copied().unwrap_or(Duration::from_secs(5)),
        fail_after: fail_after.unwrap_or(3),
        max_latency: raw.max_latency.value().copied().unwrap_or(Duration::from_secs(1)),
    })
}

fn kind(raw: &RawMonitor, findings: &mut Findings) -> Option<MonitorKind> {
    match (raw.kind.value()?, raw.port.given()) {
        (RawMonitorKind::Icmp, None) => Some(MonitorKind::Icmp),
        (RawMonitorKind::Tcp, Some(port)) => u16::try_from(port.value).ok().map(MonitorKind::Tcp),
        (RawMonitorKind::Icmp, Some(port)) => {
            findings.add(
                cannot_work(&port.place, "ICMP has no ports")
                    .label("of what?")
                    .fix("delete `port`, or write `kind = \"tcp\"`"),
            );
            None
        }
        (RawMonitorKind::Tcp, None) => {
            if raw.port.is_absent() {
                findings.add(
                    cannot_work(&raw.place, "a TCP monitor needs a `port`")
                        .label("`port` is missing here")
                        .fix("write `port = 443`, or another one that the host listens on"),
                );
            }
            None
        }
    }
}

fn cannot_work(place: &Place, message: impl Into<String>) -> Diagnostic {
    Diagnostic::at(Code::MonitorCannotWork, place, message)
}
