//! Forms whose answer comes from control: the way of a packet, and the configuration of the other side. GET, so that a link
//! has all of it, and nothing changes.

use maud::{Markup, html};

use super::{Here, Scene, shell, upper};
use crate::port::export::Kind;
use crate::status::diagnosis::{Finding, Level, Walk};

/// What somebody wrote into the form, as it was.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::web) struct Written {
    pub(in crate::web) source: String,
    pub(in crate::web) destination: String,
    pub(in crate::web) protocol: String,
    pub(in crate::web) port: String,
}

/// The form, and below it what became of the packet, or what is wrong with it.
pub(in crate::web) fn explain(
    scene: Scene<'_>,
    written: &Written,
    found: Option<Result<&Walk, &str>>,
) -> String {
    let title = format!("{}: explain a packet", scene.snapshot.gateway);
    let field = |name: &str, label: &str, value: &str, example: &str| {
        html! {
            label {
                span { (label) }
                input name=(name) value=(value) placeholder=(example) autocomplete="off" spellcheck="false";
            }
        }
    };
    let main = html! {
        h1 { "Explain a packet" }
        p .meta { "Which way it would take, and where it would stop. Nothing is sent." }
        form #explain .card .ask method="get" action="/explain" {
            (field("src", "Source", &written.source, "10.1.0.5"))
            (field("dst", "Destination", &written.destination, "10.2.0.7"))
            label {
                span { "Protocol" }
                select name="proto" {
                    @for (value, text) in PROTOCOLS {
                        option value=(value) selected[*value == written.protocol] { (text) }
                    }
                }
            }
            (field("dport", "Destination port", &written.port, "443"))
            button { "Explain" }
        }
        @match found {
            Some(Ok(walk)) => (way(walk)),
            Some(Err(sentence)) => p #walk .bad role="alert" { (upper(sentence)) "." },
            None => {}
        }
    };
    shell(scene, Here::Explain, &title, None, &main)
}

fn way(walk: &Walk) -> Markup {
    html! {
        section #walk .card data-passes=(walk.passes) {
            h2 { (walk.source) " → " (walk.destination) @if let Some(name) = &walk.connection { ", " a href={ "/c/" (name) } { (name) } } }
            ol .steps { @for step in &walk.steps { (stage(step)) } }
            p .verdict { strong { (upper(&walk.verdict)) } }
        }
    }
}

fn stage(step: &Finding) -> Markup {
    let kind = match step.level {
        Level::Passed => "passed",
        Level::Warned => "warned",
        Level::Failed => "failed",
        Level::Skipped => "skipped",
    };
    html! {
        li class=(kind) {
            p {
                span .sign aria-hidden="true" { (step.level.sign()) } span .unseen { (kind) " " }
                strong { (step.stage) } " " (step.message)
                @if let Some(code) = &step.code { " " code .code { (code) } }
            }
            @if let Some(fix) = &step.fix { p .fix { span .label { "Fix" } " " (upper(fix)) "." } }
        }
    }
}

/// The configuration of the other side, with places for its secrets; `made` is the text or why there is none.
pub(in crate::web) fn exported(
    scene: Scene<'_>,
    name: &str,
    kind: Kind,
    address: &str,
    made: Result<&str, &str>,
) -> String {
    let title = format!("{}: the other side of {name}", scene.snapshot.gateway);
    let main = html! {
        p .back { a href={ "/c/" (name) } { (name) } }
        h1 { "The peer's configuration" }
        p .meta { "What the other side of " (name) " needs. Keys are not in it: places for them are." }
        form #other .card .ask method="get" action={ "/c/" (name) "/peer" } {
            label {
                span { "For" }
                select name="kind" {
                    @for (one, text) in KINDS {
                        option value=(word(*one)) selected[*one == kind] { (text) }
                    }
                }
            }
            label {
                span { "Our address, as the peer sees it" }
                input name="address" value=(address) placeholder="203.0.113.10" autocomplete="off" spellcheck="false";
            }
            button { "Show" }
        }
        @match made {
            Ok(text) => section .card { pre #text tabindex="0" { (text) } },
            Err(sentence) => p #text .bad role="alert" { (upper(sentence)) "." },
        }
    };
    shell(scene, Here::Elsewhere, &title, None, &main)
}

/// As in `s2s-gw export`.
pub(in crate::web) fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Strongswan => "strongswan",
        Kind::Ipsec => "ipsec",
        Kind::Vpnaas => "vpnaas",
        Kind::Aws => "aws",
        Kind::S2sGw => "s2s-gw",
        Kind::Sheet => "sheet",
        Kind::Routes => "routes",
    }
}

/// What a page can show of the other side.
pub(in crate::web) const KINDS: &[(Kind, &str)] = &[
    (Kind::S2sGw, "another s2s-gw (s2s-gw.toml)"),
    (Kind::Strongswan, "strongSwan (swanctl.conf)"),
    (Kind::Ipsec, "strongSwan or Libreswan (ipsec.conf)"),
    (Kind::Vpnaas, "OpenStack VPNaaS"),
    (Kind::Aws, "AWS"),
    (Kind::Sheet, "people (a sheet to mail)"),
];

const PROTOCOLS: &[(&str, &str)] = &[
    ("", "any"),
    ("tcp", "TCP"),
    ("udp", "UDP"),
    ("icmp", "ICMP"),
    ("icmpv6", "ICMPv6"),
    ("sctp", "SCTP"),
];
