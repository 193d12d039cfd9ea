//! Everything about one tunnel.

use maud::{Markup, html};

use super::tables::event_table;
use super::{Here, Part, Scene, button, head, moment, part, pill, shell, top, warning, why};
use crate::log::Record;
use crate::status::{
    CertificateStatus, ChildStatus, ConnectionStatus, EndpointStatus, PairStatus, SaStatus, words,
};
use crate::web::history::{Flow, line};

/// The page.
pub(in crate::web) fn detail(
    scene: Scene<'_>,
    connection: &ConnectionStatus,
    flows: [&Flow; 2],
    records: &[Record],
) -> String {
    let title =
        format!("{}: {} is {}", scene.snapshot.gateway, connection.name, connection.state.word());
    let stream = format!("/api/v1/stream?connection={}", connection.name);
    let [flow, day] = flows;
    let main = html! {
        p .back { a href="/" { "All tunnels" } }
        (state(scene, connection))
        @if scene.can_act { (actions(connection)) }
        p .links {
            a href={ "/c/" (connection.name) "/peer" } { "The peer's configuration" }
            a href="/explain" { "Explain a packet" }
        }
        (chart(flow, &TEN_MINUTES))
        (chart(day, &DAY))
        (children(connection))
        div .columns { (peer(scene, connection)) (drops(connection)) }
        (proofs(connection))
        (totals(connection))
        (happened(records))
    };
    shell(scene, Here::Elsewhere, &title, Some(&stream), &main)
}

/// What of the page may change.
pub(in crate::web) fn detail_parts(
    scene: Scene<'_>,
    connection: &ConnectionStatus,
    [flow, day]: [&Flow; 2],
    records: &[Record],
) -> Vec<Part> {
    let title =
        format!("{}: {} is {}", scene.snapshot.gateway, connection.name, connection.state.word());
    vec![
        ("title".to_owned(), title),
        part("head", head(scene)),
        part("state", state(scene, connection)),
        part("chart", chart(flow, &TEN_MINUTES)),
        part("day", chart(day, &DAY)),
        part("children", children(connection)),
        part("peer", peer(scene, connection)),
        part("drops", drops(connection)),
        part("proofs", proofs(connection)),
        part("totals", totals(connection)),
        part("happened", happened(records)),
    ]
}

fn state(_: Scene<'_>, connection: &ConnectionStatus) -> Markup {
    let ConnectionStatus { name, state, reason, .. } = connection;
    html! {
        section #state class={ "state " (state.word()) } data-state=(state.word()) data-name=(name) {
            h1 { (name) " " (pill(*state)) }
            p .meta {
                @if let Some(text) = &connection.description { span { (text) } }
                span { "for " (words::seconds(connection.since_seconds)) ", since " (moment(connection.since)) }
                span { "policy " (connection.policy) }
                @if let Some(attempt) = connection.attempt { span { "attempt " (attempt) } }
            }
            @if let Some(reason) = reason {
                (why(reason))
                @if !reason.detail.is_empty() { pre { (reason.detail.join("\n")) } }
            }
            @if let Some(what) = &connection.awaits { p { "Waits for " (what) "." } }
            @if let Some(seconds) = connection.retry_in_seconds {
                p { "Next attempt in " (words::seconds(seconds)) "." }
            }
            @if !connection.warning_details.is_empty() {
                ul .warnings { @for one in &connection.warning_details { (warning(one)) } }
            }
        }
    }
}

fn actions(connection: &ConnectionStatus) -> Markup {
    let name = &connection.name;
    let sure = |what: &str| format!("{what} {name}? Packets of this tunnel are lost meanwhile.");
    html! {
        section .actions aria-label="Actions" {
            (button("up", name, "Bring up", None))
            (button("rekey", name, "Rekey", None))
            @if connection.peer.endpoints.len() > 1 {
                (button("failover", name, "Next endpoint", Some(&format!("Move {name} to its next endpoint?"))))
            }
            (button("restart", name, "Restart", Some(&sure("Restart"))))
            (button("down", name, "Take down", Some(&sure("Take down"))))
        }
    }
}

