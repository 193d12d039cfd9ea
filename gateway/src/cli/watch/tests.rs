//! Frames and keys, on a terminal that is a buffer.

use jiff::{SignedDuration, Timestamp};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::style::Color;
use ratatui::termion::event::Key;

use super::feed::Update;
use super::frame;
use super::view::{Page, Step, View};
use crate::log::{Record, Severity};
use crate::status::tests::sample;
use crate::status::{Snapshot, State};

/// What is on a screen of this size.
fn screen(view: &mut View, columns: u16, rows: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(columns, rows)).expect("a buffer");
    terminal.draw(|area| frame::draw(area, view)).expect("draws");
    let buffer = terminal.backend().buffer();
    let lines = buffer.content().chunks(columns.into()).map(|row| {
        let line: String = row.iter().map(ratatui::buffer::Cell::symbol).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}

fn view() -> View {
    View::new(sample(), None, false)
}

/// The sample so many seconds later, with as many octets more on berlin.
fn later(seconds: i64, rate: u64) -> Snapshot {
    let mut snapshot = sample();
    snapshot.time += SignedDuration::from_secs(seconds);
    for connection in snapshot.connections.iter_mut().filter(|one| one.state == State::Up) {
        for child in &mut connection.children {
            child.rx_bytes += rate * u64::try_from(seconds).expect("later");
        }
    }
    snapshot
}

fn update(snapshot: Snapshot) -> Update {
    Update { at: snapshot.time, said: Ok(Box::new(snapshot)), events: None }
}

fn typed(view: &mut View, text: &str) {
    for key in super::screen::keys(text.as_bytes()) {
        assert_eq!(view.key(key), Step::Stay, "{key:?}");
    }
}

#[test]
fn the_list_has_the_worst_first_with_reason_and_fix() {
    let mut view = view();
    for second in 1..=40 {
        view.update(update(later(second, 1_000_000)));
    }
    let shown = screen(&mut view, 80, 24);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("fra1 0.1.0  up 3d04h"), "{shown}");
    assert!(lines[0].ends_with("2 connections: 1 up, 1 down"), "{shown}");
    assert!(lines[2].starts_with("▶ paris  ○ down"), "{shown}");
    assert!(shown.contains("└ E1003 proposal-mismatch-ike: no IKE proposal"), "{shown}");
    assert!(shown.contains("Fix: add one of ours on the"), "{shown}");
    let berlin = lines.iter().find(|line| line.starts_with("  berlin")).expect("a row");
    assert!(berlin.contains("● up") && berlin.contains("█  1.0 MB/s"), "{shown}");
    assert!(berlin.contains("198.51.100.20"), "{shown}");
    assert!(lines[23].contains("q quit"), "{shown}");
    typed(&mut view, "j");
    let shown = screen(&mut view, 120, 24);
    assert!(shown.contains("berlin in 1.0 MB/s, most 1.0 MB/s"), "{shown}");
    assert!(shown.contains("11 ms"), "{shown}");
}

#[test]
fn every_size_is_drawn_and_nothing_is_too_wide() {
    for page in [Page::List, Page::Detail { top: 0 }] {
        for (columns, rows) in [(40, 24), (80, 24), (20, 8), (1, 1), (3, 40), (250, 60), (60, 5)] {
            let mut view = view();
            view.page = page;
            view.help = rows == 8;
            let shown = screen(&mut view, columns, rows);
            assert!(shown.lines().all(|line| line.chars().count() <= columns.into()), "{shown}");
        }
    }
    let shown = screen(&mut view(), 40, 24);
    assert!(shown.contains("▶ paris") && shown.contains("E1003"), "{shown}");
}

#[test]
fn the_chosen_one_stays_on_the_screen() {
    let mut snapshot = sample();
    for number in 0..60 {
        let mut one = sample().connections.remove(0);
        one.name = format!("site-{number:02}");
        snapshot.connections.push(one);
    }
    let mut view = View::new(snapshot, None, false);
    for (keys, name) in
        [("G", "▶ site-59"), ("k", "▶ site-58"), ("g", "▶ paris"), ("\x1b[B", "▶ berlin")]
    {
        typed(&mut view, keys);
        let shown = screen(&mut view, 80, 24);
        assert!(shown.contains(name), "{keys:?}: {shown}");
    }
}

