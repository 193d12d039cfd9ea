//! Sealing and opening allocate nothing: neither a packet that passes nor one that is dropped.

use std::{net::Ipv4Addr, num::NonZeroU32, sync::Arc};

use esp::{
    DropReason, HEADROOM, InboundSa, OutboundSa, SaParams, Selector, Selectors, Sha2, Suite,
    TAILROOM, ip,
};

#[test]
fn packets_cost_no_allocation() {
    let suites = [
        Suite::AesGcm16 { key_bits: 128 },
        Suite::AesGcm16 { key_bits: 256 },
        Suite::AesCbcHmacSha2 { key_bits: 128, hash: Sha2::Sha256 },
        Suite::AesCbcHmacSha2 { key_bits: 192, hash: Sha2::Sha384 },
        Suite::AesCbcHmacSha2 { key_bits: 256, hash: Sha2::Sha512 },
    ];
    for suite in suites {
        for esn in [false, true] {
            let everything =
                Selector::addresses(Ipv4Addr::UNSPECIFIED.into(), Ipv4Addr::BROADCAST.into());
            let params = SaParams {
                spi: NonZeroU32::MIN,
                suite,
                encr_key: &[1; 36][..suite.encr_key_len()],
                integ_key: &[2; 64][..suite.integ_key_len()],
                esn,
                selectors: Arc::new(Selectors {
                    local: vec![everything],
                    remote: vec![everything],
                }),
                replay_window: 4096,
            };
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
fn the_counter_counts() {
    let used = allocation_counter::measure(|| drop(std::hint::black_box(vec![0; 100])));
    assert_eq!((used.count_total, used.bytes_total), (1, 400));
}
