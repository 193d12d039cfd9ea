//! The ceilings of the speed table: a tunnel that does everything that a fast one does, except cryptography; or with the
//! cipher as all that is added.
//!
//! ```text
//!   TUN (IFF_VNET_HDR, TSO, USO)                                             UDP (UDP_SEGMENT 1472, UDP_GRO)
//!   read: virtio_net_hdr + packet of up to 64 KiB ──► frame ──► message ──► one writev, cut into datagrams by the kernel
//!   write: the same octets                        ◄── frame ◄── message ◄── one readv, put together by the kernel
//!
//!   message   0          4        6        8
//!             | sequence | length | finish | piece of frames, `length` octets ..                  (seals.rs: | tags ..)
//!   frame     | length (4) | virtio_net_hdr (10) | packet |          a frame that does not fit one message takes two
//! ```
//!
//! One system call reads what one writes: nothing is copied here, and no packet is looked into. With `sealed` each 1448
//! octets of a piece are sealed and opened where they are: what any tunnel with this cipher has to do at least. Packets that are no
//! super-packets are read until there is none, and share a message. A message whose length is not the one that it
//! names has lost a piece, and is dropped with all that waited for it; inner TCP sends it again.
//!
//! Not a product: whoever reaches the port may write to the device. It lives in namespaces that a measurement made.

mod seals;

use std::io::{IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

use anyhow::{Context as _, Result, anyhow, ensure};
use nix::sys::socket::{setsockopt, sockopt};
use rustix::io::{Errno, ReadWriteFlags, preadv2, read, readv, write, writev};
use rustix::net::sockopt::{set_socket_recv_buffer_size_force, set_socket_send_buffer_size_force};
use rustix::process::{Signal, set_parent_process_death_signal};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use self::seals::{Seals, tags_of};

/// Relays between a new TUN device and a peer until an error or a signal ends the process, or its parent ends; `sealed` by
/// AES-256-GCM if both ends say so.
///
/// # Errors
/// If the device or the socket cannot be made, or one of them is gone.
pub fn run(device: &str, local: SocketAddr, peer: SocketAddr, sealed: bool) -> Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    let device = open_device(device)?;
    let socket = open_socket(local, peer)?;
    let seals = sealed.then(|| Seals::new(local < peer)).transpose()?;
    thread::scope(|scope| {
        let out = scope.spawn(|| outbound(device.as_fd(), socket.as_fd(), seals.as_ref()));
        let inward = scope.spawn(|| inbound(device.as_fd(), socket.as_fd(), seals.as_ref()));
        // Neither ends but by an error; the other one ends with the process.
        inward.join().map_err(|_| anyhow!("the receiving thread panicked"))??;
        out.join().map_err(|_| anyhow!("the sending thread panicked"))?
    })
}

fn open_device(name: &str) -> Result<SyncDevice> {
    let builder = DeviceBuilder::new().name(name).layer(Layer::L3).offload(true).mtu(MTU);
    let device = builder.build_sync().with_context(|| format!("cannot make {name}"))?;
    ensure!(device.tcp_gso() && device.udp_gso(), "the kernel has no TSO or USO for TUN devices");
    device.set_nonblocking(false)?;
    Ok(device)
}

fn open_socket(local: SocketAddr, peer: SocketAddr) -> Result<UdpSocket> {
    let socket = UdpSocket::bind(local).with_context(|| format!("cannot bind {local}"))?;
    setsockopt(&socket, sockopt::UdpGroSegment, &true).context("no UDP_GRO")?;
    setsockopt(&socket, sockopt::UdpGsoSegment, &CHUNK).context("no UDP_SEGMENT")?;
    set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER)?;
    set_socket_send_buffer_size_force(&socket, SEND_BUFFER)?;
    socket.connect(peer).with_context(|| format!("cannot connect to {peer}"))?;
    Ok(socket)
}

/// TUN to UDP.
fn outbound(device: BorrowedFd<'_>, socket: BorrowedFd<'_>, seals: Option<&Seals>) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut sender = Sender { socket, seals, tags: Vec::new(), sequence: 0 };
    let mut filled = 0;
    loop {
        // None: nothing more to come at once.
        let fresh = read_frame(device, &mut buffer, filled)?.unwrap_or_default();
        let whole = filled + fresh;
        if filled > 0 && whole > MAX_PAYLOAD {
            // It would not fit in with those before it, and alone it may: they go first.
            sender.send(buffer.get_mut(..filled).unwrap_or_default())?;
            buffer.copy_within(filled..whole, 0);
            filled = fresh;
        } else {
            filled = whole;
        }
        let drained = fresh == 0;
        if drained || fresh > SMALL || filled > ENOUGH {
            sender.send(buffer.get_mut(..filled).unwrap_or_default())?;
            filled = 0;
        }
    }
}

