//! Whole negotiations that others recorded together with their keys: derive every key, open every message, check AUTH.
//!
//! ```text
//!   IKE_SA_INIT          nonces, SPIs + g^ir  ──► SK_*                 = the recorded ones
//!   IKE_AUTH             open, AUTH of both sides                      = ours from the key
//!   CREATE_CHILD_SA      open, nonces         ──► SK_* of the new SA   = the recorded ones
//!   every child          nonces [+ g^ir]      ──► its four keys        = the recorded ones
//! ```

use serde_json::Value;

use super::additional::AdditionalKe;
use super::auth::{SignedOctets, psk_auth, verify_psk};
use super::keymat::{IkeKeys, child_keys};
use super::sk::{Added, Protection, Reassembly};
use super::suite::{ChildSuite, IkeSuite};
use super::vectors;
use crate::config::Psk;
use crate::error::DropReason;
use crate::registry::{EncrId, IntegId, KeMethod, PayloadType, PrfId};
use crate::wire::header::{Header, IkeSpi};
use crate::wire::message::Body;

#[test]
fn strongswan_derives_the_same_keys() {
    for case in strongswan() {
        let keys = case.initial_keys();
        case.compare("initial", &keys, 0);
        let rekeyed = case.rekeyed_keys(&keys);
        case.compare("rekeyed", &rekeyed, 1);
        case.compare_children(&keys, &rekeyed);
    }
}

#[test]
fn what_strongswan_sealed_opens() {
    for case in strongswan() {
        let first = case.initial_keys();
        let second = case.rekeyed_keys(&first);
        let spi_of_first = case.messages[0].header().spi_i;
        let (mut opened, mut fragments, mut joined) = (0, 0, 0);
        let mut reassembly = Reassembly::new();
        for message in case.messages.iter().filter(|message| message.plain.is_some()) {
            let header = message.header();
            let keys = if header.spi_i == spi_of_first { &first } else { &second };
            // Whoever receives it is the other one.
            let receiver = Protection::new(&case.suite, keys, !header.flags.initiator);
            let mut octets = message.octets.clone();
            if header.next_payload == PayloadType::SKF {
                assert_eq!(receiver.open(&mut octets).err(), Some(DropReason::Malformed));
                let piece = receiver.open_fragment(&mut octets).unwrap();
                let (kind, plain) = message.plain.as_ref().unwrap();
                assert_eq!((piece.first, piece.plain), (*kind, plain.as_slice()));
                fragments += 1;
                let mut whole = Vec::new();
                if let Added::Whole(all) = reassembly.add(&piece, 0x1_0000, &mut whole) {
                    let body = Body::parse(all.first, all.plain).unwrap();
                    assert!(body.auth.is_some() && body.sa.is_some() && body.ts_r.is_some());
                    joined += 1;
                }
                continue;
            }
            let authentic = receiver.open(&mut octets).unwrap();
            let (kind, plain) = message.plain.as_ref().unwrap();
            assert_eq!((authentic.first, authentic.plain), (*kind, plain.as_slice()));
            opened += 1;
        }
        let expected = if case.psk.is_some() { (16, 0, 0) } else { (14, 6, 2) };
        assert_eq!((opened, fragments, joined), expected);
    }
}

#[test]
fn strongswan_authenticates_with_the_same_octets() {
    for case in strongswan() {
        let Some(key) = &case.psk else { continue };
        let keys = case.initial_keys();
        let prf = case.suite.prf();
        let [request, response, auth_i, auth_r] = &case.messages[..4] else { panic!() };
        for (message, peer, auth, id, sk_p) in [
            (request, response, auth_i, PayloadType::ID_I, &keys.sk_pi),
            (response, request, auth_r, PayloadType::ID_R, &keys.sk_pr),
        ] {
            let peer_nonce = peer.payload(PayloadType::NONCE);
            let id_body = auth.payload(id);
            let message = message.octets.as_slice();
            let signed = SignedOctets { message, peer_nonce, sk_p, id_body, int_auth: &[] };
            // Method SHARED_KEY and three reserved octets, then the data (RFC 7296 §3.8).
            let received = auth.payload(PayloadType::AUTH).strip_prefix(&[2, 0, 0, 0]).unwrap();
            assert_eq!(psk_auth(prf, key, signed).as_slice(), received);
            assert!(verify_psk(prf, key, signed, received).is_some());
            let other = Psk::new(b"another key".to_vec());
            assert!(verify_psk(prf, &other, signed, received).is_none());
        }
    }
}

