//! An attacker on the path, put together from tricks: it sees every datagram and adds its own, before or behind, but never
//! makes one vanish. It has no keys.
//!
//! ```text
//!   world.face(Adversary::new(seed).with(Trick::Replay, 300).with(Trick::Flip, 200));
//!   world.face(Adversary::everything(seed, 150));
//!   world.face(Adversary::new(seed).answering(Answer::NoProposalChosen));
//!
//!                      ┌ what it adds before ┐            ┌ what it adds behind ┐
//!   datagram ─► strike ┤ replays, forgeries  ├─ datagram ─┤ replays, forgeries  ├─► links
//!                      └─────────────────────┘            └─────────────────────┘
//! ```
//!
//! Its chance is its own: a world with an attacker draws the same numbers for everything else as one without.

use std::net::SocketAddr;

use ikev2::GatewayId;
use ikev2::registry::{ExchangeType, KeMethod, NotifyType, PayloadType};
use ikev2::wire::header::{Flags, Header, IkeSpi, MessageId};
use ikev2::wire::message::{Body, Chain, message};
use rand_chacha::ChaCha20Rng;
use rand_core::{Rng, SeedableRng};

use super::{Datagram, World};

/// How many datagrams it remembers.
const MEMORY: usize = 128;
/// Where nobody is.
const NOWHERE: [u8; 4] = [203, 0, 113, 66];

/// Something that an attacker may make of a datagram, or of one that it saw before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trick {
    /// One that it saw, as it was.
    Replay,
    /// One that it saw, to where another one went.
    Misdirect,
    /// Back to its sender, as if from its receiver.
    Reflect,
    /// From an address where nobody is, or from another port.
    Spoof,
    /// With one bit changed.
    Flip,
    /// With a field of the header changed: SPIs, next payload, version, exchange, flags, message ID, length.
    Header,
    /// Cut short, the length in the header corrected or not.
    Truncate,
    /// With octets behind it, the length in the header corrected or not.
    Extend,
    /// As if it were a fragment (RFC 7383) of a message with these SPIs.
    Fragment,
}

impl Trick {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Replay,
        Self::Misdirect,
        Self::Reflect,
        Self::Spoof,
        Self::Flip,
        Self::Header,
        Self::Truncate,
        Self::Extend,
        Self::Fragment,
    ];
}

/// An answer in the clear to IKE_SA_INIT, as a responder may give it (RFC 7296 §2.21.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// NO_PROPOSAL_CHOSEN.
    NoProposalChosen,
    /// AUTHENTICATION_FAILED.
    AuthenticationFailed,
    /// INVALID_SYNTAX.
    InvalidSyntax,
    /// INVALID_MAJOR_VERSION.
    InvalidMajorVersion,
    /// UNSUPPORTED_CRITICAL_PAYLOAD.
    UnsupportedCriticalPayload,
    /// INVALID_KE_PAYLOAD that asks for this group.
    InvalidKe(KeMethod),
    /// COOKIE, with these octets.
    Cookie(Vec<u8>),
    /// REDIRECT to this gateway, with the initiator's nonce.
    Redirect(GatewayId),
}

impl Answer {
    /// The answer to the octets of an IKE_SA_INIT request; `None` if they are none.
    #[must_use]
    pub fn to(&self, request: &[u8]) -> Option<Vec<u8>> {
        let header = Header::parse(request).ok()?;
        if header.exchange != ExchangeType::IKE_SA_INIT || header.flags.response {
            return None;
        }
        let body = Body::parse(header.next_payload, request.get(Header::LEN..)?).ok()?;
        let mut chain = Chain::new();
        match self {
            Self::NoProposalChosen => chain.notify(NotifyType::NO_PROPOSAL_CHOSEN, &[]),
            Self::AuthenticationFailed => chain.notify(NotifyType::AUTHENTICATION_FAILED, &[]),
            Self::InvalidSyntax => chain.notify(NotifyType::INVALID_SYNTAX, &[]),
            Self::InvalidMajorVersion => chain.notify(NotifyType::INVALID_MAJOR_VERSION, &[]),
            Self::UnsupportedCriticalPayload => {
                chain.notify(NotifyType::UNSUPPORTED_CRITICAL_PAYLOAD, &[PayloadType::SA.0])
            }
            Self::InvalidKe(method) => {
                chain.notify(NotifyType::INVALID_KE_PAYLOAD, &method.0.to_be_bytes())
            }
            Self::Cookie(cookie) => chain.notify(NotifyType::COOKIE, cookie),
            Self::Redirect(to) => {
                chain.notify(NotifyType::REDIRECT, &to.emit(body.nonce.unwrap_or_default()))
            }
        };
        let flags = Flags { response: true, ..Flags::default() };
        Some(message(Header { flags, ..header }, &chain))
    }
}

