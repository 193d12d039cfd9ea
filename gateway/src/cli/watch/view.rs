//! What is on the screen, apart from how it is drawn: the last snapshot, what each connection carried, and what somebody typed.
//!
//! ```text
//!   list ── Enter ─► detail       /  filter, typed below       p  updates are put by until it is pressed again       ?  help
//!        ◄── Esc ──
//! ```

use std::cmp::Reverse;
use std::collections::VecDeque;

use jiff::Timestamp;
use ratatui::termion::event::Key;

use super::feed::Update;
use crate::log::Record;
use crate::status::{ConnectionStatus, Snapshot};
use crate::web::history::History;

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// Draw again.
    Stay,
    /// End.
    Leave,
}

/// All that a frame is drawn from.
#[derive(Debug)]
pub(super) struct View {
    /// The last that the daemon said.
    pub(super) snapshot: Snapshot,
    /// Why it says nothing, and since when.
    pub(super) away: Option<(Timestamp, String)>,
    /// When it was asked last.
    pub(super) at: Timestamp,
    /// What each connection carried.
    pub(super) history: History,
    /// Of the open connection, oldest first.
    pub(super) events: Vec<Record>,
    /// Where the eye is.
    pub(super) page: Page,
    /// The list of keys is shown over it.
    pub(super) help: bool,
    /// Only connections with this in them; lower case.
    pub(super) filter: String,
    /// The filter is being typed.
    pub(super) is_typing: bool,
    /// The chosen connection, also while the filter hides it.
    pub(super) chosen: String,
    /// Whether to use colours.
    pub(super) is_colourful: bool,
    /// Updates that came while it was held; `None`: it is not.
    pub(super) held: Option<VecDeque<Update>>,
}

/// Where the eye is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// All connections.
    List,
    /// The chosen one, from this line on.
    Detail {
        /// The first line shown; the frame keeps it in bounds.
        top: usize,
    },
}

impl View {
    /// Of a first snapshot; with everything about `name` if there is one.
    pub(super) fn new(snapshot: Snapshot, name: Option<&str>, is_colourful: bool) -> Self {
        let mut history = History::default();
        history.note(&snapshot);
        let mut view = Self {
            away: None,
            at: snapshot.time,
            history,
            events: Vec::new(),
            page: if name.is_some() { Page::Detail { top: 0 } } else { Page::List },
            help: false,
            filter: String::new(),
            is_typing: false,
            chosen: name.unwrap_or_default().to_owned(),
            is_colourful,
            held: None,
            snapshot,
        };
        view.choose_some();
        view
    }

    /// The connections that the filter lets pass, the worst first, otherwise as configured.
    pub(super) fn listed(&self) -> Vec<&ConnectionStatus> {
        let all = self.snapshot.connections.iter();
        let mut all: Vec<_> = all.filter(|one| matches(one, &self.filter)).collect();
        all.sort_by_key(|one| Reverse(one.state.badness()));
        all
    }

    /// The connection that `detail` is about.
    pub(super) fn chosen(&self) -> Option<&ConnectionStatus> {
        self.snapshot.connections.iter().find(|one| one.name == self.chosen)
    }

    /// The name of the open one.
    pub(super) fn opened(&self) -> Option<&str> {
        match self.page {
            Page::List => None,
            Page::Detail { .. } => Some(&self.chosen),
        }
    }

    /// Takes what the daemon said.
    pub(super) fn update(&mut self, update: Update) {
        if let Some(held) = &mut self.held {
            if held.len() >= MAX_HELD {
                held.pop_front();
            }
            held.push_back(update);
            return;
        }
        self.at = update.at;
        match update.said {
            Ok(snapshot) => {
                self.away = None;
                self.history.note(&snapshot);
                self.snapshot = *snapshot;
                self.choose_some();
            }
            Err(sentence) => {
                let since = self.away.take().map_or(update.at, |(since, _)| since);
                self.away = Some((since, sentence));
            }
        }
        if let Some((name, events)) = update.events
            && name == self.chosen
        {
            self.events = events;
        }
    }

