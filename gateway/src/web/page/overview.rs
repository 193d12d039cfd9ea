//! Every tunnel in a table, the worst first, and what is wrong with the gateway itself.

use std::cmp::Reverse;

use maud::{Markup, html};

use super::{
    Here, Part, Scene, button, head, is_standby, part, pill, shell, spark, top, warning, why,
};
use crate::status::{ConnectionStatus, Refusal, Snapshot, State, words};
use crate::web::history::History;

/// The page, with only those tunnels that fit `filter`.
pub(in crate::web) fn overview(
    scene: Scene<'_>,
    history: &History,
    filter: Option<&str>,
) -> String {
    let filter = filter.unwrap_or_default().trim();
    let all = sorted(scene.snapshot);
    let chosen: Vec<_> = all.iter().filter(|connection| fits(connection, filter)).collect();
    let main = html! {
        section .bar aria-label="Summary" {
            (counts(scene.snapshot))
            form .filter role="search" method="get" action="/" {
                label .unseen for="filter" { "Show only tunnels with" }
                input #filter type="search" name="q" value=(filter) placeholder="Filter" autocomplete="off";
            }
        }
        (notes(scene.snapshot))
        table .tunnels {
            caption .unseen { "Tunnels, the worst first" }
            thead {
                tr {
                    th scope="col" { "State" }
                    th scope="col" { "Tunnel" }
                    th scope="col" { "Peer" }
                    th scope="col" { "Networks" }
                    th scope="col" { "Last packet" }
                    th .flow scope="col" { "Received" }
                    th .flow scope="col" { "Sent" }
                }
            }
            @for connection in &chosen { (row(scene, connection, history)) }
        }
        @if all.is_empty() { p .nothing { "No connection is configured." } }
        @else if chosen.is_empty() { p .nothing { "No tunnel fits the filter. " a href="/" { "Show all" } } }
        p #none .nothing hidden { "No tunnel fits the filter." }
    };
    shell(scene, Here::Tunnels, &title(scene.snapshot), Some("/api/v1/stream"), &main)
}

/// What of the page may change.
pub(in crate::web) fn overview_parts(scene: Scene<'_>, history: &History) -> Vec<Part> {
    let mut parts = vec![
        part("head", head(scene)),
        part("counts", counts(scene.snapshot)),
        part("notes", notes(scene.snapshot)),
        ("title".to_owned(), title(scene.snapshot)),
    ];
    for connection in &scene.snapshot.connections {
        parts.push(part(&id(connection), row(scene, connection, history)));
    }
    parts
}

/// The ids of the rows, the worst first.
pub(in crate::web) fn order(snapshot: &Snapshot) -> Vec<String> {
    sorted(snapshot).into_iter().map(id).collect()
}

fn id(connection: &ConnectionStatus) -> String {
    format!("c-{}", connection.name)
}

/// The worst first, then as configured.
fn sorted(snapshot: &Snapshot) -> Vec<&ConnectionStatus> {
    let mut all: Vec<&ConnectionStatus> = snapshot.connections.iter().collect();
    all.sort_by_key(|connection| Reverse(connection.state.badness()));
    all
}

fn fits(connection: &ConnectionStatus, filter: &str) -> bool {
    let filter = filter.to_lowercase();
    let texts =
        [Some(&connection.name), connection.description.as_ref(), connection.peer.active.as_ref()];
    let networks =
        connection.children.iter().flat_map(|child| child.local.iter().chain(&child.remote));
    let all = texts.into_iter().flatten().chain(&connection.peer.configured).chain(networks);
    all.map(|text| text.to_lowercase()).any(|text| text.contains(&filter))
        || connection.state.word().contains(&filter)
}

/// In the tab of the browser: the worst is seen without looking.
fn title(snapshot: &Snapshot) -> String {
    let of = |wanted: &[State]| {
        snapshot.connections.iter().filter(|one| wanted.contains(&one.state)).count()
    };
    let bad = of(&[State::Down, State::Error]);
    let up = of(&[State::Up, State::Degraded]);
    match bad {
        0 => format!("{}: {up} up", snapshot.gateway),
        _ => format!("{}: {bad} down, {up} up", snapshot.gateway),
    }
}

fn counts(snapshot: &Snapshot) -> Markup {
    let of = |state: State| snapshot.connections.iter().filter(|one| one.state == state).count();
    let states = [
        State::Error,
        State::Down,
        State::Degraded,
        State::Connecting,
        State::Up,
        State::Waiting,
        State::Disabled,
    ];
    html! {
        ul #counts .counts {
            @for state in states {
                @let count = of(state);
                @if count > 0 { li class=(state.word()) { strong { (count) } " " (state.word()) } }
            }
        }
    }
}

