//! Packets of every kind on the wire of the demo, and what the eye makes of them.

use etherparse::PacketBuilder;

use super::super::ping::Pinger;
use super::super::topology::{SITE_A, SITE_B, Topology};
use super::*;
use crate::sys::netns::Netns;

const A: [u8; 4] = [192, 0, 2, 10];
const B: [u8; 4] = [192, 0, 2, 210];

fn sites() -> [Ipv4Net; 2] {
    [SITE_A.network(), SITE_B.network()]
}

fn udp(from: [u8; 4], to: [u8; 4], port: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(from, to, 64)
        .udp(port, port)
        .write(&mut frame, payload)
        .unwrap();
    frame
}

#[test]
fn a_packet_with_inner_addresses_is_clear() {
    for (from, to) in [([10, 1, 0, 2], [10, 2, 0, 2]), ([10, 1, 255, 255], B), (A, [10, 2, 7, 7])] {
        assert_eq!(classify(&udp(from, to, 4500, &[1; 40]), &sites()), Sighting::Clear);
    }
    assert_ne!(classify(&udp([10, 3, 0, 2], B, 4500, &[1; 40]), &sites()), Sighting::Clear);
}

#[test]
fn a_ping_that_anybody_can_read_is_clear_even_inside_esp() {
    let mut packet = vec![0xab; 16];
    packet.extend(SECRET);
    assert_eq!(classify(&udp(A, B, 4500, &packet), &sites()), Sighting::Clear);
    // A part of it is enough.
    assert_eq!(classify(&udp(A, B, 4500, &packet[..40]), &sites()), Sighting::Clear);
}

#[test]
fn esp_ike_and_keepalives_are_told_apart() {
    let esp = [0xab; 60];
    assert_eq!(
        classify(&udp(A, B, 4500, &esp), &sites()),
        Sighting::Esp { from: A.into(), packet: esp.to_vec() }
    );
    assert_eq!(classify(&udp(A, B, 4500, &[&[0; 4][..], &esp].concat()), &sites()), Sighting::Ike);
    assert_eq!(classify(&udp(A, B, 500, &esp), &sites()), Sighting::Ike);
    assert_eq!(classify(&udp(A, B, 4500, &[0xff]), &sites()), Sighting::Keepalive);
    assert_eq!(classify(&udp(A, B, 53, &esp), &sites()), Sighting::Other);
    let mut frame = Vec::new();
    PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4(A, B, 64)
        .write(&mut frame, etherparse::IpNumber::ENCAPSULATING_SECURITY_PAYLOAD, &esp)
        .unwrap();
    let raw = Sighting::Esp { from: A.into(), packet: esp.to_vec() };
    assert_eq!(classify(&frame, &sites()), raw);
}

#[test]
fn broken_frames_do_no_harm() {
    let frame = udp(A, B, 4500, &[0xab; 60]);
    for length in 0..frame.len() {
        classify(&frame[..length], &sites());
    }
    for index in 0..frame.len() {
        let mut broken = frame.clone();
        broken[index] ^= 0xff;
        classify(&broken, &sites());
    }
}

#[test]
fn the_tally_knows_the_direction() {
    let mut tally = Tally::default();
    for from in [A, A, B] {
        tally.count(&classify(&udp(from, from, 4500, &[9; 40]), &sites()), A.into());
    }
    assert_eq!(tally, Tally { esp_from_a: 2, esp_from_b: 1, ..Tally::default() });
}

#[test]
fn both_eyes_see_a_clear_packet_on_a_real_wire_once() {
    let Ok(internet) = Netns::new() else {
        println!("skipped: no right to make a network namespace");
        return;
    };
    let topology = internet.run(Topology::build).unwrap().unwrap();
    let (everything, alarm) = topology
        .internet
        .run(|| {
            let links = crate::sys::netlink::Netlink::open().unwrap().links().unwrap();
            let own: Vec<_> = links.into_iter().map(|link| link.address).collect();
            (Eye::everything(own.clone()).unwrap(), Eye::alarm(&sites(), own).unwrap())
        })
        .unwrap();
    let ping = |from: &Netns, to: Ipv4Addr, patience: Duration| {
        from.run(|| Pinger::open(to).unwrap().ping(patience).unwrap()).unwrap()
    };

    // Between the gateways: seen by the one, not let through to the other, in the clear because of the text.
    assert!(ping(&topology.gateway_a, SITE_B.wan, Duration::from_secs(5)).is_some());
    let mut tally = Tally::default();
    everything.drain(|frame| tally.count(&classify(frame, &sites()), SITE_A.wan)).unwrap();
    assert_eq!(tally.clear, 2, "request and reply, each once: {tally:?}");
    assert!(!alarm.wait(Duration::ZERO).unwrap());

    // From site to site without a tunnel: both fire.
    assert!(ping(&topology.host_a, SITE_B.host, Duration::from_millis(100)).is_none());
    assert!(alarm.wait(Duration::from_secs(1)).unwrap());
    let mut seen = 0;
    alarm.drain(|frame| seen += u32::from(classify(frame, &sites()) == Sighting::Clear)).unwrap();
    assert_eq!(seen, 1);
}
