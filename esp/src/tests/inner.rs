//! A peer that holds the keys and puts what it likes into its packets: nothing leaves an SA but whole IP packets within its
//! traffic selectors (RFC 4301 §5.2), and each that does not is counted by its reason.
//!
//! ```text
//!   SA for UDP to port 53, 10.1/16 ─► 10.2/16        SA for all, 10.1/16, fd01::/16 ─► 10.2/16, fd02::/16
//!     another address, protocol, port, family          not IP, cut, too long, next header and version that differ
//!     a fragment without ports                          a jumbogram (RFC 2675), padding that lies, dummies (RFC 4303 §2.6)
//! ```

use std::collections::BTreeMap;

use super::hostile::{forge, trailed};
use super::{measured, pair, params, seal, sites, suites, udp_packet, v4_packet, v6_packet};
use crate::{DropReason, InboundSa, Selector, Selectors, Suite, ip::Version};

/// An authentic body, and why it is dropped.
struct Fault {
    what: String,
    body: Vec<u8>,
    reason: DropReason,
}

/// The blocks of every suite.
const BLOCK: usize = 16;

fn body(packet: &[u8], version: Version) -> Vec<u8> {
    trailed(packet, version, BLOCK)
}

/// A copy with some octets changed.
fn with(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let mut packet = packet.to_vec();
    for (place, value) in changes {
        packet[*place] = *value;
    }
    packet
}

/// A body whose trailer says otherwise; places count from its end: 1 is the next header, 2 the length of the padding.
fn trailer(packet: &[u8], changes: &[(usize, u8)]) -> Vec<u8> {
    let body = body(packet, Version::V4);
    let changes: Vec<_> = changes.iter().map(|(back, value)| (body.len() - back, *value)).collect();
    with(&body, &changes)
}

fn fault(what: impl Into<String>, body: Vec<u8>, reason: DropReason) -> Fault {
    Fault { what: what.into(), body, reason }
}

/// Bodies that are not one IP packet of the version that they say.
fn malformed() -> Vec<Fault> {
    let (v4, v6) = (v4_packet(17), v6_packet(17));
    let not_ip = |what: String, packet: Vec<u8>, version| {
        fault(what, body(&packet, version), DropReason::NotIp)
    };
    let mut faults = Vec::new();
    for version in (0..16).filter(|version| ![4, 6].contains(version)) {
        for said in [Version::V4, Version::V6] {
            let packet = with(&v4, &[(0, version << 4 | 5)]);
            faults.push(not_ip(format!("version {version} as {said:?}"), packet, said));
        }
    }
    for words in 0..5 {
        let packet = with(&v4, &[(0, 0x40 | words)]);
        faults.push(not_ip(format!("a header of {words} words"), packet, Version::V4));
    }
    let cut = with(&v4[..20], &[(0, 0x4f), (3, 20)]);
    faults.push(not_ip("a header of 15 words in 20 octets".into(), cut, Version::V4));
    for len in [0, 1, 19, 46, 255] {
        let packet = with(&v4, &[(2, 0), (3, len)]);
        let reason = format!("total length {len} of 45");
        faults.push(not_ip(reason, packet, Version::V4));
    }
    faults.push(not_ip(
        "total length 65535".into(),
        with(&v4, &[(2, 0xff), (3, 0xff)]),
        Version::V4,
    ));
    for len in [26, 255] {
        faults.push(not_ip(
            format!("payload length {len} of 25"),
            with(&v6, &[(5, len)]),
            Version::V6,
        ));
    }
    faults.push(not_ip("half an IPv6 header".into(), v6[..20].to_vec(), Version::V6));
    // RFC 2675: payload length 0, a hop-by-hop header with a jumbo payload option of 65536.
    let mut jumbo = with(&v6[..40], &[(4, 0), (5, 0), (6, 0)]);
    jumbo.extend([17, 0, 0xc2, 4, 0, 1, 0, 0]);
    jumbo.extend(&v6[40..]);
    faults.push(not_ip("a jumbogram".into(), jumbo, Version::V6));
    faults.push(not_ip("nothing".into(), Vec::new(), Version::V4));
    faults
}