/// Reads one packet to `at` with its length before it. Waits only if nothing else is waiting to be sent. Returns the
/// octets of the frame.
fn read_frame(device: BorrowedFd<'_>, buffer: &mut [u8], at: usize) -> Result<Option<usize>> {
    let place = buffer.get_mut(at..).and_then(|rest| rest.split_first_chunk_mut());
    let (length, packet): (&mut [u8; LENGTH], _) = place.context("a frame beyond the buffer")?;
    let octets = if at == 0 {
        read(device, &mut *packet)
    } else {
        preadv2(device, &mut [IoSliceMut::new(packet)], u64::MAX, ReadWriteFlags::NOWAIT)
    };
    match octets {
        Ok(octets) => {
            *length = u32::try_from(octets)?.to_be_bytes();
            Ok(Some(LENGTH + octets))
        }
        // EOPNOTSUPP: a kernel without this flag for TUN devices; then every packet goes alone.
        Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::INTR) => Ok(None),
        Err(error) => Err(error).context("cannot read from the device"),
    }
}

/// The way to the peer.
struct Sender<'s> {
    socket: BorrowedFd<'s>,
    seals: Option<&'s Seals>,
    /// Of the message that is being sent.
    tags: Vec<u8>,
    sequence: u32,
}

impl Sender<'_> {
    /// Sends frames as one message, or as several.
    fn send(&mut self, frames: &mut [u8]) -> Result<()> {
        let mut rest = frames;
        while !rest.is_empty() {
            // Cut where a datagram ends, so that the second message begins with a full one.
            let at = if rest.len() > MAX_PAYLOAD { CUT } else { rest.len() };
            let (piece, after) = rest.split_at_mut(at);
            let sequence = self.sequence;
            let length = u16::try_from(piece.len())?;
            let header = Header { sequence, length, last: after.is_empty() }.emit();
            if let Some(seals) = self.seals {
                seals.seal(sequence, piece, &mut self.tags)?;
            }
            let message = [IoSlice::new(&header), IoSlice::new(piece), IoSlice::new(&self.tags)];
            match writev(self.socket, &message) {
                // Lost: the peer is not there yet, or a queue is full. The receiver sees it by the sequence.
                Ok(_) | Err(Errno::CONNREFUSED | Errno::NOBUFS | Errno::INTR) => {}
                Err(error) => return Err(error).context("cannot send"),
            }
            self.sequence = sequence.wrapping_add(1);
            rest = after;
        }
        Ok(())
    }
}

/// UDP to TUN.
fn inbound(device: BorrowedFd<'_>, socket: BorrowedFd<'_>, seals: Option<&Seals>) -> Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut pieces = Pieces::default();
    loop {
        let mut header = [0; HEADER];
        let place = buffer.get_mut(pieces.filled..).context("a piece beyond the buffer")?;
        let octets = readv(socket, &mut [IoSliceMut::new(&mut header), IoSliceMut::new(place)]);
        let octets = match octets {
            Ok(octets) => octets,
            Err(Errno::CONNREFUSED | Errno::INTR) => continue,
            Err(error) => return Err(error).context("cannot receive"),
        };
        let header = Header::parse(header);
        let octets = match seals {
            None => octets,
            Some(seals) => {
                let came = place.get_mut(..octets.saturating_sub(HEADER)).unwrap_or_default();
                let length = usize::from(header.length);
                // What does not open is as good as lost.
                seals.open(header.sequence, length, came).map_or(0, |()| HEADER + length)
            }
        };
        match pieces.add(header, octets) {
            Added::Part => {}
            Added::Whole(length) => deliver(device, buffer.get(..length).unwrap_or_default())?,
            Added::Damaged => pieces = Pieces::default(),
        }
    }
}

/// Writes every frame to the device.
fn deliver(device: BorrowedFd<'_>, mut frames: &[u8]) -> Result<()> {
    while let Some((length, rest)) = frames.split_first_chunk() {
        let length = usize::try_from(u32::from_be_bytes(*length))?;
        // Only a sender with a mistake could have written a length that is not so.
        let Some((packet, rest)) = rest.split_at_checked(length) else { return Ok(()) };
        match write(device, packet) {
            // EINVAL: a packet that the kernel does not want back, as it may say of a damaged one.
            Ok(_) | Err(Errno::INVAL | Errno::NOBUFS | Errno::INTR) => {}
            Err(error) => return Err(error).context("cannot write to the device"),
        }
        frames = rest;
    }
    Ok(())
}

