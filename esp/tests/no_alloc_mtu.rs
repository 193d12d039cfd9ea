//! Checksums, MSS, ECN and "too big" allocate nothing.

use esp::{Quote, checksum::Sum, ecn, ip::View, mss, too_big};

#[test]
fn packets_cost_no_allocation() {
    // A SYN with an MSS of 1460, and room behind it to be an offending packet of 1500 octets.
    let mut packet = [0; 1500];
    packet[..20].copy_from_slice(&[
        0x45, 1, 0x05, 0xdc, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1,
    ]);
    packet[32..34].copy_from_slice(&[0x60, 0x02]);
    packet[40..44].copy_from_slice(&[2, 4, 0x05, 0xb4]);
    let before = packet;
    let mut out = [0; too_big::MAX_LEN_V6];
    let mut run = || {
        for _ in 0..100 {
            packet = before;
            let view = View::parse(&packet).unwrap();
            assert!(mss::clamp_mss(&mut packet, &view, 1438, mss::TcpChecksum::Complete));
            assert_eq!(ecn::combine(ecn::CE, view.traffic_class), ecn::Combine::Set(ecn::CE));
            ecn::set_ecn(&mut packet, ecn::CE);
            assert_ne!(Sum::of(&packet).finish(), Sum::of(&before).folded());
            let len = too_big::too_big(&packet, &view, view.destination, 1438, &mut out);
            assert_eq!(len, Some(too_big::MAX_LEN_V4));
            assert!(Quote::read(&packet).is_some());
        }
    };
    let used = allocation_counter::measure(&mut run);
    assert_eq!((used.count_total, used.bytes_total), (0, 0));
}
