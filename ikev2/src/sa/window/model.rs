//! The window against a naive model that keeps the whole past (RFC 7296 §2.1 to §2.3, RFC 6311 §5.1).
//!
//! ```text
//!   any sequence of steps ─► Window ─► what it says ┐
//!                         └► Model  ─► what it says ┴ the same; and no ID is taken twice, in either direction
//! ```

use proptest::prelude::*;

use super::*;
use crate::registry::{ExchangeType, PayloadType};
use crate::wire::header::{Flags, IkeSpi};

/// Something that happens to a window. IDs are relative to the next one, so that most are near it.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// A request arrives; whether its ICV is good, and whether it is answered.
    Request { ahead: i64, octets: u8, authentic: bool, answered: bool },
    /// A response arrives.
    Response { ahead: i64, octets: u8, authentic: bool },
    /// We ask for something.
    Ask,
    /// A member of a cluster takes over.
    Synchronise { theirs: i64, ours: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let ahead =
        || prop_oneof![4 => -1..=1i64, 1 => -5..=5i64, 1 => any::<i32>().prop_map(i64::from)];
    prop_oneof![
        6 => (ahead(), 0..3u8, any::<bool>(), any::<bool>()).prop_map(
            |(ahead, octets, authentic, answered)| Step::Request { ahead, octets, authentic, answered }
        ),
        4 => (ahead(), 0..3u8, any::<bool>())
            .prop_map(|(ahead, octets, authentic)| Step::Response { ahead, octets, authentic }),
        4 => Just(Step::Ask),
        1 => (ahead(), ahead()).prop_map(|(theirs, ours)| Step::Synchronise { theirs, ours }),
    ]
}

/// What a message is to the model.
#[derive(Debug, PartialEq, Eq)]
enum Says {
    Fresh,
    Repeat,
    Old,
    Unasked,
}

/// Everything that ever happened.
#[derive(Default)]
struct Model {
    /// Requests of the peer that were taken: ID, octets, whether they were answered.
    requests: Vec<(u32, u8, bool)>,
    /// Requests of ours: ID, whether they were answered.
    ours: Vec<(u32, bool)>,
    /// The IDs from which each side went on: the first, and those of each synchronisation.
    starts: Vec<(u32, u32)>,
}

impl Model {
    /// The ID of the peer's next request: behind the last one taken, unless it went on elsewhere since.
    fn expected(&self) -> u32 {
        let start = self.starts.last().unwrap().0;
        self.requests.last().map_or(start, |(id, _, _)| (id + 1).max(start))
    }

    /// The ID of our next request.
    fn next(&self) -> u32 {
        let start = self.starts.last().unwrap().1;
        self.ours.last().map_or(start, |(id, _)| (id + 1).max(start))
    }

    fn request(&self, id: u32, octets: u8) -> Says {
        let last = self.requests.last().filter(|(last, _, _)| last + 1 == self.expected());
        if id == self.expected() {
            Says::Fresh
        } else if last == Some(&(id, octets, true)) && !self.began_anew() {
            Says::Repeat
        } else {
            Says::Old
        }
    }

    /// Whether nothing was taken since the last synchronisation.
    fn began_anew(&self) -> bool {
        self.starts.len() > 1 && self.expected() == self.starts.last().unwrap().0
    }

    fn response(&self, id: u32) -> Says {
        if self.ours.last() == Some(&(id, false)) { Says::Fresh } else { Says::Unasked }
    }

    /// RFC 6311 §5.1: above everything seen, and above every synchronisation before.
    fn synchronise(&mut self, theirs: u32, ours: u32) -> Option<(u32, u32)> {
        let again = self.starts.iter().skip(1).any(|(before, _)| *before >= theirs);
        let end = u32::MAX - 1024;
        if again || theirs < self.expected() || theirs >= end || ours >= end {
            return None;
        }
        let agreed = (theirs, self.next().max(ours));
        self.starts.push(agreed);
        if let Some(waiting) = self.ours.last_mut() {
            // Given up: an answer to it is none any more.
            waiting.1 = true;
        }
        Some(agreed)
    }
}

fn header(id: u32, response: bool) -> Header {
    Header {
        spi_i: IkeSpi(1),
        spi_r: IkeSpi(2),
        next_payload: PayloadType::SK,
        version: Header::VERSION,
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags { initiator: true, response, ..Flags::default() },
        message_id: MessageId(id),
        len: 28,
    }
}

fn near(id: u32, ahead: i64) -> u32 {
    u32::try_from((i64::from(id) + ahead).rem_euclid(1 << 32)).unwrap()
}

fn said(admit: &Admit) -> Says {
    match admit {
        Admit::Fresh(_) => Says::Fresh,
        Admit::Retransmit => Says::Repeat,
        Admit::Refuse(DropReason::OutsideWindow) => Says::Old,
        Admit::Refuse(DropReason::Unsolicited) => Says::Unasked,
        Admit::Refuse(reason) => panic!("{reason:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_window_says_what_the_model_says(
        start in 0..3u32,
        steps in proptest::collection::vec(step(), 1..80),
    ) {
        let mut window = Window::starting_at(start, 1 - start.min(1));
        let mut model = Model { starts: vec![(1 - start.min(1), start)], ..Model::default() };
        let mut taken = std::collections::HashSet::new();
        for step in steps {
            match step {
                Step::Request { ahead, octets, authentic, answered } => {
                    let id = near(model.expected(), ahead);
                    let admit = window.admit(&header(id, false), &[octets]);
                    prop_assert_eq!(said(&admit), model.request(id, octets), "request {}", id);
                    if let Admit::Fresh(ticket) = admit && authentic {
                        window.commit(&ticket);
                        prop_assert!(taken.insert((false, id)), "request {} taken twice", id);
                        model.requests.push((id, octets, answered));
                        if answered {
                            window.answered(&ticket, Parcel::of(&[octets, 7]));
                        }
                        let known = window.last_answer(u32::MAX).map(|answer| answer.datagrams().concat());
                        prop_assert_eq!(known, answered.then(|| vec![octets, 7]));
                    }
                }
                Step::Response { ahead, octets, authentic } => {
                    let last = model.ours.last().map_or(start, |(id, _)| *id);
                    let id = near(last, ahead);
                    let admit = window.admit(&header(id, true), &[octets]);
                    prop_assert_eq!(said(&admit), model.response(id), "response {}", id);
                    if let Admit::Fresh(ticket) = admit && authentic {
                        window.commit(&ticket);
                        prop_assert!(taken.insert((true, id)), "response {} taken twice", id);
                        model.ours.last_mut().unwrap().1 = true;
                    }
                }
                Step::Ask => {
                    // One request at a time.
                    if model.ours.last().is_none_or(|(_, answered)| *answered) {
                        let id = model.next();
                        prop_assert_eq!(window.open_request(), MessageId(id));
                        model.ours.push((id, false));
                    }
                }
                Step::Synchronise { theirs, ours } => {
                    let (theirs, ours) = (near(model.expected(), theirs), near(model.next(), ours));
                    let agreed = model.synchronise(theirs, ours);
                    prop_assert_eq!(window.synchronise(theirs, ours), agreed);
                }
            }
            let worn = model.next() > u32::MAX - 1024 || model.expected() > u32::MAX - 1024;
            prop_assert_eq!(window.nearly_exhausted(), worn);
        }
    }
}
