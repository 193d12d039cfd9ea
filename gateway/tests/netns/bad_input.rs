//! Datagrams that a gateway has to drop: cut short, of another version, for no SA, forged, repeated, random. Each is
//! counted by its reason, the tunnel does not notice, and nobody panics.
//!
//! ```text
//!   right gateway, a port of its own ──► left gateway (ours), UDP 500 and 4500
//!        made by hand | captured on the wire by a packet socket and sent again, as it was or with one octet changed
//! ```

use std::io::Read as _;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use socket2::{Domain, Protocol, Socket, Type};
use testkit::netns::Family;
use testkit::peer::{ConnectionSpec, now, wait_for};

use crate::List;
use crate::case::{Case, GAP, Pair, Tunnel};
use crate::traffic::gcm;

pub(crate) fn list(list: &mut List) {
    for pair in [Pair::OursToSwan, Pair::OursToOurs] {
        // The right one has to ask for a sign of life, so that there is a request to capture; the left one does not.
        let edit = |left: &mut ConnectionSpec, _: &mut ConnectionSpec| {
            left.dpd = (Duration::from_mins(1), Duration::from_mins(2));
        };
        list.tunnel("bad-input", Tunnel { edit, ..gcm(pair) }, bad_input);
    }
}

fn bad_input(case: &mut Case) -> Result<()> {
    case.up()?;
    let captured = capture(case)?;
    let socket = case.sites.right.gateway.inside(|| Ok(UdpSocket::bind("192.0.2.2:0")?))?;
    let before = case.facts()?;
    for (what, port, datagrams, reason) in datagrams(&captured) {
        let counted = count(case, reason)?;
        let to = SocketAddr::from(([192, 0, 2, 1], port));
        for datagram in datagrams {
            socket.send_to(&datagram, to)?;
        }
        wait_for(&format!("{what} to be counted as {reason}"), Duration::from_secs(2), || {
            Ok((count(case, reason)? > counted).then_some(()))
        })?;
    }
    noise(&socket);
    ensure!(case.facts()? == before, "the state changed: {before:?} {:?}", case.facts()?);
    let to = case.sites.right.host_address(Family::V4, 0);
    ensure!(case.sites.left.host.ping(to, 20, GAP)? == 20, "pings lost after the bad input");
    case.ping_all()
}

/// What, to which port, the datagrams, and the word (or one of two) under which at least one of them must be counted.
fn datagrams(captured: &Captured) -> Vec<(&'static str, u16, Vec<Vec<u8>>, &'static str)> {
    let Captured { ike, esp } = captured;
    let version = changed(&ike_header(), 17, 0x30);
    let unknown = ike_header();
    let id = ike.get(23).copied().unwrap_or(0);
    let mut forged = ike.clone();
    flip_last(&mut forged);
    // One of these has the message ID that comes next, so that the ICV is what stops it.
    let forged = (1..6).map(|step| marked(&changed(&forged, 23, id.wrapping_add(step)))).collect();
    let mut bent = esp.clone();
    flip_last(&mut bent);
    // And here a sequence number that was not seen.
    let bent = changed(&bent, 6, esp.get(6).copied().unwrap_or(0).wrapping_add(1));
    let stranger = changed(esp, 1, esp.get(1).copied().unwrap_or(0) ^ 0xff);
    let cut = |datagram: &[u8], len| vec![datagram.iter().copied().take(len).collect()];
    vec![
        ("a cut IKE header", 500, cut(&unknown, 20), "malformed"),
        ("a cut IKE message", 500, cut(&unknown, 40), "malformed"),
        ("IKE version 3", 500, vec![version.clone()], "version"),
        ("IKE version 3 behind a marker", 4500, vec![marked(&version)], "version"),
        ("IKE for no SA", 500, vec![unknown], "unknown-spi"),
        ("IKE with a bad ICV", 4500, forged, "bad-icv"),
        ("IKE a second time", 4500, vec![marked(ike)], "retransmit|outside-window"),
        ("ESP with nothing in it", 4500, cut(esp, 12), "too-short"),
        ("ESP for no SA", 4500, vec![stranger], "unknown-spi"),
        ("ESP with a bad ICV", 4500, vec![bent], "bad-icv"),
        ("ESP a second time", 4500, vec![esp.clone()], "replayed"),
    ]
}

/// One IKE request (without marker) and one ESP packet to the left gateway.
struct Captured {
    ike: Vec<u8>,
    esp: Vec<u8>,
}

