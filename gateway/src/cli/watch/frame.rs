//! One frame: what stands where, at any size.
//!
//! ```text
//!   fra1 0.1.0  up 3d04h                  3 connections: 2 up, 1 down     always
//!   no answer for 12s: s2s-gw is not running ..                           while the daemon is away
//!   NAME  STATE  PEER ..      or  berlin: all about it                    list.rs, detail.rs
//!   in 12.1 MB/s   ▁▂▃▅▇      out 890 kB/s  ▁▁▁                           chart.rs, where there are rows for it
//!   ↑↓ choose  Enter open  / filter  p pause  ? keys  q quit              always
//! ```

use ratatui::Frame;
use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{Block, Clear, Paragraph, Widget as _};

use super::view::{Page, View};
use super::{chart, detail, list};
use crate::status::text::{self, counts, hanging};
use crate::status::{Snapshot, State, words};

/// Draws the whole screen. Where the view has scrolled beyond its end it is put back to it.
pub(super) fn draw(frame: &mut Frame<'_>, view: &mut View) {
    let area = frame.area();
    let buffer = frame.buffer_mut();
    let notes = notes(view, area.width);
    let notes_height = height_of(&notes).min(area.height / 3);
    let [top, middle, body, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(notes_height),
        Constraint::Fill(1),
        Constraint::Length(1),
    ])
    .areas(area);
    headline(view, top.width).render(top, buffer);
    Paragraph::new(notes).render(middle, buffer);
    // What stands there is old.
    let is_old = view.away.is_some();
    match view.page {
        Page::List => {
            let (rows, below) = with_chart(body, list::height(view, body.width));
            list::draw(view, rows, buffer);
            chart::draw(view, below, buffer);
        }
        Page::Detail { .. } => {
            let (above, rows) = below_chart(body);
            chart::draw(view, above, buffer);
            detail::draw(view, rows, buffer);
        }
    }
    if is_old {
        buffer.set_style(body, Style::new().add_modifier(Modifier::DIM));
    }
    keys(view, foot.width).render(foot, buffer);
    if view.help {
        help(body, buffer);
    }
}

/// `fra1 0.1.0  up 3d04h` and at the right how many connections are in which state.
fn headline(view: &View, width: u16) -> Line<'static> {
    let Snapshot { gateway, version, uptime_seconds, external, .. } = &view.snapshot;
    let up = words::seconds(*uptime_seconds);
    let right = counts(&view.snapshot);
    let longest = format!("{gateway} {version}  up {up}  {}", external.join(" · "));
    let shorter = [longest, format!("{gateway} {version}  up {up}"), gateway.clone()];
    let room = usize::from(width);
    let fits = |left: &&String| length(left) + 2 + length(&right) <= room;
    let left = shorter.iter().find(fits).cloned().unwrap_or_default();
    let gap = room.saturating_sub(length(&left) + length(&right));
    let bold = Style::new().add_modifier(Modifier::BOLD);
    Line::styled(format!("{left}{}{right}", " ".repeat(gap)), bold)
}

/// What has to be known before anything else is believed.
fn notes(view: &View, width: u16) -> Text<'static> {
    let mut lines = Vec::new();
    if let Some((since, sentence)) = &view.away {
        let seconds = u64::try_from(view.at.duration_since(*since).as_secs()).unwrap_or(0);
        let age = view.at.duration_since(view.snapshot.time).as_secs();
        let age = words::seconds(u64::try_from(age).unwrap_or(0));
        let said = format!(
            "no answer for {}: {sentence}. Waiting for it; what stands below is {age} old",
            words::seconds(seconds)
        );
        let style = colour(view, Color::Red).add_modifier(Modifier::BOLD);
        let folded = hanging(&said, width.into(), 2);
        lines.extend(folded.lines().map(|line| Line::styled(line.to_owned(), style)));
    }
    if let Some(held) = &view.held {
        let said = format!("paused; {} updates wait, p goes on", held.len());
        lines.push(Line::styled(said, colour(view, Color::Yellow).add_modifier(Modifier::BOLD)));
    }
    if view.is_typing || !view.filter.is_empty() {
        let cursor = if view.is_typing { "▏" } else { "" };
        let (shown, all) = (view.listed().len(), view.snapshot.connections.len());
        lines.push(Line::raw(format!("/{}{cursor}   {shown} of {all}", view.filter)));
    }
    Text::from(lines)
}