/// What is before each message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    /// One more with each message.
    sequence: u32,
    /// Octets that follow, up to 64763.
    length: u16,
    /// Whether the frames end here.
    last: bool,
}

impl Header {
    fn emit(self) -> [u8; HEADER] {
        let [a, b, c, d] = self.sequence.to_be_bytes();
        let [high, low] = self.length.to_be_bytes();
        [a, b, c, d, high, low, u8::from(self.last), 0]
    }

    fn parse([a, b, c, d, high, low, last, _]: [u8; HEADER]) -> Self {
        Self {
            sequence: u32::from_be_bytes([a, b, c, d]),
            length: u16::from_be_bytes([high, low]),
            last: last == 1,
        }
    }
}

/// Frames of which one or more messages have come.
#[derive(Debug, Default)]
struct Pieces {
    filled: usize,
    /// The sequence number that has to come, if something waits for it.
    next: Option<u32>,
}

#[derive(Debug, PartialEq, Eq)]
enum Added {
    /// More has to come.
    Part,
    /// So many octets from the beginning of the buffer are whole frames.
    Whole(usize),
    /// Something is lost.
    Damaged,
}

impl Pieces {
    /// A message has come with so many octets in all, its piece behind those that are here.
    fn add(&mut self, header: Header, octets: usize) -> Added {
        let expected = self.next.is_none_or(|next| next == header.sequence);
        let length = usize::from(header.length);
        // Two messages would not fit a third frame: a sender never cuts more than once.
        if !expected || octets != HEADER + length || self.filled + length > 2 * MAX_PAYLOAD {
            return Added::Damaged;
        }
        let filled = self.filled + length;
        if header.last {
            *self = Self::default();
            return Added::Whole(filled);
        }
        *self = Self { filled, next: Some(header.sequence.wrapping_add(1)) };
        Added::Part
    }
}

/// Octets of a datagram: what fits 1500 with IPv4 and UDP.
const CHUNK: i32 = 1472;
/// The inner MTU of ESP in UDP with AES-GCM over the same link, for a fair ceiling.
const MTU: u16 = 1438;
const HEADER: usize = 8;
const LENGTH: usize = 4;
/// The largest UDP payload over IPv4 (65507) without our header and all the tags that there may be.
const MAX_PAYLOAD: usize = 65507 - HEADER - tags_of(65507);
/// 43 full datagrams without our header.
const CUT: usize = 43 * 1472 - HEADER;
/// A frame of one ordinary packet at most.
const SMALL: usize = 2048;
/// Small packets wait for each other up to here: a message of one large read.
const ENOUGH: usize = 32 << 10;
/// Small frames and one of the largest behind them, or two messages.
const BUFFER: usize = 160 << 10;
const RECEIVE_BUFFER: usize = 8 << 20;
const SEND_BUFFER: usize = 2 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    fn header(sequence: u32, length: u16, last: bool) -> Header {
        Header { sequence, length, last }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let header = header(0x0102_0304, 64763, true);
        assert_eq!(Header::parse(header.emit()), header);
    }

    #[test]
    fn frames_in_two_messages_are_put_together() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.add(header(7, 500, true), 508), Added::Whole(500));
        assert_eq!(pieces.add(header(8, 100, false), 108), Added::Part);
        assert_eq!(pieces.filled, 100);
        assert_eq!(pieces.add(header(9, 30, true), 38), Added::Whole(130));
        assert_eq!(pieces.filled, 0);
    }

    #[test]
    fn what_misses_a_piece_is_given_up_and_the_next_message_is_not() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.add(header(1, 100, true), 107), Added::Damaged);
        assert_eq!(pieces.add(header(2, 100, false), 108), Added::Part);
        assert_eq!(pieces.add(header(4, 30, true), 38), Added::Damaged);
        pieces = Pieces::default();
        assert_eq!(pieces.add(header(5, 30, true), 38), Added::Whole(30));
    }

    #[test]
    fn the_limits_of_udp_segment_are_kept() {
        assert_eq!((CUT + HEADER) % usize::try_from(CHUNK).unwrap(), 0);
        const { assert!(CUT <= MAX_PAYLOAD && HEADER + MAX_PAYLOAD + tags_of(MAX_PAYLOAD) <= 65507) };
        let largest = LENGTH + 10 + 65536;
        assert!(largest - CUT <= MAX_PAYLOAD, "one cut is enough");
        assert!(ENOUGH + SMALL + largest <= BUFFER, "small ones and a large one fit");
    }
}
