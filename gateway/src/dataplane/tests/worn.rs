//! The end of an SA: what it may carry at most, in octets and in packets.
//!
//! ```text
//!   left ══ there ══► right      limit 3 packets: there, back, there .. and nothing more
//!        ◄══ back ═══
//! ```

use super::*;

/// What an SA may carry at most counts both ways; then it is silent until control has another one, and control is told once.
#[test]
fn an_sa_that_has_carried_its_share_sends_nothing_more() {
    with_world("an_sa_that_has_carried_its_share_sends_nothing_more", |mut left, mut right| {
        talk(&mut left, &mut right, ("192.0.2.1", "192.0.2.2"), Transport::Udp);
        let (client, server) = (left.app("10.1.0.1"), right.app("10.2.0.1"));
        let there = towards("192.0.2.1", "192.0.2.2", Transport::Udp);
        let back = towards("192.0.2.2", "192.0.2.1", Transport::Udp);
        let mut buffer = [0; 200];
        // A packet of 100 octets is one of 128 with its headers.
        let limits = [
            Limits { octets: None, packets: Some(3) },
            Limits { octets: Some(3 * 128 + 127), packets: None },
        ];
        for (round, limits) in (0_u32..).zip(limits) {
            let (out, into) = (0x300 + 2 * round, 0x301 + 2 * round);
            right.install(out, into, (&RIGHT[..1], &LEFT[..1]), back);
            left.install_for(into, out, (&LEFT[..1], &RIGHT[..1]), there, limits);
            let before = left.counters.dropped(DropReason::SaExpired);
            client.send_to(&[1; 100], "10.2.0.1:7").unwrap();
            let (_, from) = server.recv_from(&mut buffer).unwrap();
            server.send_to(&[2; 100], from).unwrap();
            client.recv(&mut buffer).unwrap();
            client.send_to(&[3; 100], "10.2.0.1:7").unwrap();
            assert_eq!(server.recv(&mut buffer).unwrap(), 100);
            let spi = NonZeroU32::new(0x202).unwrap();
            left.dataplane().tx(TxCommand::Remove { slot: SLOT, spi });
            left.dataplane().settle();
            for _ in 0..4 {
                client.send_to(&[4; 100], "10.2.0.1:7").unwrap();
            }
            left.settles(before + 4, |side| side.counters.dropped(DropReason::SaExpired));
            let spi = NonZeroU32::new(out).unwrap();
            let mut told = Vec::new();
            while let Some(upcall) = left.upcall(Duration::ZERO) {
                told.extend(Some(upcall).filter(|u| !matches!(u, Upcall::FirstInbound { .. })));
            }
            assert_eq!(told, [Upcall::Worn { slot: SLOT, spi }], "once");
            server.set_nonblocking(true).unwrap();
            assert!(server.recv(&mut buffer).is_err(), "{limits:?}");
            server.set_nonblocking(false).unwrap();
            left.dataplane().tx(TxCommand::Remove { slot: SLOT, spi });
        }
    });
}
