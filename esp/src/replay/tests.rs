//! The window against a set of everything received, against RFC 4303's own pseudo-code, and a trace of others.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{Candidate, ReplayWindow};
use crate::{params::KeyError, reason::DropReason, tests::vectors};

/// The window as a mathematician would write it.
struct Model {
    received: BTreeSet<u64>,
    top: u64,
    window: u64,
    esn: bool,
}

impl Model {
    fn check(&self, low: u32) -> Result<u64, DropReason> {
        let number = if self.esn { self.infer(low)? } else { u64::from(low) };
        if number <= self.top && self.top - number >= self.window {
            Err(DropReason::TooOld)
        } else if number == 0 || self.received.contains(&number) {
            Err(DropReason::Replayed)
        } else {
            Ok(number)
        }
    }

    /// RFC 4303 §A2.3, in its own 32-bit arithmetic.
    fn infer(&self, low: u32) -> Result<u64, DropReason> {
        let (th, tl) = (self.top >> 32, u32::try_from(self.top & 0xffff_ffff).unwrap());
        let w = u32::try_from(self.window).unwrap();
        let bl = tl.wrapping_sub(w).wrapping_add(1);
        let high = if tl >= w - 1 {
            if low >= bl { Some(th) } else { Some(th + 1).filter(|&high| high < 1 << 32) }
        } else if low >= bl && th > 0 {
            Some(th - 1)
        } else {
            Some(th)
        };
        high.map(|high| high << 32 | u64::from(low)).ok_or(DropReason::TooOld)
    }

