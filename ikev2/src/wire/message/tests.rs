//! Whole messages: those of strongSwan, damaged ones, and those that we build.

use std::path::PathBuf;

use proptest::prelude::*;

use super::*;
use crate::registry::{ExchangeType, IdType};
use crate::wire::header::{Flags, IkeSpi, MessageId};

/// Where external captures lie, if they do.
fn vectors(name: &str) -> Option<Vec<u8>> {
    let root = std::env::var_os("IPSEC_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors")),
        PathBuf::from,
    );
    let path = root.join(name);
    let octets = std::fs::read(&path).ok();
    if octets.is_none() {
        println!("absent, skipped: {}", path.display());
    }
    octets
}

/// Every chain of payloads in the strongSwan transcripts: unprotected messages, and the insides of SK. `label` says which.
fn chains() -> Vec<(String, PayloadType, Vec<u8>)> {
    let Some(json) = vectors("captures/strongswan_ikev2_transcripts_part.json") else {
        return Vec::new();
    };
    let transcripts: serde_json::Value = serde_json::from_slice(&json).unwrap();
    let mut chains = Vec::new();
    for case in transcripts["cases"].as_array().unwrap() {
        for (position, message) in case["messages"].as_array().unwrap().iter().enumerate() {
            let fragmented = !message["fragment"].is_null();
            if message["type"] != "ike" || fragmented {
                continue;
            }
            let label = format!("{} message {position}", case["name"]);
            let (first, octets) = if let Some(plain) = message["inner_plaintext"].as_str() {
                let first = message["inner_first_payload"].as_u64().unwrap();
                (u8::try_from(first).unwrap(), hex::decode(plain).unwrap())
            } else {
                let datagram = hex::decode(message["hex"].as_str().unwrap()).unwrap();
                let header = Header::parse(&datagram).unwrap();
                (header.next_payload.0, datagram[Header::LEN..].to_vec())
            };
            chains.push((label, PayloadType(first), octets));
        }
    }
    assert!(chains.len() > 30, "the transcripts have some forty unfragmented messages");
    chains
}

/// Builds the payloads of a chain anew, from what was understood of them.
fn rebuilt(first: PayloadType, octets: &[u8]) -> Option<Chain> {
    let body = Body::parse(first, octets).unwrap();
    let mut chain = Chain::new();
    let (mut notifies, mut deletes) = (body.notifies.iter(), body.deletes.iter());
    for payload in Payloads::new(first, octets) {
        match payload.unwrap().kind {
            PayloadType::SA => chain.sa(body.sa.as_ref()?),
            PayloadType::KE => chain.ke(body.ke?.method, body.ke?.data),
            PayloadType::NONCE => chain.nonce(body.nonce?),
            PayloadType::ID_I => chain.id_i(&body.id_i.as_ref()?.identity),
            PayloadType::ID_R => chain.id_r(&body.id_r.as_ref()?.identity),
            PayloadType::AUTH => chain.auth(body.auth?.method, body.auth?.data),
            PayloadType::TS_I => chain.ts_i(body.ts_i.as_ref()?),
            PayloadType::TS_R => chain.ts_r(body.ts_r.as_ref()?),
            PayloadType::NOTIFY => {
                let notify = notifies.next()?;
                chain.notify_spi(notify.protocol, notify.spi, notify.kind, notify.data)
            }
            PayloadType::DELETE => match deletes.next()? {
                delete if delete.is_ike() => chain.delete_ike(),
                delete => chain.delete_esp(&delete.spis),
            },
            other => {
                println!("{other} has no builder, skipped");
                return None;
            }
        };
    }
    Some(chain)
}

#[test]
fn real_messages_are_understood_and_written_back_octet_for_octet() {
    let mut compared = 0;
    for (label, first, octets) in chains() {
        if let Some(chain) = rebuilt(first, &octets) {
            assert_eq!(chain.first(), first, "{label}");
            assert_eq!(chain.octets(), octets, "{label}");
            compared += 1;
        }
    }
    assert!(compared > 25 || compared == 0, "{compared}");
}