#[test]
fn what_wireshark_can_open_opens() {
    let file = "captures/wireshark_ikev2_decrypt_part.json";
    let Some(json) = vectors::external_json(file) else { return };
    let mut opened = 0;
    for case in json["cases"].as_array().unwrap() {
        // The others have 3DES or CCM, which we do not.
        if case["encr"] != "AES-CBC-256 [RFC3602]" {
            continue;
        }
        let key = |name: &str| vectors::octets(&case[name]).into();
        let keys = IkeKeys {
            sk_ai: key("sk_ai"),
            sk_ar: key("sk_ar"),
            sk_ei: key("sk_ei"),
            sk_er: key("sk_er"),
            sk_d: Vec::new().into(),
            sk_pi: Vec::new().into(),
            sk_pr: Vec::new().into(),
        };
        for message in case["messages"].as_array().unwrap().iter().map(Message::read) {
            let Some((kind, plain)) = &message.plain else { continue };
            let receiver = Protection::new(&CBC, &keys, !message.header().flags.initiator);
            let mut octets = message.octets.clone();
            let authentic = receiver.open(&mut octets).unwrap();
            assert_eq!((authentic.first, authentic.plain), (*kind, plain.as_slice()));
            opened += 1;
        }
    }
    assert_eq!(opened, 2);
}

/// One recorded negotiation.
struct Transcript {
    suite: IkeSuite,
    psk: Option<Psk>,
    secrets: Vec<(String, Vec<u8>)>,
    messages: Vec<Message>,
}

/// One message and, if it is protected, the type of its first inner payload and its plaintext.
struct Message {
    octets: Vec<u8>,
    plain: Option<(PayloadType, Vec<u8>)>,
}

fn strongswan() -> Vec<Transcript> {
    let file = "captures/strongswan_ikev2_transcripts_part.json";
    let Some(json) = vectors::external_json(file) else { return Vec::new() };
    let cases: Vec<_> = json["cases"].as_array().unwrap().iter().map(Transcript::read).collect();
    assert_eq!(cases.len(), 2);
    cases
}

impl Transcript {
    fn read(case: &Value) -> Self {
        let secret = |secret: &Value| {
            (secret["label"].as_str().unwrap().to_owned(), vectors::octets(&secret["hex"]))
        };
        let messages = case["messages"].as_array().unwrap().iter();
        Self {
            suite: match case["name"].as_str().unwrap() {
                "gcm256_sha384_ecp384_psk" => GCM,
                "cbc256_sha256_modp2048_rsa" => CBC,
                other => panic!("{other}"),
            },
            psk: case["psk"].as_str().map(|psk| Psk::new(psk.into())),
            secrets: case["secrets"].as_array().unwrap().iter().map(secret).collect(),
            messages: messages.filter(|m| m["type"] == "ike").map(Message::read).collect(),
        }
    }

    /// The `n`th secret of this name, from 0; empty if there is none.
    fn secret(&self, label: &str, n: usize) -> &[u8] {
        let mut found = self.secrets.iter().filter(|(name, _)| name == label);
        found.nth(n).map_or(&[], |(_, octets)| octets)
    }

    fn initial_keys(&self) -> IkeKeys {
        let [request, response] = &self.messages[..2] else { panic!() };
        let spis = response.header();
        IkeKeys::initial(
            &self.suite,
            self.secret("shared Diffie Hellman secret", 0),
            request.payload(PayloadType::NONCE),
            response.payload(PayloadType::NONCE),
            spis.spi_i,
            spis.spi_r,
        )
    }

    /// The keys of the SA that the original responder made in place of the first.
    fn rekeyed_keys(&self, old: &IkeKeys) -> IkeKeys {
        let mut rekeying = self.messages.iter().filter(|message| message.new_ike_spi().is_some());
        let (request, response) = (rekeying.next().unwrap(), rekeying.next().unwrap());
        assert!(!request.header().flags.response && response.header().flags.response);
        IkeKeys::rekeyed(
            &self.suite,
            self.suite.prf(),
            &old.sk_d,
            self.secret("shared Diffie Hellman secret", 1),
            request.payload(PayloadType::NONCE),
            response.payload(PayloadType::NONCE),
            &[],
            request.new_ike_spi().unwrap(),
            response.new_ike_spi().unwrap(),
        )
    }

