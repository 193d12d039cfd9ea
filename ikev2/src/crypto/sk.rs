//! The Encrypted payload (RFC 7296 §3.14, RFC 5282 §3) and its fragments (RFC 7383 §2.5): whole messages in, whole messages out.
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
//! A fragment has SKF in the place of SK: two numbers more, which the ICV covers too, and a piece of the payloads. `next`
//! counts in the first one only. The pieces are put together in `fragments`.
//!
//! ```text
//! +------------+-----+-----------------------+------------------+----+----------+---------+---------+-------------+
//! | IKE header | ... | next | flags | length | number  | total  | IV | piece    | padding | pad len | ICV         |
//! +------------+-----+-----------------------+------------------+----+----------+---------+---------+-------------+
//! |<- aad ----------------------------------------------------->|    |<- body, encrypted ---------->|
//! ```
//!
//! Each direction has keys of its own, so a message that is sent back to its sender does not open.

mod fragments;
#[cfg(test)]
pub(super) mod tests;

use rand_core::CryptoRng;

#[cfg(any(test, feature = "fuzz"))]
pub(crate) use self::fragments::fuzz;
pub(crate) use self::fragments::{Added, Fragment, Reassembly};

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

/// The content of an SK payload whose integrity was checked, or of all the fragments of one. Nothing but
/// [`Protection::open`] and a [`Reassembly`] of what [`Protection::open_fragment`] gave makes one.
#[derive(Clone, Copy)]
pub(crate) struct Authentic<'m> {
    /// The type of the first payload; `NONE` if there is none, as in a liveness check.
    pub(crate) first: PayloadType,
    /// The chain of payloads, without padding.
    pub(crate) plain: &'m [u8],
    _opened: (),
}

/// The content of an SKF payload whose integrity was checked. Nothing but [`Protection::open_fragment`] makes one.
pub(crate) struct AuthenticFragment<'m> {
    /// Its place.
    fragment: Fragment,
    /// What it calls the type of the first payload; it counts in fragment 1 only.
    pub(super) first: PayloadType,
    /// A piece of the chain of payloads, without padding.
    pub(super) plain: &'m [u8],
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
        self.seal_payload(header, None, first, plain, rng)
    }

    /// Makes the message that carries one fragment: like [`Self::seal`], with SKF around `piece`. `first` is `NONE` in all
    /// but the first fragment (RFC 7383 §2.5). Each has an IV of its own.
    ///
    /// # Panics
    /// If the SKF payload would exceed 65535 octets.
    pub(crate) fn seal_fragment(
        &mut self,
        header: Header,
        fragment: Fragment,
        first: PayloadType,
        piece: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Vec<u8> {
        self.seal_payload(header, Some(fragment), first, piece, rng)
    }

    /// Octets of the message that [`Self::seal`] makes around `plain_len` octets.
    pub(crate) fn sealed_len(&self, plain_len: usize) -> usize {
        let body_len = (plain_len + 1).next_multiple_of(self.outbound.block_len());
        Header::LEN + GENERIC_HEADER_LEN + self.around() + body_len
    }

    /// The longest piece whose message, as [`Self::seal_fragment`] makes it, has `room` octets at most; never less than 1.
    pub(crate) fn piece_len(&self, room: usize) -> usize {
        let around = Header::LEN + GENERIC_HEADER_LEN + Fragment::LEN + self.around();
        let body_len = room.saturating_sub(around);
        let block_len = self.outbound.block_len();
        (body_len - body_len % block_len).saturating_sub(1).max(1)
    }

    /// IV and ICV, in octets.
    const fn around(&self) -> usize {
        self.outbound.iv_len() + self.outbound.icv_len()
    }

    fn seal_payload(
        &mut self,
        header: Header,
        fragment: Option<Fragment>,
        first: PayloadType,
        plain: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Vec<u8> {
        let cipher = &mut self.outbound;
        let pad_len = padding(plain.len() + 1, cipher.block_len());
        let kind = if fragment.is_some() { PayloadType::SKF } else { PayloadType::SK };
        let sk_len = GENERIC_HEADER_LEN
            + fragment.map_or(0, |_| Fragment::LEN)
            + cipher.iv_len()
            + plain.len()
            + usize::from(pad_len)
            + 1
            + cipher.icv_len();
        let sk_len = u16::try_from(sk_len).expect("invariant: our messages fit into a datagram");
        let len = Header::LEN + usize::from(sk_len);

        let mut message = Vec::with_capacity(len);
        let header = Header { next_payload: kind, len: u32::from(sk_len) + HEADER_LEN, ..header };
        message.extend_from_slice(&header.emit());
        message.extend_from_slice(&[first.0, 0]);
        message.extend_from_slice(&sk_len.to_be_bytes());
        if let Some(fragment) = fragment {
            message.extend_from_slice(&fragment.octets());
        }
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
        let found = find_encrypted(message).filter(|found| found.fragment.is_none());
        let found = found.ok_or(DropReason::Malformed)?;
        let plain = self.open_body(found.aad_len, message)?;
        Ok(Authentic { first: found.first, plain, _opened: () })
    }

    /// Opens a message that carries a fragment, in place, as [`Self::open`] does with whole ones.
    ///
    /// # Errors
    /// Those of [`Self::open`], with SKF for SK.
    pub(crate) fn open_fragment<'m>(
        &self,
        message: &'m mut [u8],
    ) -> Result<AuthenticFragment<'m>, DropReason> {
        let Found { first, aad_len, fragment } =
            find_encrypted(message).ok_or(DropReason::Malformed)?;
        let fragment = fragment.ok_or(DropReason::Malformed)?;
        let plain = self.open_body(aad_len, message)?;
        Ok(AuthenticFragment { fragment, first, plain })
    }

    fn open_body<'m>(&self, aad_len: usize, message: &'m mut [u8]) -> Result<&'m [u8], DropReason> {
        let (aad, rest) = message.split_at_mut(aad_len);
        let (iv, rest) =
            rest.split_at_mut_checked(self.inbound.iv_len()).ok_or(DropReason::Malformed)?;
        let body_len =
            rest.len().checked_sub(self.inbound.icv_len()).ok_or(DropReason::Malformed)?;
        let (body, icv) = rest.split_at_mut(body_len);
        self.inbound.open(aad, iv, body, icv)?;
        without_padding(body).ok_or(DropReason::Malformed)
    }
}

