//! What an SA that stands takes over from a configuration that changed under it.
//!
//! ```text
//!   begun ───────────── old lifetime ──────► rekey
//!     └──── new one, counted from there ─────────────► rekey       past already: within a minute, not all at once
//! ```

use std::time::{Duration, Instant};

use super::child::{Phase, longest};
use super::{Cx, IkeSa, State};
use crate::config::Lifetime;
use crate::event::ChildId;

/// SAs that have become too old by the change of their lifetime are replaced within this time.
const SPREAD: Duration = Duration::from_mins(1);

impl IkeSa {
    /// The configuration of the peer changed; this was the lifetime of the SA.
    pub(crate) fn reconfigure(&mut self, before: Lifetime, cx: &mut Cx<'_>) {
        let Ok(state) = self.established() else { return };
        let config = cx.peer(state.peer);
        state.dpd = config.dpd;
        if config.lifetime.time != before.time {
            let (old, new) = (before.time, config.lifetime.time);
            (state.rekey_at, state.expires_at) = moved(state.expires_at, old, new, cx);
        }
    }

    /// That of a child changed; this was its lifetime.
    pub(crate) fn reconfigure_child(&mut self, index: usize, before: Lifetime, cx: &mut Cx<'_>) {
        let Ok(state) = self.established() else { return };
        let peer = cx.peer(state.peer);
        let Some(new) = peer.child(index).map(|child| child.lifetime.time) else { return };
        if new == before.time {
            return;
        }
        let of = state.children.iter_mut().filter(|child| child.slot.config == index);
        for child in of.filter(|child| child.phase == Phase::Up && !child.worn) {
            (child.rekey_at, child.expires_at) = moved(child.expires_at, before.time, new, cx);
        }
    }

    /// When a child of it is rekeyed.
    pub(crate) fn child_rekey_at(&self, id: ChildId) -> Option<Instant> {
        let State::Established(state) = &self.state else { return None };
        state.children.iter().find(|child| child.id == id).map(|child| child.rekey_at)
    }
}

/// When an SA is replaced, and when it ends, if it lives for `new` rather than for `old`.
fn moved(expires_at: Instant, old: Duration, new: Duration, cx: &mut Cx<'_>) -> (Instant, Instant) {
    let begun = expires_at.checked_sub(longest(old)).unwrap_or(cx.now);
    let now = cx.now;
    let at = Cx { now: begun, shared: &mut *cx.shared }.rekey_time(new);
    if at > now {
        return (at, begun + longest(new));
    }
    let soon = now + cx.share_of(SPREAD.min(new / 10));
    (soon, soon + longest(new).saturating_sub(new))
}
