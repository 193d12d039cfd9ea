//! Sealing and opening allocate nothing: neither a packet that passes nor one that is dropped.

#![expect(clippy::indexing_slicing, reason = "a test may panic")]

use std::{net::Ipv4Addr, num::NonZeroU32, sync::Arc};

use esp::{
    Coalescer, DropReason, Gso, GsoKind, HEADROOM, InboundSa, Mergeable, OutboundSa,
    PartialChecksum, SaParams, Segments, Selector, Selectors, Suite, TAILROOM, Train, TrainLimits,
    VnetHeader, checksum::Sum, ip,
};

fn params(suite: Suite, esn: bool) -> SaParams<'static> {
    let all = Selector::addresses(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into());
    SaParams {
        spi: NonZeroU32::MIN,
        suite,
        encr_key: &[1; 36][..suite.encr_key_len()],
        integ_key: &[2; 64][..suite.integ_key_len()],
        esn,
        selectors: Arc::new(Selectors { local: vec![all], remote: vec![all] }),
        replay_window: 4096,
    }
}

#[test]
fn packets_cost_no_allocation() {
    for suite in Suite::all() {
        for esn in [false, true] {
            let params = params(suite, esn);
            let mut outbound = OutboundSa::new(params.clone()).unwrap();
            let mut inbound = InboundSa::new(params).unwrap();

            let mut inner = [0; 1400];
            inner[..20].copy_from_slice(&[
                0x45, 0, 5, 120, 0, 0, 0, 0, 64, 17, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1,
            ]);
            let mut buffer = [0; HEADROOM + 1400 + TAILROOM];
            let place = HEADROOM..HEADROOM + inner.len();
            let mut other = [0; HEADROOM + 1400 + TAILROOM];
            let mut run = || {
                for _ in 0..100 {
                    buffer[place.clone()].copy_from_slice(&inner);
                    let sealed = outbound.encap(&mut buffer, place.clone()).unwrap();
                    other[..sealed.len()].copy_from_slice(&buffer[sealed.clone()]);
                    let len = sealed.len();
                    let opened = inbound.decap(&mut buffer[sealed.clone()]).unwrap();
                    assert!(ip::View::parse(&buffer[sealed][opened]).is_some());
                    assert_eq!(inbound.decap(&mut other[..len]), Err(DropReason::Replayed));
                    let len = outbound.encap_into(&inner, &mut other).unwrap();
                    other[len - 1] ^= 1;
                    assert_eq!(inbound.decap(&mut other[..len]), Err(DropReason::BadIcv));
                    assert_eq!(outbound.encap_into(&[], &mut other), Err(DropReason::NotIp));
                }
            };
            let used = allocation_counter::measure(&mut run);
            assert_eq!((used.count_total, used.bytes_total), (0, 0), "{suite:?}, ESN {esn}");
        }
    }
}

#[test]
fn super_packets_cost_no_allocation_once_the_coalescer_is_made() {
    let mut coalescer = Coalescer::new(Mergeable { tcp_v4: true, tcp_v6: true, udp: true });
    // 40 octets of headers of IPv4 and TCP with ACK, 43 payloads of 1400 and one of 10.
    let mut packet = vec![0; 40 + 43 * 1400 + 10];
    let [high, low] = u16::try_from(packet.len()).unwrap().to_be_bytes();
    packet[..20].copy_from_slice(&[
        0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1,
    ]);
    packet[32..34].copy_from_slice(&[0x50, 0x10]);
    let len = u16::try_from(packet.len() - 20).unwrap();
    let pseudo = Sum::pseudo_v4([10, 1, 0, 1], [10, 2, 0, 1], 6, len);
    packet[36..38].copy_from_slice(&pseudo.folded().to_be_bytes());
    let vnet = VnetHeader {
        header_len: 40,
        checksum: Some(PartialChecksum { start: 20, offset: 16 }),
        gso: Some(Gso { kind: GsoKind::TcpV4, size: 1400, ecn: false }),
    };
    let limits = TrainLimits { octets: 65_507, packets: 64 };
    let mut wire = vec![0; 65_507];
    for suite in Suite::all() {
        let mut outbound = OutboundSa::new(params(suite, true)).unwrap();
        let mut inbound = InboundSa::new(params(suite, true)).unwrap();
        let mut round = || {
            let mut segments = Segments::new(&vnet, &packet).unwrap();
            let mut train = Train::at(0);
            outbound.encap_segments(&mut segments, &mut wire, &mut train, limits).unwrap();
            let (mut start, end, mut merged) = (0, train.range().end, 0);
            while start < end {
                let len = train.stride().min(end - start);
                let (place, view) = inbound.decap_viewed(&mut wire[start..start + len]).unwrap();
                let place = start + place.start..start + place.end;
                assert!(coalescer.push(&wire, place, &view, 1));
                start += len;
            }
            coalescer.drain(&mut wire, |one| merged = one.parts().count());
            assert_eq!(merged, 1 + 44, "the header of the device, and every payload");
        };
        let used = allocation_counter::measure(|| (0..3).for_each(|_| round()));
        assert_eq!((used.count_total, used.bytes_total), (0, 0), "{suite:?}");
    }
}

#[test]
fn the_counter_counts() {
    let used = allocation_counter::measure(|| drop(std::hint::black_box(vec![0; 100])));
    assert_eq!((used.count_total, used.bytes_total), (1, 400));
}
