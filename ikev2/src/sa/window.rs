//! Message IDs (RFC 7296 §2.1-2.3): gate 1 of a protected message.
//!
//! ```text
//!   request  in: id == expected            -> Fresh      id == expected - 1, same octets -> Retransmit (send the cached answer)
//!   response in: id == outstanding request -> Fresh      anything else                   -> Refuse
//! ```
//!
//! Both directions have a window of one: we never have more than one request outstanding and never announce
//! SET_WINDOW_SIZE, so neither may the peer. `admit` records nothing; only `commit`, after the integrity check, does.

use sha2::{Digest, Sha256};

use super::fragments::Parcel;
use crate::crypto::intauth::Associated;
use crate::error::DropReason;
use crate::wire::header::{Header, MessageId};

/// Message IDs of both directions, the last answer, and what identifies the request that it answered.
pub(super) struct Window {
    next_request: u32,
    outstanding: Option<u32>,
    expected: u32,
    answered: Option<Answered>,
    /// The ID that the last synchronisation named (RFC 6311).
    synchronised: Option<u32>,
}

struct Answered {
    digest: Option<[u8; 32]>,
    answer: Parcel,
    /// How often it was sent again.
    repeats: u32,
}

/// What gate 1 says of a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admit {
    /// New: open it, then `commit` the ticket.
    Fresh(Ticket),
    /// The last request again, octet for octet: send the same answer again.
    Retransmit,
    /// Not for now.
    Refuse(DropReason),
}

/// Proof that a message passed gate 1; spent by `commit` once the message is authentic.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    response: bool,
    /// Of the octets of the message, or of its first fragment: whose repetition asks for the answer again (RFC 7383
    /// §2.6.1). `None` if that was never seen.
    pub(super) digest: Option<[u8; 32]>,
    /// If it came in fragments, the octets of the longest.
    pub(super) longest_fragment: Option<usize>,
    /// Of IKE_INTERMEDIATE: the part before the content, as it is authenticated later (RFC 9242 §3.3.2).
    pub(super) associated: Option<Associated>,
}

impl Ticket {
    /// Of a message that is not subject to the window.
    pub(super) const fn outside() -> Self {
        Self { response: false, digest: None, longest_fragment: None, associated: None }
    }
}

impl Window {
    /// A window whose first request of ours and of the peer have these IDs. Whoever sent IKE_SA_INIT goes on with 1,
    /// the other begins with 0, and after an IKE rekey both begin with 0 (RFC 7296 §2.2).
    pub(super) const fn starting_at(ours: u32, theirs: u32) -> Self {
        Self {
            next_request: ours,
            outstanding: None,
            expected: theirs,
            answered: None,
            synchronised: None,
        }
    }

    /// Gate 1. Records nothing.
    pub(super) fn admit(&self, header: &Header, datagram: &[u8]) -> Admit {
        let digest = Some(Sha256::digest(datagram).into());
        let fresh = |response| {
            Admit::Fresh(Ticket { response, digest, longest_fragment: None, associated: None })
        };
        let id = header.message_id.0;
        if header.flags.response {
            return match self.outstanding {
                Some(waiting) if waiting == id => fresh(true),
                _ => Admit::Refuse(DropReason::Unsolicited),
            };
        }
        if id == self.expected {
            return fresh(false);
        }
        match &self.answered {
            Some(last) if self.is_answered(header) && last.digest == digest => Admit::Retransmit,
            _ => Admit::Refuse(DropReason::OutsideWindow),
        }
    }

    /// Whether it claims to be the last request, and the answer is known.
    pub(super) fn is_answered(&self, header: &Header) -> bool {
        !header.flags.response
            && self.answered.is_some()
            && self.expected.checked_sub(1) == Some(header.message_id.0)
    }

    /// Records an authentic message: a response ends our request, a request moves the window on.
    pub(super) fn commit(&mut self, ticket: &Ticket) {
        if ticket.response {
            self.outstanding = None;
        } else {
            self.expected = self.expected.saturating_add(1);
            self.answered = None;
        }
    }

    /// Keeps the answer to the request that `ticket` admitted.
    pub(super) fn answered(&mut self, ticket: &Ticket, answer: Parcel) {
        self.answered = Some(Answered { digest: ticket.digest, answer, repeats: 0 });
    }

    /// The answer to the last request, to be sent again: if it is still known, and was not sent again `most` times.
    pub(super) fn last_answer(&mut self, most: u32) -> Option<&mut Parcel> {
        let last = self.answered.as_mut().filter(|last| last.repeats < most)?;
        last.repeats += 1;
        Some(&mut last.answer)
    }