/// The keys that matter most, as many as fit.
fn keys(view: &View, width: u16) -> Line<'static> {
    let all: &[&str] = match (view.is_typing, view.page) {
        (true, _) => &["Enter done", "Esc no filter", "↑↓ choose"],
        (false, Page::List) => {
            &["q quit", "? keys", "Enter open", "↑↓ choose", "/ filter", "p pause"]
        }
        (false, Page::Detail { .. }) => &["q quit", "? keys", "Esc back", "↑↓ scroll", "p pause"],
    };
    let mut said = String::new();
    for one in all {
        if length(&said) + length(one) + 2 > usize::from(width) {
            break;
        }
        said = if said.is_empty() { (*one).to_owned() } else { format!("{said}  {one}") };
    }
    Line::styled(said, Style::new().add_modifier(Modifier::DIM))
}

/// All keys, over the middle of the body.
fn help(body: Rect, buffer: &mut Buffer) {
    let width =
        (HELP.iter().map(|line| length(line)).max().unwrap_or(0) + 4).min(body.width.into());
    let height = (HELP.len() + 2).min(body.height.into());
    let [area] = Layout::horizontal([Constraint::Length(small(width))])
        .flex(ratatui::layout::Flex::Center)
        .areas(body);
    let [area] = Layout::vertical([Constraint::Length(small(height))])
        .flex(ratatui::layout::Flex::Center)
        .areas(area);
    Clear.render(area, buffer);
    let block = Block::bordered().title(" keys ");
    let lines: Vec<Line<'_>> = HELP.iter().map(|line| Line::raw(*line)).collect();
    Paragraph::new(lines).block(block).render(area, buffer);
}

const HELP: [&str; 10] = [
    "↑ k  ↓ j     choose, scroll",
    "PgUp PgDn    ten at once",
    "g  G         first, last",
    "Enter l →    all about the chosen one",
    "Esc h ←      back; no filter",
    "/            filter: name, state, peer, code",
    "p            pause, go on",
    "?            this",
    "q  Ctrl-C    end",
    "worst first; ▁▂▅█ octets per second",
];

/// The list above, and what is left for a chart of the chosen one, if that is enough.
fn with_chart(body: Rect, list: usize) -> (Rect, Rect) {
    let spare = usize::from(body.height).saturating_sub(list.min(usize::from(body.height / 2)));
    let chart = if body.height < 12 { 0 } else { small(spare).min(chart::HEIGHT) };
    let [above, below] =
        Layout::vertical([Constraint::Fill(1), Constraint::Length(chart)]).areas(body);
    (above, below)
}

/// A chart above the details, if there is room for both.
fn below_chart(body: Rect) -> (Rect, Rect) {
    let chart = if body.height < 16 { 0 } else { (body.height / 3).min(chart::HEIGHT) };
    let [above, below] =
        Layout::vertical([Constraint::Length(chart), Constraint::Fill(1)]).areas(body);
    (above, below)
}

/// Only where colours are wanted.
pub(super) fn colour(view: &View, colour: Color) -> Style {
    if view.is_colourful { Style::new().fg(colour) } else { Style::new() }
}

/// `● up` as elsewhere.
pub(super) fn state(view: &View, state: State) -> Span<'static> {
    let paint = match state {
        State::Up => colour(view, Color::Green),
        State::Degraded | State::Connecting => colour(view, Color::Yellow),
        State::Down | State::Error => colour(view, Color::Red),
        State::Waiting | State::Disabled => Style::new().add_modifier(Modifier::DIM),
    };
    Span::styled(format!("{} {}", text::glyph(state), state.word()), paint)
}

/// In characters, each of them one column wide.
pub(super) fn length(text: &str) -> usize {
    text.chars().count()
}

/// In exactly so many characters.
pub(super) fn fit(text: &str, room: usize) -> String {
    let cut = cut(text, room);
    let padding = room.saturating_sub(length(&cut));
    format!("{cut}{}", " ".repeat(padding))
}

/// In at most so many characters.
pub(super) fn cut(text: &str, room: usize) -> String {
    if length(text) <= room {
        return text.to_owned();
    }
    text.chars().take(room.saturating_sub(1)).chain((room > 0).then_some('…')).collect()
}

/// No screen has more.
pub(super) fn small(count: usize) -> u16 {
    u16::try_from(count).unwrap_or(u16::MAX)
}

fn height_of(text: &Text<'_>) -> u16 {
    small(text.lines.len())
}
