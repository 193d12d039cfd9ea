//! Any order, any number, any nonsense in the numbers: the message comes out whole or not at all.

use proptest::prelude::*;
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::super::tests::{ends, header, rng, suites};
use super::*;
use crate::crypto::sk::{Protection, claimed_fragment};
use crate::error::DropReason;

const CAP: usize = 0x1_0000;

/// Authentic fragments as `open_fragment` makes them, without the cryptography around.
struct Pieces {
    total: u16,
    content: Vec<u8>,
}

impl Pieces {
    /// `total` pieces of 10 octets, the last one shorter.
    fn new(total: u16) -> Self {
        let len = 10 * u32::from(total) - 3;
        Self { total, content: (0..len).map(|n| n.to_be_bytes()[3] ^ n.to_be_bytes()[2]).collect() }
    }

    fn piece(&self, number: u16) -> AuthenticFragment<'_> {
        let plain = self.content.chunks(10).nth(usize::from(number) - 1).unwrap();
        let first = if number == 1 { PayloadType::ID_I } else { PayloadType::NONE };
        AuthenticFragment { fragment: Fragment { number, total: self.total }, first, plain }
    }

    /// Adds one; the content once it is whole.
    fn add(&self, number: u16, reassembly: &mut Reassembly) -> Option<Vec<u8>> {
        let mut whole = Vec::new();
        match reassembly.add(&self.piece(number), CAP, &mut whole) {
            Added::Whole(authentic) => {
                assert_eq!(authentic.first, PayloadType::ID_I);
                Some(authentic.plain.to_vec())
            }
            Added::Waiting => None,
            Added::Excess => panic!("far below the cap"),
        }
    }

    /// Adds them in this order, each of which comes once: whole after the last and not before.
    fn assert_whole(&self, order: &[u16], reassembly: &mut Reassembly) {
        let (last, before) = order.split_last().unwrap();
        for number in before {
            assert_eq!(self.add(*number, reassembly), None, "{order:?}");
        }
        assert_eq!(self.add(*last, reassembly).as_ref(), Some(&self.content), "{order:?}");
        assert_eq!((reassembly.filled(), reassembly.held()), (0, 0));
    }
}

fn orders(numbers: &[u16]) -> Vec<Vec<u16>> {
    if numbers.is_empty() {
        return vec![vec![]];
    }
    let mut all = Vec::new();
    for (at, number) in numbers.iter().enumerate() {
        let mut rest = numbers.to_vec();
        rest.remove(at);
        for mut order in orders(&rest) {
            order.push(*number);
            all.push(order);
        }
    }
    all
}

/// Robustness T04.
#[test]
fn every_order_of_up_to_five() {
    let mut tried = 0;
    for total in 1..=5 {
        let pieces = Pieces::new(total);
        for order in orders(&(1..=total).collect::<Vec<_>>()) {
            pieces.assert_whole(&order, &mut Reassembly::new());
            tried += 1;
        }
    }
    assert_eq!(tried, 1 + 2 + 6 + 24 + 120);
}

fn shuffled(total: u16, seed: u64) -> Vec<u16> {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    let mut order: Vec<u16> = (1..=total).collect();
    for at in (1..order.len()).rev() {
        let bound = u32::try_from(at + 1).unwrap();
        order.swap(at, usize::try_from(rng.next_u32() % bound).unwrap());
    }
    order
}

#[test]
fn a_thousand_orders_of_thirty_two_and_the_most_there_may_be() {
    let mut reassembly = Reassembly::new();
    for seed in 0..1000 {
        Pieces::new(32).assert_whole(&shuffled(32, seed), &mut reassembly);
    }
    let most = Fragment::MOST;
    Pieces::new(most).assert_whole(&(1..=most).rev().collect::<Vec<_>>(), &mut reassembly);
}

/// CVE-2016-10396: the worst order must not cost more than the best. Robustness T04: 32 times the fragments, at most 40
/// times the time.
#[test]
fn the_work_is_linear_whatever_the_order() {
    let work = |order: &[u16]| {
        let mut reassembly = Reassembly::new();
        Pieces::new(u16::try_from(order.len()).unwrap()).assert_whole(order, &mut reassembly);
        reassembly.work
    };
    let few = work(&[1, 2, 3, 4]);
    let forward: Vec<u16> = (1..=128).collect();
    let backward: Vec<u16> = (1..=128).rev().collect();
    let outside_in: Vec<u16> = (1..=64).flat_map(|n| [n, 129 - n]).collect();
    for order in [forward, backward, outside_in, shuffled(128, 1), shuffled(128, 2)] {
        let many = work(&order);
        assert!(many <= 40 * few, "{many} for 128, {few} for 4");
    }
}

