//! What IKE_INTERMEDIATE exchanges leave for AUTH (RFC 9242 §3.3.2).
//!
//! ```text
//!   IntAuth_i1 = prf(SK_pi1,              A | P)     of the first request      and so for the responses, with SK_pr
//!   IntAuth_i2 = prf(SK_pi2, IntAuth_i1 | A | P)     of the second ...
//!   IntAuth    = IntAuth_iN | IntAuth_rN | message ID of IKE_AUTH              the end of both sides' signed octets
//!
//!            |<- A: as if it had come whole, in SK ----------------------->|<- P: decrypted ->|
//!            +------------+---------------+--------------------------------+------------------+
//!            | IKE header | payloads      | next | C, reserved | length    | inner payloads   |    IV, padding, pad length
//!            | length = A | before SK,    |      | of fragment | = 4 + P   |                  |    and ICV do not count
//!            |        + P | if any        |      | 1           |           |                  |
//!            +------------+---------------+--------------------------------+------------------+
//! ```
//!
//! Both sides so authenticate the same octets, whether and however the message was cut on its way. The keys are those that
//! protect the exchange, not those that it leads to.

use zeroize::Zeroizing;

use super::prf::Prf;
use crate::registry::PayloadType;
use crate::wire::header::{Header, MessageId};
use crate::wire::message::Payloads;

/// The chained values of both directions.
#[derive(Default)]
pub(crate) struct IntAuth {
    of_initiator: Zeroizing<Vec<u8>>,
    of_responder: Zeroizing<Vec<u8>>,
}

/// A message as it is authenticated: up to the end of the generic header of its Encrypted payload, lengths yet to be filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Associated(Vec<u8>);

impl IntAuth {
    /// Adds the request of an exchange. `sk_pi` is the key before the exchange.
    pub(crate) fn add_request(&mut self, prf: Prf, sk_pi: &[u8], a: &Associated, p: &[u8]) {
        self.of_initiator = chained(prf, sk_pi, &self.of_initiator, a, p);
    }

    /// Adds the response of an exchange. `sk_pr` is the key before the exchange.
    pub(crate) fn add_response(&mut self, prf: Prf, sk_pr: &[u8], a: &Associated, p: &[u8]) {
        self.of_responder = chained(prf, sk_pr, &self.of_responder, a, p);
    }

    /// The end of the signed octets; nothing if there was no exchange.
    pub(crate) fn octets(&self, ike_auth: MessageId) -> Vec<u8> {
        if self.of_initiator.is_empty() && self.of_responder.is_empty() {
            return Vec::new();
        }
        [self.of_initiator.as_slice(), &self.of_responder, &ike_auth.0.to_be_bytes()].concat()
    }
}

impl Associated {
    /// Of a message as it came, with an SK payload, or with the first of several SKF payloads. `None` if it has neither.
    pub(crate) fn received(datagram: &[u8]) -> Option<Self> {
        let header = Header::parse(datagram).ok()?;
        let rest = datagram.get(Header::LEN..)?;
        // Where the type of the payload at hand is named.
        let mut named_at = NEXT_PAYLOAD_AT;
        for payload in Payloads::new(header.next_payload, rest) {
            let payload = payload.ok()?;
            let at = Header::LEN + payload.offset;
            if matches!(payload.kind, PayloadType::SK | PayloadType::SKF) {
                let mut octets = datagram.get(..at + GENERIC_HEADER_LEN)?.to_vec();
                *octets.get_mut(named_at)? = PayloadType::SK.0;
                return Some(Self(octets));
            }
            named_at = at;
        }
        None
    }

    /// Of a message of ours with an SK payload alone, whose first inner payload has this type.
    pub(crate) fn sent(header: Header, first: PayloadType) -> Self {
        let header = Header { next_payload: PayloadType::SK, ..header };
        Self([header.emit().as_slice(), &[first.0, 0, 0, 0]].concat())
    }

    /// With the lengths as they are without IV, padding and ICV.
    fn adjusted(&self, inner_len: usize) -> Option<Vec<u8>> {
        let mut octets = self.0.clone();
        let total = u32::try_from(octets.len() + inner_len).ok()?;
        let payload = u16::try_from(GENERIC_HEADER_LEN + inner_len).ok()?;
        octets.get_mut(LENGTH_AT..Header::LEN)?.copy_from_slice(&total.to_be_bytes());
        let end = octets.len();
        octets.get_mut(end.checked_sub(2)?..)?.copy_from_slice(&payload.to_be_bytes());
        Some(octets)
    }
}

