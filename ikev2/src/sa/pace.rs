//! How fast a peer may ask for SAs: each costs a key exchange, and the control thread is that of all peers (RFC 8019 §5).
//!
//! ```text
//!   CREATE_CHILD_SA ─► allowance of the peer: all the children that it may have at once, then so many a second
//!                      spent ─► N(TEMPORARY_FAILURE): nothing computed, nothing kept
//! ```
//!
//! An honest peer asks for its children once and replaces them once in a lifetime. The allowance is the peer's and not the
//! SA's, so that nobody gets a new one by a new IKE SA.

use super::Cx;
use super::established::Established;
use crate::allowance::Rate;

/// Beyond the children: rekeys of all kinds that cross, and what is asked again.
const SPARE: usize = 100;

impl Established {
    /// Whether the peer asks faster than it may. If not, this request is counted.
    pub(super) fn asks_too_fast(&self, cx: &mut Cx<'_>) -> bool {
        let (most, most_for_resources) = self.most_children(cx);
        let burst = most.saturating_add(most_for_resources).saturating_add(SPARE);
        let burst = u32::try_from(burst).unwrap_or(u32::MAX).min(MOST_AT_ONCE);
        let rate = Rate::per_second(cx.shared.config.max_exchanges, burst);
        let allowance = cx.shared.paces.entry(self.peer).or_default();
        if allowance.is_spent(cx.now, rate) {
            return true;
        }
        allowance.spend(cx.now, rate);
        false
    }
}

/// However many children are configured: what an interval can be multiplied with.
const MOST_AT_ONCE: u32 = 100_000;