#[test]
fn numbers_that_make_no_sense_are_not_wanted() {
    let mut reassembly = Reassembly::new();
    let wants =
        |reassembly: &Reassembly, number, total| reassembly.wants(Fragment { number, total });
    for (number, total) in
        [(0, 0), (0, 1), (1, 0), (2, 1), (5, 4), (1, 256), (256, 256), (1, 65535), (65535, 65535)]
    {
        assert!(!wants(&reassembly, number, total), "{number} of {total}");
    }
    for (number, total) in [(1, 1), (1, 2), (255, 255)] {
        assert!(wants(&reassembly, number, total), "{number} of {total}");
    }
    assert_eq!(Pieces::new(3).add(2, &mut reassembly), None);
    for (number, total, wanted) in [
        (1, 3, true),
        (2, 3, false),
        (3, 3, true),
        (4, 3, false),
        (1, 2, false),
        (1, 1, false),
        (2, 4, true),
    ] {
        assert_eq!(wants(&reassembly, number, total), wanted, "{number} of {total}");
    }
}

#[test]
fn duplicates_and_smaller_sets_change_nothing() {
    let (three, two) = (Pieces::new(3), Pieces::new(2));
    let mut reassembly = Reassembly::new();
    for number in [2, 2, 3, 2, 3] {
        assert_eq!(three.add(number, &mut reassembly), None);
        assert_eq!(two.add(1, &mut reassembly), None);
        assert_eq!(two.add(2, &mut reassembly), None);
    }
    assert_eq!((reassembly.filled(), reassembly.held()), (2, 17));
    assert_eq!(three.add(1, &mut reassembly).as_ref(), Some(&three.content));
}

/// RFC 7383 §2.6: a greater total starts anew, and nothing of the old set is mixed in.
#[test]
fn a_greater_total_starts_over() {
    let (three, five) = (Pieces::new(3), Pieces::new(5));
    let mut reassembly = Reassembly::new();
    three.add(1, &mut reassembly);
    three.add(2, &mut reassembly);
    assert_eq!(five.add(4, &mut reassembly), None);
    assert_eq!((reassembly.filled(), reassembly.held()), (1, 10));
    assert_eq!(three.add(3, &mut reassembly), None);
    for number in [1, 2, 3] {
        assert_eq!(five.add(number, &mut reassembly), None);
    }
    assert_eq!(five.add(5, &mut reassembly).as_ref(), Some(&five.content));
}

#[test]
fn a_gap_keeps_it_waiting() {
    let pieces = Pieces::new(32);
    for gap in 1..=32 {
        let mut reassembly = Reassembly::new();
        for _ in 0..2 {
            for number in (1..=32).filter(|number| *number != gap) {
                assert_eq!(pieces.add(number, &mut reassembly), None);
            }
        }
        assert_eq!(reassembly.filled(), 31);
        assert_eq!(pieces.add(gap, &mut reassembly).as_ref(), Some(&pieces.content));
    }
}

#[test]
fn what_is_held_never_exceeds_the_cap() {
    let mut reassembly = Reassembly::new();
    let octets = vec![7; 1000];
    let mut excess = 0;
    for number in 1..=100 {
        let fragment = Fragment { number, total: 200 };
        let piece = AuthenticFragment { fragment, first: PayloadType::NONE, plain: &octets };
        match reassembly.add(&piece, 16_384, &mut Vec::new()) {
            Added::Waiting => {}
            Added::Whole(_) => panic!("100 of 200"),
            Added::Excess => {
                excess += 1;
                assert_eq!((reassembly.held(), reassembly.filled()), (0, 0), "nothing stays");
            }
        }
        assert!(reassembly.held() <= 16_384);
    }
    assert_eq!(excess, 100 / 17);
    // To the octet.
    let fits = |cap| {
        let piece = AuthenticFragment {
            fragment: Fragment { number: 1, total: 1 },
            first: PayloadType::NONE,
            plain: &octets,
        };
        matches!(Reassembly::new().add(&piece, cap, &mut Vec::new()), Added::Whole(_))
    };
    assert!(fits(1000) && !fits(999));
}

proptest! {
    /// Against a model: what comes out is made of one set only, in order.
    #[test]
    fn whatever_comes_the_message_is_of_one_set(
        steps in prop::collection::vec((1u16..=7, 1u16..=7), 0..60),
    ) {
        let sets: Vec<_> = (1..=7).map(Pieces::new).collect();
        let mut reassembly = Reassembly::new();
        let mut model = (0, std::collections::BTreeSet::new());
        for (number, total) in steps {
            if number > total {
                continue;
            }
            let set = &sets[usize::from(total) - 1];
            if total > model.0 {
                model = (total, std::collections::BTreeSet::new());
            }
            if total == model.0 {
                model.1.insert(number);
            }
            let complete = model.1.len() == usize::from(total) && total == model.0;
            let whole = set.add(number, &mut reassembly);
            prop_assert_eq!(whole, complete.then(|| set.content.clone()));
            if complete {
                model = (0, std::collections::BTreeSet::new());
            }
            prop_assert_eq!(reassembly.filled(), model.1.len());
        }
    }
}

