//! What others found to break IKE stacks (T06): corpora of fuzzers and malformed captures, each octet string in every place where
//! a message, a payload or a certificate may be; and the lies about lengths that those are full of, made of our own messages.
//!
//! ```text
//!   seed ─► as a datagram ─────────────────────────────┐
//!        ─► with the SPIs, ID and length of an SA ─────┼─► nobody, AuthAwaited, Established        no panic; the slowest is told
//!        ─► sealed under the keys of an SA ────────────┘
//! ```
//!
//! The corpora are not part of the repository: without them the tests say so and pass (`IPSEC_VECTORS`).

use std::io::Read as _;

use testkit::measured::measured;

use super::*;
use crate::crypto::vectors::external;
use crate::pki::{Certificate, PublicKey};
use crate::registry::CertEncoding;
use crate::wire::message::Payloads;

/// The files of an archive, in order, by name.
fn archive(name: &str) -> Vec<(String, Vec<u8>)> {
    let Some(octets) = external(name) else { return Vec::new() };
    let mut files = Vec::new();
    for entry in tar::Archive::new(octets.as_slice()).entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.header().entry_type().is_file() {
            let mut octets = Vec::new();
            entry.read_to_end(&mut octets).unwrap();
            files.push((entry.path().unwrap().display().to_string(), octets));
        }
    }
    files
}

/// Every tail of the malformed captures: one of them is the datagram, the others are noise like any other.
fn captures() -> Vec<(String, Vec<u8>)> {
    let names = [
        "ikev2-id-short.pcap",
        "ikev2pI2-segfault.pcapng",
        "isakmp-delete-segfault.pcap",
        "isakmp-pointer-loop.pcap",
        "isakmp-rfc3948-oobr.pcap",
        "esp_truncated.pcap",
    ];
    let files = names.iter().filter_map(|name| external(&format!("malformed/{name}")));
    let tails = files.flat_map(|file| (24..file.len()).map(move |at| file[at..].to_vec()));
    tails.enumerate().map(|(at, tail)| (format!("capture {at}"), tail)).collect()
}

/// The slowest of them, by name.
#[derive(Default)]
struct Slowest {
    of: usize,
    took: Duration,
    name: String,
}

impl Slowest {
    #[expect(clippy::disallowed_methods, reason = "told, and held to a bar that no machine misses")]
    fn time<T>(&mut self, name: &str, act: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let done = act();
        let took = began.elapsed();
        self.of += 1;
        if took > self.took {
            (self.took, self.name) = (took, name.into());
        }
        done
    }

    fn tell(&self, how: &str) {
        let Self { of, took, name } = self;
        measured(
            "T06",
            &format!("slowest of {of} {how}"),
            format!("{took:.1?} ({name})"),
            "<= 5 ms, release",
        );
        // Without optimisation and on a busy machine; what is quadratic takes minutes.
        assert!(*took < Duration::from_secs(2), "{name}: {took:?}");
    }
}

/// With the length that it has, and as much of it as its own length says, if that is less.
fn forms(octets: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![octets.to_vec()];
    if let Some(field) = octets.get(24..28) {
        let claimed = u32::from_be_bytes(field.try_into().unwrap());
        if let Some(part) = usize::try_from(claimed).ok().and_then(|len| octets.get(..len)) {
            forms.push(part.to_vec());
        }
        forms.push(with_len(octets.to_vec()));
    }
    forms
}

fn with_len(mut octets: Vec<u8>) -> Vec<u8> {
    let len = u32::try_from(octets.len()).unwrap();
    octets[24..28].copy_from_slice(&len.to_be_bytes());
    octets
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut seeds = archive("fuzz-seeds/openiked-corpus-part1.tar.gz");
    seeds.extend(captures());
    seeds
}

#[test]
fn as_datagrams_in_the_clear() {
    let mut slowest = Slowest::default();
    let mut pairs = [Pair::new(), Pair::up()];
    for (name, octets) in seeds() {
        for pair in &mut pairs {
            for form in forms(&octets) {
                for from in [A, B] {
                    slowest.time(&name, || pair.deliver(from, &form));
                }
            }
            // As if it were the SA's: its SPIs, version 2.0, the request that is next.
            let ours = golden::oldest(&pair.ends[A]).unwrap();
            if octets.len() > Header::LEN {
                let mut form = with_len(octets.clone());
                form[..8].copy_from_slice(&ours.octets());
                form[17] = 0x20;
                for (exchange, flags) in [(34, 0x20), (34, 0x08), (37, 0x28), (35, 0x20)] {
                    (form[18], form[19]) = (exchange, flags);
                    form[20..24].copy_from_slice(&[0; 4]);
                    slowest.time(&name, || pair.deliver(A, &form));
                    slowest.time(&name, || pair.deliver(B, &form));
                }
            }
            pair.wire.clear();
            pair.events = [vec![], vec![]];
        }
    }
    if slowest.of > 0 {
        slowest.tell("datagrams of the corpora");
    }
    let [_, mut up] = pairs;
    up.run_for(MINUTE);
    assert_eq!((up.ends[A].children.len(), up.ends[B].children.len()), (1, 1), "the SA is up");
}

