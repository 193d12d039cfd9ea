//! All connections, the worst first, one row each; below it why it is not well, in full for the chosen one.
//!
//! ```text
//!     NAME     STATE         PEER           IN               OUT             RTT
//!   ▶ paris    ○ down        198.51.100.7
//!       └ E1003 proposal-mismatch-ike: no IKE proposal suits both sides .. Retry in 12s. Fix: ..
//!     berlin   ● up          198.51.100.20  ▂▅▇ 12.1 MB/s    ▁▁▂  890 kB/s    11 ms
//!
//!   too narrow: no round trip ─► no sparks ─► no peer ─► the state's sign alone
//! ```

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Widget as _};

use super::chart::spark;
use super::frame::{cut, fit, length, small, state};
use super::view::View;
use crate::status::text::{glyph, hanging, peer, sentence};
use crate::status::{ConnectionStatus, State, words};

/// How wide each column is; 0: it is left out.
struct Columns {
    room: usize,
    name: usize,
    state: usize,
    peer: usize,
    spark: usize,
    rtt: usize,
}

/// Rows that the whole list takes, with its heading.
pub(super) fn height(view: &View, width: u16) -> usize {
    let listed = view.listed();
    let columns = Columns::of(&listed, width.into());
    let rows: usize = listed.iter().map(|one| columns.row(view, one).len()).sum();
    1 + rows.max(1)
}

/// As much of it as fits, the chosen one always.
pub(super) fn draw(view: &View, area: Rect, buffer: &mut Buffer) {
    let listed = view.listed();
    let columns = Columns::of(&listed, area.width.into());
    let mut lines = Vec::new();
    let mut end_of_chosen = 0;
    for connection in &listed {
        lines.extend(columns.row(view, connection));
        if connection.name == view.chosen {
            end_of_chosen = lines.len();
        }
    }
    if listed.is_empty() {
        let none = view.snapshot.connections.is_empty();
        let said = if none { "no connections are configured" } else { "nothing matches" };
        lines.push(Line::raw(format!("  {said}")));
    }
    let room = usize::from(area.height.saturating_sub(1));
    let hidden = end_of_chosen.saturating_sub(room);
    let heading = Rect { height: area.height.min(1), ..area };
    columns.heading().render(heading, buffer);
    let rows = Rect { y: area.y + heading.height, height: small(room), ..area };
    Paragraph::new(lines).scroll((small(hidden), 0)).render(rows, buffer);
}

impl Columns {
    fn of(listed: &[&ConnectionStatus], room: usize) -> Self {
        let widest = |of: &dyn Fn(&ConnectionStatus) -> usize| {
            listed.iter().map(|one| of(one)).max().unwrap_or(0)
        };
        let narrow = room < WIDE;
        let state = if narrow { 1 } else { STATE };
        let fixed = MARK + 1 + state + 1 + 2 * (RATE + 1);
        let longest = widest(&|one| length(&one.name)).max(length(NAME));
        let mut left = room.saturating_sub(fixed);
        let name = longest.min(if narrow { left } else { 20 });
        left = left.saturating_sub(name);
        let mut take = |wanted: usize, least: usize| {
            let given = if left > least { wanted.min(left - 1) } else { 0 };
            left -= if given > 0 { given + 1 } else { 0 };
            given
        };
        let longest_peer = widest(&|one| length(&peer(&one.peer, false))).max(length(PEER));
        let peer = if narrow { 0 } else { take(longest_peer.min(22), 12) };
        let rtt = if narrow { 0 } else { take(RTT, RTT + 12) };
        // Each has a gap to its rate.
        let spark = (take(MOST_SPARK, 10) / 2).saturating_sub(1);
        Self { room, name, state, peer, spark, rtt }
    }

