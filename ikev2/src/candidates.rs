//! Who may be behind an address, as a list that is shared and not copied: there may be ten thousand peers that may be
//! anywhere, and a thousand half-open SAs that could be any of theirs.
//!
//! ```text
//!   Group: members ── less those that were taken down ──► open, made when first asked for, until something changes
//!   Candidates: open of the address ─► open of "anywhere", less those that were named already
//! ```

use std::sync::Arc;

use crate::event::PeerId;

/// Peers that may be at one address, or at any.
#[derive(Default)]
pub(crate) struct Group {
    /// In the order of their numbers, each once.
    members: Vec<PeerId>,
    open: Option<Arc<[PeerId]>>,
}

impl Group {
    pub(crate) fn add(&mut self, id: PeerId) {
        if let Err(index) = self.members.binary_search(&id) {
            self.members.insert(index, id);
            self.open = None;
        }
    }

    pub(crate) fn remove(&mut self, id: PeerId) {
        self.members.retain(|other| *other != id);
        self.open = None;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// One of them was taken down, or may come again.
    pub(crate) fn changed(&mut self) {
        self.open = None;
    }

    /// Those of them for whom `is_open` holds.
    pub(crate) fn open(&mut self, is_open: impl Fn(&PeerId) -> bool) -> Arc<[PeerId]> {
        let members = &self.members;
        let open = self
            .open
            .get_or_insert_with(|| members.iter().copied().filter(|id| is_open(id)).collect());
        Arc::clone(open)
    }
}

/// The peers that may have sent a message, those that are configured for its address first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Candidates {
    pub(crate) there: Arc<[PeerId]>,
    pub(crate) anywhere: Arc<[PeerId]>,
}

impl Candidates {
    /// Each once.
    pub(crate) fn iter(&self) -> impl Iterator<Item = PeerId> {
        let elsewhere = self.anywhere.iter().filter(|id| self.there.binary_search(id).is_err());
        self.there.iter().chain(elsewhere).copied()
    }

    /// Whether nobody may be there.
    pub(crate) fn is_empty(&self) -> bool {
        self.there.is_empty() && self.anywhere.is_empty()
    }
}
