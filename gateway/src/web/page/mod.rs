//! The snapshot as HTML: whole pages for whoever asks, and their parts for those who watch.
//!
//! ```text
//!   overview.rs   every tunnel, the worst first            \
//!   detail.rs     everything about one                      ├─ parts, each an element with an id ──► stream.rs
//!   ask.rs        forms: explain a packet, the other side  │
//!   tables.rs     what happened, the configuration         /   and put together by `shell` ──► a page that needs no script
//! ```
//!
//! `maud` writes the HTML: what is not markup in these files is escaped, whoever it comes from. No element has a style or a
//! script of its own, so that the browser can be told to take none but ours.

mod ask;
mod detail;
mod overview;
mod tables;

use maud::{DOCTYPE, Markup, html};

use super::history::{Flow, POINTS, line};
use crate::status::{Code, Reason, Snapshot, State, Warning, words};

pub(super) use ask::{Written, explain, exported};
pub(super) use detail::{detail, detail_parts};
pub(super) use overview::{order, overview, overview_parts};
pub(super) use tables::{configuration, events, said};

/// The style, the script and the icon, by the path that they have.
pub(super) const ASSETS: [(&str, &str, &str); 3] = [
    ("/assets/page.css", "text/css; charset=utf-8", include_str!("../assets/page.css")),
    ("/assets/page.js", "text/javascript; charset=utf-8", include_str!("../assets/page.js")),
    ("/assets/icon.svg", "image/svg+xml", include_str!("../assets/icon.svg")),
];

/// What pages need to know beside the snapshot.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scene<'s> {
    pub(super) snapshot: &'s Snapshot,
    /// Whether there are buttons.
    pub(super) can_act: bool,
}

/// The pages that the head leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Here {
    Tunnels,
    Events,
    Explain,
    Configuration,
    Elsewhere,
}

/// A part: the id of its element, and the element.
type Part = (String, String);

fn part(id: &str, element: Markup) -> Part {
    (id.to_owned(), element.into_string())
}

/// A whole page. `stream`: where its news comes from.
fn shell(scene: Scene<'_>, here: Here, title: &str, stream: Option<&str>, main: &Markup) -> String {
    let name = &scene.snapshot.gateway;
    let version = env!("CARGO_PKG_VERSION");
    let link = |to: &str, of: Here, text: &str| {
        html! { a href=(to) aria-current=[(here == of).then_some("page")] { (text) } }
    };
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                link rel="icon" href={ "/assets/icon.svg?" (version) } type="image/svg+xml";
                link rel="stylesheet" href={ "/assets/page.css?" (version) };
                script src={ "/assets/page.js?" (version) } defer {}
                @if stream.is_some() { noscript { meta http-equiv="refresh" content="10"; } }
            }
            body data-stream=[stream] data-gateway=(name) {
                a .skip href="#main" { "Skip to the content" }
                header .top {
                    div .who {
                        a .home href="/" { (icon()) span { (name) } }
                        (head(scene))
                    }
                    nav aria-label="Pages" {
                        (link("/", Here::Tunnels, "Tunnels"))
                        (link("/events", Here::Events, "Events"))
                        (link("/explain", Here::Explain, "Explain"))
                        (link("/config", Here::Configuration, "Configuration"))
                        a href="/metrics" { "Metrics" }
                    }
                }
                p #link .link role="status" hidden {}
                main #main tabindex="-1" { (main) }
                p #said .unseen role="status" aria-live="polite" {}
            }
        }
    }
    .into_string()
}

/// The line under the name: it changes, too.
fn head(scene: Scene<'_>) -> Markup {
    let Snapshot { version, uptime_seconds, external, config, .. } = scene.snapshot;
    html! {
        div #head .meta {
            span { "s2s-gw " (version) }
            span { "up " (words::seconds(*uptime_seconds)) }
            @for address in external.iter().take(4) { code { (address) } }
            @if let Some(loaded) = config.loaded {
                @if config.refused {
                    span .bad { "a newer configuration was refused" }
                } @else {
                    span { "configuration of " (moment(loaded)) }
                }
            }
        }
    }
}