/// The attacker. See the module's documentation.
pub struct Adversary {
    rng: ChaCha20Rng,
    tricks: Vec<(Trick, u16)>,
    answers: Vec<Answer>,
    only_behind: bool,
    seen: Vec<Datagram>,
}

impl Adversary {
    /// One that does nothing yet; `seed` decides all that it will do.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            rng: ChaCha20Rng::seed_from_u64(seed ^ 0x6174_7461_636b_6572),
            tricks: Vec::new(),
            answers: Vec::new(),
            only_behind: false,
            seen: Vec::new(),
        }
    }

    /// One with every trick, each with this chance per mille for each datagram.
    #[must_use]
    pub fn everything(seed: u64, per_mille: u16) -> Self {
        Trick::ALL.into_iter().fold(Self::new(seed), |this, trick| this.with(trick, per_mille))
    }

    /// Adds a trick, with this chance per mille for each datagram.
    #[must_use]
    pub fn with(mut self, trick: Trick, per_mille: u16) -> Self {
        self.tricks.push((trick, per_mille));
        self
    }

    /// Leaves a trick out.
    #[must_use]
    pub fn without(mut self, trick: Trick) -> Self {
        self.tricks.retain(|(other, _)| *other != trick);
        self
    }

    /// Answers every IKE_SA_INIT request with this, before the responder sees it.
    #[must_use]
    pub fn answering(mut self, answer: Answer) -> Self {
        self.answers.push(answer);
        self
    }

    /// Is always later than the datagram itself.
    #[must_use]
    pub fn only_behind(mut self) -> Self {
        self.only_behind = true;
        self
    }

    /// The datagram, with what the attacker adds before and behind it.
    pub fn strike(&mut self, datagram: Datagram) -> Vec<Datagram> {
        let (mut before, mut behind) = (self.answers_to(&datagram), Vec::new());
        for index in 0..self.tricks.len() {
            let Some((trick, per_mille)) = self.tricks.get(index).copied() else { break };
            if self.below(1000) < usize::from(per_mille)
                && let Some(forged) = self.play(trick, &datagram)
            {
                let first = !self.only_behind && self.below(2) == 0;
                if first { &mut before } else { &mut behind }.push(forged);
            }
        }
        self.remember(&datagram);
        before.push(datagram);
        before.append(&mut behind);
        before
    }

    fn answers_to(&mut self, datagram: &Datagram) -> Vec<Datagram> {
        let back = |payload| Datagram {
            source: datagram.destination,
            destination: datagram.source,
            payload,
        };
        self.answers.iter().filter_map(|answer| answer.to(&datagram.payload)).map(back).collect()
    }

    fn play(&mut self, trick: Trick, datagram: &Datagram) -> Option<Datagram> {
        let mut forged = datagram.clone();
        match trick {
            Trick::Replay => forged = self.recall()?,
            Trick::Misdirect => {
                forged = self.recall()?;
                forged.destination = self.recall()?.destination;
            }
            Trick::Reflect => {
                std::mem::swap(&mut forged.source, &mut forged.destination);
            }
            Trick::Spoof => {
                let port = forged.source.port();
                forged.source = if self.below(2) == 0 {
                    SocketAddr::from((NOWHERE, port))
                } else {
                    SocketAddr::new(forged.source.ip(), port.wrapping_add(1))
                };
            }
            Trick::Flip => {
                let (at, bit) = (self.below(forged.payload.len()), self.below(8));
                *forged.payload.get_mut(at)? ^= 1 << bit;
            }
            Trick::Header => forged.payload = self.with_other_header(&forged.payload)?,
            Trick::Truncate => {
                let len = self.below(forged.payload.len());
                forged.payload.truncate(len);
                self.maybe_correct_len(&mut forged.payload);
            }
            Trick::Extend => {
                let more = 1 + self.below(80);
                let mut octets = vec![0; more];
                self.rng.fill_bytes(&mut octets);
                forged.payload.extend(octets);
                self.maybe_correct_len(&mut forged.payload);
            }
            Trick::Fragment => forged.payload = self.fragment_of(&forged.payload)?,
        }
        Some(forged)
    }

    fn with_other_header(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        let mut header = Header::parse(octets).ok()?;
        let number = self.rng.next_u32();
        let octet = number.to_be_bytes()[0];
        match self.below(9) {
            0 => header.spi_i = IkeSpi(header.spi_i.0 ^ u64::from(number)),
            1 => header.spi_r = IkeSpi(header.spi_r.0 ^ u64::from(number)),
            2 => header.spi_r = IkeSpi::ZERO,
            3 => header.next_payload = PayloadType(octet),
            4 => header.version = octet,
            5 => header.exchange = ExchangeType(34 + octet % 12),
            6 => header.flags.response = !header.flags.response,
            7 => header.flags.initiator = !header.flags.initiator,
            _ => header.message_id = MessageId(header.message_id.0.wrapping_add(number % 4)),
        }
        let mut forged = header.emit().to_vec();
        forged.extend_from_slice(octets.get(Header::LEN..)?);
        Some(forged)
    }

    /// A fragment payload with numbers that may make sense, the octets behind it those of the real message.
    fn fragment_of(&mut self, octets: &[u8]) -> Option<Vec<u8>> {
        let mut header = Header::parse(octets).ok()?;
        let rest = octets.get(Header::LEN + 4..)?;
        header.next_payload = PayloadType::SKF;
        if self.below(2) == 0 {
            header.message_id = MessageId(header.message_id.0.wrapping_add(1));
        }
        let total = 1 + self.below(4);
        let number = self.below(6);
        let mut body = vec![octets.get(Header::LEN).copied().unwrap_or_default(), 0];
        body.extend(u16::try_from(rest.len() + 8).ok()?.to_be_bytes());
        body.extend(u16::try_from(number).ok()?.to_be_bytes());
        body.extend(u16::try_from(total).ok()?.to_be_bytes());
        body.extend_from_slice(rest);
        header.len = u32::try_from(Header::LEN + body.len()).ok()?;
        Some([header.emit().to_vec(), body].concat())
    }

    fn maybe_correct_len(&mut self, octets: &mut [u8]) {
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        if self.below(2) == 0
            && let Some(field) = octets.get_mut(24..28)
        {
            field.copy_from_slice(&len.to_be_bytes());
        }
    }

    fn remember(&mut self, datagram: &Datagram) {
        if self.seen.len() < MEMORY {
            return self.seen.push(datagram.clone());
        }
        let place = self.below(MEMORY);
        if let Some(old) = self.seen.get_mut(place) {
            *old = datagram.clone();
        }
    }

    fn recall(&mut self) -> Option<Datagram> {
        let index = self.below(self.seen.len());
        self.seen.get(index).cloned()
    }

    /// A number below `bound`; 0 if that is 0.
    fn below(&mut self, bound: usize) -> usize {
        let number = usize::try_from(self.rng.next_u32()).unwrap_or(0);
        number.checked_rem(bound).unwrap_or(0)
    }
}

