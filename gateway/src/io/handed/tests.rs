//! Descriptors as another program would make them, right ones and wrong ones, and what is said about each.

use std::net::{TcpListener, UdpSocket as Std};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};

use socket2::{Domain, SockAddr, Type};

use super::*;
use crate::sys::device::Links;
use crate::sys::netns::Netns;

fn handed(descriptors: Vec<(&str, OwnedFd)>) -> Handed {
    let each = descriptors.into_iter().zip(3..);
    let each = each.map(|((name, fd), number)| Descriptor { number, name: name.to_owned(), fd });
    Handed::of(each.collect()).expect("names that we know")
}

/// The sentence about one descriptor by this name.
fn udp_error(fd: OwnedFd, port: u16, listen: &[&str]) -> String {
    let listen: Vec<IpAddr> = listen.iter().map(|ip| ip.parse().expect("an address")).collect();
    let taken = handed(vec![("ike", fd)]).udp(Port::Ike, port, &listen, 1);
    taken.expect_err("it does not fit").to_string()
}

fn any() -> (Std, u16) {
    let socket = Std::bind("0.0.0.0:0").expect("binds");
    let port = socket.local_addr().expect("an address").port();
    (socket, port)
}

fn file() -> OwnedFd {
    File::open("/dev/null").expect("opens").into()
}

/// The sentence says all of it.
fn says(sentence: &str, words: &[&str]) {
    for word in words {
        assert!(sentence.contains(word), "no {word} in: {sentence}");
    }
}

#[test]
fn a_name_that_means_nothing_is_refused() {
    let descriptor = Descriptor { number: 5, name: "unknown".to_owned(), fd: file() };
    let error = Handed::of(vec![descriptor]).expect_err("no such name").to_string();
    says(
        &error,
        &["descriptor 5", "`unknown`", "ike, nat, tun, control or http", "FileDescriptorName="],
    );
}

#[test]
fn what_is_not_handed_over_is_left_to_us() {
    let mut none = Handed::default();
    assert!(none.udp(Port::Ike, 500, &[], 1).expect("nothing is wrong").is_none());
    assert!(none.queues("s2s0", 1).expect("nothing is wrong").is_none());
    assert!(none.control(Path::new("/run/x")).expect("nothing is wrong").is_none());
}

#[test]
fn a_socket_that_fits_is_taken_and_works() {
    let (socket, port) = any();
    let mut handed = handed(vec![("ike", socket.into())]);
    let taken = handed.udp(Port::Ike, port, &[], 1).expect("it fits").expect("it is there");
    assert_eq!(taken[0].local(), SocketAddr::from(([0, 0, 0, 0], port)));
    let mut buffer = [0; 16];
    let nothing = taken[0].receive(&mut buffer).expect_err("nothing came");
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock, "it was made non-blocking");
    let sender = Std::bind("127.0.0.1:0").expect("binds");
    sender.send_to(b"four", ("127.0.0.1", port)).expect("sends");
    let received = taken[0].receive(&mut buffer).expect("it came");
    assert_eq!(received.len, 4);
    assert_eq!(received.path.local.ip().to_string(), "127.0.0.1", "the address that was asked");
}

#[test]
fn what_is_no_udp_socket_is_said() {
    says(
        &udp_error(file(), 500, &[]),
        &["descriptor 3", "`ike`", "is no socket", "ListenDatagram="],
    );
    let tcp = TcpListener::bind("127.0.0.1:0").expect("binds");
    says(&udp_error(tcp.into(), 500, &[]), &["is no UDP socket"]);
    let unix = UnixDatagram::unbound().expect("a socket");
    says(&udp_error(unix.into(), 500, &[]), &["is no UDP socket over IPv4 or IPv6"]);
    let unbound = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
    says(&udp_error(unbound.into(), 500, &[]), &["is not bound", "bind it"]);
}

#[test]
fn a_port_or_an_address_of_others_is_said() {
    let (socket, port) = any();
    let error = udp_error(socket.into(), 500, &[]);
    says(&error, &[&format!("bound to port {port}, not 500"), &format!("`ike_port = {port}`")]);
    let local = || {
        let socket = Std::bind("127.0.0.1:0").expect("binds");
        let port = socket.local_addr().expect("an address").port();
        (OwnedFd::from(socket), port)
    };
    let (fd, port) = local();
    says(&udp_error(fd, port, &[]), &["bound to 127.0.0.1", "write `listen = [\"127.0.0.1\"]`"]);
    let (fd, port) = local();
    says(&udp_error(fd, port, &["192.0.2.1"]), &["127.0.0.1", "`listen` in [gateway] has not"]);
    let (fd, port) = local();
    let error = udp_error(fd, port, &["127.0.0.1", "192.0.2.1"]);
    says(&error, &["no socket for 192.0.2.1", "`ike`", "each address of `listen`"]);
}