/// Trailers that do not fit what is before them.
fn bad_trailers() -> Vec<Fault> {
    let (v4, v6) = (v4_packet(17), v6_packet(17));
    let mut faults = vec![
        fault("next header 4 and IPv6", body(&v6, Version::V4), DropReason::BadNextHeader),
        fault("next header 41 and IPv4", body(&v4, Version::V6), DropReason::BadNextHeader),
        fault("a dummy", trailer(&v4, &[(1, 59)]), DropReason::Dummy),
        fault("a dummy of zeros", trailer(&[0; 100], &[(1, 59)]), DropReason::Dummy),
        fault("padding of 255 in less", trailer(&v4, &[(2, 255)]), DropReason::BadPadding),
        fault("padding that falls", trailer(&v4, &[(3, 0)]), DropReason::BadPadding),
    ];
    for next in (0..=u8::MAX).filter(|next| ![4, 41, 59].contains(next)) {
        let what = format!("next header {next}");
        faults.push(fault(what, trailer(&v4, &[(1, next)]), DropReason::BadNextHeader));
    }
    // Padding 1, 2, 3 .. that begins in the midst of the packet, so that the packet is cut.
    let mut cut = v4[..30].to_vec();
    cut.resize(48, 0);
    crate::header::write_trailer(&mut cut[30..], Version::V4);
    faults.push(fault("padding where the packet should be", cut, DropReason::NotIp));
    faults
}

/// What the selectors of [`narrow`] do not have.
fn foreign() -> Vec<Fault> {
    let v4 = v4_packet(17);
    let outside = |what: &str, packet: Vec<u8>, version| {
        fault(what, body(&packet, version), DropReason::SelectorMismatch)
    };
    let v4_outside = |what: &str, packet: Vec<u8>| outside(what, packet, Version::V4);
    // Protocol UDP in the first 40 octets of an IPv6 packet, ports behind them.
    vec![
        v4_outside("another source", udp_packet("10.3.0.1", "10.2.0.1", 3)),
        v4_outside("the next source", udp_packet("10.2.0.0", "10.2.0.1", 3)),
        v4_outside("another destination", udp_packet("10.1.0.1", "10.3.0.1", 3)),
        v4_outside("to everybody", udp_packet("10.1.0.1", "255.255.255.255", 3)),
        v4_outside("to a group", udp_packet("10.1.0.1", "224.0.0.1", 3)),
        v4_outside("from nobody", udp_packet("0.0.0.0", "10.2.0.1", 3)),
        v4_outside("from the loopback", udp_packet("127.0.0.1", "10.2.0.1", 3)),
        v4_outside("the way back", udp_packet("10.2.0.1", "10.1.0.1", 3)),
        v4_outside("TCP", with(&v4, &[(9, 6)])),
        v4_outside("ICMP", with(&v4, &[(9, 1)])),
        v4_outside("ESP in ESP", with(&v4, &[(9, 50)])),
        v4_outside("another port", with(&v4, &[(23, 54)])),
        v4_outside("the ports swapped", with(&v4, &[(20, 0), (21, 53), (22, 0x13), (23, 0x88)])),
        v4_outside("a later fragment", with(&v4, &[(6, 0x00), (7, 0x03)])),
        v4_outside("a later fragment of many", with(&v4, &[(6, 0x20), (7, 0x01)])),
        v4_outside("a fragment over the end", with(&v4, &[(6, 0x1f), (7, 0xff)])),
        v4_outside("a first fragment without ports", with(&v4[..22], &[(3, 22), (6, 0x20)])),
        v4_outside("ports behind the total length", with(&v4, &[(3, 22)])),
        // Read without its options it would have the port.
        v4_outside("options before other ports", with(&v4, &[(0, 0x46)])),
        outside("IPv6", udp_packet("fd01::9", "fd02::7", 3), Version::V6),
        outside(
            "IPv4 addresses in IPv6",
            udp_packet("::ffff:10.1.0.9", "::ffff:10.2.0.7", 3),
            Version::V6,
        ),
    ]
}