#[test]
fn damaged_messages_are_refused_or_read_but_never_panic() {
    for (label, first, octets) in chains() {
        for len in 0..octets.len() {
            assert!(Body::parse(first, &octets[..len]).is_err(), "{label} cut to {len}");
        }
        let mut damaged = octets;
        for at in 0..damaged.len() {
            for flip in [0x01, 0x80, 0xff] {
                damaged[at] ^= flip;
                let _ = Body::parse(first, &damaged);
                damaged[at] ^= flip;
            }
        }
    }
}

#[test]
fn the_ike_auth_of_strongswan_says_what_its_log_says() {
    let Some((_, first, octets)) = chains().into_iter().nth(2) else { return };
    let body = Body::parse(first, &octets).unwrap();
    let id_i = body.id_i.as_ref().unwrap();
    assert_eq!(id_i.identity.to_string(), "a.psk.example");
    assert_eq!(id_i.raw[..4], [IdType::FQDN.0, 0, 0, 0]);
    assert_eq!(body.id_r.as_ref().unwrap().identity.to_string(), "b.psk.example");
    assert_eq!(body.auth.unwrap().method, AuthMethod::SHARED_KEY);
    assert_eq!(body.sa.as_ref().unwrap()[0].to_string(), "aes256gcm16-noesn");
    assert_eq!(body.ts_i.as_ref().unwrap()[0].to_string(), "10.1.0.0/24");
    assert_eq!(body.ts_r.as_ref().unwrap()[0].to_string(), "10.2.0.0/24");
    assert!(body.notify(NotifyType::INITIAL_CONTACT).is_some());
    assert!(body.error_notify().is_none());
}

#[test]
fn other_captures_are_survived() {
    for name in ["captures/ike-sa-init-req.bin", "captures/ike-sa-init-resp.bin"] {
        let Some(datagram) = vectors(name) else { continue };
        let header = Header::parse(&datagram).unwrap();
        assert_eq!(header.exchange, ExchangeType::IKE_SA_INIT);
        let body = Body::parse(header.next_payload, &datagram[Header::LEN..]).unwrap();
        assert!(body.sa.is_some() && body.ke.is_some() && body.nonce.is_some(), "{name}");
    }
    for name in [
        "captures/ikev2four.pcap",
        "captures/ikev2-id-normal.pcap",
        "captures/ikev2pI2.pcap",
        "captures/IKEv2_SA_INIT_2-8-weak.pcap",
        "malformed/ikev2-id-short.pcap",
        "malformed/ikev2pI2-segfault.pcapng",
        "malformed/isakmp-delete-segfault.pcap",
        "malformed/isakmp-pointer-loop.pcap",
        "malformed/isakmp-rfc3948-oobr.pcap",
    ] {
        let Some(file) = vectors(name) else { continue };
        // Without reading the file format: every octet of it may be where a chain begins.
        for start in 0..file.len() {
            let tail = &file[start..file.len().min(start + 1500)];
            let _ = Header::parse(tail);
            for first in
                [PayloadType::SA, PayloadType::ID_I, PayloadType::DELETE, PayloadType::TS_I]
            {
                let _ = Body::parse(first, tail);
            }
        }
    }
}

#[test]
fn the_chain_names_each_successor_and_nothing_may_follow() {
    let mut chain = Chain::new();
    assert!(chain.is_empty());
    assert_eq!(Body::parse(chain.first(), chain.octets()).unwrap().notifies, []);
    chain.nonce(&[7; 16]).notify(NotifyType::COOKIE, b"c").delete_ike();
    let payloads: Vec<_> =
        Payloads::new(chain.first(), chain.octets()).collect::<Result<_, _>>().unwrap();
    let kinds: Vec<_> = payloads.iter().map(|payload| (payload.kind, payload.offset)).collect();
    assert_eq!(
        kinds,
        [(PayloadType::NONCE, 0), (PayloadType::NOTIFY, 20), (PayloadType::DELETE, 29)]
    );
    let mut longer = chain.octets().to_vec();
    longer.push(0);
    assert_eq!(Body::parse(chain.first(), &longer).unwrap_err(), Error::Length("message"));
    assert_eq!(Body::parse(PayloadType::NONE, b"x").unwrap_err(), Error::Length("message"));
    let mut empty_length = chain.octets().to_vec();
    empty_length[2..4].copy_from_slice(&[0, 3]);
    let mut payloads = Payloads::new(PayloadType::NONCE, &empty_length);
    assert_eq!(payloads.next(), Some(Err(Error::Length("payload"))));
    assert_eq!(payloads.next(), None, "nothing is read behind an error");
}

