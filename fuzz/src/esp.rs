//! ESP packets of a stranger and of a peer that has the keys, and the inner packets that come out.
//!
//! ```text
//!   flags, suite | kind, sequence, length, octets | kind, .. | ..
//!                  even: the octets are the packet       odd: they are its body, sealed with the keys of the SA
//! ```

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;

use esp::ip::View;
use esp::mss::{TcpChecksum, clamp_mss};
use esp::too_big::{MAX_LEN_V6, too_big};
use esp::{
    Aead, AesKey, DropReason, InboundSa, OutboundSa, SaParams, Selector, Selectors, Suite, ecn,
};
use ring::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::input::Input;

const SPI: u32 = 0x1234_5678;
const KEY: [u8; 128] = [7; 128];
const SEALABLE: Suite = Suite::Combined(Aead::AesGcm16(AesKey::Bits128));

fn selectors() -> Arc<Selectors> {
    let v4 = |second| {
        let at = |third, last| IpAddr::V4(Ipv4Addr::new(10, second, third, last));
        Selector::addresses(at(0, 0), at(255, 255))
    };
    let v6 = |first| {
        let at = |last| IpAddr::V6(Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, last));
        Selector { protocol: 17, ports: (53, 1000), ..Selector::addresses(at(0), at(0xffff)) }
    };
    Arc::new(Selectors { local: vec![v4(1), v6(0xfd01)], remote: vec![v4(2), v6(0xfd02)] })
}

fn params(suite: Suite, esn: bool, window: u32, selectors: &Arc<Selectors>) -> SaParams<'static> {
    SaParams {
        spi: NonZeroU32::new(SPI).expect("not zero"),
        suite,
        encr_key: KEY.get(..suite.encr_key_len()).unwrap_or_default(),
        integ_key: KEY.get(..suite.integ_key_len()).unwrap_or_default(),
        esn,
        selectors: Arc::clone(selectors),
        replay_window: window,
    }
}

/// Packets to one inbound SA.
pub(crate) fn open(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.octet();
    let (esn, sealable) = (flags & 1 != 0, flags & 2 == 0);
    let which = usize::from(input.octet());
    let suite = Suite::all().nth(which % Suite::all().count()).filter(|_| !sealable);
    let suite = suite.unwrap_or(SEALABLE);
    let window = 32 << (flags >> 2 & 7);
    let selectors = selectors();
    let mut sa = InboundSa::new(params(suite, esn, window, &selectors)).expect("good parameters");
    while !input.is_empty() {
        let kind = input.octet();
        let sequence = if kind & 2 == 0 { u32::from(input.octet()) } else { input.word() };
        let octets = input.many();
        let mut packet = match kind & 1 {
            1 if sealable => sealed(sequence, octets, esn),
            _ => [SPI.to_be_bytes().as_slice(), &sequence.to_be_bytes(), octets].concat(),
        };
        if kind & 4 != 0 {
            packet.truncate(octets.len());
        }
        one(&mut sa, &packet, &selectors);
    }
}

fn one(sa: &mut InboundSa, packet: &[u8], selectors: &Selectors) {
    let before = sa.highest_sequence();
    let mut opened = packet.to_vec();
    let result = sa.decap_viewed(&mut opened);
    match result {
        Ok((place, view)) => {
            let inner = opened.get(place).expect("the inner packet lies in the outer one");
            assert_eq!(View::parse(inner), Some(view));
            assert_eq!(inner.len(), view.total_len);
            assert!(selectors.admit_inbound(&view), "{view:?}");
        }
        // Authentic, or it would be something else: the window moves.
        Err(
            DropReason::BadPadding
            | DropReason::BadNextHeader
            | DropReason::Dummy
            | DropReason::NotIp
            | DropReason::SelectorMismatch,
        ) => {}
        Err(_) => {
            assert_eq!(sa.highest_sequence(), before, "what is not authentic changes nothing");
            return;
        }
    }
    assert!(sa.highest_sequence() >= before);
    let again = sa.decap(&mut packet.to_vec());
    assert!(matches!(again, Err(DropReason::Replayed | DropReason::TooOld)), "{again:?}");
}