/// What is wrong with the gateway itself, and who was turned away.
fn notes(snapshot: &Snapshot) -> Markup {
    let Snapshot { warning_details, refused, .. } = snapshot;
    html! {
        div #notes .notes {
            @if !warning_details.is_empty() {
                section .warnings aria-label="Warnings" {
                    ul { @for one in warning_details { (warning(one)) } }
                }
            }
            @if !refused.is_empty() {
                details #refused {
                    summary { (refused.len()) " turned away lately" }
                    ul { @for one in refused.iter().rev() { (turned_away(one)) } }
                }
            }
        }
    }
}

fn turned_away(refusal: &Refusal) -> Markup {
    let Refusal { time, connection, from, reason } = refusal;
    html! {
        li {
            p { (super::moment(*time)) " " code { (from) } @if let Some(name) = connection { " at " (name) } }
            (why(reason))
        }
    }
}

fn row(scene: Scene<'_>, connection: &ConnectionStatus, history: &History) -> Markup {
    let ConnectionStatus { name, state, description, reason, .. } = connection;
    let flow = history.of(name);
    let scale = top(&flow);
    let silent = connection.children.iter().filter_map(|child| child.last_rx_seconds);
    html! {
        tbody id=(id(connection)) class=(state.word()) data-state=(state.word()) data-name=(name) {
            tr {
                td .state data-label="State" {
                    (pill(*state))
                    span .since { "for " (words::seconds(connection.since_seconds)) }
                }
                th scope="row" data-label="Tunnel" {
                    a href={ "/c/" (name) } { (name) }
                    @if let Some(text) = description { small { (text) } }
                }
                td data-label="Peer" { (peer(connection)) }
                td data-label="Networks" { (networks(connection)) }
                td .last data-label="Last packet" { (words::ago(silent.reduce(f64::min))) }
                td .flow.received data-label="Received" {
                    span .rate { (words::rate(flow.now[0])) }
                    (spark(&flow.received, scale, "received"))
                }
                td .flow.sent data-label="Sent" {
                    span .rate { (words::rate(flow.now[1])) }
                    (spark(&flow.sent, scale, "sent"))
                }
            }
            @if reason.is_some() || connection.awaits.is_some() || !connection.warning_details.is_empty() {
                tr .more { td colspan="7" { (more(scene, connection)) } }
            }
        }
    }
}

/// Why it is not up, when it is tried again, and what else there is to say.
fn more(scene: Scene<'_>, connection: &ConnectionStatus) -> Markup {
    let retry = connection.retry_in_seconds;
    let may_retry = scene.can_act && matches!(connection.state, State::Down | State::Error);
    html! {
        @if let Some(reason) = &connection.reason { (why(reason)) }
        @if let Some(what) = &connection.awaits { p { "Waits for " (what) "." } }
        @if retry.is_some() || may_retry {
            div .next {
                @if let Some(seconds) = retry { "Next attempt in " (words::seconds(seconds)) "." }
                @if may_retry { (button("up", &connection.name, "Try now", None)) }
            }
        }
        @if !connection.warning_details.is_empty() {
            ul .warnings { @for one in &connection.warning_details { (warning(one)) } }
        }
    }
}

fn peer(connection: &ConnectionStatus) -> Markup {
    let peer = &connection.peer;
    let address = peer.active.clone().unwrap_or_else(|| peer.configured.join(", "));
    let is_named = peer.active.is_some()
        && peer.configured.iter().any(|name| !address.starts_with(name.as_str()));
    html! {
        code { (address) }
        small {
            @if is_named { span { (peer.configured.join(", ")) } }
            @if is_standby(&connection.warnings) { span { "standby" } }
            @if peer.nat { span { "NAT" } }
            @if let Some(to) = &peer.redirected_to { span { "redirected to " (to) } }
            @if let Some(rtt) = peer.rtt_seconds { span { (words::round_trip(words::span(rtt))) } }
        }
    }
}

fn networks(connection: &ConnectionStatus) -> Markup {
    let mut local: Vec<&str> = Vec::new();
    let mut remote: Vec<&str> = Vec::new();
    for child in &connection.children {
        for (all, here) in [(&mut local, &child.local), (&mut remote, &child.remote)] {
            for network in here {
                if !all.contains(&network.as_str()) {
                    all.push(network);
                }
            }
        }
    }
    html! {
        span .nets { (listed(&local)) }
        span .between title="and" { "⇄" }
        span .nets { (listed(&remote)) }
    }
}

fn listed(networks: &[&str]) -> Markup {
    html! {
        @for network in networks.iter().take(SHOWN) { code { (network) } }
        @if networks.len() > SHOWN { small { "and " (networks.len() - SHOWN) " more" } }
    }
}

/// Networks of one side in a row of the table.
const SHOWN: usize = 3;