    fn compare(&self, name: &str, keys: &IkeKeys, n: usize) {
        for (label, key) in [
            ("Sk_d secret", &keys.sk_d),
            ("Sk_ai secret", &keys.sk_ai),
            ("Sk_ar secret", &keys.sk_ar),
            ("Sk_ei secret", &keys.sk_ei),
            ("Sk_er secret", &keys.sk_er),
            ("Sk_pi secret", &keys.sk_pi),
            ("Sk_pr secret", &keys.sk_pr),
        ] {
            assert_eq!(key.as_slice(), self.secret(label, n), "{name} {label}");
        }
    }

    /// The child of IKE_AUTH, its rekeying with a key exchange, and another one in the rekeyed IKE SA.
    fn compare_children(&self, first: &IkeKeys, second: &IkeKeys) {
        let IkeSuite { encr, key_bits, integ, ke, .. } = self.suite;
        let children = [(first, None), (first, Some(0)), (second, Some(1))];
        for (n, (keys, exchange)) in children.into_iter().enumerate() {
            let g_ir = exchange.map(|exchange| self.secret("DH secret", exchange));
            let seed = self.secret("seed", n);
            // strongSwan logs g^ir | Ni | Nr; its nonces have 32 octets.
            let nonces = &seed[g_ir.map_or(0, <[u8]>::len)..];
            let (ni, nr) = nonces.split_at(32);
            let suite = ChildSuite {
                encr,
                key_bits,
                integ,
                esn: false,
                ke: g_ir.map(|_| ke),
                additional: AdditionalKe::NONE,
            };
            let (to_r, to_i) = child_keys(self.suite.prf(), &keys.sk_d, g_ir, ni, nr, &[], &suite);
            for (label, key) in [
                ("encryption initiator key", to_r.encr),
                ("integrity initiator key", to_r.integ),
                ("encryption responder key", to_i.encr),
                ("integrity responder key", to_i.integ),
            ] {
                assert_eq!(key.as_slice(), self.secret(label, n), "child {n} {label}");
            }
        }
    }
}

impl Message {
    fn read(message: &Value) -> Self {
        let kind = message["inner_first_payload"].as_u64();
        let kind = kind.map(|kind| PayloadType(u8::try_from(kind).unwrap()));
        Self {
            octets: vectors::octets(&message["hex"]),
            plain: kind.map(|kind| (kind, vectors::octets(&message["inner_plaintext"]))),
        }
    }

    fn header(&self) -> Header {
        Header::parse(&self.octets).unwrap()
    }

    /// The body of the first payload of this type, in the clear or inside SK.
    fn payload(&self, wanted: PayloadType) -> &[u8] {
        self.find(wanted).unwrap_or_else(|| panic!("no payload {wanted}"))
    }

    fn find(&self, wanted: PayloadType) -> Option<&[u8]> {
        let clear = (self.header().next_payload, &self.octets[Header::LEN..]);
        let (mut kind, mut rest) = match &self.plain {
            Some((kind, plain)) => (*kind, plain.as_slice()),
            None => clear,
        };
        while kind != PayloadType::NONE {
            let (&[next, _, high, low], _) = rest.split_first_chunk()?;
            let (payload, tail) = rest.split_at_checked(u16::from_be_bytes([high, low]).into())?;
            if kind == wanted {
                return Some(&payload[4..]);
            }
            (kind, rest) = (PayloadType(next), tail);
        }
        None
    }

    /// The SPI in the proposal of a CREATE_CHILD_SA message that rekeys the IKE SA (RFC 7296 §1.3.2).
    fn new_ike_spi(&self) -> Option<IkeSpi> {
        self.plain.as_ref()?;
        // Last, reserved, length, number, protocol IKE, SPI size, number of transforms (RFC 7296 §3.3.1).
        let &[_, _, _, _, _, 1, 8, _, ref rest @ ..] = self.find(PayloadType::SA)? else {
            return None;
        };
        rest.first_chunk().map(|spi| IkeSpi(u64::from_be_bytes(*spi)))
    }
}

const GCM: IkeSuite = IkeSuite {
    encr: EncrId::AES_GCM_16,
    key_bits: 256,
    prf: PrfId::HMAC_SHA2_384,
    integ: None,
    ke: KeMethod::ECP_384,
    additional: AdditionalKe::NONE,
};

const CBC: IkeSuite = IkeSuite {
    encr: EncrId::AES_CBC,
    key_bits: 256,
    prf: PrfId::HMAC_SHA2_256,
    integ: Some(IntegId::HMAC_SHA2_256_128),
    ke: KeMethod::MODP_2048,
    additional: AdditionalKe::NONE,
};