/// A packet with this body, trailer included, as a peer may seal it (RFC 4106).
fn sealed(sequence: u32, body: &[u8], esn: bool) -> Vec<u8> {
    let (key, salt) = KEY.split_at(16);
    let salt = salt.first_chunk::<4>().expect("the salt");
    let iv = u64::from(sequence).to_be_bytes();
    let mut nonce = [0; 12];
    nonce.copy_from_slice(&[salt.as_slice(), &iv].concat());
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, key).expect("16 octets"));
    let high: &[u8] = if esn { &[0; 4] } else { &[] };
    let (spi, low) = (SPI.to_be_bytes(), sequence.to_be_bytes());
    let (header, aad) = ([spi, low].concat(), [spi.as_slice(), high, &low].concat());
    let mut body = body.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    let icv = key.seal_in_place_separate_tag(nonce, Aad::from(aad), &mut body);
    let icv = icv.expect("short enough");
    [header.as_slice(), &iv, &body, icv.as_ref()].concat()
}

/// An inner packet: what is read of it, and all that a tunnel does to it.
pub(crate) fn inner(data: &[u8]) {
    let mut input = Input(data);
    let (mtu, outer) = (input.short(), input.octet());
    let packet = input.0;
    let Some(view) = View::parse(packet) else { return };
    assert!(view.header_len <= view.total_len && view.total_len <= packet.len(), "{view:?}");
    assert_eq!(view.source.is_ipv4(), view.destination.is_ipv4());
    for checksum in [TcpChecksum::Complete, TcpChecksum::Partial] {
        let mut clamped = packet.to_vec();
        let changed = clamp_mss(&mut clamped, &view, mtu, checksum);
        assert_eq!(changed, clamped != packet);
        assert_eq!(View::parse(&clamped), Some(view), "addresses and ports stay");
        assert!(!clamp_mss(&mut clamped, &view, mtu, checksum), "once is enough");
    }
    let _marks = (ecn::combine(outer, view.traffic_class), ecn::anomaly(outer, view.traffic_class));
    let mut marked = packet.to_vec();
    ecn::set_ecn(&mut marked, outer & 3);
    let seen = View::parse(&marked).map(|it| it.traffic_class);
    assert_eq!(seen, Some(view.traffic_class & !3 | outer & 3));
    told(packet, &view, mtu);
    carried(packet, &view);
}

/// The answer that it is too big.
fn told(packet: &[u8], view: &View, mtu: u16) {
    let ours: IpAddr = match view.source {
        IpAddr::V4(_) => [10, 1, 0, 1].into(),
        IpAddr::V6(_) => [0xfd01, 0, 0, 0, 0, 0, 0, 1].into(),
    };
    let mut out = [0; MAX_LEN_V6];
    let Some(len) = too_big(packet, view, ours, mtu, &mut out) else { return };
    let answer = out.get(..len).expect("it lies in the buffer");
    let read = View::parse(answer).expect("what we send is IP");
    assert_eq!((read.source, read.destination), (ours, view.source));
    assert!(len <= packet.len().max(MAX_LEN_V6));
    let again = too_big(answer, &read, view.source, 0, &mut [0; MAX_LEN_V6]);
    assert_eq!(again, None, "no error is answered with an error");
}

/// Through the tunnel: out of the other end comes what went in, or nothing.
fn carried(packet: &[u8], view: &View) {
    let ours = selectors();
    let theirs = Selectors { local: ours.remote.clone(), remote: ours.local.clone() };
    let sender = OutboundSa::new(params(SEALABLE, false, 64, &Arc::new(theirs)));
    let mut sender = sender.expect("good parameters");
    let mut out = vec![0; sender.packet_len(packet.len())];
    let sealed = sender.encap_into(packet, &mut out);
    assert_eq!(sealed.is_ok(), ours.admit_inbound(view), "{view:?} {sealed:?}");
    let Ok(len) = sealed else { return };
    let start = out.len() - len;
    let mut receiver = InboundSa::new(params(SEALABLE, false, 64, &ours)).expect("good parameters");
    // What is behind the total length of the inner packet is not sent, so the packet may be shorter than the buffer.
    let sealed = out.get_mut(..len).filter(|_| start == 0 || view.total_len < packet.len());
    let sealed = sealed.expect("the packet lies at the start");
    let place = receiver.decap(sealed).expect("our own packet");
    assert_eq!(sealed.get(place), packet.get(..view.total_len));
}