#[test]
fn a_socket_for_both_families_is_refused() {
    let Ok(both) = Socket::new(Domain::IPV6, Type::DGRAM, None) else { return };
    both.set_only_v6(false).expect("sets");
    let any: SocketAddr = "[::]:0".parse().expect("an address");
    if both.bind(&SockAddr::from(any)).is_err() {
        println!("skipped: no IPv6 here");
        return;
    }
    let port = both.local_addr().expect("bound").as_socket().expect("an address").port();
    says(&udp_error(both.into(), port, &[]), &["takes IPv4, too", "BindIPv6Only=ipv6-only"]);
}

#[test]
fn each_worker_needs_a_socket_and_each_address_one() {
    let socket = |port: u16| {
        let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).expect("a socket");
        socket.set_reuse_port(true).expect("sets");
        let at = SocketAddr::from(([0, 0, 0, 0], port));
        socket.bind(&SockAddr::from(at)).expect("binds");
        socket
    };
    let first = socket(0);
    let port = first.local_addr().expect("bound").as_socket().expect("an address").port();
    let mut both = handed(vec![("nat", first.into()), ("nat", socket(port).into())]);
    let taken = both.udp(Port::Nat, port, &[], 2).expect("two fit").expect("they are there");
    assert_eq!(taken.len(), 2);
    let mut one = handed(vec![("nat", socket(port).into())]);
    let error = one.udp(Port::Nat, port, &[], 2).expect_err("one is too few").to_string();
    says(&error, &["1 sockets for 0.0.0.0", "where 2 are needed", "SO_REUSEPORT", "`workers = 1`"]);
    let mut twice = handed(vec![("ike", socket(port).into()), ("ike", socket(port).into())]);
    let error = twice.udp(Port::Ike, port, &[], 1).expect_err("one too many").to_string();
    says(&error, &["2 sockets for 0.0.0.0", "where 1 are needed"]);
}

#[test]
fn the_control_socket_has_to_listen_where_it_is_looked_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("control.sock");
    let listener = || {
        let _ = std::fs::remove_file(&path);
        OwnedFd::from(UnixListener::bind(&path).expect("binds"))
    };
    let mut right = handed(vec![("control", listener())]);
    assert!(right.control(&path).expect("it fits").is_some());
    let error = |fd: OwnedFd, at: &Path| {
        let taken = handed(vec![("control", fd)]).control(at);
        taken.expect_err("it does not fit").to_string()
    };
    let other = error(listener(), Path::new("/run/s2s-gw/control.sock"));
    says(&other, &["control.sock, while `control`", "/run/s2s-gw/control.sock"]);
    says(&error(file(), &path), &["is no Unix stream socket", "ListenStream="]);
    let (stream, _end) = UnixStream::pair().expect("a pair");
    says(&error(stream.into(), &path), &["does not listen"]);
    let mut two = handed(vec![("control", listener()), ("control", file())]);
    says(&two.control(&path).expect_err("two").to_string(), &["2 descriptors", "hand over one"]);
}

const RIGHT: i32 = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;

fn queue(name: &str, flags: i32) -> OwnedFd {
    device::attach(name, u16::try_from(flags).expect("16 bits")).expect("attaches").into()
}

#[test]
fn a_queue_of_the_right_device_is_taken() {
    inside(|| {
        let several = RIGHT | libc::IFF_MULTI_QUEUE;
        let both = vec![("tun", queue("s2s9", several)), ("tun", queue("s2s9", several))];
        let mut handed = handed(both);
        let files = handed.queues("s2s9", 2).expect("they fit").expect("they are there");
        let (lanes, mtu) = Tun::adopt(files, "s2s9", (1400, true), 2).expect("adopts");
        assert_eq!((lanes.len(), mtu), (2, 1400));
        assert!(lanes.iter().all(|lane| lane.urgent.is_none()));
        let links = Links::open().expect("a socket");
        assert!(links.is_up("s2s9").expect("looks"), "it was switched on");
        assert_eq!(links.mtu("s2s9").expect("looks"), 1400);
    });
}

