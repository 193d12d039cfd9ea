//! Two sockets of this program, on the loopback device or on a cable between two namespaces.

use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};

use super::*;
use crate::sys::netlink::Netlink;
use crate::sys::netns::Netns;

const PATIENCE: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

fn bound(address: &str, port: Port) -> UdpSocket {
    UdpSocket::bind((address.parse::<IpAddr>().unwrap(), 0).into(), port).unwrap()
}

/// A sender and a receiver on the loopback device; `None` where the host has no IPv6.
fn pair(address: &str, receiver: Port) -> Option<(UdpSocket, UdpSocket)> {
    if std::net::UdpSocket::bind((address, 0)).is_err() {
        println!("skipped: this host has no {address}");
        return None;
    }
    Some((bound(address, Port::Nat), bound(address, receiver)))
}

fn towards(socket: &UdpSocket) -> Envelope {
    Envelope::new(None, socket.local())
}

fn plain<'a>(payload: &'a [u8], envelope: &'a Envelope) -> Outgoing<'a> {
    Outgoing { payload, segment: 0, envelope, traffic_class: 0 }
}

fn sent_all(socket: &UdpSocket, messages: &[Outgoing<'_>]) {
    let (taken, result) = socket.send_batch(messages.iter().copied());
    result.unwrap();
    assert_eq!(taken, messages.len());
}

/// Receives until so many octets are there; each message as it came, with its octets.
fn received(socket: &UdpSocket, octets: usize) -> Vec<(Message, Vec<u8>)> {
    let mut inbox = Inbox::new(8);
    let mut all: Vec<(Message, Vec<u8>)> = Vec::new();
    while all.iter().map(|(_, octets)| octets.len()).sum::<usize>() < octets {
        match socket.receive_batch(&mut inbox) {
            Ok(count) => all.extend((0..count).map(|position| {
                let message = inbox.message(position).unwrap();
                let octets = inbox.buffer_mut()[message.range.clone()].to_vec();
                (message, octets)
            })),
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                wait(socket);
            }
        }
    }
    all
}

fn wait(socket: &UdpSocket) {
    let mut fds = [PollFd::new(socket, PollFlags::IN)];
    assert_eq!(rustix::event::poll(&mut fds, Some(&PATIENCE)).unwrap(), 1, "nothing came");
}

/// Octets that are different wherever one looks.
fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|n: usize| n.wrapping_mul(0x9e37_79b9).to_le_bytes()[3]).collect()
}

#[test]
fn a_message_of_many_datagrams_arrives_whole_and_in_order() {
    for address in ["127.0.0.1", "::1"] {
        let Some((sender, receiver)) = pair(address, Port::Nat) else { continue };
        assert!(sender.gso_works() && receiver.merges());
        let to = towards(&receiver);
        let payload = pattern(44 * 1400 + 77);
        sent_all(&sender, &[Outgoing { segment: 1400, ..plain(&payload, &to) }]);
        let all = received(&receiver, payload.len());
        let [(message, octets)] = &all[..] else { panic!("{} messages", all.len()) };
        assert_eq!((octets, message.stride), (&payload, 1400));
        assert_eq!((message.remote, message.truncated), (sender.local(), false));
        assert_eq!(message.datagrams().count(), 45);
    }
}

#[test]
fn who_does_not_merge_gets_single_datagrams() {
    let (sender, receiver) = pair("127.0.0.1", Port::Ike).unwrap();
    assert!(!receiver.merges());
    let to = towards(&receiver);
    let payload = pattern(44 * 1400 + 77);
    sent_all(&sender, &[Outgoing { segment: 1400, ..plain(&payload, &to) }]);
    let all = received(&receiver, payload.len());
    let wanted: Vec<_> = payload.chunks(1400).collect();
    assert_eq!(all.iter().map(|(_, octets)| &octets[..]).collect::<Vec<_>>(), wanted);
    assert!(all.iter().all(|(message, octets)| message.stride == octets.len()));
}

#[test]
fn a_message_taken_apart_arrives_as_the_same_datagrams() {
    let (sender, receiver) = pair("127.0.0.1", Port::Ike).unwrap();
    let to = towards(&receiver);
    let payload = pattern(40 * 100 + 7);
    let message = Outgoing { segment: 100, ..plain(&payload, &to) };
    let (taken, result) = sender.send_batch(message.apart());
    result.unwrap();
    assert_eq!(taken, 41);
    let all = received(&receiver, payload.len());
    let wanted: Vec<_> = payload.chunks(100).collect();
    assert_eq!(all.iter().map(|(_, octets)| &octets[..]).collect::<Vec<_>>(), wanted);
}