    fn commit(&mut self, number: u64) {
        self.received.insert(number);
        self.top = self.top.max(number);
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A number at this distance from the top.
    Near(i64),
    /// Any low half.
    Anywhere(u32),
}

fn steps() -> impl Strategy<Value = Vec<(Step, bool)>> {
    let step = prop_oneof![
        6 => (-70..70_i64).prop_map(Step::Near),
        3 => (-9000..9000_i64).prop_map(Step::Near),
        1 => (-1_i64 << 33..1 << 33).prop_map(Step::Near),
        1 => any::<u32>().prop_map(Step::Anywhere),
    ];
    prop::collection::vec((step, prop::bool::weighted(0.8)), 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn window_equals_the_set_of_all_numbers(
        packets in prop::sample::select(&[32_u32, 64, 65, 100, 128, 500, 4096][..]),
        esn: bool,
        start in prop::sample::select(&[
            0_u64, 1, 63, 4000, (1 << 32) - 100, 1 << 32, (1 << 32) + 30, (5 << 32) - 1, u64::MAX - 200,
        ][..]),
        steps in steps(),
    ) {
        let mut window = ReplayWindow::new(packets, esn).unwrap();
        let span = u64::from(packets.div_ceil(64) * 64);
        prop_assert_eq!(window.packets(), span);
        let mut model = Model { received: BTreeSet::new(), top: 0, window: span, esn };
        let start = if esn { start } else { start.min(u64::from(u32::MAX) - 100) };
        if start > 0 {
            window.skip_to(start);
            model.commit(start);
        }
        for (step, authentic) in steps {
            let low = match step {
                Step::Near(distance) => {
                    let number = model.top.wrapping_add_signed(distance) & 0xffff_ffff;
                    u32::try_from(number).unwrap()
                }
                Step::Anywhere(low) => low,
            };
            let checked = window.check(low);
            prop_assert_eq!(checked.map(Candidate::number), model.check(low), "low half {}", low);
            if let (Ok(candidate), true) = (checked, authentic) {
                prop_assert_eq!(window.commit(candidate), Ok(()));
                model.commit(candidate.number());
                prop_assert_eq!(window.check(low).map(Candidate::number), model.check(low));
            }
            prop_assert_eq!(window.top(), model.top);
        }
    }
}

#[test]
fn every_place_of_the_window_counts() {
    for packets in [64, 128, 4096, 65536] {
        let span = u64::from(packets);
        let mut window = ReplayWindow::new(packets, true).unwrap();
        window.skip_to(10 * span);
        for back in 1..span {
            let candidate = Candidate(10 * span - back);
            assert_eq!(window.commit(candidate), Ok(()), "{back}");
            assert_eq!(window.commit(candidate), Err(DropReason::Replayed), "{back}");
        }
        assert_eq!(window.commit(Candidate(9 * span)), Err(DropReason::TooOld));
    }
}

#[test]
fn twins_in_one_batch_pass_once() {
    let mut window = ReplayWindow::new(64, false).unwrap();
    let (first, twin, left_behind) =
        (window.check(7).unwrap(), window.check(7).unwrap(), window.check(1).unwrap());
    assert_eq!(window.commit(first), Ok(()));
    assert_eq!(window.commit(twin), Err(DropReason::Replayed));
    let ahead = window.check(65).unwrap();
    assert_eq!(window.commit(ahead), Ok(()));
    assert_eq!(window.commit(left_behind), Err(DropReason::TooOld));
}

#[test]
fn check_alone_changes_nothing() {
    let window = ReplayWindow::new(64, true).unwrap();
    for low in [1, 5, u32::MAX] {
        assert_eq!(window.check(low).map(Candidate::number), Ok(u64::from(low)));
        assert_eq!(window.check(low).map(Candidate::number), Ok(u64::from(low)));
    }
    assert_eq!(window.top(), 0);
}

#[test]
fn nothing_comes_after_the_last_number() {
    let mut window = ReplayWindow::new(64, true).unwrap();
    window.skip_to(u64::MAX);
    assert_eq!(window.check(u32::MAX), Err(DropReason::Replayed));
    assert_eq!(window.check(5), Err(DropReason::TooOld));
    assert_eq!(window.check(u32::MAX - 63).map(Candidate::number), Ok(u64::MAX - 63));
}

#[test]
fn sizes_are_bounded() {
    for packets in [0, 31, 65537] {
        assert_eq!(
            ReplayWindow::new(packets, false).unwrap_err(),
            KeyError::ReplayWindow { packets }
        );
    }
}

/// The decisions of the Linux kernel's and wireguard-go's tests. Their window of W spans W + 1 = L numbers from 0 on,
/// ours L numbers from 1 on: so one is added to each number.
#[test]
fn trace_of_others() {
    let Some(file) = vectors::external("rfc/replay_window_trace.json") else { return };
    for packets in [64, 128, 4096] {
        let span = i64::from(packets);
        let fresh = || ReplayWindow::new(packets, false).unwrap();

        let mut window = fresh();
        for entry in file["main"].as_array().unwrap() {
            let text = entry[0].as_str().unwrap();
            let accepted = receive(&mut window, evaluate(text, span));
            assert_eq!(accepted, entry[1] == 1, "{text} of {packets}");
        }

        let w = span - 1;
        let bulk: Vec<_> =
            file["bulk"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
        // Each line of the file, and its numbers: all accepted, and then these decisions.
        let lines = [
            ("1..W all accept; then 0 accept; 0 reject", up(1, w), vec![(0, true), (0, false)]),
            (
                "2..W+1 all accept; then 1 accept; 0 reject",
                up(2, w + 1),
                vec![(1, true), (0, false)],
            ),
            ("W+1 down to 1 all accept", down(w + 1, 1), vec![]),
            ("W+2 down to 2 all accept; 0 reject", down(w + 2, 2), vec![(0, false)]),
            (
                "W down to 1 all accept; W+1 accept; 0 reject",
                down(w, 1),
                vec![(w + 1, true), (0, false)],
            ),
            (
                "W down to 1 all accept; 0 accept; W+1 accept",
                down(w, 1),
                vec![(0, true), (w + 1, true)],
            ),
        ];
        assert_eq!(bulk, lines.each_ref().map(|line| line.0));
        for (text, accepted, then) in lines {
            let mut window = fresh();
            for number in accepted {
                assert!(receive(&mut window, number), "{text}: {number}");
            }
            for (number, accepted) in then {
                assert_eq!(receive(&mut window, number), accepted, "{text}: {number}");
            }
        }
    }
}

fn up(first: i64, last: i64) -> Vec<i64> {
    (first..=last).collect()
}

fn down(first: i64, last: i64) -> Vec<i64> {
    (last..=first).rev().collect()
}

fn receive(window: &mut ReplayWindow, number: i64) -> bool {
    let low = u32::try_from(number + 1).unwrap();
    window.check(low).is_ok_and(|candidate| window.commit(candidate).is_ok())
}

/// Sums and products of L and numbers, as in `L*4-(L+1)`.
fn evaluate(text: &str, l: i64) -> i64 {
    let mut depth = 0;
    // The last + or - outside parentheses splits a sum.
    for (place, sign) in text.char_indices().rev() {
        match sign {
            ')' => depth += 1,
            '(' => depth -= 1,
            '+' | '-' if depth == 0 => {
                let (left, right) = (&text[..place], &text[place + 1..]);
                let right = evaluate(right.trim_start_matches('(').trim_end_matches(')'), l);
                return evaluate(left, l) + if sign == '+' { right } else { -right };
            }
            _ => {}
        }
    }
    match text.split_once('*') {
        Some((left, right)) => evaluate(left, l) * evaluate(right, l),
        None if text == "L" => l,
        None => text.parse().unwrap(),
    }
}
