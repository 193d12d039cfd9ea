//! What the chosen connection carried in the last minutes: received and sent, each to its own scale.
//!
//! ```text
//!   berlin in 12.1 MB/s, most 14.0 MB/s        berlin out 890 kB/s, most 1.2 MB/s
//!      ▂▅▇█▆▅▃▂▁▁▂▅▇██▇▅                           ▁▁▂▂▁▁▁▂▃▅▆▇█
//!   5m ago                       now           5m ago                      now
//! ```

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Sparkline, Widget as _};

use super::frame::{colour, cut, length};
use super::view::View;
use crate::status::words;

/// Rows of it where there is room.
pub(super) const HEIGHT: u16 = 9;

/// Both, side by side or, on a narrow screen, one above the other.
pub(super) fn draw(view: &View, area: Rect, buffer: &mut Buffer) {
    let Some(name) = view.chosen().map(|one| one.name.as_str()) else { return };
    if area.height < 3 {
        return;
    }
    let halves = if area.width >= WIDE {
        Layout::horizontal([Constraint::Fill(1); 2]).spacing(2)
    } else {
        Layout::vertical([Constraint::Fill(1); 2])
    };
    let [left, right] = halves.areas(area);
    let each = SECONDS.div_ceil(usize::from(left.width.max(1)));
    let points = view.history.recent(name, left.width.into(), each);
    let now = view.history.recent(name, 1, 1).pop().unwrap_or_default();
    let sides = [(left, "in", Color::Cyan), (right, "out", Color::Magenta)];
    for (place, (area, word, paint)) in sides.into_iter().enumerate() {
        let of = |pair: &[u64; 2]| pair.get(place).copied().unwrap_or(0);
        let side: Vec<u64> = points.iter().map(of).collect();
        // Of seconds: that of the means below would be less than what is said of now.
        let seconds = view.history.recent(name, points.len() * each, 1);
        let most = seconds.iter().map(of).max().unwrap_or(0);
        let title = format!("{name} {word} {}, most {}", words::rate(of(&now)), words::rate(most));
        one(&title, &side, each, colour(view, paint), area, buffer);
    }
}

fn one(title: &str, points: &[u64], each: usize, style: Style, area: Rect, buffer: &mut Buffer) {
    let axis = u16::from(area.height >= 4);
    let [top, bars, below] =
        Layout::vertical([Constraint::Length(1), Constraint::Fill(1), Constraint::Length(axis)])
            .areas(area);
    let room = usize::from(area.width);
    let most = points.iter().copied().max().unwrap_or(0);
    Line::styled(cut(title, room), Style::new().add_modifier(Modifier::BOLD)).render(top, buffer);
    // The newest at the right; nothing where nothing is known.
    let unknown = room.saturating_sub(points.len());
    let data = std::iter::repeat_n(None, unknown).chain(points.iter().copied().map(Some));
    Sparkline::default().data(data).max(most.max(1)).style(style).render(bars, buffer);
    let ago = format!("{} ago", words::seconds((room * each) as u64));
    let gap = room.saturating_sub(length(&ago) + length(NOW));
    let dim = Style::new().add_modifier(Modifier::DIM);
    Line::styled(format!("{ago}{}{NOW}", " ".repeat(gap)), dim).render(below, buffer);
}

/// The same in one row, each character one point: nothing where nothing was carried or nothing is known.
pub(super) fn spark(points: &[u64], room: usize) -> String {
    let most = points.iter().copied().max().unwrap_or(0).max(1);
    let level = |point: &u64| {
        let place = (u128::from(*point) * LEVELS.len() as u128).div_ceil(most.into());
        let place = usize::try_from(place).unwrap_or(LEVELS.len());
        place.checked_sub(1).and_then(|place| LEVELS.get(place)).copied().unwrap_or(' ')
    };
    let unknown = room.saturating_sub(points.len());
    std::iter::repeat_n(' ', unknown).chain(points.iter().take(room).map(level)).collect()
}

const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const NOW: &str = "now";

/// Columns from which on they stand side by side.
const WIDE: u16 = 60;

/// What a chart shows at least.
const SECONDS: usize = 300;
