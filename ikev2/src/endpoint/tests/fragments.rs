//! What a peer may do with fragments that are authentic: hold our memory, never end, contradict itself (RFC 7383 §2.6, §5).
//!
//! ```text
//!   ends[A] ── forged fragments, sealed with A's keys ─► ends[B] ─► held() is bounded, and back to nothing in the end
//! ```

use super::*;
use crate::config::Fragmentation;
use crate::crypto::sk::Fragment;

/// The bound before and after authentication.
const HALF_OPEN: usize = 16 * 1024;
const AUTHENTICATED: usize = 64 * 1024;

const INFORMATIONAL: ExchangeType = ExchangeType::INFORMATIONAL;
const USELESS: Disposition = Disposition::Dropped(DropReason::Fragment);

/// A message of `from`, as a request unless said otherwise.
struct Forged<'c> {
    exchange: ExchangeType,
    id: u32,
    response: bool,
    first: PayloadType,
    plain: &'c [u8],
}

impl<'c> Forged<'c> {
    fn request(id: u32, chain: &'c Chain) -> Self {
        let (first, plain) = (chain.first(), chain.octets());
        Self { exchange: INFORMATIONAL, id, response: false, first, plain }
    }

    /// Fragment `number` of `total`, sealed with the keys of `sa`.
    fn fragment(&self, (sa, mut cx): (&mut IkeSa, Cx<'_>), number: u16, total: u16) -> Vec<u8> {
        let len = self.plain.len().div_ceil(usize::from(total).max(1)).max(1);
        let index = usize::from(number).saturating_sub(1);
        let piece = self.plain.chunks(len).nth(index).unwrap_or_default();
        let first = if number == 1 { self.first } else { PayloadType::NONE };
        let what = (self.exchange, MessageId(self.id), self.response);
        sa.forge_fragment(what, Fragment { number, total }, first, piece, &mut cx)
    }
}

impl Pair {
    /// Delivers one fragment of a message of `from`.
    fn deliver_fragment(
        &mut self,
        from: usize,
        message: &Forged<'_>,
        number: u16,
        total: u16,
    ) -> Disposition {
        let fragment = message.fragment(self.sa(from), number, total);
        self.deliver(from, &fragment)
    }

    fn held(&mut self, end: usize) -> usize {
        self.ends[end].sas.values_mut().map(IkeSa::held).sum()
    }