/// How a chart is called.
struct Axis {
    id: &'static str,
    title: &'static str,
    span: &'static str,
    ticks: [&'static str; 3],
}

const TEN_MINUTES: Axis = Axis {
    id: "chart",
    title: "Throughput",
    span: "the last ten minutes",
    ticks: ["10 min ago", "5 min", "now"],
};

const DAY: Axis = Axis {
    id: "day",
    title: "The last 24 hours",
    span: "the last 24 hours",
    ticks: ["24 h ago", "12 h", "now"],
};

fn chart(flow: &Flow, axis: &Axis) -> Markup {
    let scale = top(flow);
    let (width, height) = (flow.received.len().saturating_sub(1), 60);
    let now = |place: usize| words::rate(flow.now.get(place).copied().unwrap_or(0));
    let label = format!(
        "{}, up to {}; now {} received and {} sent",
        axis.span,
        words::rate(scale),
        now(0),
        now(1)
    );
    html! {
        section id=(axis.id) .card .chart {
            div .legend {
                h2 { (axis.title) }
                p .received { "received " strong { (now(0)) } }
                p .sent { "sent " strong { (now(1)) } }
            }
            div .plot {
                span .most { (words::rate(scale)) }
                svg viewBox={ "0 0 " (width) " " (height) } preserveAspectRatio="none" role="img" aria-label=(label) {
                    g .received {
                        path .area d=(line(&flow.received, scale, height, true)) {}
                        path .line d=(line(&flow.received, scale, height, false)) vector-effect="non-scaling-stroke" {}
                    }
                    g .sent { path .line d=(line(&flow.sent, scale, height, false)) vector-effect="non-scaling-stroke" {} }
                }
                p .axis aria-hidden="true" { @for tick in axis.ticks { span { (tick) } } }
            }
        }
    }
}

fn children(connection: &ConnectionStatus) -> Markup {
    html! {
        section #children .card {
            h2 { "Networks" }
            div .wide tabindex="0" role="region" aria-label="Networks" {
                table {
                    thead {
                        tr {
                            th scope="col" { "Child" }
                            th scope="col" { "State" }
                            th scope="col" { "Ours ⇄ theirs" }
                            th scope="col" { "Received" }
                            th scope="col" { "Sent" }
                            th scope="col" { "Last packet in" }
                            th scope="col" { "Rekey in" }
                            th scope="col" { "Algorithms, SPIs" }
                        }
                    }
                    tbody {
                        @for child in &connection.children {
                            (child_row(child))
                            @for pair in &child.pairs { (pair_row(pair)) }
                        }
                    }
                }
            }
        }
    }
}

fn child_row(child: &ChildStatus) -> Markup {
    html! {
        tr {
            th scope="row" { (child.name) }
            td { (pill(child.state)) }
            td { (both(&child.local, &child.remote)) }
            td { (words::octets(child.rx_bytes)) small { (child.rx_packets) " packets" } }
            td { (words::octets(child.tx_bytes)) small { (child.tx_packets) " packets" } }
            td { (words::ago(child.last_rx_seconds)) }
            (sa(child.sa.as_ref()))
        }
        @if let Some(reason) = &child.reason { tr .more { td colspan="8" { (why(reason)) } } }
    }
}

fn pair_row(pair: &PairStatus) -> Markup {
    html! {
        tr .pair {
            td { "pair" }
            td { (pill(pair.state)) }
            td { (both(&pair.local, &pair.remote)) }
            td colspan="3" { @if let Some(reason) = &pair.reason { (why(reason)) } }
            (sa(pair.sa.as_ref()))
        }
    }
}

fn sa(sa: Option<&SaStatus>) -> Markup {
    html! {
        @if let Some(sa) = sa {
            td { (words::seconds(sa.rekey_in_seconds)) }
            td { code { (sa.suite) } small { (sa.encapsulation) ", in " (sa.spi_in) ", out " (sa.spi_out) } }
        } @else { td { "-" } td { "-" } }
    }
}

fn both(local: &[String], remote: &[String]) -> Markup {
    html! {
        span .nets { @for one in local { code { (one) } } }
        span .between { "⇄" }
        span .nets { @for one in remote { code { (one) } } }
    }
}

fn peer(scene: Scene<'_>, connection: &ConnectionStatus) -> Markup {
    let peer = &connection.peer;
    let nat = match (peer.nat, peer.nat_local) {
        (true, true) => "before us",
        (true, false) => "before the peer",
        (false, _) => "none seen",
    };
    html! {
        section #peer .card {
            h2 { "Peer" }
            dl {
                dt { "Configured" } dd { (peer.configured.join(", ")) }
                @if let Some(active) = &peer.active {
                    dt { "Path" } dd { code { (peer.local.as_deref().unwrap_or("-")) } " ⇄ " code { (active) } }
                    dt { "NAT" } dd { (nat) }
                }
                @if let Some(rtt) = peer.rtt_seconds { dt { "Round trip" } dd { (words::round_trip(words::span(rtt))) } }
                @if let Some(to) = &peer.redirected_to { dt { "Redirected to" } dd { (to) } }
                dt { "Largest packet" }
                dd {
                    @match &connection.path_mtu {
                        Some(mtu) => { (mtu.inner) " octets (path " (mtu.outer) ")" }
                        None => { (scene.snapshot.tun.mtu) " octets" }
                    }
                }
                @if !connection.routes.is_empty() {
                    dt { "Routes" } dd { @for route in &connection.routes { code .line { (route) } } }
                }
            }
            @if !peer.endpoints.is_empty() {
                h3 { "Endpoints" }
                ul .endpoints { @for one in &peer.endpoints { (endpoint(scene, connection, one)) } }
            }
            @if !connection.monitors.is_empty() {
                h3 { "Monitors" }
                ul .endpoints {
                    @for one in &connection.monitors {
                        li { code { (one.target) } " " @if one.failed { span .bad { "no answer" } } @else { "answers" } }
                    }
                }
            }
        }
    }
}