    /// Takes the ID of the next request of ours. There must be none outstanding.
    pub(super) fn open_request(&mut self) -> MessageId {
        debug_assert!(self.outstanding.is_none(), "one request at a time (RFC 7296 §2.3)");
        let id = self.next_request;
        self.next_request = self.next_request.saturating_add(1);
        self.outstanding = Some(id);
        MessageId(id)
    }

    /// Goes on with other message IDs (RFC 6311 §5.1): `theirs` is the next of the peer's requests, which must exceed all
    /// that were seen, and `ours` the next that it expects of us. Gives what is agreed, or `None` if the message is old.
    pub(super) fn synchronise(&mut self, theirs: u32, ours: u32) -> Option<(u32, u32)> {
        let seen = self.synchronised.map_or(self.expected, |last| self.expected.max(last + 1));
        if theirs < seen || theirs >= u32::MAX - 1024 || ours >= u32::MAX - 1024 {
            return None;
        }
        self.synchronised = Some(theirs);
        self.expected = theirs;
        self.next_request = self.next_request.max(ours);
        self.outstanding = None;
        self.answered = None;
        Some((self.expected, self.next_request))
    }

    /// Whether the next ID would come too close to the end of the space (RFC 7296 §2.2).
    pub(super) const fn nearly_exhausted(&self) -> bool {
        self.next_request > u32::MAX - 1024 || self.expected > u32::MAX - 1024
    }
}

#[cfg(test)]
mod model;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{ExchangeType, PayloadType};
    use crate::wire::header::{Flags, IkeSpi};

    fn header(id: u32, response: bool) -> Header {
        Header {
            spi_i: IkeSpi(1),
            spi_r: IkeSpi(2),
            next_payload: PayloadType::SK,
            version: 0x20,
            exchange: ExchangeType::INFORMATIONAL,
            flags: Flags { initiator: true, response, ..Flags::default() },
            message_id: MessageId(id),
            len: 28,
        }
    }

    fn fresh(window: &Window, id: u32, response: bool, octets: &[u8]) -> Ticket {
        match window.admit(&header(id, response), octets) {
            Admit::Fresh(ticket) => ticket,
            refused @ (Admit::Retransmit | Admit::Refuse(_)) => panic!("{refused:?}"),
        }
    }

    #[test]
    fn an_identical_repeat_gets_the_cached_answer() {
        let mut window = Window::starting_at(0, 1);
        let ticket = fresh(&window, 1, false, b"request");
        window.commit(&ticket);
        window.answered(&ticket, Parcel::of(b"answer"));
        assert_eq!(window.admit(&header(1, false), b"request"), Admit::Retransmit);
        let answer = window.last_answer(1).map(|answer| answer.datagrams().concat());
        assert_eq!(answer.as_deref(), Some(&b"answer"[..]));
        assert!(window.last_answer(1).is_none(), "more often than that");
    }

    #[test]
    fn a_repeat_with_other_octets_is_refused() {
        let mut window = Window::starting_at(0, 1);
        let ticket = fresh(&window, 1, false, b"request");
        window.commit(&ticket);
        window.answered(&ticket, Parcel::of(b"answer"));
        let refused = Admit::Refuse(DropReason::OutsideWindow);
        assert_eq!(window.admit(&header(1, false), b"forged!"), refused);
        assert_eq!(window.admit(&header(3, false), b"later"), refused);
        assert_eq!(window.admit(&header(0, false), b"request"), refused);
    }

    #[test]
    fn only_the_outstanding_request_can_be_answered_and_only_once() {
        let mut window = Window::starting_at(0, 0);
        let unsolicited = Admit::Refuse(DropReason::Unsolicited);
        assert_eq!(window.admit(&header(0, true), b"x"), unsolicited);
        assert_eq!(window.open_request(), MessageId(0));
        assert_eq!(window.admit(&header(1, true), b"x"), unsolicited);
        let ticket = fresh(&window, 0, true, b"x");
        window.commit(&ticket);
        assert_eq!(window.admit(&header(0, true), b"x"), unsolicited);
    }

    #[test]
    fn admitting_without_committing_changes_nothing() {
        let window = Window::starting_at(0, 7);
        let _forged = fresh(&window, 7, false, b"forged");
        let _genuine = fresh(&window, 7, false, b"genuine");
    }
}