    /// Up, and silent from then on.
    fn silent() -> Self {
        let mut pair = Self::empty();
        for end in [B, A] {
            let mut config = config(end);
            config.dpd = None;
            pair.ends[end].add_peer(pair.now, config);
        }
        pair.drain();
        pair.settle();
        pair
    }
}

/// Notifications that nobody knows, of `len` octets in all.
fn notifications(len: usize) -> Chain {
    let mut chain = Chain::new();
    while chain.octets().len() < len {
        let left = (len - chain.octets().len()).max(8) - 8;
        chain.notify(NotifyType(40_000), &vec![7; left.min(1000)]);
    }
    chain
}

/// Robustness T04: whoever can begin and has no key to authenticate with fills what each SA may hold, and no more.
#[test]
fn two_hundred_half_open_sas_hold_no_more_than_their_share() {
    let mut b = Pair::empty();
    // Cookies would only make the list of steps longer.
    let config_of_b = EndpointConfig { cookie_threshold: 10_000, ..EndpointConfig::default() };
    b.ends[B] = Endpoint::new(config_of_b, [2; 32]);
    b.ends[B].add_peer(b.now, config(B));
    b.drain();
    let plain = vec![0x5a; AUTHENTICATED];
    let mut most = 0;
    for seed in 0..200 {
        // An initiator of its own, with the same B.
        b.ends[A] = Endpoint::new(EndpointConfig::default(), [seed; 32]);
        b.ends[A].add_peer(b.now, config(A));
        b.drain();
        b.pass();
        b.pass();
        b.wire.clear();
        let (first, plain) = (PayloadType::ID_I, plain.as_slice());
        let exchange = ExchangeType::IKE_AUTH;
        let auth = Forged { exchange, id: 1, response: false, first, plain };
        // Every second one stops short of the bound and waits, the others go on.
        let sent = if seed % 2 == 0 { 15 } else { 63 };
        for number in 1..=sent {
            b.deliver_fragment(A, &auth, number, 64);
            most = most.max(b.held(B));
        }
        let answered = b.wire.pop_front();
        assert_eq!(answered.is_some(), seed % 2 == 1, "one that exceeds the bound is refused");
        if let Some((_, answer)) = answered {
            assert_eq!(b.open(A, &answer.payload), [NotifyType::INVALID_SYNTAX]);
        }
    }
    assert_eq!(b.ends[B].sas.len(), 200);
    assert_eq!(b.held(B), 100 * 15 * 1024);
    assert!(most <= 100 * 15 * 1024 + HALF_OPEN, "{most}");
    b.now += MINUTE;
    b.ends[B].handle_timeout(b.now);
    b.drain();
    assert_eq!((b.ends[B].sas.len(), b.held(B), b.ends[B].admission.len()), (0, 0, 0));
}

/// Robustness T05: as long as it gets, ten times a second.
#[test]
fn an_authenticated_peer_sends_long_messages_and_we_keep_nothing() {
    let mut pair = Pair::silent();
    let chain = notifications(AUTHENTICATED);
    assert_eq!(chain.octets().len(), AUTHENTICATED);
    for id in 2..62 {
        pair.now += Duration::from_millis(100);
        pair.wire.clear();
        let message = Forged::request(id, &chain);
        for number in 1..=64 {
            assert_eq!(pair.deliver_fragment(A, &message, number, 64), Disposition::Accepted);
            assert!(pair.held(B) <= AUTHENTICATED);
        }
        assert_eq!(pair.held(B), 0);
        let (_, answer) = pair.wire.pop_front().expect("an answer");
        assert_eq!(pair.open(A, &answer.payload), []);
    }
    assert_eq!(pair.ends[B].children.len(), 1);
}

/// RFC 7383 §5: one that is longer than any message can be ends the SA.
#[test]
fn a_message_without_end_ends_the_sa() {
    let mut pair = Pair::silent();
    let chain = notifications(AUTHENTICATED + 200);
    let message = Forged::request(2, &chain);
    let mut most = 0;
    for number in (1..=100).rev() {
        pair.deliver_fragment(A, &message, number, 100);
        most = most.max(pair.held(B));
    }
    assert!(most > AUTHENTICATED - 1000 && most <= AUTHENTICATED, "{most}");
    assert_eq!(pair.held(B), 0);
    let (_, answer) = pair.wire.pop_front().expect("an answer");
    assert_eq!(pair.open(A, &answer.payload), [NotifyType::INVALID_SYNTAX]);
    assert!(pair.ends[B].children.is_empty());
    assert_eq!(count(&pair.events[B], |e| matches!(e, Event::PeerDown { .. })), 1);
    // Its answer is repeated for nothing that was not its first fragment.
    assert!(pair.wire.is_empty());
}

/// The responder to our IKE_AUTH is not authenticated either.
#[test]
fn an_endless_answer_to_ike_auth_ends_the_attempt() {
    let mut pair = Pair::new();
    for _ in 0..3 {
        pair.pass();
    }
    pair.wire.clear();
    let plain = vec![0x5a; AUTHENTICATED];
    let exchange = ExchangeType::IKE_AUTH;
    let first = PayloadType::ID_R;
    let answer = Forged { exchange, id: 1, response: true, first, plain: &plain };
    for number in 1..=64 {
        pair.deliver_fragment(B, &answer, number, 64);
        assert!(pair.held(A) <= HALF_OPEN);
    }
    assert_eq!(count(&pair.events[A], |e| matches!(e, Event::PeerDown { .. })), 1);
    assert_eq!(count(&pair.events[A], |e| matches!(e, Event::PeerUp { .. })), 0);
}

#[test]
fn numbers_that_make_no_sense_hold_nothing() {
    let mut pair = Pair::silent();
    let chain = notifications(1000);
    let message = Forged::request(2, &chain);
    for (number, total) in [(0, 0), (0, 3), (4, 3), (1, 0), (1, 256), (1, 65535), (65535, 65535)] {
        assert_eq!(pair.deliver_fragment(A, &message, number, total), USELESS);
    }
    assert_eq!(pair.held(B), 0);
    for (number, disposition) in
        [(2, Disposition::Accepted), (2, USELESS), (1, Disposition::Accepted), (1, USELESS)]
    {
        assert_eq!(pair.deliver_fragment(A, &message, number, 3), disposition, "{number}");
    }
    assert_eq!(pair.deliver_fragment(A, &message, 2, 2), USELESS, "fewer than before");
    assert_eq!(pair.deliver_fragment(A, &message, 3, 3), Disposition::Accepted);
    assert_eq!(pair.wire.len(), 1, "the answer");
}

/// Robustness T04: the window is one, so that only one message is ever on its way to be whole.
#[test]
fn two_messages_interleaved_come_one_after_the_other() {
    let mut pair = Pair::silent();
    let (short, long) = (notifications(500), notifications(900));
    let (second, third) = (Forged::request(2, &short), Forged::request(3, &long));
    let early = Disposition::Dropped(DropReason::OutsideWindow);
    for number in [3, 1] {
        assert_eq!(pair.deliver_fragment(A, &second, number, 3), Disposition::Accepted);
        assert_eq!(pair.deliver_fragment(A, &third, number, 3), early);
    }
    assert_eq!(pair.deliver_fragment(A, &second, 2, 3), Disposition::Accepted);
    assert_eq!(pair.wire.len(), 1, "the answer to the first");
    assert_eq!(pair.deliver_fragment(A, &third, 3, 3), Disposition::Accepted);
    for number in [2, 3] {
        assert_eq!(pair.deliver_fragment(A, &second, number, 3), USELESS, "of the old message");
    }
    assert_eq!(pair.deliver_fragment(A, &third, 1, 3), Disposition::Accepted);
    assert_eq!(pair.deliver_fragment(A, &third, 2, 3), Disposition::Accepted);
    assert_eq!((pair.wire.len(), pair.held(B)), (2, 0));
}

/// The header of all fragments is that of the message (RFC 7383 §2.5).
#[test]
fn fragments_of_two_exchanges_are_not_mixed() {
    let mut pair = Pair::silent();
    let chain = notifications(500);
    let message = Forged::request(2, &chain);
    let other = Forged { exchange: ExchangeType::CREATE_CHILD_SA, ..Forged::request(2, &chain) };
    assert_eq!(pair.deliver_fragment(A, &message, 1, 2), Disposition::Accepted);
    assert_eq!(pair.deliver_fragment(A, &other, 2, 2), USELESS);
    assert_eq!(pair.deliver_fragment(A, &message, 2, 2), Disposition::Accepted);
    assert_eq!(pair.wire.len(), 1);
}

#[test]
fn a_whole_message_takes_the_place_of_its_fragments_and_of_its_answer_to_come() {
    let mut pair = Pair::silent();
    let chain = notifications(500);
    let message = Forged::request(2, &chain);
    assert_eq!(pair.deliver_fragment(A, &message, 2, 2), Disposition::Accepted);
    assert!(pair.held(B) > 0);
    assert_eq!(pair.ask(A, INFORMATIONAL, 2, &Chain::new()), []);
    assert_eq!(pair.held(B), 0);
    // The sender, whom no answer reached, cuts it: the first fragment asks again, and nothing else does.
    assert_eq!(pair.deliver_fragment(A, &message, 2, 2), USELESS);
    assert!(pair.wire.is_empty());
    let again = Disposition::Dropped(DropReason::Retransmit);
    assert_eq!(pair.deliver_fragment(A, &message, 1, 2), again);
    assert_eq!(pair.wire.len(), 1);
}

#[test]
fn what_nobody_asked_for_is_dropped() {
    let mut pair = Pair::silent();
    let chain = notifications(500);
    let answer = Forged { response: true, ..Forged::request(2, &chain) };
    let unsolicited = Disposition::Dropped(DropReason::Unsolicited);
    assert_eq!(pair.deliver_fragment(A, &answer, 1, 2), unsolicited);
    assert_eq!(pair.held(B), 0);
}

/// RFC 7383 §2.4: "MUST NOT be used unless both peers have indicated their support".
#[test]
fn fragments_that_were_not_agreed_on_are_dropped() {
    for without in [A, B] {
        let mut pair = Pair::empty();
        for end in [B, A] {
            let mut config = config(end);
            if end == without {
                config.fragmentation = Fragmentation::Off;
            }
            pair.ends[end].add_peer(pair.now, config);
        }
        pair.drain();
        pair.settle();
        let chain = notifications(500);
        for (from, id) in [(A, 2), (B, 0)] {
            let message = Forged::request(id, &chain);
            assert_eq!(pair.deliver_fragment(from, &message, 1, 1), USELESS);
            assert_eq!(pair.deliver_fragment(from, &message, 1, 2), USELESS);
        }
        assert_eq!((pair.held(A), pair.held(B), pair.wire.len()), (0, 0, 0));
        assert_eq!(pair.ask(A, INFORMATIONAL, 2, &chain), [], "whole it is fine");
    }
}

/// RFC 7383 §2.6: "it MUST discard all IKE Fragment messages received so far".
#[test]
fn what_stays_incomplete_is_forgotten() {
    let mut pair = Pair::silent();
    let chain = notifications(500);
    let message = Forged::request(2, &chain);
    assert_eq!(pair.deliver_fragment(A, &message, 1, 2), Disposition::Accepted);
    pair.run_for(Duration::from_secs(164));
    assert!(pair.held(B) > 0);
    pair.run_for(Duration::from_secs(2));
    assert_eq!(pair.held(B), 0);
    assert_eq!(pair.deliver_fragment(A, &message, 2, 2), Disposition::Accepted);
    assert!(pair.wire.is_empty(), "the first one is gone");
    assert_eq!(pair.deliver_fragment(A, &message, 1, 2), Disposition::Accepted);
    assert_eq!(pair.wire.len(), 1);
}

/// What comes out is judged like any other message.
#[test]
fn a_chain_that_does_not_parse_once_it_is_whole_ends_the_sa() {
    let mut pair = Pair::silent();
    let chain = notifications(500);
    let torn = &chain.octets()[..490];
    let message = Forged { plain: torn, ..Forged::request(2, &chain) };
    assert_eq!(pair.deliver_fragment(A, &message, 2, 2), Disposition::Accepted);
    assert_eq!(pair.deliver_fragment(A, &message, 1, 2), Disposition::Accepted);
    let (_, answer) = pair.wire.pop_front().unwrap();
    assert_eq!(pair.open(A, &answer.payload), [NotifyType::INVALID_SYNTAX]);
    assert!(pair.ends[B].children.is_empty());
}

/// RFC 6311 puts other message IDs in the place of those that were expected: what was incomplete belongs to none of them.
#[test]
fn a_synchronisation_of_message_ids_forgets_what_is_incomplete() {
    let mut pair = Pair::silent();
    let chain = notifications(500);
    assert_eq!(pair.deliver_fragment(A, &Forged::request(2, &chain), 1, 2), Disposition::Accepted);
    let mut sync = Chain::new();
    let data = [[7; 4], 1000u32.to_be_bytes(), 0u32.to_be_bytes()].concat();
    sync.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC, &data);
    let request = pair.forge(A, INFORMATIONAL, (0, false), &sync);
    assert_eq!(pair.deliver(A, &request), Disposition::Accepted);
    assert_eq!(pair.held(B), 0);
    pair.wire.clear();
    let message = Forged::request(1000, &chain);
    assert_eq!(pair.deliver_fragment(A, &message, 2, 2), Disposition::Accepted);
    assert!(pair.wire.is_empty(), "half of another message makes it not whole");
    assert_eq!(pair.deliver_fragment(A, &message, 1, 2), Disposition::Accepted);
    assert_eq!(pair.wire.len(), 1);
}