fn endpoint(_: Scene<'_>, _: &ConnectionStatus, endpoint: &EndpointStatus) -> Markup {
    html! {
        li {
            code { (endpoint.address) } " "
            @if endpoint.active { strong { "in use" } }
            @match endpoint.probe.as_deref() {
                Some("ok") => {
                    " answers"
                    @if let Some(rtt) = endpoint.rtt_seconds { ", " (words::round_trip(words::span(rtt))) }
                }
                Some(_) => { " " span .bad { "no answer" } }
                None => {}
            }
        }
    }
}

fn drops(connection: &ConnectionStatus) -> Markup {
    let rows: Vec<(&str, &str, u64)> = connection
        .children
        .iter()
        .flat_map(|child| {
            child.drops.iter().map(|(reason, count)| (child.name.as_str(), reason.as_str(), *count))
        })
        .collect();
    html! {
        section #drops .card {
            h2 { "Dropped packets" }
            @if rows.is_empty() { p .nothing { "None." } }
            @else {
                table {
                    thead { tr { th scope="col" { "Child" } th scope="col" { "Reason" } th .number scope="col" { "Packets" } } }
                    tbody { @for (child, reason, count) in rows { tr { td { (child) } td { (reason) } td .number { (count) } } } }
                }
            }
        }
    }
}

/// Who both sides are, and how they prove it.
fn proofs(connection: &ConnectionStatus) -> Markup {
    let auth = connection.auth.clone().unwrap_or_default();
    html! {
        section #proofs .card {
            h2 { "IKE and identities" }
            dl {
                @if let Some(ike) = &connection.ike {
                    dt { "IKE SA" } dd { code { (ike.suite) } }
                    dt { "Started by" } dd { (ike.started_by) }
                    dt { "Identities" } dd { (ike.local_id) " (ours) ⇄ " (ike.remote_id) }
                    dt { "Rekey in" } dd { (words::seconds(ike.rekey_in_seconds)) }
                    dt { "SPIs" } dd { code { (ike.spi_i) } " " code { (ike.spi_r) } }
                    @if !ike.extensions.is_empty() { dt { "Extensions" } dd { (ike.extensions.join(", ")) } }
                    @if let Some(name) = &ike.ppk { dt { "Post-quantum key" } dd { (name) } }
                }
                dt { "Proof" }
                dd {
                    (auth.local_method.as_ref().unwrap_or(&auth.local)) " (ours), "
                    (auth.remote_method.as_ref().unwrap_or(&auth.remote))
                }
                @if let Some(one) = &auth.local_certificate { dt { "Our certificate" } dd { (certificate(one)) } }
                @if let Some(one) = &auth.remote_certificate { dt { "Their certificate" } dd { (certificate(one)) } }
            }
        }
    }
}

fn certificate(one: &CertificateStatus) -> Markup {
    let left = one.expires_in_seconds;
    html! {
        (one.subject) small { "issued by " (one.issuer) ", " (one.key) }
        @match u64::try_from(left) {
            Ok(left) => {
                span .bad[left < SOON] { "ends in " (words::seconds(left)) ", " (moment(one.not_after)) }
            }
            Err(_) => span .bad { "ended " (moment(one.not_after)) },
        }
    }
}

/// 30 days.
const SOON: u64 = 30 * 86_400;

fn totals(connection: &ConnectionStatus) -> Markup {
    let totals = &connection.totals;
    let rows = [
        ("IKE SAs that we asked for", totals.initiated),
        ("IKE SAs that the peer asked for", totals.responded),
        ("Rekeys of the IKE SA", totals.ike_rekeys),
        ("Rekeys of child SAs", totals.child_rekeys),
    ];
    html! {
        section #totals .card {
            h2 { "Since the start" }
            table {
                thead { tr { th scope="col" { "" } th .number scope="col" { "well" } th .number scope="col" { "failed" } } }
                tbody {
                    @for (what, count) in rows {
                        tr { th scope="row" { (what) } td .number { (count.ok) } td .number { (count.failed) } }
                    }
                }
            }
            @if !totals.failures.is_empty() {
                p { "Failures: " @for (reason, count) in &totals.failures { span .tag { (reason) " " strong { (count) } } } }
            }
        }
    }
}

fn happened(records: &[Record]) -> Markup {
    html! { section #happened .card { h2 { "Last events" } (event_table(records)) } }
}
