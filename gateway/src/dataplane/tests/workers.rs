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
    left.settles(20 * 180, |side| side.counters.packets_out());
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

/// A pair of SAs for all workers, and one for each (RFC 9611); what each has carried, as the left side counts.
fn one_for_each(left: &Side, right: &Side, workers: usize) -> Vec<Arc<SaUsage>> {
    let to = towards("192.0.2.1", "192.0.2.2", Transport::Udp);
    let back = towards("192.0.2.2", "192.0.2.1", Transport::Udp);
    let (near, far) = (&["10.1.0.0/16"], &["10.2.0.0/16"]);
    let none = Limits { octets: None, packets: None };
    let owners = once(None).chain((0..workers).map(Some));
    let usages = owners.zip(0x1000_u32..).map(|(owner, spi)| {
        drop(right.install_of((spi, spi + 0x1000), (far, near), back, (none, owner)));
        left.install_of((spi + 0x1000, spi), (near, far), to, (none, owner))
    });
    usages.collect()
}

/// So many datagrams on each of these flows, all of which arrive in their order.
fn talk_on(flows: &[Plain], receiver: &Plain, round: u32) {
    let mut next = std::collections::HashMap::new();
    for number in 0..20_u32 {
        let number = round * 20 + number;
        for socket in flows {
            socket.send_to(&number.to_be_bytes(), "10.2.0.1:7").unwrap();
        }
        let mut datagram = [0; 100];
        for _ in flows {
            let (len, from) = receiver.recv_from(&mut datagram).unwrap();
            let number = u32::from_be_bytes(*datagram[..len].first_chunk().unwrap());
            let expected = next.entry(from.port()).or_insert(round * 20);
            assert_eq!(number, *expected, "{from}");
            *expected += 1;
        }
    }
}

/// Nothing goes on the SA for all while every worker has its own; what loses its own goes on there at once, without a loss.
#[test]
fn each_worker_sends_on_its_own_sa() {
    with_workers("workers::each_worker_sends_on_its_own_sa", 3, |left, right| {
        let usages = one_for_each(&left, &right, 3);
        let flows =
            left.netns.run(|| (0..60).map(|_| Plain::bind("10.1.0.1:0").unwrap()).collect());
        let flows: Vec<Plain> = flows.unwrap();
        let receiver = right.app("10.2.0.1");
        let carried = || usages.iter().map(|usage| usage.packets()).collect::<Vec<_>>();
        talk_on(&flows, &receiver, 0);
        left.settles(1200, |side| side.counters.packets_out());
        let first = carried();
        assert_eq!((first[0], first.iter().sum()), (0, 1200), "{first:?}");
        assert!(first[1..].iter().all(|packets| *packets >= 20), "{first:?}");
        // Worker 1 loses its own.
        let spi = NonZeroU32::new(0x1002).unwrap();
        left.dataplane().tx(TxCommand::Remove { slot: SLOT, spi });
        talk_on(&flows, &receiver, 1);
        left.settles(2400, |side| side.counters.packets_out());
        let second = carried();
        // The removal may have waited for the end of a batch.
        let moved = second[0] + second[2] - first[2];
        assert_eq!(moved, first[2], "{first:?} {second:?}");
        assert!(second[0] > 0, "{second:?}");
        assert_eq!((second[1], second[3]), (2 * first[1], 2 * first[3]));
        // Then the one for all goes: there is another worker's.
        for spi in [0x1000, 0x1001] {
            let spi = NonZeroU32::new(spi).unwrap();
            left.dataplane().tx(TxCommand::Remove { slot: SLOT, spi });
        }
        left.dataplane().settle();
        talk_on(&flows, &receiver, 2);
        left.settles(3600, |side| side.counters.packets_out());
        assert_eq!(carried()[3], second[3] + 1200);
        right.settles(3600, |side| side.counters.packets_in());
        assert_eq!((left.counters.drops().count(), right.counters.drops().count()), (0, 0));
    });
}

/// A worker's own SA that has carried all that it may is told of, though the one for all takes its packets.
#[test]
fn an_own_sa_that_is_worn_is_told_of() {
    with_workers("workers::an_own_sa_that_is_worn_is_told_of", 1, |mut left, right| {
        let usages = one_for_each(&left, &right, 1);
        let to = towards("192.0.2.1", "192.0.2.2", Transport::Udp);
        let (near, far) = (&["10.1.0.0/16"][..], &["10.2.0.0/16"][..]);
        let back = towards("192.0.2.2", "192.0.2.1", Transport::Udp);
        let few = Limits { octets: None, packets: Some(5) };
        drop(right.install_of((0x1009, 0x2009), (far, near), back, (few, Some(0))));
        let own = left.install_of((0x2009, 0x1009), (near, far), to, (few, Some(0)));
        left.dataplane()
            .tx(TxCommand::Remove { slot: SLOT, spi: NonZeroU32::new(0x1001).unwrap() });
        left.dataplane().settle();
        let flows = [left.netns.run(|| Plain::bind("10.1.0.1:0").unwrap()).unwrap()];
        talk_on(&flows, &right.app("10.2.0.1"), 0);
        left.settles(20, |side| side.counters.packets_out());
        assert_eq!((own.packets(), usages[0].packets()), (5, 15));
        let spi = NonZeroU32::new(0x1009).unwrap();
        assert_eq!(left.upcall(PATIENCE), Some(Upcall::Worn { slot: SLOT, spi }));
        assert_eq!(left.upcall(Duration::ZERO), None, "once");
    });
}

/// A second program that binds the port alone must not be let in among the sockets of several workers, and is told who has it.
#[test]
fn sockets_of_several_workers_are_no_open_door() {
    with_workers("workers::sockets_of_several_workers_are_no_open_door", 3, |left, _right| {
        let error = left.netns.run(|| UdpSocket::bind("0.0.0.0:4500".parse().unwrap(), Port::Nat));
        assert!(matches!(error.unwrap().unwrap_err(), OpenError::PortInUse { .. }));
    });
}
