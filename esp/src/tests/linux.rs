//! ESP packets that the Linux kernel sealed: opened by an SA, and sealed again to the same octets.

use std::{num::NonZeroU32, sync::Arc};

use serde_json::Value;

use super::vectors;
use crate::{
    Aead, AesKey, Cipher, InboundSa, Integrity, SaParams, Selector, Selectors, Suite,
    cipher::{Run, SealingKey},
    header::{self, Layout, Parts},
    ip::View,
};

#[test]
fn packets_of_linux_4_4_are_opened_and_sealed_alike() {
    let Some(file) = vectors::external("rfc/linux44_xfrm_esp_reference.json") else { return };
    let mut opened = 0;
    for case in file["cases"].as_array().unwrap() {
        let suite = Suite::Combined(match case["alg"].as_str().unwrap() {
            "rfc4106(gcm(aes))" => Aead::AesGcm16(AesKey::Bits128),
            "rfc4309(ccm(aes))" => Aead::AesCcm8(AesKey::Bits128),
            "rfc4543(gcm(aes))" => Aead::AesGmac(AesKey::Bits128),
            _ => continue, // no ICV: cipher/tests/known.rs
        });
        let keys = Keys { encr: vectors::octets(&case["key"]), integ: Vec::new() };
        let plain = vectors::octets(&case["plaintext_with_trailer"]);
        let trailer_len = usize::try_from(case["pad_len"].as_u64().unwrap()).unwrap() + 2;
        let inner = &plain[..plain.len() - trailer_len];
        let high = case["esn_hi"].as_u64().map(|high| u32::try_from(high).unwrap());
        check(suite, &keys, high, &vectors::octets(&case["packet"]), inner);
        opened += 1;
    }
    assert_eq!(opened, 5);
}

#[test]
fn packets_of_linux_6_1_are_opened_and_sealed_alike() {
    let Some(file) = vectors::external("rfc/linux61_xfrm_esp_part.json") else { return };
    let mut opened = 0;
    for case in file["cases"].as_array().unwrap() {
        let suite = match case["name"].as_str().unwrap() {
            "aes256gcm16" => Suite::Combined(Aead::AesGcm16(AesKey::Bits256)),
            "chacha20poly1305" => Suite::Combined(Aead::ChaCha20Poly1305),
            "aes128cbc-sha256" => {
                Suite::Separate(Cipher::AesCbc(AesKey::Bits128), Integrity::HmacSha2_256_128)
            }
            name => panic!("{name}"),
        };
        let key = |place: usize| case["keys"].get(place).map(vectors::octets).unwrap_or_default();
        let keys = Keys { encr: key(0), integ: key(1) };
        for packet in case["packets"].as_array().unwrap() {
            assert_eq!(packet["seq_hi"], Value::Null);
            let inner = vectors::octets(&packet["inner"]);
            check(suite, &keys, None, &vectors::octets(&packet["packet"]), &inner);
            opened += 1;
        }
    }
    assert_eq!(opened, 33);
}

struct Keys {
    encr: Vec<u8>,
    integ: Vec<u8>,
}

fn check(suite: Suite, keys: &Keys, high: Option<u32>, packet: &[u8], inner: &[u8]) {
    // Opening: the SA accepts the packet and finds the same inner packet.
    let (spi, _) = header::read_header(packet).unwrap();
    let everything = || {
        vec![
            Selector::addresses([0; 4].into(), [255; 4].into()),
            Selector::addresses([0_u8; 16].into(), [255_u8; 16].into()),
        ]
    };
    let mut sa = InboundSa::new(SaParams {
        spi: NonZeroU32::new(spi).unwrap(),
        suite,
        encr_key: &keys.encr,
        integ_key: &keys.integ,
        esn: high.is_some(),
        selectors: Arc::new(Selectors { local: everything(), remote: everything() }),
        replay_window: 64,
    })
    .unwrap();
    if let Some(high) = high {
        sa.skip_to(u64::from(high) << 32);
    }
    let mut opened = packet.to_vec();
    let place = sa.decap(&mut opened).unwrap();
    assert_eq!(opened[place], *inner);

    // Sealing: header and IV of Linux, the rest by us, makes the octets of Linux. So padding and trailer agree too.
    let layout = Layout::of(suite);
    assert_eq!(layout.packet_len(inner.len()), packet.len());
    let mut sealed = packet.to_vec();
    let parts = Parts::split(&mut sealed, layout).unwrap();
    parts.body[..inner.len()].copy_from_slice(inner);
    header::write_trailer(&mut parts.body[inner.len()..], View::parse(inner).unwrap().version());
    parts.icv.fill(0);
    let key = SealingKey::new(suite, &keys.encr, &keys.integ).unwrap();
    key.seal(&mut Run::one(&mut sealed, &[high])).unwrap();
    assert_eq!(sealed, packet);
}