#[test]
fn the_chain_ends_behind_an_encrypted_payload() {
    let octets = [35, 0, 0, 6, 1, 2];
    let mut payloads = Payloads::new(PayloadType::SK, &octets);
    let sk = payloads.next().unwrap().unwrap();
    assert_eq!((sk.kind, sk.next, sk.body), (PayloadType::SK, PayloadType::ID_I, &[1, 2][..]));
    assert_eq!(payloads.next(), None);
    let behind = [35, 0, 0, 6, 1, 2, 0, 0, 0, 4];
    let mut payloads = Payloads::new(PayloadType::SK, &behind);
    assert!(payloads.next().unwrap().is_ok());
    assert_eq!(payloads.next(), Some(Err(Error::Length("message"))));
    assert!(Body::parse(PayloadType::SK, &octets).is_err());
    assert!(Body::parse(PayloadType::SKF, &octets).is_err());
}

#[test]
fn what_may_occur_once_must_not_occur_twice() {
    let mut chain = Chain::new();
    chain.nonce(&[1; 16]).nonce(&[2; 16]);
    let error = Body::parse(chain.first(), chain.octets()).unwrap_err();
    assert_eq!(error, Error::Duplicate(PayloadType::NONCE));
    assert_eq!(error.to_string(), "payload NONCE occurs twice");
    let mut chain = Chain::new();
    chain.notify(NotifyType(1), &[]).notify(NotifyType(2), &[]).delete_ike().delete_esp(&[5, 6]);
    let body = Body::parse(chain.first(), chain.octets()).unwrap();
    assert_eq!((body.notifies.len(), body.deletes.len()), (2, 2));
    assert_eq!(body.deletes[1].spis, [5, 6]);
    assert_eq!(body.error_notify().unwrap().kind, NotifyType(1));
    assert_eq!(body.notify(NotifyType(2)).map(|notify| notify.kind), Some(NotifyType(2)));
    assert_eq!(body.notify(NotifyType(3)), None);
}

#[test]
fn a_request_for_certificates_names_encoding_and_authorities() {
    let mut chain = Chain::new();
    chain.cert_request(CertEncoding::X509_SIGNATURE, &[[7; 20], [8; 20]]);
    let body = Body::parse(chain.first(), chain.octets()).unwrap();
    let [request] = body.cert_requests[..] else { panic!("{:?}", body.cert_requests) };
    assert_eq!(request.encoding, CertEncoding::X509_SIGNATURE);
    assert_eq!(request.authorities, [[7; 20], [8; 20]].as_flattened());
    let copy = Chain::of_octets(chain.first(), chain.octets());
    assert_eq!((copy.first(), copy.octets()), (chain.first(), chain.octets()));
}

#[test]
fn unknown_payloads_matter_only_with_the_critical_bit() {
    let unknown = |kind: u8, flags: u8| {
        let octets = [0, flags, 0, 5, 0xaa];
        Body::parse(PayloadType(kind), &octets).unwrap().unsupported_critical
    };
    assert_eq!(unknown(200, 0x80), Some(PayloadType(200)));
    assert_eq!(unknown(200, 0x7f), None);
    for known in [PayloadType::CERT, PayloadType::CERTREQ, PayloadType::CP, PayloadType::EAP] {
        assert_eq!(unknown(known.0, 0x80), None, "{known}");
    }
    assert_eq!(unknown(PayloadType::VENDOR_ID.0, 0x80), None);
}