    fn heading(&self) -> Line<'static> {
        let state = if self.state > 1 { "STATE" } else { "" };
        let mut said = format!("{:MARK$}{} {}", "", fit(NAME, self.name), fit(state, self.state));
        if self.peer > 0 {
            said = format!("{said} {}", fit(PEER, self.peer));
        }
        for word in ["IN", "OUT"] {
            said = format!(
                "{said} {:gap$}{word:>RATE$}",
                "",
                gap = self.spark + usize::from(self.spark > 0)
            );
        }
        if self.rtt > 0 {
            said = format!("{said} {:>1$}", "RTT", self.rtt);
        }
        Line::styled(said, Style::new().add_modifier(Modifier::DIM))
    }

    /// Its row, and what there is to say about it.
    fn row(&self, view: &View, connection: &ConnectionStatus) -> Vec<Line<'static>> {
        let is_chosen = connection.name == view.chosen;
        let mark = if is_chosen { "▶ " } else { "  " };
        let mut spans = vec![Span::raw(format!("{mark}{} ", fit(&connection.name, self.name)))];
        let shown = state(view, connection.state);
        let word = if self.state > 1 { shown.content.as_ref() } else { glyph(connection.state) };
        spans.push(Span::styled(fit(word, self.state), shown.style));
        if self.peer > 0 {
            let peer = peer(&connection.peer, false);
            spans.push(Span::raw(format!(" {}", fit(&peer, self.peer))));
        }
        self.rates(view, connection, &mut spans);
        if self.rtt > 0 {
            let rtt = connection.peer.rtt_seconds.unwrap_or(-1.0);
            let rtt = Duration::try_from_secs_f64(rtt).map(words::round_trip).unwrap_or_default();
            spans.push(Span::raw(format!(" {rtt:>0$}", self.rtt)));
        }
        let mut row = Line::from(spans);
        if is_chosen {
            row = row.patch_style(Style::new().add_modifier(Modifier::BOLD));
        }
        let mut lines = vec![row];
        lines.extend(self.reasons(connection, is_chosen));
        lines
    }

    fn rates(&self, view: &View, connection: &ConnectionStatus, spans: &mut Vec<Span<'static>>) {
        let carries = matches!(connection.state, State::Up | State::Degraded);
        let points = view.history.recent(&connection.name, self.spark.max(1), EACH);
        let [received, sent] =
            view.history.recent(&connection.name, 1, 1).pop().unwrap_or_default();
        for (place, now) in [received, sent].into_iter().enumerate() {
            let side: Vec<u64> =
                points.iter().map(|pair| pair.get(place).copied().unwrap_or(0)).collect();
            let drawn = if self.spark > 0 { spark(&side, self.spark) + " " } else { String::new() };
            let now = if carries { words::rate(now) } else { String::new() };
            spans.push(Span::raw(format!(" {drawn}{now:>RATE$}")));
        }
    }

    /// Why it is not well: a line, and of the chosen one all of it.
    fn reasons(&self, connection: &ConnectionStatus, is_chosen: bool) -> Vec<Line<'static>> {
        let mut said: Vec<String> = Vec::new();
        if let Some(reason) = &connection.reason {
            said.push(format!("    └ {}", sentence(reason, connection)));
        }
        let failed = connection.monitors.iter().filter(|one| one.failed);
        said.extend(failed.map(|one| format!("    └ {} does not answer", one.target)));
        if is_chosen {
            let warnings = connection.warning_details.iter();
            said.extend(
                warnings.map(|one| format!("    ! {} {}. Fix: {}.", one.code, one.title, one.fix)),
            );
        }
        let lines = said.iter().flat_map(|line| {
            if is_chosen {
                let folded = hanging(line, self.room, 6);
                folded.lines().map(str::to_owned).collect()
            } else {
                vec![cut(line, self.room)]
            }
        });
        lines.map(Line::raw).collect()
    }
}

const NAME: &str = "NAME";
const PEER: &str = "PEER";
/// The mark of the chosen one.
const MARK: usize = 2;
/// `● connecting`.
const STATE: usize = 12;
/// `12.1 MB/s`.
const RATE: usize = 9;
/// `9.9 ms`.
const RTT: usize = 7;
/// Both sparks together.
const MOST_SPARK: usize = 60;
/// Seconds of each point of a spark.
const EACH: usize = 2;

/// Columns below which only the most important is said.
const WIDE: usize = 60;