/// Seals `plain` in `total` pieces with the keys of `from`.
fn sealed(from: &mut Protection, plain: &[u8], total: u16) -> Vec<Vec<u8>> {
    let len = plain.len().div_ceil(usize::from(total));
    (1..=total)
        .zip(plain.chunks(len))
        .map(|(number, piece)| {
            let first = if number == 1 { PayloadType::NOTIFY } else { PayloadType::NONE };
            from.seal_fragment(header(), Fragment { number, total }, first, piece, &mut rng())
        })
        .collect()
}

#[test]
fn what_one_end_seals_in_pieces_the_other_opens_with_every_suite() {
    let plain: Vec<u8> = (0..250).collect();
    for suite in suites() {
        let (mut initiator, mut responder) = ends(&suite);
        let opens = |reassembly: &mut Reassembly, end: &Protection, messages: &[Vec<u8>]| {
            let mut whole = Vec::new();
            for message in messages {
                let mut message = message.clone();
                assert!(end.open(&mut message.clone()).is_err(), "a fragment is no message");
                let piece = end.open_fragment(&mut message).unwrap();
                let _added = reassembly.add(&piece, CAP, &mut whole);
            }
            whole
        };
        for total in [1, 2, 3, 7] {
            let messages = sealed(&mut initiator, &plain, total);
            assert_eq!(opens(&mut Reassembly::new(), &responder, &messages), plain, "{suite}");
            let messages = sealed(&mut responder, &plain, total);
            assert_eq!(opens(&mut Reassembly::new(), &initiator, &messages), plain, "{suite}");
            let mut own = sealed(&mut initiator, &plain, total).remove(0);
            assert!(initiator.open_fragment(&mut own).is_err(), "{suite}: not at its sender");
        }
    }
}

/// Also the numbers: the ICV covers them.
#[test]
fn a_fragment_with_one_changed_bit_does_not_open() {
    for suite in suites() {
        let (mut initiator, responder) = ends(&suite);
        for message in sealed(&mut initiator, &[0x5a; 60], 3) {
            let claimed = claimed_fragment(&message).unwrap();
            assert_eq!(claimed.total, 3);
            for bit in 0..8 * message.len() {
                let mut changed = message.clone();
                changed[bit / 8] ^= 1 << (bit % 8);
                let outcome = responder.open_fragment(&mut changed).err();
                let structure = [16, 24, 25, 26, 27, 30, 31].contains(&(bit / 8));
                let reason = if structure { DropReason::Malformed } else { DropReason::BadIcv };
                assert_eq!(outcome, Some(reason), "{suite} octet {} bit {}", bit / 8, bit % 8);
            }
        }
    }
}

#[test]
fn a_fragment_that_is_cut_anywhere_does_not_open() {
    for suite in suites() {
        let (mut initiator, responder) = ends(&suite);
        let message = sealed(&mut initiator, &[0x5a; 20], 1).remove(0);
        for len in 0..message.len() {
            let mut cut = message[..len].to_vec();
            assert!(responder.open_fragment(&mut cut).is_err(), "{suite} {len}");
            if len >= 32 {
                cut = message[..len].to_vec();
                cut[24..28].copy_from_slice(&u32::try_from(len).unwrap().to_be_bytes());
                cut[30..32].copy_from_slice(&u16::try_from(len - 28).unwrap().to_be_bytes());
                assert!(responder.open_fragment(&mut cut).is_err(), "{suite} {len}");
            }
        }
    }
}

#[test]
fn pieces_fill_the_room_and_never_exceed_it() {
    for suite in suites() {
        let mut initiator = ends(&suite).0;
        for room in 200..600 {
            let piece_len = initiator.piece_len(room);
            let mut len = |piece_len| {
                let fragment = Fragment { number: 1, total: 1 };
                let piece = vec![0; piece_len];
                let first = PayloadType::NONE;
                initiator.seal_fragment(header(), fragment, first, &piece, &mut rng()).len()
            };
            assert!(len(piece_len) <= room, "{suite} {room}");
            assert!(len(piece_len + 1) > room, "{suite} {room}");
        }
        for plain_len in 0..100 {
            let message =
                initiator.seal(header(), PayloadType::NONE, &vec![0; plain_len], &mut rng());
            assert_eq!(initiator.sealed_len(plain_len), message.len(), "{suite} {plain_len}");
        }
    }
}
