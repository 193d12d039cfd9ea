//! Everything about one connection, as long as it takes; the arrows scroll it.
//!
//! ```text
//!   berlin (Berlin office)   ● up for 1d02h
//!   E1003 proposal-mismatch-ike: ..   Fix: ..            if something is wrong
//!   CHILD  STATE  FOR  REKEY IN  REKEYS  IN  OUT  DROPPED
//!   drops by reason    events, the newest first    all that `status NAME` says
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget as _};

use super::frame::{fit, length, small, state};
use super::view::{Page, View};
use crate::log;
use crate::status::text::{self, Colour, Look, glyph, hanging};
use crate::status::{ChildStatus, ConnectionStatus, words};

/// As much as fits from where the view has scrolled to.
pub(super) fn draw(view: &mut View, area: Rect, buffer: &mut Buffer) {
    let lines = lines(view, area.width.into());
    let end = lines.len().saturating_sub(area.height.into());
    let Page::Detail { top } = &mut view.page else { return };
    *top = (*top).min(end);
    Paragraph::new(lines).scroll((small(*top), 0)).render(area, buffer);
}

fn lines(view: &View, room: usize) -> Vec<Line<'static>> {
    let Some(connection) = view.chosen() else { return Vec::new() };
    let mut lines = vec![title(view, connection)];
    if let Some(reason) = &connection.reason {
        let all = reason.detail.iter().map(|line| format!("  {line}"));
        let said = format!("  {} {}: {}", reason.code, reason.alert, reason.message);
        let retry = connection.retry_in_seconds;
        let retry = retry.map(|seconds| format!("  retry: in {}", words::seconds(seconds)));
        let fix = format!("  fix: {}", reason.fix);
        fold(&mut lines, std::iter::once(said).chain(all).chain([fix]).chain(retry), room);
    }
    for warning in &connection.warning_details {
        let said = format!("  ! {} {}. Fix: {}.", warning.code, warning.title, warning.fix);
        fold(&mut lines, [said], room);
    }
    lines.extend(children(connection, room));
    drops(&mut lines, connection, room);
    events(&mut lines, view, room);
    lines.push(heading("ALL OF IT"));
    let look = Look { colour: Colour::Off, columns: Some(room) };
    let all = text::detail(&view.snapshot, connection, look);
    // What stands before it is said above.
    let rest = all.lines().skip_while(|line| !line.starts_with("  peer:"));
    lines.extend(rest.map(|line| Line::raw(line.to_owned())));
    lines
}

fn title(view: &View, connection: &ConnectionStatus) -> Line<'static> {
    let bold = Style::new().add_modifier(Modifier::BOLD);
    let description = connection.description.as_ref().map(|it| format!(" ({it})"));
    let mut spans = vec![
        Span::styled(connection.name.clone(), bold),
        Span::raw(description.unwrap_or_default()),
        Span::raw("   "),
        state(view, connection.state),
        Span::raw(format!(" for {}", words::seconds(connection.since_seconds))),
    ];
    if let Some(awaits) = &connection.awaits {
        spans.push(Span::raw(format!(", waiting for {awaits}")));
    }
    if let Some(ike) = &connection.ike {
        let rekey = words::seconds(ike.rekey_in_seconds);
        let age = ike.established.map(|then| view.snapshot.time.duration_since(then).as_secs());
        let age = age.map(|seconds| words::seconds(u64::try_from(seconds).unwrap_or(0)));
        let age = age.map(|age| format!(" {age} old,")).unwrap_or_default();
        spans.push(Span::raw(format!("   IKE SA{age} rekey in {rekey}")));
    }
    Line::from(spans)
}

fn heading(text: &str) -> Line<'static> {
    Line::styled(text.to_owned(), Style::new().add_modifier(Modifier::DIM))
}

/// Its title, how wide it is, and what stands in it.
type Column<'f> = (&'static str, usize, &'f dyn Fn(&ChildStatus) -> String);

/// A row for each child; what does not fit is left out from the right but for the rates.
fn children(connection: &ConnectionStatus, room: usize) -> Vec<Line<'static>> {
    let name = connection.children.iter().map(|one| length(&one.name)).max().unwrap_or(0).max(5);
    let columns: Vec<Column<'_>> = vec![
        ("CHILD", name, &|child| child.name.clone()),
        ("STATE", 12, &|child| format!("{} {}", glyph(child.state), child.state.word())),
        ("IN", 9, &|child| words::rate(child.rx_bytes_per_second)),
        ("OUT", 9, &|child| words::rate(child.tx_bytes_per_second)),
        ("REKEY IN", 8, &|child| {
            child.sa.as_ref().map(|sa| words::seconds(sa.rekey_in_seconds)).unwrap_or_default()
        }),
        ("FOR", 6, &|child| child.since_seconds.map(words::seconds).unwrap_or_default()),
        ("REKEYS", 6, &|child| child.rekeys.to_string()),
        ("DROPPED", 8, &|child| child.drops.values().sum::<u64>().to_string()),
    ];
    let mut used = 0;
    let fitting = columns.iter().take_while(|(_, wide, _)| {
        used += wide + 1;
        used <= room + 1
    });
    let fitting: Vec<_> = fitting.collect();
    let cells = |of: &dyn Fn(&Column<'_>) -> String| {
        fitting.iter().map(|column| fit(&of(column), column.1)).collect::<Vec<_>>().join(" ")
    };
    let mut lines = vec![heading(&cells(&|(title, _, _)| (*title).to_owned()))];
    for child in &connection.children {
        lines.push(Line::raw(cells(&|(_, _, of)| of(child))));
        let reason = child.reason.iter().map(|one| format!("  └ {} {}", one.code, one.message));
        fold(&mut lines, reason, room);
    }
    lines
}

/// Of all children, the most frequent first.
fn drops(lines: &mut Vec<Line<'static>>, connection: &ConnectionStatus, room: usize) {
    let mut all = std::collections::BTreeMap::<&str, u64>::new();
    for (word, count) in connection.children.iter().flat_map(|child| &child.drops) {
        *all.entry(word).or_default() += count;
    }
    let mut all: Vec<(&str, u64)> = all.into_iter().filter(|(_, count)| *count > 0).collect();
    all.sort_by_key(|(word, count)| (std::cmp::Reverse(*count), *word));
    if !all.is_empty() {
        let each: Vec<String> = all.iter().map(|(word, count)| format!("{word} {count}")).collect();
        lines.push(heading("DROPS"));
        fold(lines, [format!("  {}", each.join(", "))], room);
    }
}

fn events(lines: &mut Vec<Line<'static>>, view: &View, room: usize) {
    if view.events.is_empty() {
        return;
    }
    lines.push(heading("EVENTS, the newest first"));
    let newest = view.events.iter().rev().filter(|one| one.level <= log::Severity::Info);
    fold(lines, newest.take(EVENTS).map(|event| format!("  {}", log::to_text(event))), room);
}

fn fold(lines: &mut Vec<Line<'static>>, text: impl IntoIterator<Item = String>, room: usize) {
    for line in text {
        lines.extend(hanging(&line, room, 4).lines().map(|line| Line::raw(line.to_owned())));
    }
}

/// How many are shown.
const EVENTS: usize = 12;
