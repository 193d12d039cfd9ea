//! A message as a chain of payloads (RFC 7296 §3.2): an iterator in, a builder out.
//!
//! ```text
//!            +---------------+---+-----------+-------------------------------+
//! payload:   | next payload  | C |  RESERVED |  length, these 4 octets incl. |
//!            +---------------+---+-----------+-------------------------------+
//!            |  body ...                                                     |
//!            +---------------------------------------------------------------+
//!
//! IKE header ─next─► SA ─next─► KE ─next─► Nonce ─next─► NONE        each names the type of the one behind it
//! IKE header ─next─► SK ─next─► IDi ...                              SK is last; its `next` is the first one inside
//! ```
//!
//! Reading: [`Payloads`] walks the chain, [`Body`] sorts what it finds. Writing: [`Chain`], then [`message`] or the
//! cryptography puts the header before it. Memory is bounded by the octets read: nothing is reserved by a count.

use super::Error;
use super::certificate::{Cert, CertRequest};
use super::cursor::{Reader, Writer};
use super::header::Header;
use super::identity::Identity;
use super::payload::parse_nonce;
pub use super::payload::{Auth, Delete, IdPayload, KeyExchange, Notify};
use super::proposal::{self, Proposal};
use super::selector::{self, TrafficSelector};
use crate::registry::{AuthMethod, CertEncoding, KeMethod, NotifyType, PayloadType, ProtocolId};

/// Walks a chain of payloads. After an error, or behind an SK or SKF payload, it ends.
#[derive(Debug, Clone)]
pub struct Payloads<'m> {
    next: PayloadType,
    reader: Reader<'m>,
    len: usize,
}

/// One payload as it lies in the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawPayload<'m> {
    /// Its type.
    pub kind: PayloadType,
    /// The type that its header names as the next. In SK it is that of the first payload inside.
    pub next: PayloadType,
    /// The critical bit (RFC 7296 §2.5).
    pub critical: bool,
    /// What follows its four-octet header.
    pub body: &'m [u8],
    /// Where its header begins, in octets from the start of the chain.
    pub offset: usize,
}

impl<'m> Payloads<'m> {
    /// The payloads in `octets`, the first of which is of type `first`.
    #[must_use]
    pub const fn new(first: PayloadType, octets: &'m [u8]) -> Self {
        Self { next: first, reader: Reader::new("payload", octets), len: octets.len() }
    }

    fn read(&mut self) -> Result<RawPayload<'m>, Error> {
        let offset = self.len - self.reader.len();
        let next = PayloadType(self.reader.u8()?);
        let critical = self.reader.u8()? & CRITICAL != 0;
        let len = usize::from(self.reader.u16()?);
        let body_len = len.checked_sub(4).ok_or(Error::Length("payload"))?;
        let body = self.reader.take(body_len)?;
        Ok(RawPayload { kind: self.next, next, critical, body, offset })
    }
}

impl<'m> Iterator for Payloads<'m> {
    type Item = Result<RawPayload<'m>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.next == PayloadType::NONE {
            let leftover = !self.reader.rest().is_empty();
            return leftover.then_some(Err(Error::Length("message")));
        }
        let payload = self.read();
        self.next = match &payload {
            Ok(payload) if !is_encrypted(payload.kind) => payload.next,
            Ok(_) => PayloadType::NONE,
            Err(_) => {
                let _unreadable = self.reader.rest();
                PayloadType::NONE
            }
        };
        Some(payload)
    }
}

