//! Which configured child an inner packet belongs to: the SPD of the outbound side (RFC 4301 §4.4.1, §5.1).
//!
//! ```text
//!   rule   local selectors   remote selectors            slot
//!          10.1.0.0/16       10.2.0.0/16, 10.3.0.0/16    0          one line of the table per remote selector,
//!          10.1.0.0/16       10.2.7.0/24                 1          most specific remote range first
//!
//!   table  10.2.7.0/24 ─► 1,  10.2.0.0/16 ─► 0,  10.3.0.0/16 ─► 0          one table per family
//!
//!   policy/blocks.rs   ranges of addresses as keys of a hash table
//!   policy/table.rs    finds the line without looking at the others: as fast with 10 000 tunnels as with one
//! ```
//!
//! The first line whose remote selector matches the destination and one of whose local selectors matches the source wins.
//! Lines are ordered by the size of the remote range, then by what the child can do at this moment (one that has an SA before
//! one that has none), then by metric (smaller first), then as given. There is no rule that lets a packet through
//! unprotected: what matches nothing is dropped.

mod blocks;
mod table;
#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;

use esp::ip::View;
use esp::{Selector, Selectors};

use self::blocks::Span;
use self::table::{Sides, Table};
use crate::dataplane::SlotId;

/// What one configured child protects.
#[derive(Debug, Clone)]
pub struct Rule {
    /// The child.
    pub slot: SlotId,
    /// Local: our side. Remote: the peer's side.
    pub selectors: Arc<Selectors>,
    /// Between equally specific rules the smaller wins.
    pub rank: Rank,
}

/// Where a rule stands among equally specific ones: first what it can do, then what was configured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// Whether packets get through.
    pub standing: Standing,
    /// Of the connection.
    pub metric: u32,
}

/// What a child can do for packets, best first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// It has an SA, or nothing is known against it.
    #[default]
    Good,
    /// It has an SA, but a monitor says that nothing comes through.
    Doubtful,
    /// It has no SA.
    Down,
}

/// All rules, arranged for lookup; immutable, replaced as a whole.
#[derive(Debug, Default)]
pub struct Policy {
    v4: Table,
    v6: Table,
    /// What the lines are made of, for questions that are asked of dropped packets alone.
    rules: Vec<Arc<Selectors>>,
}

impl Policy {
    /// Arranges `rules`. A selector whose end lies before its start, or is of another family, matches nothing and is left out.
    #[must_use]
    pub fn new(rules: &[Rule]) -> Self {
        let table =
            |is_v4| Table::new(&rules.iter().map(|rule| sides(rule, is_v4)).collect::<Vec<_>>());
        let rules = rules.iter().map(|rule| Arc::clone(&rule.selectors)).collect();
        Self { v4: table(true), v6: table(false), rules }
    }

    /// The child that has to protect `packet`, a packet on its way from our side to the peer's. `None`: nobody's, drop it.
    #[must_use]
    pub fn classify(&self, packet: &View) -> Option<SlotId> {
        match (packet.source, packet.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.v4.find(source.to_bits().into(), destination.to_bits().into(), packet)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.v6.find(source.to_bits(), destination.to_bits(), packet)
            }
            // No packet has two families.
            _ => None,
        }
    }
}

/// For packets that no line takes; each looks at all rules.
impl Policy {
    /// Whether some rule leads to this address, from wherever.
    #[must_use]
    pub fn leads_to(&self, address: IpAddr) -> bool {
        self.rules.iter().flat_map(|rule| &rule.remote).any(|remote| remote.contains(address))
    }

    /// Whether the address is behind a peer rather than behind us: the smallest range that has it is a remote one.
    #[must_use]
    pub fn is_beyond(&self, address: IpAddr) -> bool {
        let smallest = |side: fn(&Selectors) -> &[Selector]| {
            let ranges = self.rules.iter().flat_map(|rule| side(rule));
            let fitting = ranges.filter(|range| range.contains(address));
            fitting.filter_map(Span::of).map(|span| span.magnitude()).min()
        };
        let (local, remote) = (smallest(|rule| &rule.local), smallest(|rule| &rule.remote));
        remote.is_some_and(|remote| local.is_none_or(|local| remote <= local))
    }
}

/// What `rule` says of one family.
fn sides(rule: &Rule, is_v4: bool) -> Sides {
    let of_family = |selectors: &[Selector]| {
        let spans = selectors.iter().filter_map(|selector| Some((Span::of(selector)?, *selector)));
        spans.filter(|(span, _)| span.is_v4() == is_v4).collect()
    };
    let (local, remote) = (of_family(&rule.selectors.local), of_family(&rule.selectors.remote));
    Sides { slot: rule.slot, rank: rule.rank, local, remote }
}