/// Listens on the wire until both were there; the right host's pings and the peer's liveness checks provide them.
fn capture(case: &Case) -> Result<Captured> {
    let mut wire = case.sites.left.gateway.inside(|| {
        let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(ETH_P_ALL)))?;
        socket.set_read_timeout(Some(Duration::from_millis(100)))?;
        Ok(socket)
    })?;
    let from = &case.sites.right.host;
    ensure!(from.ping(case.sites.left.host_address(Family::V4, 0), 2, GAP)? == 2, "no ping");
    let (mut ike, mut esp, start) = (None, None, now());
    while ike.is_none() || esp.is_none() {
        ensure!(start.elapsed() < Duration::from_secs(6), "no IKE and ESP seen within 6 s");
        let mut frame = [0; 2048];
        let Ok(len) = wire.read(&mut frame) else { continue };
        let Some(payload) = frame.get(..len).and_then(to_left_4500) else { continue };
        match payload.strip_prefix(&[0; 4]) {
            Some(message) if message.get(19).is_some_and(|flags| flags & RESPONSE == 0) => {
                ike = Some(message.to_vec());
            }
            None if payload.len() > 8 => esp = Some(payload.to_vec()),
            Some(_) | None => {}
        }
    }
    Ok(Captured { ike: ike.context("ike")?, esp: esp.context("esp")? })
}

/// The UDP payload of a frame, if it is IPv4 to 192.0.2.1 port 4500.
fn to_left_4500(frame: &[u8]) -> Option<&[u8]> {
    let packet = frame.get(14..).filter(|packet| packet.first() == Some(&0x45))?;
    let ours = packet.get(9) == Some(&17) && packet.get(16..20) == Some(&[192, 0, 2, 1]);
    let port = packet.get(22..24)? == 4500_u16.to_be_bytes();
    (ours && port).then(|| packet.get(28..)).flatten()
}

/// An INFORMATIONAL request for an SA that does not exist (RFC 7296 §3.1), with an empty SK payload.
fn ike_header() -> Vec<u8> {
    let mut message = vec![0xa5; 16];
    message.extend([46, 0x20, 37, 0x08, 0, 0, 0, 0, 0, 0, 0, 64]);
    message.extend([0, 0, 0, 36]);
    message.extend([0x5a; 32]);
    message
}

/// A thousand datagrams of pseudorandom length and content, and then one of every small length.
fn noise(socket: &UdpSocket) {
    let mut word = 7296_u64;
    let mut next = || {
        word ^= word << 13;
        word ^= word >> 7;
        word ^= word << 17;
        word
    };
    for number in 0..1000_u64 {
        let len = if number < 64 { number } else { next() % 1400 };
        let datagram: Vec<u8> = (0..len).map(|_| next().to_le_bytes()[3]).collect();
        let port = if number % 2 == 0 { 4500 } else { 500 };
        // The kernel may say that a buffer is full; that is a drop like any other.
        let _ = socket.send_to(&datagram, ("192.0.2.1", port));
        if number % 3 == 0 {
            let _ = socket.send_to(&marked(&datagram), "192.0.2.1:4500");
        }
    }
}

fn marked(message: &[u8]) -> Vec<u8> {
    [&[0; 4], message].concat()
}

fn changed(datagram: &[u8], at: usize, to: u8) -> Vec<u8> {
    let mut datagram = datagram.to_vec();
    if let Some(octet) = datagram.get_mut(at) {
        *octet = to;
    }
    datagram
}

fn flip_last(datagram: &mut [u8]) {
    if let Some(last) = datagram.last_mut() {
        *last ^= 1;
    }
}

/// The sum of every number in the left gateway's status that stands under this word.
fn count(case: &Case, word: &str) -> Result<u64> {
    fn sum(value: &Value, word: &str) -> u64 {
        match value {
            Value::Object(fields) => fields
                .iter()
                .map(|(key, value)| match value.as_u64() {
                    // The counters of IKE and of ESP spell the same word with - and with _.
                    Some(number) if word.split('|').any(|word| key.replace('_', "-") == word) => {
                        number
                    }
                    _ => sum(value, word),
                })
                .sum(),
            Value::Array(values) => values.iter().map(|value| sum(value, word)).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }
    let ours = case.left.as_ours().context("the left gateway is ours")?;
    Ok(sum(&ours.json()?, word))
}

/// The response flag of the IKE header (RFC 7296 §3.1).
const RESPONSE: u8 = 0x20;

/// `ETH_P_ALL` in network byte order, as packet(7) wants it.
const ETH_P_ALL: i32 = 0x0003_i32.swap_bytes() >> 16;
