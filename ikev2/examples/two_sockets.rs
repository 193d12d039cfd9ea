//! Two endpoints negotiate over two UDP sockets on loopback, each in a thread of its own, and tell what they agreed on.
//!
//! ```text
//!   cargo run -p ikev2 --example two_sockets
//! ```
//!
//! `run` is the whole loop of an embedder: datagrams and time in; events, datagrams and a deadline out.
#![expect(clippy::print_stdout, reason = "an example tells what it did")]

use std::error::Error;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::thread;
use std::time::{Duration, Instant};

use ikev2::{
    ChildConfig, Endpoint, EndpointConfig, Event, Identity, Path, PeerConfig, Proposal, Psk,
    RemoteId, Start, TrafficSelector,
};

type Outcome = Result<String, Box<dyn Error + Send + Sync>>;

/// One socket serves both IKE and ESP, so every IKE message carries the non-ESP marker (RFC 3948 §2.2).
const MARKER: [u8; 4] = [0; 4];

fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let sockets = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
    let addresses = [sockets[0].local_addr()?, sockets[1].local_addr()?];
    let [left, right] = sockets;
    let left_peer = peer(["left", "right"], [1, 2], addresses, Start::Always)?;
    let [a, b] = addresses;
    let right_peer = peer(["right", "left"], [2, 1], [b, a], Start::RespondOnly)?;
    let responder = thread::spawn(move || run(&right, right_peer));
    println!("left:  {}", run(&left, left_peer)?);
    println!("right: {}", responder.join().map_err(|_| "the responder panicked")??);
    Ok(())
}

/// The other side as `us` sees it: who it is, where it is, and what may travel between `10.us.0.0/16` and its own.
fn peer(
    [us, them]: [&str; 2],
    [ours, theirs]: [u8; 2],
    [local, remote]: [SocketAddr; 2],
    start: Start,
) -> Result<PeerConfig, Box<dyn Error + Send + Sync>> {
    let net = |number| vec![TrafficSelector::subnet(IpAddr::from([10, number, 0, 0]), 16)];
    let esp = vec![Proposal::esp_from_keywords("aes256gcm16-curve25519")?];
    let ike = vec![Proposal::ike_from_keywords("aes256gcm16-prfsha256-curve25519")?];
    let psk = Psk::new(b"an example's key, of no use elsewhere".to_vec());
    let mut peer = PeerConfig::new(them, psk, ike);
    peer.paths = vec![Path { local, remote }];
    peer.local_id = Some(Identity::Fqdn(us.into()));
    peer.remote_id = RemoteId::Exact(Identity::Fqdn(them.into()));
    peer.children = vec![ChildConfig::new("net", net(ours), net(theirs), esp)];
    peer.start = start;
    Ok(peer)
}

/// Drives one endpoint until its first child is up and both sides have had a second to say all that they have to.
fn run(socket: &UdpSocket, peer: PeerConfig) -> Outcome {
    let local = socket.local_addr()?;
    let mut config = EndpointConfig::default();
    config.nat_port = local.port();
    let mut endpoint = Endpoint::new(config, seed()?);
    endpoint.add_peer(now(), peer);
    let (mut outcome, mut until) = (None, now() + Duration::from_secs(10));
    let mut buffer = vec![0; 65_535];
    loop {
        // Events first: whoever answers has to be able to receive before its answer leaves (RFC 7296 §2.8).
        while let Some(event) = endpoint.poll_event() {
            if let Event::ChildUp { child, .. } = event {
                outcome = Some(format!("{} {:?} {:?}", child.suite, child.spi_in, child.spi_out));
                until = now() + Duration::from_secs(1);
            }
        }
        while let Some(transmit) = endpoint.poll_transmit() {
            socket.send_to(&[&MARKER, &*transmit.payload].concat(), transmit.path.remote)?;
        }
        if now() >= until {
            return outcome.ok_or_else(|| "nothing was negotiated".into());
        }
        let deadline = endpoint.poll_timeout().map_or(until, |deadline| deadline.at.min(until));
        let wait = deadline.saturating_duration_since(now()).max(Duration::from_millis(1));
        socket.set_read_timeout(Some(wait))?;
        match socket.recv_from(&mut buffer) {
            Ok((len, remote)) => {
                let message = buffer.get_mut(..len).and_then(|all| all.split_at_mut_checked(4));
                if let Some((_, message)) = message.filter(|(marker, _)| **marker == MARKER) {
                    let _counted = endpoint.handle_datagram(now(), Path { local, remote }, message);
                }
            }
            Err(_timeout) => endpoint.handle_timeout(now()),
        }
    }
}

/// Secret and fresh: every key comes from it.
fn seed() -> Result<[u8; 32], Box<dyn Error + Send + Sync>> {
    let mut seed = [0; 32];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut seed)?;
    Ok(seed)
}

#[expect(clippy::disallowed_methods, reason = "an example has a clock")]
fn now() -> Instant {
    Instant::now()
}