fn chained(prf: Prf, sk_p: &[u8], before: &[u8], a: &Associated, p: &[u8]) -> Zeroizing<Vec<u8>> {
    let adjusted = a.adjusted(p.len());
    let adjusted =
        adjusted.expect("invariant: what we send or take fits into an Encrypted payload");
    prf.compute(sk_p, &[before, &adjusted, p])
}

/// Of the field in the IKE header (RFC 7296 §3.1).
const NEXT_PAYLOAD_AT: usize = 16;
/// Of the field in the IKE header.
const LENGTH_AT: usize = 24;
const GENERIC_HEADER_LEN: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    /// Message 1 of an IKE SA: IKE_INTERMEDIATE, from the initiator, SK with KE inside, 60 octets of SK payload.
    const WHOLE: &str =
        "0102030405060708 1112131415161718 2e 20 2b 08 00000001 00000058 22 00 003c";
    /// Its first of two fragments, with another length, and a reserved bit set.
    const FRAGMENT: &str =
        "0102030405060708 1112131415161718 35 20 2b 08 00000001 00000050 22 01 0034 0001 0002";

    fn octets(hex: &str, len: usize) -> Vec<u8> {
        let mut octets = hex::decode(hex.replace(' ', "")).unwrap();
        octets.resize(len, 0xee);
        octets
    }

    #[test]
    fn lengths_count_what_is_authenticated_and_nothing_else() {
        let whole = Associated::received(&octets(WHOLE, 0x58)).unwrap();
        let expected = "0102030405060708 1112131415161718 2e 20 2b 08 00000001 0000002a 22 00 000e";
        assert_eq!(whole.adjusted(10).unwrap(), octets(expected, 32));
        let empty = "0102030405060708 1112131415161718 2e 20 2b 08 00000001 00000020 22 00 0004";
        assert_eq!(whole.adjusted(0).unwrap(), octets(empty, 32));
    }

    #[test]
    fn a_first_fragment_stands_for_the_message_that_it_was_cut_from() {
        let cut = Associated::received(&octets(FRAGMENT, 0x50)).unwrap();
        let expected = "0102030405060708 1112131415161718 2e 20 2b 08 00000001 0000002a 22 01 000e";
        assert_eq!(cut.adjusted(10).unwrap(), octets(expected, 32));
    }

    #[test]
    fn payloads_before_the_encrypted_one_count() {
        let message = "0102030405060708 1112131415161718 2b 20 2b 08 00000001 00000058 35 00 0008 01020304\
                       22 00 0034 0001 0002";
        let before = Associated::received(&octets(message, 0x58)).unwrap();
        let expected = "0102030405060708 1112131415161718 2b 20 2b 08 00000001 0000002a 2e 00 0008 01020304\
                        22 00 0006";
        assert_eq!(before.adjusted(2).unwrap(), octets(expected, 40));
    }

    #[test]
    fn what_we_send_is_what_the_peer_sees() {
        let header = Header::parse(&octets(WHOLE, 0x58)).unwrap();
        let sent = Associated::sent(header, PayloadType::KE);
        let seen = Associated::received(&octets(WHOLE, 0x58)).unwrap();
        assert_eq!(sent.adjusted(7), seen.adjusted(7));
        assert_eq!(Associated::received(&octets("00", 28)), None);
    }

    /// RFC 9242 §3.3.2 and its Appendix A written out: two exchanges, so IKE_AUTH is message 3.
    #[test]
    fn both_directions_are_chained_and_the_message_id_ends_it() {
        let prf = Prf::HmacSha2_256;
        let a = Associated::received(&octets(WHOLE, 0x58)).unwrap();
        let mut auth = IntAuth::default();
        assert!(auth.octets(MessageId(1)).is_empty(), "none took place");
        auth.add_request(prf, b"SK_pi1", &a, b"P1");
        auth.add_response(prf, b"SK_pr1", &a, b"");
        auth.add_request(prf, b"SK_pi2", &a, b"P2");
        auth.add_response(prf, b"SK_pr2", &a, b"R2");
        let adjusted = |len| a.adjusted(len).unwrap();
        let i1 = prf.compute(b"SK_pi1", &[&adjusted(2), b"P1"]);
        let i2 = prf.compute(b"SK_pi2", &[&i1, &adjusted(2), b"P2"]);
        let r1 = prf.compute(b"SK_pr1", &[&adjusted(0)]);
        let r2 = prf.compute(b"SK_pr2", &[&r1, &adjusted(2), b"R2"]);
        assert_eq!(auth.octets(MessageId(3)), [i2.as_slice(), &r2, &[0, 0, 0, 3]].concat());
    }
}
