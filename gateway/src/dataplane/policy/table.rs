//! The lines of one family, found by the addresses of a packet instead of one after the other.
//!
//! ```text
//!   destination 10.2.7.9
//!     │  one hash table per size of remote ranges that occurs, most specific first
//!     ├─ /24  10.2.7.0 ─► node ── lines    10.2.7.0/24 ─► 1, 10.2.7.0/24 port 53 ─► 4          in order
//!     │                     └──── sources  few:  10.1.0.0/16 of line 0, 10.9.0.0/16 of line 1  one after the other
//!     └─ /0   0        ─► node ── sources  many: by size, with the first line that each size holds
//!                                                /24  source 10.1.3.0 ─► 10.1.3.0/24 of line 700
//!                                                /16  source 10.1.0.0 ─► 10.1.0.0/16 of line 9000
//! ```
//!
//! Smaller remote ranges come first, so the first size with a line that matches has the answer; a packet that a node's lines
//! reject falls through to the next size. Inside a node all remote ranges have the same size, and the sizes of sources
//! are tried in the order of the first line they hold, until none can hold a better one than was found. Tables only propose
//! lines: what decides is the selectors themselves, so that ranges that are no prefixes ([`blocks`](super::blocks)),
//! protocols and ports count as they do everywhere else.
//!
//! A look-up costs one hash per size of remote ranges in the policy, and one per size of local ranges in a node that fits:
//! a handful, 33 or 129 at most, however many lines there are. Lines that differ in protocol and ports, or overlap
//! without being prefixes, are compared one by one. Nodes with the same sources, such as those of a child with many remote
//! networks, share them.
//!
//! Why not a trie of a crate: a longest match is not the answer, since the source decides, too; all the prefixes that hold an
//! address are needed, most specific first. Those are as many steps as the trie is deep, each a miss of the cache. Why no
//! cache of flows in front: with few flows it saved 10 to 25 ns of a packet, with many it cost 5 to 10 ns, and it has to be
//! emptied in time.

use std::collections::HashMap;
use std::ops::Range;

use esp::Selector;
use esp::ip::View;
use foldhash::fast::FixedState;

use super::Rank;
use super::blocks::{Span, block};
use crate::dataplane::SlotId;

/// Both sides of one rule, as far as they are of one family.
pub(super) struct Sides {
    pub(super) slot: SlotId,
    pub(super) rank: Rank,
    pub(super) local: Vec<(Span, Selector)>,
    pub(super) remote: Vec<(Span, Selector)>,
}

/// All lines of one family.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Smallest magnitude first.
    levels: Vec<Level>,
    /// The lines of each node in a row, in order.
    lines: Vec<Line>,
    /// What is compared in a row, in the order of the lines.
    sources: Vec<Source>,
    /// For each node with many sources their magnitudes in a row, in the order of the first line that each holds.
    steps: Vec<Step>,
    /// Where the sources of a block are.
    blocks: HashMap<SourceBlock, Row, FixedState>,
}

/// All remote ranges of one size.
#[derive(Debug)]
struct Level {
    magnitude: u32,
    nodes: HashMap<u128, Node, FixedState>,
}

/// What is known of one block of remote addresses.
#[derive(Debug, Clone, Copy)]
struct Node {
    lines: Row,
    sources: Sources,
}

/// One remote selector of one rule.
#[derive(Debug)]
struct Line {
    remote: Selector,
    slot: SlotId,
}

/// The local selectors of a node's lines.
#[derive(Debug, Clone, Copy)]
enum Sources {
    /// Up to [`FEW`], compared one by one: a part of [`Table::sources`].
    Few(Row),
    /// A part of [`Table::steps`].
    Many(Row),
}

/// One local selector of a line.
#[derive(Debug)]
struct Source {
    local: Selector,
    /// Position among the node's lines.
    line: u32,
}

/// All local ranges of one size, of one node.
#[derive(Debug)]
struct Step {
    group: u32,
    magnitude: u32,
    /// The first of the node's lines that has such a range.
    first: u32,
}

/// Key of a block of local addresses.
#[derive(Debug, PartialEq, Eq, Hash)]
struct SourceBlock {
    block: u128,
    /// Numbers the nodes with many sources.
    group: u32,
    magnitude: u32,
}

/// A part of a vector.
#[derive(Debug, Clone, Copy)]
struct Row {
    start: u32,
    end: u32,
}

impl Table {
    /// Orders the lines of `rules`.
    pub(super) fn new(rules: &[Sides]) -> Self {
        Builder::new(rules).build()
    }

    /// The slot of the first line that matches `packet`, whose addresses are given as numbers.
    pub(super) fn find(&self, source: u128, destination: u128, packet: &View) -> Option<SlotId> {
        self.levels.iter().find_map(|level| {
            let node = level.nodes.get(&block(destination, level.magnitude))?;
            self.find_in(node, source, packet)
        })
    }