#[test]
fn messages_of_one_call_have_traffic_classes_of_their_own() {
    for address in ["127.0.0.1", "::1"] {
        let Some((sender, receiver)) = pair(address, Port::Nat) else { continue };
        let to = towards(&receiver);
        let payload = pattern(500);
        let messages = [
            Outgoing { traffic_class: 0xb9, ..plain(&payload, &to) },
            Outgoing { traffic_class: 0x02, segment: 100, ..plain(&payload, &to) },
            plain(&payload, &to),
        ];
        sent_all(&sender, &messages);
        let all = received(&receiver, 1500);
        let seen: Vec<_> = all.iter().map(|(one, _)| (one.traffic_class, one.stride)).collect();
        assert_eq!(seen, [(0xb9, 500), (0x02, 100), (0, 500)], "{address}");
    }
}

#[test]
fn a_message_leaves_from_the_address_it_should_and_says_which_was_asked() {
    let receiver = bound("0.0.0.0", Port::Nat);
    let sender = bound("0.0.0.0", Port::Nat);
    let port = receiver.local().port();
    let to = |from: &str| {
        Envelope::new(Some(from.parse().unwrap()), (Ipv4Addr::new(127, 0, 0, 9), port).into())
    };
    let (two, three) = (to("127.0.0.2"), to("127.0.0.3"));
    let payload = pattern(300);
    let cut = Outgoing { segment: 100, traffic_class: 4, ..plain(&payload, &three) };
    sent_all(&sender, &[plain(&payload, &two), cut]);
    let all = received(&receiver, 600);
    let remotes: Vec<_> = all.iter().map(|(message, _)| message.remote.to_string()).collect();
    let port = sender.local().port();
    assert_eq!(remotes, [format!("127.0.0.2:{port}"), format!("127.0.0.3:{port}")]);
    let asked: SocketAddr = (Ipv4Addr::new(127, 0, 0, 9), receiver.local().port()).into();
    assert!(all.iter().all(|(message, _)| receiver.path_of(message).local == asked));
}

#[test]
fn what_does_not_fit_is_flagged() {
    let (sender, receiver) = pair("127.0.0.1", Port::Nat).unwrap();
    let to = towards(&receiver);
    let payload = pattern(200);
    sent_all(&sender, &[plain(&payload, &to), plain(&payload[..150], &to)]);
    let mut inbox = Inbox::with_room(2, 150);
    let mut seen = Vec::new();
    while seen.len() < 2 {
        wait(&receiver);
        let count = receiver.receive_batch(&mut inbox).unwrap();
        seen.extend((0..count).filter_map(|position| inbox.message(position)));
    }
    let seen: Vec<_> = seen.iter().map(|one| (one.range.len(), one.truncated)).collect();
    assert_eq!(seen, [(150, true), (150, false)]);
}

#[test]
fn the_message_that_is_refused_is_told_and_those_behind_it_can_go_on() {
    let (sender, receiver) = pair("127.0.0.1", Port::Ike).unwrap();
    let to = towards(&receiver);
    let (good, bad) = (pattern(100), pattern(66_000));
    for position in [0, 2, 31, 32, 35] {
        let mut messages = [plain(&good, &to); 40];
        messages[position] = plain(&bad, &to);
        let (taken, result) = sender.send_batch(messages);
        assert_eq!(taken, position);
        assert_eq!(result.unwrap_err().raw_os_error(), Some(libc::EMSGSIZE));
        let (taken, result) = sender.send_batch(messages.into_iter().skip(position + 1));
        assert_eq!(taken, 39 - position);
        result.unwrap();
        assert_eq!(received(&receiver, 39 * 100).len(), 39);
    }
    let (taken, result) = sender.send_batch([]);
    assert_eq!(taken, 0);
    result.unwrap();
}