/// What a chain of payloads says, sorted by type. The octets stay where they are.
#[derive(Debug, Clone, Default)]
pub struct Body<'m> {
    /// SA: proposals, at least one.
    pub sa: Option<Vec<Proposal>>,
    /// KE.
    pub ke: Option<KeyExchange<'m>>,
    /// Nonce, 16 to 256 octets.
    pub nonce: Option<&'m [u8]>,
    /// IDi.
    pub id_i: Option<IdPayload<'m>>,
    /// IDr.
    pub id_r: Option<IdPayload<'m>>,
    /// Certificates, in order: first that of the key that AUTH is made with.
    pub certs: Vec<Cert<'m>>,
    /// Wishes for certificates, in order.
    pub cert_requests: Vec<CertRequest<'m>>,
    /// AUTH.
    pub auth: Option<Auth<'m>>,
    /// TSi, less the selectors of types that we do not know.
    pub ts_i: Option<Vec<TrafficSelector>>,
    /// TSr, likewise.
    pub ts_r: Option<Vec<TrafficSelector>>,
    /// Notifications, in order.
    pub notifies: Vec<Notify<'m>>,
    /// Deletions, in order.
    pub deletes: Vec<Delete>,
    /// Vendor IDs, in order.
    pub vendor_ids: Vec<&'m [u8]>,
    /// The first payload of an unknown type with the critical bit: the message must be refused with
    /// UNSUPPORTED_CRITICAL_PAYLOAD (RFC 7296 §2.5).
    pub unsupported_critical: Option<PayloadType>,
}

impl<'m> Body<'m> {
    /// Reads a chain that is not encrypted, or no longer, and whose first payload is of type `first`.
    ///
    /// Configuration and EAP are known and passed over; so are unknown types without the critical bit.
    ///
    /// # Errors
    /// If a payload is malformed, if one that may occur once occurs twice, or if there is an SK payload.
    pub fn parse(first: PayloadType, octets: &'m [u8]) -> Result<Self, Error> {
        let mut found = Self::default();
        for payload in Payloads::new(first, octets) {
            found.add(payload?)?;
        }
        Ok(found)
    }

    fn add(&mut self, payload: RawPayload<'m>) -> Result<(), Error> {
        let RawPayload { kind, body, .. } = payload;
        match kind {
            PayloadType::SA => set(kind, &mut self.sa, proposal::parse(body)?),
            PayloadType::KE => set(kind, &mut self.ke, KeyExchange::parse(body)?),
            PayloadType::NONCE => set(kind, &mut self.nonce, parse_nonce(body)?),
            PayloadType::ID_I => set(kind, &mut self.id_i, IdPayload::parse(body)?),
            PayloadType::ID_R => set(kind, &mut self.id_r, IdPayload::parse(body)?),
            PayloadType::AUTH => set(kind, &mut self.auth, Auth::parse(body)?),
            PayloadType::TS_I => set(kind, &mut self.ts_i, selector::parse(body)?),
            PayloadType::TS_R => set(kind, &mut self.ts_r, selector::parse(body)?),
            PayloadType::CERT => {
                self.certs.push(Cert::parse(body)?);
                Ok(())
            }
            PayloadType::CERTREQ => {
                self.cert_requests.push(CertRequest::parse(body)?);
                Ok(())
            }
            PayloadType::NOTIFY => {
                self.notifies.push(Notify::parse(body)?);
                Ok(())
            }
            PayloadType::DELETE => {
                self.deletes.push(Delete::parse(body)?);
                Ok(())
            }
            PayloadType::VENDOR_ID => {
                self.vendor_ids.push(body);
                Ok(())
            }
            kind if is_encrypted(kind) => Err(Error::Value("encrypted payload where none belongs")),
            kind => {
                if payload.critical && !is_known(kind) {
                    self.unsupported_critical.get_or_insert(kind);
                }
                Ok(())
            }
        }
    }

    /// The first notification of this type.
    #[must_use]
    pub fn notify(&self, kind: NotifyType) -> Option<&Notify<'m>> {
        self.notifies.iter().find(|notify| notify.kind == kind)
    }

    /// The first notification that reports an error.
    #[must_use]
    pub fn error_notify(&self) -> Option<&Notify<'m>> {
        self.notifies.iter().find(|notify| notify.kind.is_error())
    }
}

fn set<T>(kind: PayloadType, place: &mut Option<T>, value: T) -> Result<(), Error> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(Error::Duplicate(kind)),
    }
}