/// For UDP to port 53 only, and only IPv4.
fn narrow(suite: Suite) -> InboundSa {
    let dns = |site: u8, ports| Selector { protocol: 17, ports, ..sites(site)[0] };
    let selectors =
        Selectors { local: vec![dns(2, (53, 53))], remote: vec![dns(1, crate::ANY_PORT)] };
    InboundSa::new(params(suite, true, selectors)).unwrap()
}

/// Sends all of it on one SA, each with a number of its own, and in the end what is right.
fn none_passes(sa: &mut InboundSa, suite: Suite, faults: &[Fault]) -> BTreeMap<DropReason, usize> {
    let mut counted: BTreeMap<_, usize> = BTreeMap::new();
    for (number, Fault { what, body, reason }) in (1..).zip(faults) {
        let packet = forge(suite, number, body);
        assert_eq!(sa.decap(&mut packet.clone()), Err(*reason), "{what}, {suite:?}");
        *counted.entry(*reason).or_default() += 1;
        // It was authentic, so its number is gone (RFC 4303 §3.4.3).
        assert_eq!(sa.decap(&mut packet.clone()), Err(DropReason::Replayed), "{what}, {suite:?}");
    }
    let good = v4_packet(17);
    let number = u64::try_from(faults.len()).unwrap() + 1;
    let mut packet = forge(suite, number, &body(&good, Version::V4));
    let place = sa.decap(&mut packet).unwrap();
    assert_eq!(packet[place], good, "{suite:?}");
    counted
}

#[test]
fn nothing_but_whole_packets_within_the_selectors_leaves_an_sa() {
    let (mut sent, mut counted) = (0, 0);
    for suite in suites() {
        let broken: Vec<_> = malformed().into_iter().chain(bad_trailers()).collect();
        for (mut sa, faults) in
            [(pair(suite, true).1, &broken), (narrow(suite), &foreign()), (narrow(suite), &broken)]
        {
            let counts = none_passes(&mut sa, suite, faults);
            sent += faults.len();
            counted += counts.values().sum::<usize>();
        }
    }
    measured(
        "T21",
        "authentic packets with a fault inside, dropped by reason",
        counted,
        &sent.to_string(),
    );
    assert_eq!(counted, sent);
}

/// Damage from before the tunnel is for the receiving host to judge (RFC 1122 §3.2.1.2): neither dropped nor mended here.
#[test]
fn wrong_checksums_of_inner_packets_come_out_as_they_went_in() {
    for suite in suites() {
        let (mut out, mut sa) = pair(suite, true);
        // TTL and checksum of IPv4, checksum and payload of UDP.
        for place in [8, 10, 11, 26, 30] {
            let mut inner = v4_packet(17);
            inner[place] ^= 1;
            let mut packet = seal(&mut out, &inner);
            let opened = sa.decap(&mut packet).unwrap();
            assert_eq!(packet[opened], inner, "{suite:?}, octet {place}");
        }
    }
}

/// RFC 4303 §2.7: what is between the packet and the padding is traffic flow padding, of any length and content, and goes.
#[test]
fn what_hides_the_length_is_cut_off_in_the_narrow_sa_too() {
    for suite in suites() {
        let mut sa = narrow(suite);
        let good = v4_packet(17);
        for (number, more) in (1..).zip([1, 2, 255, 256, 1400]) {
            let mut payload = good.clone();
            // Looks like a packet for another port.
            payload.extend(with(&good, &[(23, 54)]).iter().cycle().take(more));
            let mut packet = forge(suite, number, &body(&payload, Version::V4));
            let place = sa.decap(&mut packet).unwrap();
            assert_eq!(packet[place], good, "{suite:?} {more}");
        }
    }
}