/// To the second; a script may show it in the time of the reader.
fn moment(time: jiff::Timestamp) -> Markup {
    let exact = time.to_string();
    html! { time datetime=(exact) { (time.strftime("%Y-%m-%d %H:%M:%S")) " UTC" } }
}

fn icon() -> Markup {
    html! {
        svg .icon viewBox="0 0 32 32" aria-hidden="true" {
            path d="M3 22a13 13 0 0 1 26 0" fill="none" stroke="currentColor" stroke-width="3.4" stroke-linecap="round" {}
            path d="M10 22a6 6 0 0 1 12 0" fill="none" stroke="currentColor" stroke-width="3.4" stroke-linecap="round" {}
            circle cx="16" cy="23" r="2.4" fill="currentColor" {}
        }
    }
}

/// The word of a state beside a mark of its own shape, so that colour is not needed.
fn pill(state: State) -> Markup {
    html! {
        span class={ "pill " (state.word()) } {
            svg viewBox="0 0 12 12" aria-hidden="true" {
                @match state {
                    State::Up => circle cx="6" cy="6" r="4.5" fill="currentColor" {},
                    State::Degraded => {
                        circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.6" {}
                        path d="M6 2a4 4 0 0 1 0 8z" fill="currentColor" {}
                    }
                    State::Connecting => circle .turning cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.8" stroke-dasharray="15 10" {},
                    State::Down | State::Error => path d="M3 3l6 6M9 3l-6 6" stroke="currentColor" stroke-width="2" stroke-linecap="round" {},
                    State::Waiting => circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" stroke-width="1.6" {},
                    State::Disabled => path d="M2.5 6h7" stroke="currentColor" stroke-width="2" stroke-linecap="round" {},
                }
            }
            (state.word())
        }
    }
}

/// Why something does not work, and what to do.
fn why(reason: &Reason) -> Markup {
    html! {
        div .why {
            p { code .code { (reason.code) } " " strong { (reason.alert) } " " (upper(&reason.message)) "." }
            p .fix { span .label { "Fix" } " " (upper(&reason.fix)) "." }
        }
    }
}

fn warning(warning: &Warning) -> Markup {
    let Warning { code, title, message, fix, .. } = warning;
    html! {
        li {
            p { code .code { (code) } " " (upper(message.as_ref().unwrap_or(title))) "." }
            p .fix { span .label { "Fix" } " " (upper(fix)) "." }
        }
    }
}

/// A sentence begins with a capital letter, unless a name or a command begins it.
fn upper(sentence: &str) -> String {
    let mut words = sentence.split(' ');
    let word = words.next().unwrap_or_default();
    let is_command = words.next().is_some_and(|next| next.starts_with('-'));
    if is_command || !word.chars().all(|c| c.is_ascii_lowercase() || c == ',') {
        return sentence.to_owned();
    }
    let mut rest = sentence.chars();
    rest.next()
        .map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + rest.as_str())
}

/// The small picture of ten minutes in one direction.
fn spark(points: &[u64], top: u64, direction: &str) -> Markup {
    let most = points.iter().max().copied().unwrap_or(0);
    let label = format!("{direction} in the last ten minutes, at most {}", words::rate(most));
    let (width, height) = (POINTS - 1, 24);
    html! {
        svg .spark viewBox={ "0 0 " (width) " " (height) } preserveAspectRatio="none" role="img" aria-label=(label) {
            path .area d=(line(points, top, height, true)) {}
            path .line d=(line(points, top, height, false)) vector-effect="non-scaling-stroke" {}
        }
    }
}

/// The most of both directions: they are drawn to the same scale.
fn top(flow: &Flow) -> u64 {
    flow.received.iter().chain(&flow.sent).max().copied().unwrap_or(0)
}

/// A button that asks the gateway to do something; a form, so that it needs no script.
fn button(command: &str, name: &str, text: &str, asks: Option<&str>) -> Markup {
    html! {
        form method="post" action="/api/v1/do" data-asks=[asks] {
            input type="hidden" name="command" value=(command);
            input type="hidden" name="name" value=(name);
            button class=(command) { (text) }
        }
    }
}

/// What a warning of this connection or host is about, for people.
fn is_standby(codes: &[String]) -> bool {
    codes.iter().any(|code| code == Code::OnStandby.id())
}

#[cfg(test)]
mod tests;