    fn find_in(&self, node: &Node, source: u128, packet: &View) -> Option<SlotId> {
        let lines = self.lines.get(node.lines.range())?;
        let first = match node.sources {
            Sources::Few(row) => self.first_match(row, lines, packet),
            Sources::Many(steps) => {
                let mut best: Option<&Source> = None;
                for step in self.steps.get(steps.range())? {
                    if best.is_some_and(|best| best.line <= step.first) {
                        break;
                    }
                    let block = block(source, step.magnitude);
                    let key = SourceBlock { block, group: step.group, magnitude: step.magnitude };
                    let Some(row) = self.blocks.get(&key) else { continue };
                    let Some(found) = self.first_match(*row, lines, packet) else { continue };
                    if best.is_none_or(|best| found.line < best.line) {
                        best = Some(found);
                    }
                }
                best
            }
        };
        lines.get(index(first?.line)).map(|line| line.slot)
    }

    /// The first source of `row` that matches the packet, as does its line.
    fn first_match(&self, row: Row, lines: &[Line], packet: &View) -> Option<&Source> {
        let matches = |source: &&Source| {
            source.local.matches_source(packet)
                && lines
                    .get(index(source.line))
                    .is_some_and(|line| line.remote.matches_destination(packet))
        };
        self.sources.get(row.range())?.iter().find(matches)
    }
}

impl Row {
    /// From `start` to what is the end of the vector now.
    fn since(start: usize, len: usize) -> Self {
        Self { start: number(start), end: number(len) }
    }

    const fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// A table in the making.
struct Builder<'a> {
    rules: &'a [Sides],
    table: Table,
    /// The sources of nodes that were made, by the rules of their lines.
    made: HashMap<Vec<usize>, Sources, FixedState>,
    groups: u32,
}

/// A remote range under one of its blocks; the derived order is the table's: magnitude, block, rank, as given.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    magnitude: u32,
    block: u128,
    rank: Rank,
    rule: usize,
    remote: usize,
}

impl<'a> Builder<'a> {
    fn new(rules: &'a [Sides]) -> Self {
        Self { rules, table: Table::default(), made: HashMap::default(), groups: 0 }
    }

    fn build(mut self) -> Table {
        let mut entries = Vec::new();
        for (rule, sides) in self.rules.iter().enumerate() {
            for (remote, (span, _)) in sides.remote.iter().enumerate() {
                let (magnitude, rank) = (span.magnitude(), sides.rank);
                let entry = |block| Entry { magnitude, block, rank, rule, remote };
                entries.extend(span.blocks().map(entry));
            }
        }
        entries.sort_unstable();
        for level in entries.chunk_by(|a, b| a.magnitude == b.magnitude) {
            let mut nodes = HashMap::with_capacity_and_hasher(level.len(), FixedState::default());
            for node in level.chunk_by(|a, b| a.block == b.block) {
                let Some(first) = node.first() else { continue };
                nodes.insert(first.block, self.node(node));
            }
            let Some(first) = level.first() else { continue };
            self.table.levels.push(Level { magnitude: first.magnitude, nodes });
        }
        self.table
    }

    /// Makes a node of the entries of one block.
    fn node(&mut self, entries: &[Entry]) -> Node {
        let start = self.table.lines.len();
        for entry in entries {
            let Some(sides) = self.rules.get(entry.rule) else { continue };
            let Some(&(_, remote)) = sides.remote.get(entry.remote) else { continue };
            self.table.lines.push(Line { remote, slot: sides.slot });
        }
        let lines = Row::since(start, self.table.lines.len());
        let rules: Vec<usize> = entries.iter().map(|entry| entry.rule).collect();
        let sources = match self.made.get(&rules) {
            Some(sources) => *sources,
            None => self.sources(rules),
        };
        Node { lines, sources }
    }

    /// Makes the sources of a node whose lines are of `rules`.
    fn sources(&mut self, rules: Vec<usize>) -> Sources {
        let mut all = Vec::new();
        for (line, rule) in rules.iter().enumerate() {
            let Some(sides) = self.rules.get(*rule) else { continue };
            all.extend(sides.local.iter().map(|&(span, local)| (span, local, number(line))));
        }
        let sources = if all.len() <= FEW {
            let start = self.table.sources.len();
            self.table.sources.extend(all.iter().map(|&(_, local, line)| Source { local, line }));
            Sources::Few(Row::since(start, self.table.sources.len()))
        } else {
            Sources::Many(self.many(&all))
        };
        self.made.insert(rules, sources);
        sources
    }