fn is_encrypted(kind: PayloadType) -> bool {
    kind == PayloadType::SK || kind == PayloadType::SKF
}

/// Types of RFC 7296 itself: their critical bit is ignored (RFC 7296 §2.5).
fn is_known(kind: PayloadType) -> bool {
    PayloadType::ALL.iter().any(|(known, _)| *known == kind)
}

const CRITICAL: u8 = 0x80;

/// Builds a chain of payloads, in the order of the calls. The critical bit is never set: every type of RFC 7296 is
/// known to the peer (RFC 7296 §3.2).
///
/// A payload that exceeds 65535 octets, or a count that exceeds 255, cannot be written. It is left out, logged, and
/// kept in [`Chain::error`]; what is there stays well-formed.
#[derive(Debug)]
pub struct Chain {
    writer: Writer,
    first: PayloadType,
    /// Where the last payload names its successor.
    last_next: Option<usize>,
    error: Option<Error>,
}

impl Chain {
    /// An empty chain.
    #[must_use]
    pub const fn new() -> Self {
        Self { writer: Writer::new(), first: PayloadType::NONE, last_next: None, error: None }
    }

    /// SA. Proposals with number 0 are numbered by their position.
    pub fn sa(&mut self, proposals: &[Proposal]) -> &mut Self {
        self.add(PayloadType::SA, |writer| proposal::emit(proposals, writer))
    }

    /// KE.
    pub fn ke(&mut self, method: KeMethod, data: &[u8]) -> &mut Self {
        self.add(PayloadType::KE, |writer| {
            writer.u16(method.0);
            writer.u16(0);
            writer.put(data);
            Ok(())
        })
    }

    /// Nonce, of 16 to 256 octets.
    pub fn nonce(&mut self, nonce: &[u8]) -> &mut Self {
        self.add(PayloadType::NONCE, |writer| {
            writer.put(nonce);
            Ok(())
        })
    }

    /// IDi.
    pub fn id_i(&mut self, identity: &Identity) -> &mut Self {
        self.add(PayloadType::ID_I, |writer| {
            writer.put(&identity.emit());
            Ok(())
        })
    }

    /// IDr.
    pub fn id_r(&mut self, identity: &Identity) -> &mut Self {
        self.add(PayloadType::ID_R, |writer| {
            writer.put(&identity.emit());
            Ok(())
        })
    }

    /// CERT, one certificate or key.
    pub fn cert(&mut self, encoding: CertEncoding, data: &[u8]) -> &mut Self {
        self.add(PayloadType::CERT, |writer| {
            writer.u8(encoding.0);
            writer.put(data);
            Ok(())
        })
    }

    /// CERTREQ; for X.509 the authorities are hashes of 20 octets.
    pub fn cert_request(&mut self, encoding: CertEncoding, authorities: &[[u8; 20]]) -> &mut Self {
        self.add(PayloadType::CERTREQ, |writer| {
            writer.u8(encoding.0);
            writer.put(authorities.as_flattened());
            Ok(())
        })
    }

    /// AUTH.
    pub fn auth(&mut self, method: AuthMethod, data: &[u8]) -> &mut Self {
        self.add(PayloadType::AUTH, |writer| {
            writer.u8(method.0);
            writer.put(&[0; 3]);
            writer.put(data);
            Ok(())
        })
    }

    /// TSi, at most [`selector::MAX_SELECTORS`].
    pub fn ts_i(&mut self, selectors: &[TrafficSelector]) -> &mut Self {
        self.add(PayloadType::TS_I, |writer| selector::emit(selectors, writer))
    }

    /// TSr, at most [`selector::MAX_SELECTORS`].
    pub fn ts_r(&mut self, selectors: &[TrafficSelector]) -> &mut Self {
        self.add(PayloadType::TS_R, |writer| selector::emit(selectors, writer))
    }

