//! Several workers at each end: every flow arrives whole and in its order, over a change of SAs too.

use super::*;

/// 20 flows of 60 datagrams of many sizes, interleaved, with SAs of three families one after the other.
fn flows_keep_their_order(left: &Side, right: &Side, transport: Transport) {
    let to = towards("192.0.2.1", "192.0.2.2", transport);
    let back = towards("192.0.2.2", "192.0.2.1", transport);
    let (near, far) = (&["10.1.0.0/16"], &["10.2.0.0/16"]);
    let sender = left.netns.run(|| (0..20).map(|_| Plain::bind("10.1.0.1:0").unwrap()).collect());
    let sender: Vec<Plain> = sender.unwrap();
    let receiver = right.app("10.2.0.1");
    let mut next = std::collections::HashMap::new();
    for (round, spi) in [0x1001_u32, 0x1002, 0x1003].into_iter().enumerate() {
        right.install(spi, spi + 0x1000, (far, near), back);
        left.install(spi + 0x1000, spi, (near, far), to);
        for number in 0..60_u32 {
            for (flow, socket) in sender.iter().enumerate() {
                let number = u32::try_from(round).unwrap() * 60 + number;
                let len = 8 + (number as usize * 37 + flow * 101) % 1300;
                let mut datagram = vec![0x5a; len];
                datagram[..4].copy_from_slice(&number.to_be_bytes());
                socket.send_to(&datagram, "10.2.0.1:7").unwrap();
            }
            let mut datagram = [0; 2000];
            for _ in &sender {
                let (len, from) = receiver.recv_from(&mut datagram).unwrap();
                let number = u32::from_be_bytes(*datagram[..len].first_chunk().unwrap());
                let expected = next.entry(from.port()).or_insert(0);
                assert_eq!(number, *expected, "{from}");
                *expected += 1;
            }
        }
    }
    assert!(next.values().all(|count| *count == 180), "{next:?}");
    assert_eq!(left.counters.packets_out(), 20 * 180);
    right.settles(20 * 180, |side| side.counters.packets_in());
    let none = right.dataplane().counters().drops().count();
    assert_eq!((none, right.counters.drops().count()), (0, 0));
}

#[test]
fn one_to_four_workers_keep_every_flow_in_order() {
    for workers in 1..=4 {
        for transport in [Transport::Udp, Transport::Raw] {
            let name = "workers::one_to_four_workers_keep_every_flow_in_order";
            with_workers(name, workers, |left, right| {
                flows_keep_their_order(&left, &right, transport);
            });
        }
    }
}

/// A second program that binds the port alone must not be let in among the sockets of several workers, and is told who has it.
#[test]
fn sockets_of_several_workers_are_no_open_door() {
    with_workers("workers::sockets_of_several_workers_are_no_open_door", 3, |left, _right| {
        let error = left.netns.run(|| UdpSocket::bind("0.0.0.0:4500".parse().unwrap(), Port::Nat));
        assert!(matches!(error.unwrap().unwrap_err(), OpenError::PortInUse { .. }));
    });
}