    /// Enters sources, given in the order of their lines, under their blocks.
    fn many(&mut self, all: &[(Span, Selector, u32)]) -> Row {
        let group = self.groups;
        self.groups += 1;
        let mut entries = Vec::with_capacity(all.len());
        for (position, (span, ..)) in all.iter().enumerate() {
            entries.extend(span.blocks().map(|block| (span.magnitude(), block, position)));
        }
        entries.sort_unstable();
        let start = self.table.steps.len();
        for step in entries.chunk_by(|a, b| a.0 == b.0) {
            let line = |entry: &(u32, u128, usize)| all.get(entry.2).map(|&(_, _, line)| line);
            let Some(first) = step.iter().filter_map(line).min() else { continue };
            for sources in step.chunk_by(|a, b| a.1 == b.1) {
                let Some(&(magnitude, block, _)) = sources.first() else { continue };
                let start = self.table.sources.len();
                let source = |entry: &(u32, u128, usize)| {
                    all.get(entry.2).map(|&(_, local, line)| Source { local, line })
                };
                self.table.sources.extend(sources.iter().filter_map(source));
                let row = Row::since(start, self.table.sources.len());
                self.table.blocks.insert(SourceBlock { block, group, magnitude }, row);
            }
            let Some(&(magnitude, ..)) = step.first() else { continue };
            self.table.steps.push(Step { group, magnitude, first });
        }
        let row = Row::since(start, self.table.steps.len());
        if let Some(steps) = self.table.steps.get_mut(row.range()) {
            // Of equals the more specific first, which is the likelier one.
            steps.sort_by_key(|step| (step.first, step.magnitude));
        }
        row
    }
}

fn number(len: usize) -> u32 {
    u32::try_from(len).expect("invariant: memory has no room for 2^32 lines")
}

const fn index(position: u32) -> usize {
    position as usize
}

/// So many sources are compared faster than they are hashed.
const FEW: usize = 8;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ANY: (u32, u32) = (0, u32::MAX);
    const TUNNELS: u32 = 10_000;

    fn side((start, end): (u32, u32)) -> Vec<(Span, Selector)> {
        let selector =
            Selector::addresses(Ipv4Addr::from(start).into(), Ipv4Addr::from(end).into());
        vec![(Span::of(&selector).unwrap(), selector)]
    }

    fn table(sides: impl Fn(u32) -> ((u32, u32), (u32, u32))) -> Table {
        let rule = |i| {
            let (local, remote) = sides(i);
            Sides {
                slot: SlotId(i),
                rank: Rank::default(),
                local: side(local),
                remote: side(remote),
            }
        };
        Table::new(&(0..TUNNELS).map(rule).collect::<Vec<_>>())
    }

    /// The most hashes and the most comparisons that one look-up can take.
    #[expect(clippy::iter_over_hash_type, reason = "a maximum has no order")]
    fn worst(table: &Table) -> (usize, usize) {
        let (mut hashes, mut compared) = (0, 0);
        for level in &table.levels {
            let (mut most_hashes, mut most_compared) = (0, 0);
            for node in level.nodes.values() {
                let (more, compared) = match node.sources {
                    Sources::Few(row) => (0, row.range().len()),
                    Sources::Many(steps) => {
                        let rows = table.blocks.values().map(|row| row.range().len());
                        let most = rows.max().unwrap_or(0);
                        (steps.range().len(), steps.range().len() * most)
                    }
                };
                most_hashes = most_hashes.max(more);
                most_compared = most_compared.max(compared);
            }
            hashes += 1 + most_hashes;
            compared += most_compared;
        }
        (hashes, compared)
    }

    #[test]
    fn ten_thousand_tunnels_cost_no_more_looks_than_their_sizes() {
        let own = |i: u32| (i << 8, i << 8 | 0xff);
        // Side by side, and no prefixes: of 256 addresses two or three touch the same block.
        let odd = |i: u32| (i * 200 + 3, i * 200 + 202);
        assert_eq!(worst(&table(|i| (ANY, own(i)))), (1, 1), "a hub");
        assert_eq!(worst(&table(|i| (own(i), ANY))), (2, 1), "its spoke");
        assert_eq!(worst(&table(|i| (own(i), own(i)))), (1, 1), "both sides their own");
        assert_eq!(worst(&table(|i| (ANY, odd(i)))), (1, 3), "ranges that are no prefixes");
        assert_eq!(worst(&table(|i| (odd(i), ANY))), (2, 3), "the same as sources");
    }

    #[test]
    fn remote_networks_of_one_rule_share_its_sources() {
        let networks = |base: u32| (0..255).flat_map(move |i| side((base | i << 8, base | i << 8)));
        let (local, remote) = (networks(1 << 24).collect(), networks(2 << 24).collect());
        let table = Table::new(&[Sides { slot: SlotId(0), rank: Rank::default(), local, remote }]);
        assert_eq!((table.lines.len(), table.sources.len()), (255, 255));
    }
}
