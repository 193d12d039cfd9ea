//! Which configured child an inner packet belongs to: the SPD of the outbound side (RFC 4301 §4.4.1, §5.1).
//!
//! ```text
//!   rule   local selectors   remote selectors            slot
//!          10.1.0.0/16       10.2.0.0/16, 10.3.0.0/16    0          one line of the table per remote selector,
//!          10.1.0.0/16       10.2.7.0/24                 1          most specific remote range first
//!
//!   table  10.2.7.0/24 ─► 1,  10.2.0.0/16 ─► 0,  10.3.0.0/16 ─► 0          one table per family
//! ```
//!
//! The first line whose remote selector matches the destination and one of whose local selectors matches the source wins.
//! Lines are ordered by the size of the remote range, then by metric (smaller first), then as given. There is no rule that
//! lets a packet through unprotected: what matches nothing is dropped.

use std::cmp::Reverse;
use std::net::IpAddr;
use std::sync::Arc;

use esp::ip::View;
use esp::{Selector, Selectors};

use crate::dataplane::SlotId;

/// What one configured child protects.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The child.
    pub slot: SlotId,
    /// Local: our side. Remote: the peer's side.
    pub selectors: Arc<Selectors>,
    /// Between equally specific rules the smaller wins.
    pub metric: u32,
}

/// All rules, ordered for lookup; immutable, replaced as a whole.
#[derive(Debug, Default)]
pub struct Policy {
    v4: Vec<Line>,
    v6: Vec<Line>,
}

impl Policy {
    /// Orders `rules`. A selector whose end lies before its start, or is of another family, matches nothing and is left out.
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        let mut policy = Self::default();
        for rule in rules {
            for remote in &rule.selectors.remote {
                let Some(bits) = range_bits(remote) else { continue };
                let line = Line {
                    remote: *remote,
                    selectors: Arc::clone(&rule.selectors),
                    slot: rule.slot,
                    bits,
                    metric: rule.metric,
                };
                if remote.start.is_ipv4() { &mut policy.v4 } else { &mut policy.v6 }.push(line);
            }
        }
        for table in [&mut policy.v4, &mut policy.v6] {
            table.sort_by_key(|line| (Reverse(line.bits), line.metric));
        }
        policy
    }

    /// The child that has to protect `packet`, a packet on its way from our side to the peer's. `None`: nobody's, drop it.
    #[must_use]
    pub fn classify(&self, packet: &View) -> Option<SlotId> {
        let table = if packet.destination.is_ipv4() { &self.v4 } else { &self.v6 };
        table.iter().find(|line| line.matches(packet)).map(|line| line.slot)
    }
}

/// One remote selector of one rule.
#[derive(Debug)]
struct Line {
    remote: Selector,
    selectors: Arc<Selectors>,
    slot: SlotId,
    /// How specific `remote` is; for a prefix, its length.
    bits: u32,
    metric: u32,
}

impl Line {
    fn matches(&self, packet: &View) -> bool {
        self.remote.matches_destination(packet)
            && self.selectors.local.iter().any(|local| local.matches_source(packet))
    }
}

/// The leading bits that all addresses of the range have in common in number: 32 or 128 less the logarithm of its size,
/// rounded down, so that for a prefix it is the prefix length. `None` if the range is empty.
fn range_bits(selector: &Selector) -> Option<u32> {
    let steps = match (selector.start, selector.end) {
        (IpAddr::V4(start), IpAddr::V4(end)) => {
            u128::from(end.to_bits().checked_sub(start.to_bits())?)
        }
        (IpAddr::V6(start), IpAddr::V6(end)) => end.to_bits().checked_sub(start.to_bits())?,
        _ => return None,
    };
    let width = if selector.start.is_ipv4() { 32 } else { 128 };
    Some(width - (u128::BITS - steps.leading_zeros()))
}
