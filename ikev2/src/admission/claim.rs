//! What a stranger's IKE_SA_INIT says of its sender: as much as a cookie needs, and no more (RFC 7296 §2.6).
//!
//! ```text
//!   HDR(SPIi, 0) | [N(COOKIE)] | SAi1 | KEi | Ni | ...        read: SPIi, COOKIE, Ni      passed over: all else
//! ```
//!
//! The chain is walked once and no list is built, so that a flood costs little more than one HMAC a message.

use std::net::SocketAddr;

use super::cookie::Cookie;
use crate::event::Path;
use crate::registry::{NotifyType, PayloadType};
use crate::wire::header::{Flags, Header, IkeSpi, MessageId};
use crate::wire::message::{Chain, Notify, Payloads, message};

/// A first IKE_SA_INIT request, not yet parsed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim<'m> {
    header: Header,
    /// Where it came from.
    pub(crate) remote: SocketAddr,
    /// All its octets.
    pub(crate) datagram: &'m [u8],
    /// Ni; empty if there is none.
    pub(super) nonce: &'m [u8],
    /// What the COOKIE notification carries.
    pub(super) cookie: Option<&'m [u8]>,
}

impl<'m> Claim<'m> {
    /// Reads what matters; `None` if the payloads do not add up. The COOKIE should come first but may be anywhere.
    pub(crate) fn read(header: &Header, path: Path, datagram: &'m [u8]) -> Option<Self> {
        let rest = datagram.get(Header::LEN..)?;
        let (mut nonce, mut cookie) = (None, None);
        for payload in Payloads::new(header.next_payload, rest) {
            let payload = payload.ok()?;
            if payload.kind == PayloadType::NONCE {
                nonce = nonce.or(Some(payload.body));
            } else if payload.kind == PayloadType::NOTIFY {
                let notify = Notify::parse(payload.body).ok()?;
                let is_cookie = notify.kind == NotifyType::COOKIE;
                cookie = cookie.or(is_cookie.then_some(notify.data));
            }
        }
        let nonce = nonce.unwrap_or_default();
        Some(Self { header: *header, remote: path.remote, datagram, nonce, cookie })
    }

    /// The SPI that the sender chose.
    pub(super) const fn spi_i(&self) -> IkeSpi {
        self.header.spi_i
    }

    /// The answer that asks for this cookie.
    pub(super) fn ask_for(&self, cookie: &Cookie) -> Vec<u8> {
        let mut chain = Chain::new();
        chain.notify(NotifyType::COOKIE, cookie);
        let flags = Flags { response: true, ..Flags::default() };
        let (version, message_id) = (Header::VERSION, MessageId(0));
        message(Header { spi_r: IkeSpi::ZERO, version, flags, message_id, ..self.header }, &chain)
    }
}
