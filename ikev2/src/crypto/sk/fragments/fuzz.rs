//! Reassembly beside a model of it: a map from numbers to pieces that knows nothing of slots.
//!
//! ```text
//!   cap | number, total, type, length, piece | number, total, .. | ..
//! ```

use std::collections::BTreeMap;

use super::{Added, AuthenticFragment, Fragment, Reassembly};
use crate::fuzz::Input;
use crate::registry::PayloadType;

/// Gives fragments to both and compares what becomes of them.
pub(crate) fn fragments(data: &[u8]) {
    let mut input = Input(data);
    let cap = usize::from(input.short());
    let mut ours = Reassembly::new();
    let mut model = Model::default();
    while !input.is_empty() {
        // Small numbers meet more often.
        let wide = input.octet() & 1 != 0;
        let mut number = || if wide { input.short() } else { u16::from(input.octet() % 16) };
        let fragment = Fragment { number: number(), total: number() };
        let first = PayloadType(input.octet());
        let plain = input.few();
        assert_eq!(ours.wants(fragment), model.wants(fragment), "{fragment:?}");
        let mut whole = Vec::new();
        let piece = AuthenticFragment { fragment, first, plain };
        let got = match ours.add(&piece, cap, &mut whole) {
            Added::Waiting => Became::Waiting,
            Added::Whole(authentic) => Became::Whole(authentic.first.0, authentic.plain.to_vec()),
            Added::Excess => Became::Excess,
        };
        assert_eq!(got, model.add(fragment, first, plain, cap), "{fragment:?}");
        let held: usize = model.pieces.values().map(Vec::len).sum();
        assert_eq!((ours.held(), ours.filled()), (held, model.pieces.len()));
        assert!(held <= cap);
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Became {
    Waiting,
    Whole(u8, Vec<u8>),
    Excess,
}

#[derive(Default)]
struct Model {
    total: u16,
    first: u8,
    pieces: BTreeMap<u16, Vec<u8>>,
}

impl Model {
    /// RFC 7383 §2.6, as it is written there.
    fn wants(&self, Fragment { number, total }: Fragment) -> bool {
        let sane = number != 0 && number <= total && total <= Fragment::MOST;
        let newer = total > self.total;
        sane && (newer || (total == self.total && !self.pieces.contains_key(&number)))
    }

    fn add(&mut self, fragment: Fragment, first: PayloadType, plain: &[u8], cap: usize) -> Became {
        if !self.wants(fragment) {
            return Became::Waiting;
        }
        if fragment.total > self.total {
            *self = Self { total: fragment.total, ..Self::default() };
        }
        let held: usize = self.pieces.values().map(Vec::len).sum();
        if held + plain.len() > cap {
            *self = Self::default();
            return Became::Excess;
        }
        if fragment.number == 1 {
            self.first = first.0;
        }
        self.pieces.insert(fragment.number, plain.to_vec());
        if self.pieces.len() < usize::from(self.total) {
            return Became::Waiting;
        }
        let done = std::mem::take(self);
        Became::Whole(done.first, done.pieces.into_values().flatten().collect())
    }
}