/// Sealed with the right keys, each as the payloads of a request to a half-open SA and to one that is up.
#[test]
fn as_the_content_of_sealed_messages() {
    let mut slowest = Slowest::default();
    let half_open = || {
        let mut pair = Pair::new();
        pair.pass();
        pair.pass();
        pair
    };
    let mut up = (Pair::up(), 2);
    for (number, (name, octets)) in seeds().into_iter().enumerate() {
        let inside = octets.get(Header::LEN..).unwrap_or_default();
        let first = PayloadType(octets.get(16).copied().unwrap_or(33));
        // Every fourth to a half-open SA, which each ends.
        if number % 4 == 0 {
            let mut pair = half_open();
            let chain = Chain::of_octets(first, inside);
            let request = pair.forge(A, ExchangeType::IKE_AUTH, (1, false), &chain);
            slowest.time(&name, || pair.deliver(A, &request));
            assert!(pair.ends[B].children.is_empty(), "{name}: nobody is authenticated");
        }
        for (first, octets) in
            [(first, inside), (PayloadType(33 + u8::try_from(number % 16).unwrap()), &octets[..])]
        {
            let exchange = ExchangeType(36 + u8::try_from(number % 2).unwrap());
            let (pair, id) = &mut up;
            let request = pair.forge(A, exchange, (*id, false), &Chain::of_octets(first, octets));
            let taken = slowest.time(&name, || pair.deliver(A, &request));
            assert_eq!(taken, Disposition::Accepted, "{name}");
            *id += 1;
            let alive = pair.ends[B].sas.values().filter(|sa| sa.stage() == Stage::Up).count() == 1;
            if !alive || pair.ends[B].children.len() != 1 {
                up = (Pair::up(), 2);
            }
            up.0.wire.clear();
            up.0.events = [vec![], vec![]];
        }
    }
    if slowest.of > 0 {
        slowest.tell("sealed messages of the corpora");
    }
}

/// strongSwan's certificates and identities: read as what they are, as a key, and within CERT and IDi payloads.
#[test]
fn as_certificates_and_identities() {
    let mut slowest = Slowest::default();
    for (name, octets) in archive("fuzz-seeds/strongswan-certs-ids.tar.gz") {
        let mut chain = Chain::new();
        chain.cert(CertEncoding::X509_SIGNATURE, &octets);
        slowest.time(&name, || {
            drop(Certificate::from_der(&octets));
            drop(PublicKey::from_spki_der(&octets));
            let _read_or_not = Body::parse(chain.first(), chain.octets()).is_ok();
        });
        for kind in 0..=12 {
            let body = [&[kind, 0, 0, 0], octets.as_slice()].concat();
            slowest.time(&name, || drop(Identity::parse(&body)));
        }
    }
    if slowest.of > 0 {
        slowest.tell("certificates and identities");
    }
}

/// Lies about the length of the whole: nothing of it is taken, in any state.
#[test]
fn a_header_that_is_wrong_by_up_to_64_octets() {
    for case in &golden::CASES {
        let mut pair = (case.reach)();
        let said: Vec<_> = pair.wire.iter().map(|(end, t)| (*end, t.payload.clone())).collect();
        for (from, payload) in said {
            for off in (-64..=64).filter(|off| *off != 0) {
                let mut form = payload.to_vec();
                let len = i64::try_from(form.len()).unwrap() + off;
                form[24..28].copy_from_slice(&u32::try_from(len.max(0)).unwrap().to_be_bytes());
                let dropped = Disposition::Dropped(DropReason::Malformed);
                assert_eq!(pair.deliver(from, &form), dropped, "{}: {off}", case.name);
            }
        }
    }
}

/// Where each payload of a chain begins.
fn offsets(first: PayloadType, octets: &[u8]) -> Vec<usize> {
    Payloads::new(first, octets).map(|payload| payload.unwrap().offset).collect()
}

