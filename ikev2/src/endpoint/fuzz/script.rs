//! The script: an octet says what happens next, those behind it how.
//!
//! ```text
//!   flags, more flags | 0 pass | 3 flip, where, how | 4 edit, .. | 5 forge, .. | 9 time | 12 command, which | ..
//! ```

use std::time::Duration;

use super::{A, B, Pair, edit, path};
use crate::crypto::sk::Fragment;
use crate::event::{ChildUsage, Path, PeerId};
use crate::fuzz::Input;
use crate::registry::{ExchangeType, PayloadType};
use crate::wire::header::{Flags, Header, IkeSpi, MessageId};
use crate::wire::message::{Chain, message};

/// The most steps of a script.
const STEPS: usize = 64;
/// How long two that nobody disturbs any more may take to find each other: attempts that failed are tried again within minutes.
const HEALING: Duration = Duration::from_mins(30);

struct Play {
    pair: Pair,
    /// The end that does as the script says.
    hostile: usize,
    /// It used its keys, or somebody was commanded: nothing can be said about the end then.
    beyond_repair: bool,
    /// The next message ID of a request of the hostile end, as far as was seen, and of the other end's last request.
    next_request: u32,
    asked: u32,
}

/// Runs a script with this end hostile.
pub(super) fn play(mut input: Input<'_>, hostile: usize) {
    let (flags, more) = (input.octet(), input.octet());
    let mut play = Play {
        pair: Pair::new(flags, more),
        hostile,
        beyond_repair: more & 2 != 0,
        next_request: 0,
        asked: 0,
    };
    if flags & 16 != 0 {
        for _ in 0..20 {
            play.pass();
        }
    }
    for _ in 0..STEPS {
        if input.is_empty() {
            break;
        }
        play.step(&mut input);
        play.pair.past.truncate(64);
    }
    if !play.beyond_repair && flags & 128 != 0 {
        play.heal();
    }
}

impl Play {
    fn step(&mut self, input: &mut Input<'_>) {
        match input.octet() % 14 {
            0 => self.pass(),
            1 => drop(self.pair.wire.pop_front()),
            2 => {
                if let Some((from, transmit)) = self.pair.wire.front().cloned() {
                    self.pair.deliver(from, transmit.path, &transmit.payload);
                }
            }
            3 => self.flip(input),
            4 => self.edit(input),
            5 => self.forge(input),
            6 => self.forge_fragment(input),
            7 => self.raw(input),
            8 => self.raw_with_header(input),
            9 => self.pair.advance(),
            10 => {
                let unit = match input.octet() % 4 {
                    0 => 1,
                    1 => 100,
                    2 => 5_000,
                    _ => 60_000,
                };
                self.pair.now += Duration::from_millis(unit) * u32::from(input.octet());
                self.pair.timeouts();
            }
            11 => {
                let count = self.pair.past.len().max(1);
                let old = self.pair.past.get(usize::from(input.octet()) % count).cloned();
                if let Some((from, transmit)) = old {
                    self.pair.deliver(from, transmit.path, &transmit.payload);
                }
            }
            12 => self.command(input),
            _ => self.spoof(input),
        }
    }

    /// Delivers the next datagram as it is.
    fn pass(&mut self) {
        let Some((from, transmit)) = self.pair.wire.pop_front() else { return };
        self.learn(from, &transmit.payload);
        self.pair.deliver(from, transmit.path, &transmit.payload);
        self.pair.past.push((from, transmit));
    }

    fn learn(&mut self, from: usize, payload: &[u8]) {
        let Ok(header) = Header::parse(payload) else { return };
        match (from == self.hostile, header.flags.response) {
            (true, false) => self.next_request = header.message_id.0.wrapping_add(1),
            (false, false) => self.asked = header.message_id.0,
            (_, true) => {}
        }
    }

    /// One octet of the next datagram changed.
    fn flip(&mut self, input: &mut Input<'_>) {
        let (at, by) = (usize::from(input.short()), input.octet());
        let Some((from, transmit)) = self.pair.wire.pop_front() else { return };
        let mut payload = transmit.payload.to_vec();
        let at = at % payload.len().max(1);
        if let Some(octet) = payload.get_mut(at) {
            *octet ^= by;
        }
        self.pair.deliver(from, transmit.path, &payload);
    }