impl World {
    /// Lets this attacker at every datagram from here on, until [`relent`](Self::relent).
    pub fn face(&mut self, mut adversary: Adversary) {
        self.attack(move |datagram, _| adversary.strike(datagram));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagram(number: u8) -> Datagram {
        let header = Header {
            spi_i: IkeSpi(1),
            spi_r: IkeSpi(2),
            next_payload: PayloadType::SK,
            version: Header::VERSION,
            exchange: ExchangeType::INFORMATIONAL,
            flags: Flags { initiator: true, ..Flags::default() },
            message_id: MessageId(number.into()),
            len: 68,
        };
        Datagram {
            source: SocketAddr::from(([192, 0, 2, 1], 4500)),
            destination: SocketAddr::from(([198, 51, 100, 1], 4500)),
            payload: [header.emit().to_vec(), vec![number; 40]].concat(),
        }
    }

    #[test]
    fn nothing_vanishes_and_the_seed_decides_the_rest() {
        let run = |seed| {
            let mut adversary = Adversary::everything(seed, 500);
            (0..100).map(|number| adversary.strike(datagram(number))).collect::<Vec<_>>()
        };
        for (number, sent) in (0..).zip(run(1)) {
            assert!(sent.contains(&datagram(number)));
        }
        assert!(run(1).concat().len() > 300);
        assert_eq!(run(1), run(1));
        assert_ne!(run(1), run(2));
    }

    #[test]
    fn every_trick_adds_something_else() {
        for trick in Trick::ALL {
            let mut adversary = Adversary::new(3).with(trick, 1000).only_behind();
            let mut added = Vec::new();
            for number in 0..50 {
                let sent = adversary.strike(datagram(number));
                assert_eq!(sent.first(), Some(&datagram(number)), "{trick:?}: the real one first");
                added.extend(sent.into_iter().skip(1).filter(|sent| *sent != datagram(number)));
            }
            assert!(added.len() > 20, "{trick:?}: {}", added.len());
        }
    }
}
