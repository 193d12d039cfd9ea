//! The Encrypted payload (RFC 7296 §3.14, RFC 5282 §3): whole messages in, whole messages out.
//!
//! ```text
//! 0                  28                                                                        len
//! +------------+-----+-----------------------+----+----------+---------+---------+-------------+
//! | IKE header | ... | next | flags | length | IV | payloads | padding | pad len | ICV         |
//! +------------+-----+-----------------------+----+----------+---------+---------+-------------+
//! |<- aad ---------------------------------->|    |<- body, encrypted ---------->|
//! |<- what the ICV covers ---------------------------------------------------->|
//! ```
//!
//! `next` of the SK payload is the type of the first payload inside. Payloads before SK ("...") are covered by the ICV;
//! we send none and skip those that come. Nothing may follow SK.
//!
//! Each direction has keys of its own, so a message that is sent back to its sender does not open.

#[cfg(test)]
mod tests;

use rand_core::CryptoRng;

use super::cipher::Cipher;
use super::keymat::IkeKeys;
use super::suite::IkeSuite;
use crate::error::DropReason;
use crate::registry::PayloadType;
use crate::wire::cursor::Reader;
use crate::wire::header::Header;

/// What protects the messages of one IKE SA after IKE_SA_INIT.
pub(crate) struct Protection {
    outbound: Cipher,
    inbound: Cipher,
}

/// The content of an SK payload whose integrity was checked. Nothing but [`Protection::open`] makes one.
#[derive(Clone, Copy)]
pub(crate) struct Authentic<'m> {
    /// The type of the first payload; `NONE` if there is none, as in a liveness check.
    pub(crate) first: PayloadType,
    /// The chain of payloads, without padding.
    pub(crate) plain: &'m [u8],
    _opened: (),
}

impl Protection {
    /// Takes SK_e and SK_a of both directions. The original initiator sends with SK_ei and SK_ai, in requests and
    /// responses alike (RFC 7296 §2.14).
    pub(crate) fn new(suite: &IkeSuite, keys: &IkeKeys, we_are_original_initiator: bool) -> Self {
        let from_initiator = Cipher::new(suite, &keys.sk_ei, &keys.sk_ai);
        let from_responder = Cipher::new(suite, &keys.sk_er, &keys.sk_ar);
        if we_are_original_initiator {
            Self { outbound: from_initiator, inbound: from_responder }
        } else {
            Self { outbound: from_responder, inbound: from_initiator }
        }
    }

    /// Makes a whole message: `header`, whose first payload becomes SK and whose length becomes right, and an SK payload
    /// around `plain`, a chain of payloads that begins with one of type `first` (`NONE` if it is empty).
    ///
    /// Call it once per message and keep the result: a retransmission is the same octets (RFC 7296 §2.1).
    ///
    /// # Panics
    /// If the SK payload would exceed 65535 octets. UDP carries no such message, so its maker is wrong.
    pub(crate) fn seal(
        &mut self,
        header: Header,
        first: PayloadType,
        plain: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Vec<u8> {
        let cipher = &mut self.outbound;
        let pad_len = padding(plain.len() + 1, cipher.block_len());
        let sk_len = GENERIC_HEADER_LEN
            + cipher.iv_len()
            + plain.len()
            + usize::from(pad_len)
            + 1
            + cipher.icv_len();
        let sk_len = u16::try_from(sk_len).expect("invariant: our messages fit into a datagram");
        let len = Header::LEN + usize::from(sk_len);

        let mut message = Vec::with_capacity(len);
        let header =
            Header { next_payload: PayloadType::SK, len: u32::from(sk_len) + HEADER_LEN, ..header };
        message.extend_from_slice(&header.emit());
        message.extend_from_slice(&[first.0, 0]);
        message.extend_from_slice(&sk_len.to_be_bytes());
        let aad_len = message.len();

        let iv = cipher.next_iv(rng);
        message.extend_from_slice(&iv);
        let body_at = message.len();
        message.extend_from_slice(plain);
        message.resize(message.len() + usize::from(pad_len), 0);
        message.push(pad_len);

        let (clear, body) = message.split_at_mut(body_at);
        let (aad, iv) = clear.split_at(aad_len);
        let icv = cipher.seal(aad, iv, body);
        message.extend_from_slice(&icv);
        debug_assert_eq!(message.len(), len);
        message
    }

    /// Opens a whole message in place. The integrity check comes before anything is decrypted or believed; only what is
    /// needed to find the ICV is read before it.
    ///
    /// # Errors
    /// `Malformed` if the lengths do not add up, there is no SK payload or something follows it, or what was decrypted
    /// has no valid padding. `BadIcv` if the message is not the peer's. The octets of `message` are unspecified then.
    pub(crate) fn open<'m>(&self, message: &'m mut [u8]) -> Result<Authentic<'m>, DropReason> {
        let (first, aad_len) = find_sk(message).ok_or(DropReason::Malformed)?;
        let (aad, rest) = message.split_at_mut(aad_len);
        let (iv, rest) =
            rest.split_at_mut_checked(self.inbound.iv_len()).ok_or(DropReason::Malformed)?;
        let body_len =
            rest.len().checked_sub(self.inbound.icv_len()).ok_or(DropReason::Malformed)?;
        let (body, icv) = rest.split_at_mut(body_len);
        self.inbound.open(aad, iv, body, icv)?;
        let plain = without_padding(body).ok_or(DropReason::Malformed)?;
        Ok(Authentic { first, plain, _opened: () })
    }
}

/// The type of the first payload inside SK, and where SK's generic header ends. `None` unless the message is as long as
/// its header says and its last payload is SK.
fn find_sk(message: &[u8]) -> Option<(PayloadType, usize)> {
    let mut kind = Header::parse(message).ok()?.next_payload;
    let mut reader = Reader::new("payload chain", message.get(Header::LEN..)?);
    // Ends: each turn takes four octets at least, or returns.
    while kind != PayloadType::NONE {
        let next = PayloadType(reader.u8().ok()?);
        let _critical = reader.u8().ok()?;
        let body_len = usize::from(reader.u16().ok()?).checked_sub(GENERIC_HEADER_LEN)?;
        if kind == PayloadType::SK {
            let is_last = body_len == reader.len();
            return is_last.then(|| (next, message.len() - body_len));
        }
        reader.take(body_len).ok()?;
        kind = next;
    }
    None
}

/// What precedes the padding. Its content is the sender's choice; its length has only to fit (RFC 7296 §3.14).
fn without_padding(body: &[u8]) -> Option<&[u8]> {
    let (&pad_len, padded) = body.split_last()?;
    padded.get(..padded.len().checked_sub(usize::from(pad_len))?)
}

/// How much padding makes `len` octets a multiple of `block_len`.
fn padding(len: usize, block_len: usize) -> u8 {
    u8::try_from(len.next_multiple_of(block_len) - len)
        .expect("invariant: a block has 16 octets at most")
}

/// Next payload, critical bit, length (RFC 7296 §3.2).
const GENERIC_HEADER_LEN: usize = 4;

/// [`Header::LEN`] as the length field counts it.
const HEADER_LEN: u32 = 28;
