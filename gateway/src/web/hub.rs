//! What the page knows: the newest snapshot, what was carried before, and the parts of the pages that somebody watches.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::history::History;
use super::page::{self, Scene};
use super::stream::Board;
use crate::log::{self, Cursor, Record};
use crate::status::{ConnectionStatus, Snapshot};

/// See above.
#[derive(Debug, Default)]
pub(super) struct Hub {
    snapshot: Option<Box<Snapshot>>,
    taken: Option<Instant>,
    pub(super) history: History,
    boards: BTreeMap<View, Board>,
}

/// A page that can be watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum View {
    Overview,
    Detail(String),
}

impl Hub {
    /// Takes a new snapshot, and brings what is watched up to it.
    pub(super) fn note(&mut self, snapshot: Box<Snapshot>, now: Instant, can_act: bool) {
        self.history.note(&snapshot);
        self.snapshot = Some(snapshot);
        self.taken = Some(now);
        let views: Vec<View> = self.boards.keys().cloned().collect();
        for view in &views {
            self.draw(view, can_act);
        }
    }

    /// The newest snapshot, if there is one that is not old.
    pub(super) fn snapshot(&self, now: Instant) -> Option<&Snapshot> {
        let fresh = self.taken.is_some_and(|at| now.saturating_duration_since(at) < OLD);
        self.snapshot.as_deref().filter(|_| fresh)
    }

    /// A connection in it.
    pub(super) fn connection(&self, name: &str) -> Option<&ConnectionStatus> {
        self.snapshot.as_deref()?.connections.iter().find(|one| one.name == name)
    }

    /// Somebody watches.
    pub(super) fn watch(&mut self, view: &View, can_act: bool) {
        if !self.boards.contains_key(view) {
            self.boards.insert(view.clone(), Board::default());
            self.draw(view, can_act);
        }
    }

    /// Forgets what nobody watches any more.
    pub(super) fn retain(&mut self, is_watched: impl Fn(&View) -> bool) {
        self.boards.retain(|view, _| is_watched(view));
    }

    /// What a viewer lacks, and what it has then.
    pub(super) fn frame(&mut self, view: &View, since: u64) -> (u64, Option<Arc<[u8]>>) {
        self.boards.get_mut(view).map_or((since, None), |board| board.frame(since))
    }

    fn draw(&mut self, view: &View, can_act: bool) {
        let (Some(snapshot), Some(board)) = (&self.snapshot, self.boards.get_mut(view)) else {
            return;
        };
        let scene = Scene { snapshot, can_act };
        match view {
            View::Overview => {
                board.update(page::order(snapshot), page::overview_parts(scene, &self.history));
            }
            View::Detail(name) => {
                let found = snapshot.connections.iter().find(|one| one.name == *name);
                if let Some(connection) = found {
                    let (flow, day) = (self.history.of(name), self.history.day_of(name));
                    let records = records(Some(name), SHOWN);
                    let parts = page::detail_parts(scene, connection, [&flow, &day], &records);
                    board.update(Vec::new(), parts);
                }
            }
        }
    }
}

/// The last records that were worth telling, oldest first.
pub(super) fn records(connection: Option<&str>, most: usize) -> Vec<Record> {
    let (mut records, _) = log::since(&mut Cursor::default(), usize::MAX);
    records.retain(|record| {
        connection.is_none_or(|name| record.connection.as_deref() == Some(name))
            && record.level <= log::Severity::Info
    });
    records.split_off(records.len().saturating_sub(most))
}

/// Events of a connection on its page.
pub(super) const SHOWN: usize = 50;

/// Control answers within a millisecond; after so long it is stuck, and what it said is no longer true.
const OLD: Duration = Duration::from_secs(5);