    /// A notification that is about no SA but the one that carries it.
    pub fn notify(&mut self, kind: NotifyType, data: &[u8]) -> &mut Self {
        self.notify_spi(ProtocolId::NONE, &[], kind, data)
    }

    /// A notification about the SA with this SPI.
    pub fn notify_spi(
        &mut self,
        protocol: ProtocolId,
        spi: &[u8],
        kind: NotifyType,
        data: &[u8],
    ) -> &mut Self {
        self.add(PayloadType::NOTIFY, |writer| {
            writer.u8(protocol.0);
            writer.u8(u8::try_from(spi.len()).map_err(|_| Error::Overflow("SPI"))?);
            writer.u16(kind.0);
            writer.put(spi);
            writer.put(data);
            Ok(())
        })
    }

    /// Deletion of the IKE SA that carries the message.
    pub fn delete_ike(&mut self) -> &mut Self {
        self.add(PayloadType::DELETE, |writer| {
            writer.u8(ProtocolId::IKE.0);
            writer.u8(0);
            writer.u16(0);
            Ok(())
        })
    }

    /// Deletion of the ESP SAs on which we receive with these SPIs.
    pub fn delete_esp(&mut self, spis: &[u32]) -> &mut Self {
        self.add(PayloadType::DELETE, |writer| {
            writer.u8(ProtocolId::ESP.0);
            writer.u8(4);
            writer.u16(u16::try_from(spis.len()).map_err(|_| Error::Overflow("delete payload"))?);
            for spi in spis {
                writer.u32(*spi);
            }
            Ok(())
        })
    }

    /// A payload of a type that nobody knows, with the critical bit.
    #[cfg(test)]
    pub(crate) fn unknown_critical(&mut self, kind: PayloadType) -> &mut Self {
        let start = self.writer.len();
        self.add(kind, |_| Ok(()));
        self.writer.patch(start + 1, &[CRITICAL]);
        self
    }

    /// A chain of these octets, well-formed or not.
    #[cfg(any(test, feature = "fuzz"))]
    pub(crate) fn of_octets(first: PayloadType, octets: &[u8]) -> Self {
        let mut chain = Self::new();
        chain.writer.put(octets);
        chain.first = first;
        chain
    }

    /// The type of the first payload; `NONE` if there is none.
    #[must_use]
    pub const fn first(&self) -> PayloadType {
        self.first
    }

    /// The payloads.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        self.writer.octets()
    }

    /// Whether there is no payload.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.writer.is_empty()
    }

    /// Why a payload was left out, if one was.
    #[must_use]
    pub const fn error(&self) -> Option<Error> {
        self.error
    }

    fn add(
        &mut self,
        kind: PayloadType,
        body: impl FnOnce(&mut Writer) -> Result<(), Error>,
    ) -> &mut Self {
        let start = self.writer.len();
        self.writer.u8(PayloadType::NONE.0);
        self.writer.u8(0);
        let length = self.writer.length_since(start);
        match body(&mut self.writer).and_then(|()| self.writer.close(length)) {
            Ok(()) => match self.last_next.replace(start) {
                Some(next) => self.writer.patch(next, &[kind.0]),
                None => self.first = kind,
            },
            Err(error) => {
                tracing::error!(%kind, %error, "a payload was left out");
                self.error.get_or_insert(error);
                self.writer.truncate(start);
            }
        }
        self
    }
}

impl Default for Chain {
    fn default() -> Self {
        Self::new()
    }
}

/// An unprotected message: `header`, its next payload and length filled in, and the chain.
///
/// # Panics
/// If the chain is longer than 4 GiB, which would take 65536 payloads of the greatest length.
#[must_use]
pub fn message(mut header: Header, chain: &Chain) -> Vec<u8> {
    let len = Header::LEN + chain.octets().len();
    header.next_payload = chain.first();
    header.len =
        u32::try_from(len).expect("invariant: a chain has far fewer than 65536 payloads of 64 KiB");
    [header.emit().as_slice(), chain.octets()].concat()
}

#[cfg(test)]
mod tests;