/// The place that a message claims in a fragmented one; `None` if it carries no SKF payload, or is malformed. Nothing in
/// it is authenticated: it says which way to go with the message, and no more.
pub(crate) fn claimed_fragment(message: &[u8]) -> Option<Fragment> {
    find_encrypted(message)?.fragment
}

/// Where the encrypted part of a message is.
struct Found {
    /// The type of the first payload inside.
    first: PayloadType,
    /// Where the IV begins, and the associated data end.
    aad_len: usize,
    /// The numbers of an SKF payload; `None` in SK.
    fragment: Option<Fragment>,
}

/// `None` unless the message is as long as its header says, its last payload is SK or SKF, and little stands before that.
fn find_encrypted(message: &[u8]) -> Option<Found> {
    let mut kind = Header::parse(message).ok()?.next_payload;
    let mut reader = Reader::new("payload chain", message.get(Header::LEN..)?);
    // Ends: each turn takes four octets at least, or returns.
    while kind != PayloadType::NONE {
        let first = PayloadType(reader.u8().ok()?);
        let _critical = reader.u8().ok()?;
        let body_len = usize::from(reader.u16().ok()?).checked_sub(GENERIC_HEADER_LEN)?;
        if kind == PayloadType::SK || kind == PayloadType::SKF {
            if body_len != reader.len() {
                return None;
            }
            let clear = message.len() - reader.len() - GENERIC_HEADER_LEN - Header::LEN;
            if clear > CLEAR_MAX {
                return None;
            }
            let fragment = match kind {
                PayloadType::SKF => {
                    Some(Fragment { number: reader.u16().ok()?, total: reader.u16().ok()? })
                }
                _ => None,
            };
            return Some(Found { first, aad_len: message.len() - reader.len(), fragment });
        }
        reader.take(body_len).ok()?;
        kind = first;
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

/// The most octets of payloads in clear before the encrypted one. No RFC puts any there; those of IKE_INTERMEDIATE are kept for AUTH
/// (RFC 9242 §3.3.2), and a stranger may send them.
const CLEAR_MAX: usize = 256;

/// [`Header::LEN`] as the length field counts it.
const HEADER_LEN: u32 = 28;