#[test]
fn what_does_not_fit_is_left_out_and_told() {
    let mut chain = Chain::new();
    chain.nonce(&[1; 16]).ke(KeMethod::ECP_256, &vec![0; 65528]).delete_ike();
    assert_eq!(chain.error(), Some(Error::Overflow("length")));
    let body = Body::parse(chain.first(), chain.octets()).unwrap();
    assert!(body.nonce.is_some() && body.ke.is_none() && body.deletes.len() == 1);
    let mut chain = Chain::new();
    chain.ke(KeMethod::ECP_256, &vec![0; 65527]);
    assert_eq!(chain.error(), None);
    assert!(Body::parse(chain.first(), chain.octets()).is_ok());
}

#[test]
fn a_message_has_its_length_and_first_payload_filled_in() {
    let mut chain = Chain::new();
    chain.notify(NotifyType::INVALID_MAJOR_VERSION, &[]);
    let header = Header {
        spi_i: IkeSpi(1),
        spi_r: IkeSpi(2),
        next_payload: PayloadType::NONE,
        version: Header::VERSION,
        exchange: ExchangeType::INFORMATIONAL,
        flags: Flags { response: true, ..Flags::default() },
        message_id: MessageId(3),
        len: 0,
    };
    let datagram = message(header, &chain);
    let parsed = Header::parse(&datagram).unwrap();
    assert_eq!((parsed.next_payload, parsed.len), (PayloadType::NOTIFY, 36));
    assert_eq!(datagram[28..], hex::decode("0000000800000005").unwrap());
}

proptest! {
    #[test]
    fn parse_undoes_the_chain(
        nonce in prop::collection::vec(any::<u8>(), 16..=256),
        ke in any::<(u16, Vec<u8>)>(),
        auth in any::<(u8, Vec<u8>)>(),
        notifies in prop::collection::vec(any::<(u8, [u8; 4], u16, Vec<u8>)>(), 0..5),
        spis in prop::collection::vec(any::<u32>(), 0..5),
    ) {
        let mut chain = Chain::new();
        chain.auth(AuthMethod(auth.0), &auth.1).delete_esp(&spis);
        for (protocol, spi, kind, data) in &notifies {
            chain.notify_spi(ProtocolId(*protocol), spi, NotifyType(*kind), data);
        }
        chain.ke(KeMethod(ke.0), &ke.1).nonce(&nonce);
        prop_assert_eq!(chain.error(), None);
        let body = Body::parse(chain.first(), chain.octets()).unwrap();
        prop_assert_eq!(body.nonce, Some(nonce.as_slice()));
        prop_assert_eq!(body.ke, Some(KeyExchange { method: KeMethod(ke.0), data: &ke.1 }));
        prop_assert_eq!(body.auth, Some(Auth { method: AuthMethod(auth.0), data: &auth.1 }));
        prop_assert_eq!(&body.deletes[0].spis, &spis);
        prop_assert_eq!(body.notifies.len(), notifies.len());
        for (found, (protocol, spi, kind, data)) in body.notifies.iter().zip(&notifies) {
            let sent = Notify { protocol: ProtocolId(*protocol), spi, kind: NotifyType(*kind), data };
            prop_assert_eq!(*found, sent);
        }
    }

    #[test]
    fn any_octets_are_survived(first in 33..50u8, octets in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(body) = Body::parse(PayloadType(first), &octets) {
            prop_assert!(body.notifies.len() * 8 <= octets.len());
        }
        prop_assert!(Payloads::new(PayloadType(first), &octets).count() <= octets.len() / 4 + 1);
    }
}

#[test]
fn who_we_are_and_what_proves_it_is_read_as_written() {
    let who = "gw.example".parse::<Identity>().unwrap();
    let mut chain = Chain::new();
    chain.id_i(&who).cert(CertEncoding::X509_SIGNATURE, &[0x30, 0]);
    assert!(!chain.is_empty());
    let body = Body::parse(chain.first(), chain.octets()).unwrap();
    assert_eq!(body.id_i.map(|id| id.identity), Some(who));
    assert_eq!(body.certs.len(), 1);
}
