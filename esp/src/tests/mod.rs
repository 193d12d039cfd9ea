//! What the tests of this crate share: suites, pairs of SAs, inner packets and known answers.
//!
//! ```text
//! pair(suite, esn)   left: OutboundSa  10.1/16, fd01::/16  ->  10.2/16, fd02::/16   right: InboundSa
//! ```

mod burst;
mod damage;
mod hostile;
mod inner;
mod linux;
mod loopback;
mod nonces;
mod once;
pub(crate) mod packets;
pub(crate) mod vectors;
mod wrap;

use std::{net::IpAddr, num::NonZeroU32, sync::Arc};

use crate::{
    Aead, AesKey, Cipher, InboundSa, Integrity, OutboundSa, SaParams, Selector, Selectors, Suite,
};

#[cfg(not(miri))]
pub(crate) use testkit::measured::measured;

/// Nothing is measured where it takes a hundred times as long.
#[cfg(miri)]
pub(crate) fn measured(_: &str, _: &str, _: impl std::fmt::Display, _: &str) {}

/// Every suite.
pub(crate) fn suites() -> Vec<Suite> {
    Suite::all().collect()
}

/// One suite of each family, and of those where packets go side by side several.
pub(crate) const FAMILIES: [Suite; 15] = {
    use AesKey::{Bits128, Bits192, Bits256};
    [
        Suite::Combined(Aead::AesGcm16(Bits256)),
        Suite::Combined(Aead::AesGcm16(Bits192)),
        Suite::Combined(Aead::AesGcm8(Bits128)),
        Suite::Combined(Aead::AesGcm16Iiv(Bits128)),
        Suite::Combined(Aead::AesCcm16(Bits256)),
        Suite::Combined(Aead::AesCcm8Iiv(Bits128)),
        Suite::Combined(Aead::AesGmac(Bits256)),
        Suite::Combined(Aead::ChaCha20Poly1305),
        Suite::Separate(Cipher::AesCbc(Bits256), Integrity::HmacSha2_512_256),
        Suite::Separate(Cipher::AesCbc(Bits192), Integrity::AesXcbc96),
        Suite::Separate(Cipher::AesCbc(Bits128), Integrity::HmacSha2_256_128),
        Suite::Separate(Cipher::AesCtr(Bits256), Integrity::HmacSha2_384_192),
        Suite::Separate(Cipher::AesCtr(Bits128), Integrity::AesCmac96),
        Suite::Separate(Cipher::Null, Integrity::HmacSha1_96),
        Suite::Separate(Cipher::TripleDesCbc, Integrity::HmacSha1_96),
    ]
};

pub(crate) const SPI: NonZeroU32 = NonZeroU32::new(0xc0de_cafe).unwrap();

/// Different octets for every place of a key.
const KEY: [u8; 64] = {
    let mut key = [0; 64];
    let mut place = 0;
    while place < key.len() {
        #[expect(clippy::cast_possible_truncation, reason = "place is below 64")]
        let octet = place as u8;
        key[place] = octet.wrapping_mul(151) ^ 0x5a;
        place += 1;
    }
    key
};

pub(crate) fn params(suite: Suite, esn: bool, selectors: Selectors) -> SaParams<'static> {
    SaParams {
        spi: SPI,
        suite,
        encr_key: &KEY[..suite.encr_key_len()],
        integ_key: &KEY[KEY.len() - suite.integ_key_len()..],
        esn,
        selectors: Arc::new(selectors),
        replay_window: 64,
    }
}

/// The left gateway's outbound SA and the right gateway's inbound SA.
pub(crate) fn pair(suite: Suite, esn: bool) -> (OutboundSa, InboundSa) {
    let (left, right) = (sites(1), sites(2));
    let out = params(suite, esn, Selectors { local: left.clone(), remote: right.clone() });
    let inb = params(suite, esn, Selectors { local: right, remote: left });
    (OutboundSa::new(out).unwrap(), InboundSa::new(inb).unwrap())
}

/// 10.`site`.0.0/16 and fd0`site`::/16.
fn sites(site: u8) -> Vec<Selector> {
    let range = |start: String, end: String| {
        Selector::addresses(start.parse().unwrap(), end.parse().unwrap())
    };
    vec![
        range(format!("10.{site}.0.0"), format!("10.{site}.255.255")),
        range(format!("fd0{site}::"), format!("fd0{site}:ffff:ffff:ffff:ffff:ffff:ffff:ffff")),
    ]
}

/// From the left site to the right one, `payload` octets above UDP.
pub(crate) fn v4_packet(payload: usize) -> Vec<u8> {
    udp_packet("10.1.0.9", "10.2.0.7", payload)
}

/// From the left site to the right one, `payload` octets above UDP.
pub(crate) fn v6_packet(payload: usize) -> Vec<u8> {
    udp_packet("fd01::9", "fd02::7", payload)
}

/// A UDP packet from port 5000 to port 53, built by etherparse.
pub(crate) fn udp_packet(source: &str, destination: &str, payload: usize) -> Vec<u8> {
    use etherparse::PacketBuilder;
    let builder = match (source.parse().unwrap(), destination.parse().unwrap()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            PacketBuilder::ipv6(source.octets(), destination.octets(), 64)
        }
        _ => panic!("two families"),
    };
    let payload: Vec<u8> = (0..payload).map(|place| u8::try_from(place % 251).unwrap()).collect();
    let mut packet = Vec::new();
    builder.udp(5000, 53).write(&mut packet, &payload).unwrap();
    packet
}

/// Whether nobody can read the packets of the suite.
pub(crate) fn encrypts(suite: Suite) -> bool {
    !matches!(suite, Suite::Combined(Aead::AesGmac(_)) | Suite::Separate(Cipher::Null, _))
}

/// Seals a copy of `inner`.
pub(crate) fn seal(sa: &mut OutboundSa, inner: &[u8]) -> Vec<u8> {
    let mut out = vec![0; sa.packet_len(inner.len())];
    let len = sa.encap_into(inner, &mut out).unwrap();
    assert_eq!(len, out.len());
    out
}