    /// The payloads of the next message changed, and sealed again if they were.
    fn edit(&mut self, input: &mut Input<'_>) {
        self.beyond_repair = true;
        let Some((from, transmit)) = self.pair.wire.pop_front() else { return };
        if from != self.hostile {
            return self.pair.deliver(from, transmit.path, &transmit.payload);
        }
        self.learn(from, &transmit.payload);
        let Ok(header) = Header::parse(&transmit.payload) else { return };
        let spis = self.live_spis();
        if header.next_payload != PayloadType::SK {
            let octets = transmit.payload.get(Header::LEN..).unwrap_or_default();
            let (first, octets) = edit::edited(header.next_payload, octets, &spis, input);
            let changed = message(header, &Chain::of_octets(first, &octets));
            return self.pair.deliver(from, transmit.path, &changed);
        }
        let (theirs, ours) = spis_of(&header);
        let mut datagram = transmit.payload.to_vec();
        let Some((sa, _)) = self.pair.sa(1 - from, Some(theirs)) else { return };
        let Some(opened) = sa.glance(&mut datagram) else { return };
        let (first, octets) = edit::edited(opened.first, opened.plain, &spis, input);
        let how = (header.exchange, header.message_id, header.flags.response);
        self.seal_and_deliver(Some(ours), how, &Chain::of_octets(first, &octets), transmit.path);
    }

    fn live_spis(&self) -> Vec<u32> {
        self.pair.children.iter().flat_map(|all| all.values()).map(|(ours, _)| *ours).collect()
    }

    fn seal_and_deliver(
        &mut self,
        spi: Option<IkeSpi>,
        (exchange, id, response): (ExchangeType, MessageId, bool),
        chain: &Chain,
        path: Path,
    ) {
        let from = self.hostile;
        let Some((sa, mut cx)) = self.pair.sa(from, spi) else { return };
        let sealed = sa.forge(exchange, id, response, chain, &mut cx);
        self.pair.deliver(from, path, &sealed);
    }

    fn exchange(input: &mut Input<'_>) -> ExchangeType {
        let octet = input.octet();
        let known = ExchangeType::ALL.get(usize::from(octet % 16)).map(|(kind, _)| *kind);
        known.unwrap_or(ExchangeType(octet))
    }

    /// Which message it says it is: the next request, the answer that is awaited, or any.
    fn number(&mut self, input: &mut Input<'_>) -> (MessageId, bool) {
        match input.octet() % 4 {
            0 | 1 => {
                self.next_request = self.next_request.wrapping_add(1);
                (MessageId(self.next_request.wrapping_sub(1)), false)
            }
            2 => (MessageId(self.asked), true),
            _ => (MessageId(input.short().into()), input.octet() & 1 != 0),
        }
    }

    /// A message of any content, sealed.
    fn forge(&mut self, input: &mut Input<'_>) {
        self.beyond_repair = true;
        let exchange = Self::exchange(input);
        let (id, response) = self.number(input);
        let first = PayloadType(input.octet());
        let octets = input.few();
        let (first, octets) = match input.octet() & 1 {
            0 => (first, octets.to_vec()),
            _ => edit::edited(first, octets, &self.live_spis(), input),
        };
        let chain = Chain::of_octets(first, &octets);
        self.seal_and_deliver(None, (exchange, id, response), &chain, path(self.hostile, 500));
    }

    /// A fragment of any content, sealed.
    fn forge_fragment(&mut self, input: &mut Input<'_>) {
        self.beyond_repair = true;
        let exchange = Self::exchange(input);
        let (id, response) = self.number(input);
        if input.octet() & 1 == 0 && !response {
            // Another piece of the same message.
            self.next_request = self.next_request.wrapping_sub(1);
        }
        let numbers = input.octet();
        let fragment = Fragment { number: u16::from(numbers & 15), total: u16::from(numbers >> 4) };
        let (first, piece) = (PayloadType(input.octet()), input.few());
        let from = self.hostile;
        let Some((sa, mut cx)) = self.pair.sa(from, None) else { return };
        let what = (exchange, id, response);
        let sealed = sa.forge_fragment(what, fragment, first, piece, &mut cx);
        self.pair.deliver(from, path(from, 500), &sealed);
        if let Some((sa, _)) = self.pair.sa(1 - from, None) {
            assert!(sa.held() <= 2 * 64 * 1024, "{} octets of fragments", sa.held());
        }
    }

