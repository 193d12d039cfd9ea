//! What is true of messages without a network, and of errors that the loopback device brings back.

use std::net::UdpSocket;
use std::os::fd::AsFd as _;
use std::time::Duration;

use super::*;

fn envelope(to: &str) -> Envelope {
    Envelope::new(None, to.parse().unwrap())
}

#[test]
fn a_message_taken_apart_is_its_datagrams() {
    let envelope = envelope("192.0.2.1:4500");
    let payload: Vec<u8> = (0..250).collect();
    let cases: [(usize, u16, &[usize]); 6] = [
        (250, 100, &[100, 100, 50]),
        (200, 100, &[100, 100]),
        (100, 100, &[100]),
        (99, 100, &[99]),
        (99, 0, &[99]),
        (0, 100, &[0]),
    ];
    for (len, segment, wanted) in cases {
        let payload = payload.get(..len).unwrap();
        let message = Outgoing { payload, segment, envelope: &envelope, traffic_class: 3 };
        let apart: Vec<_> = message.apart().collect();
        assert_eq!(apart.iter().map(|one| one.payload.len()).collect::<Vec<_>>(), wanted);
        assert_eq!(apart.iter().flat_map(|one| one.payload).copied().collect::<Vec<_>>(), payload);
        assert!(apart.iter().all(|one| one.segment == 0 && one.traffic_class == 3));
    }
}

#[test]
fn a_received_message_knows_where_its_datagrams_are() {
    let message = |range: Range<usize>, stride| Message {
        range,
        stride,
        remote: "192.0.2.1:1".parse().unwrap(),
        local: None,
        traffic_class: 0,
        truncated: false,
    };
    let datagrams = |range, stride| {
        message(range, stride).datagrams().map(|one| (one.start, one.end)).collect::<Vec<_>>()
    };
    assert_eq!(datagrams(1000..1250, 100), [(1000, 1100), (1100, 1200), (1200, 1250)]);
    assert_eq!(datagrams(1000..1200, 100), [(1000, 1100), (1100, 1200)]);
    assert_eq!(datagrams(1000..1099, 100), [(1000, 1099)]);
    assert_eq!(datagrams(1000..1000, 1), [(1000, 1000)], "an empty datagram is one, too");
}

#[test]
fn an_error_that_an_earlier_datagram_left_behind_is_not_that_of_the_next() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(closed).unwrap();
    socket.send(b"nobody listens").unwrap();
    let to = envelope(&closed.to_string());
    let one = Outgoing { payload: b"again", segment: 0, envelope: &to, traffic_class: 0 };
    let (taken, result) = send(socket.as_fd(), [one]);
    assert_eq!(taken, 1);
    result.unwrap();
    // The proof that there was something to overcome: nobody listened to that one, either.
    socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let error = socket.recv(&mut [0; 9]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionRefused);
}

#[test]
fn an_inbox_has_room_for_one_message_at_least_and_sixty_four_at_most() {
    for (asked, given) in [(0, 1), (1, 1), (64, 64), (1000, 64)] {
        let mut inbox = Inbox::with_room(asked, 100);
        assert_eq!(inbox.buffer_mut().len(), given * (128 + SLACK), "{asked}");
        assert_eq!(inbox.message(0), None);
    }
}