#[test]
fn queues_beyond_the_workers_are_read_first() {
    inside(|| {
        let several = RIGHT | libc::IFF_MULTI_QUEUE;
        let both = vec![("tun", queue("s2s9", several)), ("tun", queue("s2s9", several))];
        let files = handed(both).queues("s2s9", 1).expect("they fit").expect("they are there");
        match Tun::adopt(files, "s2s9", (1400, true), 1) {
            Ok((lanes, _)) => assert!(lanes.len() == 1 && lanes[0].urgent.is_some()),
            // Without BPF it is said which queues are too many.
            Err(error) => says(&error.to_string(), &["two for each worker"]),
        }
    });
}

#[test]
fn a_queue_of_another_kind_is_said() {
    inside(|| {
        let error = |fd: OwnedFd| {
            let taken = handed(vec![("tun", fd)]).queues("s2s9", 1);
            taken.expect_err("it does not fit").to_string()
        };
        let bare = File::options().read(true).write(true).open("/dev/net/tun").expect("opens");
        says(&error(bare.into()), &["descriptor 3", "`tun`", "attached to no device", "TUNSETIFF"]);
        says(&error(file()), &["no queue of a TUN device"]);
        says(&error(queue("other", RIGHT)), &["device other", "is s2s9", "`tun = \"other\"`"]);
        let without = |flags: i32| error(queue("s2s9", RIGHT & !flags));
        says(&without(libc::IFF_VNET_HDR), &["no header for offloads", "IFF_VNET_HDR"]);
        says(&without(libc::IFF_NO_PI), &["protocol number", "IFF_NO_PI"]);
        let tap = (RIGHT & !libc::IFF_TUN) | libc::IFF_TAP;
        says(&error(queue("s2s9", tap)), &["TAP", "IFF_TUN"]);
        let few = handed(vec![("tun", queue("s2s9", RIGHT))]).queues("s2s9", 3);
        let few = few.expect_err("too few").to_string();
        says(&few, &["1 queues", "3 are needed", "IFF_MULTI_QUEUE", "`workers = 1`"]);
    });
}

/// Runs `test` in a new namespace, if that is permitted.
fn inside(test: impl FnOnce() + Send) {
    match Netns::new() {
        Ok(netns) => netns.run(test).unwrap(),
        Err(_) => println!("skipped: no right to make a network namespace"),
    }
}

/// Each place of `listen` is handed over once, and nothing else is.
#[test]
fn the_sockets_of_the_page_are_those_that_are_configured() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("http.sock");
    let unix = || OwnedFd::from(UnixListener::bind(&path).expect("binds"));
    let at_path = HttpListen::Unix(path.clone());
    let tcp = TcpListener::bind("127.0.0.1:0").expect("binds");
    let at_address = HttpListen::Tcp(tcp.local_addr().expect("bound"));
    let both = [at_path.clone(), at_address.clone()];

    assert!(Handed::default().http(Some(&both)).expect("nothing is wrong").is_none());
    let again = || OwnedFd::from(tcp.try_clone().expect("clones"));
    let error = |fds: Vec<OwnedFd>, listen: Option<&[HttpListen]>| {
        let fds = fds.into_iter().map(|fd| ("http", fd)).collect();
        handed(fds).http(listen).expect_err("it does not fit").to_string()
    };
    says(&error(vec![again()], Some(&both)), &["no socket for unix:", "http.sock", "each place"]);
    says(&error(vec![again(), again()], Some(&both)), &["descriptor 4", "as another one does"]);
    says(
        &error(vec![again()], None),
        &["descriptor 3", "`listen` in [http] has not", "write `listen = \"127"],
    );
    says(&error(vec![file()], Some(&both)), &["is no stream socket", "ListenStream="]);
    let (talks, _other) = UnixStream::pair().expect("a pair");
    says(&error(vec![talks.into()], Some(&both)), &["does not listen"]);
    let mut right = handed(vec![("http", again()), ("http", unix())]);
    let taken = right.http(Some(&both)).expect("they fit").expect("some");
    assert_eq!(taken.len(), 2);
    drop(taken);
    assert!(path.exists(), "it is not ours to remove");
}