    /// Octets from anywhere.
    fn raw(&mut self, input: &mut Input<'_>) {
        let port = if input.octet() & 1 == 0 { 500 } else { 4500 };
        let octets = input.many();
        self.pair.deliver(self.hostile, path(self.hostile, port), octets);
    }

    /// Octets behind a header that leads to an SA, in the clear.
    fn raw_with_header(&mut self, input: &mut Input<'_>) {
        let exchange = Self::exchange(input);
        let bits = input.octet();
        let (id, response) = self.number(input);
        let like = self.pair.past.last().or(self.pair.wire.front());
        let like = like.and_then(|(_, transmit)| Header::parse(&transmit.payload).ok());
        let Some(like) = like else { return };
        let initiator = (self.hostile == A) ^ (bits & 1 != 0);
        let header = Header {
            spi_r: if bits & 2 == 0 { like.spi_r } else { IkeSpi::ZERO },
            exchange,
            flags: Flags { initiator, response, ..Flags::default() },
            message_id: id,
            ..like
        };
        let chain = Chain::of_octets(PayloadType(input.octet()), input.few());
        // An answer to IKE_SA_INIT is believed before AUTH, and may send us elsewhere.
        self.beyond_repair |= exchange == ExchangeType::IKE_SA_INIT;
        self.pair.deliver(self.hostile, path(self.hostile, 500), &message(header, &chain));
    }

    /// The next datagram from another address or port.
    fn spoof(&mut self, input: &mut Input<'_>) {
        let Some((from, transmit)) = self.pair.wire.front().cloned() else { return };
        let mut path = transmit.path;
        path.local.set_port(input.short());
        if input.octet() & 1 != 0 {
            path.local.set_ip([203, 0, 113, input.octet()].into());
        }
        self.pair.deliver(from, path, &transmit.payload);
    }

    /// Something that the owner of an end asks for.
    fn command(&mut self, input: &mut Input<'_>) {
        let end = if input.octet() & 1 == 0 { A } else { B };
        let children = self.pair.children.get(end).into_iter().flatten();
        let child = children.map(|(child, _)| *child).next();
        let peer = PeerId(0);
        let what = input.octet() % 12;
        let number = input.octet();
        // Rekeys and reports leave things as they are; the rest takes something down or elsewhere.
        self.beyond_repair |= what > 2;
        self.pair.tell(end, |it, now| match (what, child) {
            (0, _) => drop(it.rekey_ike(now, peer)),
            (1, Some(child)) => drop(it.rekey_child(now, child)),
            (2, Some(child)) => {
                let usage = ChildUsage {
                    octets: u64::from(number) << 20,
                    packets: number.into(),
                    last_inbound: (number & 1 != 0).then_some(now),
                };
                it.report_usage(now, child, usage);
            }
            (3, Some(child)) => drop(it.expire_child(now, child)),
            (4, Some(child)) => it.heard_from(now, child, path(1 - end, number.into()).local),
            (5, _) => drop(it.disconnect(now, peer)),
            (6, _) => drop(it.connect(now, peer)),
            (7, _) => drop(it.set_paths(now, peer, &[path(end, 4500), path(end, 500)])),
            (8, _) => drop(it.supersede(now, peer, path(end, 500))),
            (9, _) => drop(it.switch_to(now, peer, path(end, 4500))),
            (10, _) => drop(it.probe(now, peer, path(end, 500))),
            (11, _) => it.shutdown(now),
            _ => {}
        });
    }

    /// Lets both be, until they agree.
    fn heal(&mut self) {
        let until = self.pair.now + HEALING;
        while !(self.pair.is_whole() && self.pair.wire.is_empty()) {
            assert!(self.pair.now < until, "after half an hour of peace the two do not agree");
            if self.pair.wire.is_empty() {
                self.pair.advance();
            } else {
                self.pass();
            }
            self.pair.past.clear();
        }
    }
}

/// The SPIs in a header that belong to the receiver and to the sender.
const fn spis_of(header: &Header) -> (IkeSpi, IkeSpi) {
    if header.flags.initiator { (header.spi_r, header.spi_i) } else { (header.spi_i, header.spi_r) }
}