#[test]
fn datagrams_that_found_no_room_are_counted() {
    let (sender, receiver) = pair("127.0.0.1", Port::Nat).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&receiver, 4096).unwrap();
    let to = towards(&receiver);
    let payload = pattern(1000);
    sent_all(&sender, &[plain(&payload, &to); 50]);
    let (mut sent, mut got) = (50, 0);
    let mut inbox = Inbox::new(64);
    // Only a datagram that finds room says how many did not before it.
    loop {
        wait(&receiver);
        while let Ok(messages) = receiver.receive_batch(&mut inbox) {
            got += messages;
        }
        let overflowed = receiver.overflowed();
        if overflowed > 0 && got + usize::try_from(overflowed).unwrap() == sent {
            break;
        }
        assert!(sent < 1000, "{got} of {sent} received, {overflowed} found no room");
        sent_all(&sender, &[plain(&payload, &to)]);
        sent += 1;
    }
}

#[test]
fn a_message_may_have_as_many_datagrams_as_is_said() {
    let (sender, receiver) = pair("127.0.0.1", Port::Nat).unwrap();
    let to = towards(&receiver);
    let payload = pattern(sender.segments_max() * 100);
    sent_all(&sender, &[Outgoing { segment: 100, ..plain(&payload, &to) }]);
    let all = received(&receiver, payload.len());
    assert_eq!(all.iter().flat_map(|(_, octets)| octets.clone()).collect::<Vec<_>>(), payload);
}

#[test]
fn the_release_of_the_kernel_says_how_many_datagrams() {
    for (release, wanted) in [
        ("6.18.44-generic", 128),
        ("6.10.0", 128),
        ("7.0", 128),
        ("6.9.12", 64),
        ("5.15.0-1.el9", 64),
        ("6", 64),
        ("something else", 64),
        ("", 64),
    ] {
        assert_eq!(segments_max(release.as_bytes()), wanted, "{release}");
    }
}

#[test]
fn what_one_descriptor_learned_all_know() {
    let socket = bound("127.0.0.1", Port::Nat);
    let other = socket.try_clone().unwrap();
    socket.set_gso(false);
    assert!(!other.gso_works());
    other.set_gso(true);
    assert!(socket.gso_works());
}

/// Were it cut on the way, the receiver would see the pieces: a cable of this kind merges nothing.
#[test]
fn the_longest_message_passes_a_cable_uncut() {
    let (Ok(left), Ok(right)) = (Netns::new(), Netns::new()) else {
        println!("skipped: no right to make a network namespace");
        return;
    };
    left.run(|| {
        let mut netlink = Netlink::open().unwrap();
        netlink.add_veth("wan", "wan-r").unwrap();
        let index = netlink.link_index("wan-r").unwrap();
        netlink.move_to_netns(index, right.as_fd()).unwrap();
    })
    .unwrap();
    let end = |device: &str, last: u8| {
        let mut netlink = Netlink::open().unwrap();
        let index = netlink.link_index(device).unwrap();
        netlink.link_up(index).unwrap();
        for address in [format!("192.0.2.{last}/24"), format!("2001:db8::{last}/64")] {
            netlink.add_address(index, address.parse().unwrap()).unwrap();
        }
        ["0.0.0.0", "::"].map(|any| bound(any, Port::Nat))
    };
    let senders = left.run(|| end("wan", 1)).unwrap();
    let receivers = right.run(|| end("wan-r", 2)).unwrap();
    for (sender, receiver, address) in senders
        .iter()
        .zip(&receivers)
        .zip(["192.0.2.2", "2001:db8::2"])
        .map(|((a, b), c)| (a, b, c))
    {
        let to: IpAddr = address.parse().unwrap();
        let to = Envelope::new(None, (to, receiver.local().port()).into());
        // The first datagram finds the neighbour, and waits for it.
        let deadline = crate::clock::now() + Duration::from_secs(5);
        while crate::clock::now() < deadline && sender.send_batch([plain(b"?", &to)]).1.is_err() {}
        received(receiver, 1);
        let payload = pattern(sender.message_max());
        sent_all(sender, &[Outgoing { segment: 1400, ..plain(&payload, &to) }]);
        let all = received(receiver, payload.len());
        assert_eq!(all.len(), 1, "{address}");
        assert_eq!((all[0].0.stride, &all[0].1), (1400, &payload));
        for segment in [0, 1473] {
            let (taken, result) =
                sender.send_batch([Outgoing { segment, ..plain(&payload[..3000], &to) }]);
            let error = result.unwrap_err().raw_os_error();
            assert_eq!(taken, 0);
            assert!(matches!(error, Some(libc::EMSGSIZE | libc::EINVAL)), "longer than the MTU");
        }
        assert!(sender.gso_works());
    }
}
