//! Pages of the sample: what they say, and that nobody outside can put markup into them.

use super::*;
use crate::log::Record;
use crate::status::tests::sample;
use crate::status::{Refusal, Warning};
use crate::web::history::History;

const EVIL: &str = "<script>alert(1)</script>\"'&";

fn of_sample(edit: impl FnOnce(&mut Snapshot)) -> Snapshot {
    let mut snapshot = sample();
    edit(&mut snapshot);
    snapshot
}

fn page(snapshot: &Snapshot, can_act: bool) -> String {
    overview(Scene { snapshot, can_act }, &History::default(), None)
}

#[test]
fn the_worst_is_first() {
    let snapshot = of_sample(|snapshot| {
        for (name, state) in [("a", State::Error), ("b", State::Waiting), ("c", State::Degraded)] {
            let mut one = snapshot.connections[0].clone();
            (one.name, one.state) = (name.to_owned(), state);
            snapshot.connections.push(one);
        }
    });
    assert_eq!(order(&snapshot), ["c-a", "c-paris", "c-c", "c-berlin", "c-b"]);
    let page = page(&snapshot, false);
    let at = |name: &str| page.find(&format!("id=\"c-{name}\"")).expect(name);
    assert!(at("a") < at("paris") && at("paris") < at("berlin"));
    assert!(page.contains("<title>fra1: 2 down, 2 up</title>"), "{page}");
}

#[test]
fn a_row_says_why_and_what_to_do() {
    let page = page(&sample(), false);
    for text in [
        "proposal-mismatch-ike",
        "No IKE proposal suits both sides",
        "Add one of ours on the peer.",
        "Next attempt in 12s",
        "for 1d02h",
        "198.51.100.20:4500",
        "10.9.0.0/24",
        "11 ms",
        "W0501",
        "aria-label=\"received in the last ten minutes",
    ] {
        assert!(page.contains(text), "{text}");
    }
    assert!(!page.contains("<form method=\"post\""), "no button where nobody can act");
}

#[test]
fn everything_about_one_is_on_its_page() {
    let snapshot = sample();
    let scene = Scene { snapshot: &snapshot, can_act: true };
    let page = detail(scene, &snapshot.connections[0], [&Flow::default(); 2], &[]);
    for text in [
        "AES_GCM_16_256/PRF_HMAC_SHA2_384/ECP_384",
        "c1a20001",
        "replayed",
        "96.2 MiB",
        "CN=berlin.example.com",
        "ends in 365d00h",
        "10.2.0.0/16 dev s2s0 metric 100",
        "dpd-timeout",
        "value=\"rekey\"",
        "data-asks=\"Take down berlin?",
    ] {
        assert!(page.contains(text), "{text}");
    }
}

#[test]
fn every_part_is_an_element_of_its_page() {
    let snapshot = sample();
    let scene = Scene { snapshot: &snapshot, can_act: false };
    let (history, flow) = (History::default(), Flow::default());
    let connection = &snapshot.connections[0];
    let pages = [
        (page(&snapshot, false), overview_parts(scene, &history)),
        (
            detail(scene, connection, [&flow; 2], &[]),
            detail_parts(scene, connection, [&flow; 2], &[]),
        ),
    ];
    for (page, parts) in pages {
        for (id, html) in parts.iter().filter(|(id, _)| id != "title") {
            assert!(html.contains(&format!("id=\"{id}\"")), "{id}: {html}");
            assert!(page.contains(html), "{id} is not what the page has: {html}");
        }
    }
}

/// What peers, names and files can say, everywhere that it is shown.
#[test]
fn what_others_say_is_text() {
    let evil = || EVIL.to_owned();
    let snapshot = of_sample(|snapshot| {
        snapshot.gateway = evil();
        snapshot.external = vec![evil()];
        snapshot.warning_details = vec![Warning {
            code: evil(),
            title: evil(),
            severity: evil(),
            message: Some(evil()),
            fix: evil(),
        }];
        for connection in &mut snapshot.connections {
            connection.description = Some(evil());
            connection.policy = evil();
            connection.awaits = Some(evil());
            connection.peer.active = Some(evil());
            connection.peer.configured = vec![evil()];
            connection.peer.redirected_to = Some(evil());
            connection.routes = vec![evil()];
            if let Some(reason) = &mut connection.reason {
                (reason.message, reason.fix, reason.detail) = (evil(), evil(), vec![evil()]);
                reason.alert = evil();
            }
            if let Some(ike) = &mut connection.ike {
                (ike.remote_id, ike.suite, ike.ppk) = (evil(), evil(), Some(evil()));
            }
            if let Some(one) =
                connection.auth.as_mut().and_then(|auth| auth.remote_certificate.as_mut())
            {
                (one.subject, one.issuer) = (evil(), evil());
            }
            for child in &mut connection.children {
                child.local = vec![evil()];
                child.drops.insert(evil(), 1);
            }
            connection.totals.failures.insert(evil(), 1);
        }
        let reason = snapshot.connections[1].reason.clone().expect("paris is down");
        let connection = Some(evil());
        snapshot.refused = vec![Refusal { time: snapshot.time, connection, from: evil(), reason }];
    });
    let record = Record {
        time: snapshot.time,
        level: crate::log::Severity::Warn,
        area: evil(),
        event: evil(),
        connection: Some(evil()),
        code: Some(evil()),
        fields: vec![(evil(), EVIL.into())],
    };
    let scene = Scene { snapshot: &snapshot, can_act: true };
    let config = serde_json::json!({ "gateway": { "name": EVIL } });
    let records = [record];
    let pages = [
        overview(scene, &History::default(), Some(EVIL)),
        overview(scene, &History::default(), None),
        detail(scene, &snapshot.connections[0], [&Flow::default(); 2], &records),
        detail(scene, &snapshot.connections[1], [&Flow::default(); 2], &records),
        events(scene, &records),
        configuration(scene, &config, &config),
        said(scene, false, EVIL),
    ];
    for page in pages {
        assert!(page.contains("&lt;script&gt;alert(1)"), "it is not even shown: {page}");
        assert!(!page.contains("<script>alert"), "{page}");
        assert!(!page.contains("\"'&"), "a quote that ends an attribute: {page}");
    }
}

#[test]
fn nothing_is_loaded_from_elsewhere_and_nothing_is_inline() {
    let snapshot = sample();
    let scene = Scene { snapshot: &snapshot, can_act: true };
    let page = page(&snapshot, true)
        + &detail(scene, &snapshot.connections[0], [&Flow::default(); 2], &[]);
    for word in ["http://", "https://", " style=", "<style", " onclick", "javascript:", "url("] {
        assert!(!page.contains(word), "{word}");
        let css = ASSETS.iter().find(|(path, ..)| path.ends_with("css")).expect("a style").2;
        assert!(!css.contains("http") && !css.contains("url("), "the style");
    }
}

#[test]
fn a_sentence_begins_with_a_capital_but_a_command_does_not() {
    assert_eq!(upper("no IKE proposal suits both sides"), "No IKE proposal suits both sides");
    assert_eq!(upper("sysctl -w net.ipv4.ip_forward=1"), "sysctl -w net.ipv4.ip_forward=1");
    assert_eq!(upper("berlin.example.com is gone"), "berlin.example.com is gone");
    assert_eq!(upper(""), "");
}