/// Each payload of the messages of a handshake and of a child says that it has 0 to 3 octets, or 65 535, or is followed by
/// one of its own kind: in the clear it is noise, under the keys it is told INVALID_SYNTAX or means nothing.
#[test]
fn payloads_that_lie_about_their_length_or_name_themselves_as_the_next() {
    let lies = |octets: &[u8], at: usize, kind: PayloadType| -> Vec<Vec<u8>> {
        let lengths = [0, 1, 2, 3, 65_535u16];
        let with = |range: std::ops::Range<usize>, value: &[u8]| {
            let mut octets = octets.to_vec();
            octets[range].copy_from_slice(value);
            octets
        };
        let mut all: Vec<_> =
            lengths.iter().map(|len| with(at + 2..at + 4, &len.to_be_bytes())).collect();
        all.push(with(at..at + 1, &[kind.0]));
        all
    };
    let mut pair = Pair::new();
    let request = pair.wire[0].1.payload.to_vec();
    let first = Header::parse(&request).unwrap().next_payload;
    let kinds: Vec<_> =
        Payloads::new(first, &request[Header::LEN..]).map(|p| p.unwrap().kind).collect();
    for (at, kind) in offsets(first, &request[Header::LEN..]).into_iter().zip(kinds) {
        for lie in lies(&request[Header::LEN..], at, kind) {
            if lie == request[Header::LEN..] {
                continue;
            }
            let forged = [&request[..Header::LEN], &lie].concat();
            let disposition = pair.deliver(A, &forged);
            assert!(matches!(disposition, Disposition::Dropped(_)), "{kind} at {at}");
            assert!(pair.ends[B].sas.is_empty());
        }
    }
    let mut proposal = Proposal::esp_from_keywords(ESP).unwrap();
    (proposal.spi, proposal.number) = (vec![0, 0, 0x12, 0x34], 1);
    let mut chain = Chain::new();
    chain.sa(&[proposal]).nonce(&[7; 32]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]).delete_esp(&[7, 9]);
    let kinds: Vec<_> =
        Payloads::new(chain.first(), chain.octets()).map(|p| p.unwrap().kind).collect();
    for (at, kind) in offsets(chain.first(), chain.octets()).into_iter().zip(kinds) {
        for lie in lies(chain.octets(), at, kind) {
            if lie == chain.octets() {
                continue;
            }
            let mut pair = Pair::up();
            let lie = Chain::of_octets(chain.first(), &lie);
            let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, 2, &lie);
            assert_eq!(answer, [NotifyType::INVALID_SYNTAX], "{kind} at {at}");
        }
    }
}

/// As many payloads as a datagram holds, of every kind that may occur often: one pass, and no more memory than they have.
#[test]
fn sixteen_thousand_payloads_in_one_message() {
    let mut slowest = Slowest::default();
    let each: [(PayloadType, &[u8]); 6] = [
        (PayloadType(200), &[]),
        (PayloadType::VENDOR_ID, &[]),
        (PayloadType::NOTIFY, &[0, 0, 0x80, 0]),
        (PayloadType::DELETE, &[3, 4, 0, 0]),
        (PayloadType::CERT, &[4]),
        (PayloadType::CERTREQ, &[4]),
    ];
    for (kind, body) in each {
        let one = 4 + body.len();
        let count = (65_000 - 100) / one;
        let len = u16::try_from(one).unwrap().to_be_bytes();
        let payload = |number: usize| {
            let next = if number == count { PayloadType::NONE } else { kind };
            [&[next.0, 0, len[0], len[1]], body].concat()
        };
        let octets: Vec<u8> = (1..=count).flat_map(payload).collect();
        let chain = Chain::of_octets(kind, &octets);
        let mut pair = Pair::up();
        let request = pair.forge(A, ExchangeType::INFORMATIONAL, (2, false), &chain);
        slowest.time(&format!("{count} of {kind}"), || pair.deliver(A, &request));
        assert_eq!(pair.ends[B].children.len(), 1, "{kind}: the SA goes on");
        let mut pair = Pair::new();
        pair.pass();
        pair.pass();
        let request = pair.forge(A, ExchangeType::IKE_AUTH, (1, false), &chain);
        slowest.time(&format!("{count} of {kind} before AUTH"), || pair.deliver(A, &request));
        assert!(pair.ends[B].children.is_empty());
    }
    slowest.tell("messages of as many payloads as fit");
}