#[test]
fn enter_opens_and_escape_goes_back() {
    let mut view = view();
    typed(&mut view, "j\r");
    assert_eq!(view.opened(), Some("berlin"));
    let time: Timestamp = "2026-11-20T08:01:20Z".parse().expect("a time");
    let record = Record {
        time,
        level: Severity::Info,
        area: "child".into(),
        event: "child-up".into(),
        connection: Some("berlin".into()),
        code: None,
        fields: Vec::new(),
    };
    let mut next = update(later(1, 0));
    next.events = Some(("berlin".into(), vec![record.clone()]));
    view.update(next);
    let shown = screen(&mut view, 100, 60);
    for part in [
        "berlin (Berlin office)   ● up for 1d02h   IKE SA 1s old, rekey in 3h41m",
        "CHILD STATE        IN        OUT       REKEY IN FOR    REKEYS DROPPED",
        "lan   ● up         12.1 MB/s 890 kB/s  22m      1d02h  26     1",
        "replayed 1",
        "child-up",
        "  peer:      198.51.100.20 -> 198.51.100.20:4500",
        "spi in c1a20001 out 9f0e0002",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let mut late = update(later(2, 0));
    late.events = Some(("paris".into(), vec![record]));
    typed(&mut view, "\x1b");
    assert_eq!((view.page, view.opened()), (Page::List, None));
    typed(&mut view, "k\r");
    assert!(view.events.is_empty(), "those of another connection");
    late.events = Some(("berlin".into(), Vec::new()));
    view.update(late);
    let shown = screen(&mut view, 100, 60);
    assert!(shown.contains("fix: add one of ours on the peer"), "{shown}");
    assert!(!shown.contains("child-up"), "{shown}");
}

#[test]
fn the_detail_scrolls_to_its_end_and_no_further() {
    let mut view = view();
    typed(&mut view, "j\r");
    let _ = screen(&mut view, 80, 14);
    typed(&mut view, "G");
    let shown = screen(&mut view, 80, 14);
    assert!(shown.contains("routes:    10.2.0.0/16 dev s2s0"), "{shown}");
    let Page::Detail { top } = view.page else { panic!("{view:?}") };
    assert!(top < 100, "put back to the end: {top}");
    typed(&mut view, "g");
    assert!(screen(&mut view, 80, 14).contains("berlin (Berlin office)"));
}

#[test]
fn the_filter_is_typed_kept_and_dropped() {
    let mut view = view();
    typed(&mut view, "/E1003");
    assert!(screen(&mut view, 80, 24).contains("/e1003▏   1 of 2"));
    typed(&mut view, "\r");
    let shown = screen(&mut view, 80, 24);
    assert!(!shown.contains("berlin") && shown.contains("▶ paris"), "{shown}");
    typed(&mut view, "/\x7f\x7f\x7f\x7f\x7f");
    typed(&mut view, "BERLIN o");
    assert_eq!(view.chosen, "berlin", "by its description; the chosen one is always listed");
    typed(&mut view, "q");
    assert!(screen(&mut view, 80, 24).contains("nothing matches"));
    typed(&mut view, "\x1b");
    assert_eq!((view.filter.as_str(), view.listed().len()), ("", 2));
}

#[test]
fn what_came_during_a_pause_is_made_up_for() {
    let mut view = view();
    typed(&mut view, "jp");
    for second in 1..=5 {
        view.update(update(later(second, 2_000_000)));
    }
    let shown = screen(&mut view, 80, 24);
    assert!(shown.contains("paused; 5 updates wait") && shown.contains("in 0, most 0"), "{shown}");
    typed(&mut view, "p");
    let shown = screen(&mut view, 80, 24);
    assert!(!shown.contains("paused") && shown.contains("in 2.0 MB/s"), "{shown}");
}

#[test]
fn a_daemon_that_is_away_is_said_and_comes_back() {
    let mut view = view();
    let then = sample().time;
    for seconds in [1, 13] {
        let at = then + SignedDuration::from_secs(seconds);
        view.update(Update { at, said: Err("s2s-gw is not running".into()), events: None });
    }
    let shown = screen(&mut view, 80, 24);
    assert!(shown.contains("no answer for 12s: s2s-gw is not running. Waiting for it"), "{shown}");
    assert!(shown.contains("13s old") && shown.contains("berlin"), "{shown}");
    view.update(update(later(14, 0)));
    assert!(!screen(&mut view, 80, 24).contains("no answer"));
}

#[test]
fn a_connection_that_a_reload_took_away_is_closed() {
    let mut view = View::new(sample(), Some("berlin"), false);
    let mut next = later(1, 0);
    next.connections.retain(|one| one.name != "berlin");
    view.update(update(next));
    assert_eq!((view.page, view.chosen.as_str()), (Page::List, "paris"));
    let mut none = later(2, 0);
    none.connections.clear();
    view.update(update(none));
    assert!(screen(&mut view, 80, 24).contains("no connections are configured"));
    typed(&mut view, "jk\rG");
}

#[test]
fn colours_are_used_only_where_they_are_wanted() {
    for is_colourful in [true, false] {
        let mut view = View::new(sample(), None, is_colourful);
        let mut terminal = Terminal::new(TestBackend::new(80, 24)).expect("a buffer");
        terminal.draw(|area| frame::draw(area, &mut view)).expect("draws");
        let cells = terminal.backend().buffer().content();
        let coloured = cells.iter().any(|cell| cell.fg != Color::Reset || cell.bg != Color::Reset);
        assert_eq!(coloured, is_colourful);
    }
}

#[test]
fn keys_are_told_apart_and_two_of_them_end() {
    let parsed = super::screen::keys(b"q\x1b[Aj");
    assert_eq!(parsed, [Key::Char('q'), Key::Up, Key::Char('j')]);
    assert_eq!(super::screen::keys(b"\x1b"), [Key::Esc]);
    let mut view = view();
    assert_eq!(view.key(Key::Char('q')), Step::Leave);
    typed(&mut view, "/");
    assert_eq!(view.key(Key::Char('q')), Step::Stay, "a letter of the filter");
    assert_eq!(view.key(Key::Ctrl('c')), Step::Leave);
    typed(&mut view, "\x1b");
    typed(&mut view, "?");
    let shown = screen(&mut view, 80, 24);
    assert!(shown.contains("Ctrl-C    end") && shown.contains("pause, go on"), "{shown}");
    typed(&mut view, "x");
    assert!(!view.help);
}