    /// What a key does.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a terminal has more keys than mean something"
    )]
    pub(super) fn key(&mut self, key: Key) -> Step {
        if key == Key::Ctrl('c') {
            return Step::Leave;
        }
        if self.is_typing {
            self.type_in(key);
            return Step::Stay;
        }
        if self.help {
            self.help = false;
            return if key == Key::Char('q') { Step::Leave } else { Step::Stay };
        }
        match key {
            Key::Char('q') => return Step::Leave,
            Key::Char('?' | 'h') => self.help = true,
            Key::Char('p' | ' ') => self.hold(),
            Key::Char('/') => {
                self.page = Page::List;
                self.is_typing = true;
            }
            Key::Char('\n' | '\r' | 'l') | Key::Right => self.open(),
            Key::Esc | Key::Left | Key::Backspace => self.back(),
            other => {
                if let Some(steps) = steps(other) {
                    self.go(steps);
                }
            }
        }
        Step::Stay
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "a terminal has more keys than mean something"
    )]
    fn type_in(&mut self, key: Key) {
        match key {
            Key::Char('\n' | '\r') => self.is_typing = false,
            Key::Esc => {
                self.is_typing = false;
                self.filter.clear();
            }
            Key::Backspace => {
                self.filter.pop();
            }
            Key::Ctrl('u') => self.filter.clear(),
            Key::Char(typed) if !typed.is_control() => self.filter.extend(typed.to_lowercase()),
            other => {
                if let Some(steps @ (-1 | 1)) = steps(other) {
                    self.go(steps);
                }
            }
        }
        self.choose_some();
    }

    fn open(&mut self) {
        if self.page == Page::List && self.listed().iter().any(|one| one.name == self.chosen) {
            self.page = Page::Detail { top: 0 };
            self.events.clear();
        }
    }

    /// One step out: of the detail, then of the filter.
    fn back(&mut self) {
        match self.page {
            Page::Detail { .. } => self.page = Page::List,
            Page::List => self.filter.clear(),
        }
        self.choose_some();
    }

    /// So many rows down, or up.
    fn go(&mut self, steps: isize) {
        if let Page::Detail { top } = &mut self.page {
            *top = top.saturating_add_signed(steps);
            return;
        }
        let listed = self.listed();
        let at = listed.iter().position(|one| one.name == self.chosen).unwrap_or(0);
        let next = at.saturating_add_signed(steps).min(listed.len().saturating_sub(1));
        if let Some(next) = listed.get(next).map(|one| one.name.clone()) {
            self.chosen = next;
        }
    }

    /// Stops, or catches up.
    fn hold(&mut self) {
        match self.held.take() {
            None => self.held = Some(VecDeque::new()),
            Some(held) => held.into_iter().for_each(|update| self.update(update)),
        }
    }

    /// The first of the list, where the chosen one is not there.
    fn choose_some(&mut self) {
        let listed = self.listed();
        let hidden = !listed.iter().any(|one| one.name == self.chosen);
        let first = listed.first().map(|one| one.name.clone());
        match (self.page, first) {
            (Page::List, Some(first)) if hidden => self.chosen = first,
            // Gone with a reload: there is nothing to say about it any more.
            (Page::Detail { .. }, _) if self.chosen().is_none() => {
                self.page = Page::List;
                self.choose_some();
            }
            _ => {}
        }
    }
}

/// How far a key goes.
#[expect(clippy::wildcard_enum_match_arm, reason = "a terminal has more keys than mean something")]
fn steps(key: Key) -> Option<isize> {
    match key {
        Key::Down | Key::Char('j') => Some(1),
        Key::Up | Key::Char('k') => Some(-1),
        Key::PageDown | Key::Ctrl('f') => Some(PAGE),
        Key::PageUp | Key::Ctrl('b') => Some(-PAGE),
        Key::Home | Key::Char('g') => Some(isize::MIN + 1),
        Key::End | Key::Char('G') => Some(isize::MAX),
        _ => None,
    }
}

/// Name, description, state, peer and the reason with its code are looked at.
fn matches(connection: &ConnectionStatus, filter: &str) -> bool {
    let has = |text: &str| text.to_lowercase().contains(filter);
    let peer = &connection.peer;
    has(&connection.name)
        || has(connection.state.word())
        || connection.description.as_deref().is_some_and(has)
        || peer.active.as_deref().is_some_and(has)
        || peer.configured.iter().any(|name| has(name))
        || connection.reason.as_ref().is_some_and(|one| has(&one.code) || has(&one.alert))
}

/// Of a page.
const PAGE: isize = 10;

/// Ten minutes at one a second, as long as [`History`] is.
const MAX_HELD: usize = 600;
