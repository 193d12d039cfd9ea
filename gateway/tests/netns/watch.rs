//! An eye on one device of a namespace: how many packets left by it that have inner addresses in clear.
//!
//! ```text
//!   gateway "out" ── AF_PACKET, outwards, classic BPF: IPv4 10.0.0.0/8, IPv6 2001:db8:1:: to 2001:db8:20:: ──► count
//! ```
//!
//! What ESP carries does not match: its addresses are outer ones. The filter runs in the kernel, so that the socket has to hold
//! nothing but what is counted, and loses nothing.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, SockFilter, Socket, Type};
use testkit::netns::Netns;

/// Counts until it is dropped.
pub(crate) struct Watch {
    seen: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watch {
    /// Sees every packet of inner addresses that leaves by `device`.
    pub(crate) fn start(netns: &Netns, device: &str) -> Result<Self> {
        let socket = netns.inside(|| {
            let every = i32::from(ETH_P_ALL.to_be());
            let socket = Socket::new(Domain::PACKET, Type::RAW, Some(Protocol::from(every)))?;
            socket.attach_filter(&inner(index_of(device)?))?;
            // What came between the two was not filtered: any packet of any device.
            socket.set_nonblocking(true)?;
            while (&socket).read(&mut [0; 256]).is_ok() {}
            socket.set_nonblocking(false)?;
            socket.set_read_timeout(Some(Duration::from_millis(20)))?;
            Ok(socket)
        })?;
        let (seen, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (count, ends) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let (mut socket, mut frame, mut first) = (socket, [0; 256], true);
            while !ends.load(Ordering::Relaxed) {
                let Ok(len) = socket.read(&mut frame) else { continue };
                if is_outer_ike(&frame) {
                    continue;
                }
                count.fetch_add(1, Ordering::Relaxed);
                if std::mem::take(&mut first) {
                    eprintln!("in clear: {:02x?}", frame.get(..len.min(64)).unwrap_or_default());
                }
            }
        });
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// How many were seen since the last question.
    pub(crate) fn take(&self) -> u64 {
        // What crossed just now has been read by then.
        testkit::peer::pause(Duration::from_millis(40));
        self.seen.swap(0, Ordering::Relaxed)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// IKE over IPv4 from an outer address: MOBIKE asks a peer at every address that it named, and one may be that of its LAN.
fn is_outer_ike(frame: &[u8; 256]) -> bool {
    let is_udp = frame.get(12..14) == Some(&[8, 0]) && frame.get(23) == Some(&17);
    let from_inside = frame.get(26) == Some(&10);
    let port = frame.get(36..38).and_then(<[u8]>::as_array).map(|port| u16::from_be_bytes(*port));
    is_udp && !from_inside && matches!(port, Some(500 | 4500))
}

/// A program that accepts an Ethernet frame that leaves by one device if it holds an IP packet from or to an inner address.
fn inner(device: u32) -> Vec<SockFilter> {
    // What follows it is short: the last instruction accepts, the one before refuses.
    let v6 = |address_at: u32| {
        [
            SockFilter::new(LOAD_WORD, 0, 0, address_at),
            SockFilter::new(JUMP_IF_EQUAL, 0, 3, 0x2001_0db8),
            SockFilter::new(LOAD_HALF, 0, 0, address_at + 4),
            SockFilter::new(JUMP_IF_MORE, 1, 0, 0x20),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
        ]
    };
    let v4 = |address_at: u32| {
        [
            SockFilter::new(LOAD_BYTE, 0, 0, address_at),
            SockFilter::new(JUMP_IF_EQUAL, 0, 1, 10),
            SockFilter::new(RETURN, 0, 0, u32::MAX),
        ]
    };
    let mut program = vec![
        SockFilter::new(LOAD_WORD, 0, 0, DEVICE_INDEX),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, device),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(LOAD_WORD, 0, 0, KIND_OF_PACKET),
        SockFilter::new(JUMP_IF_EQUAL, 1, 0, OUTGOING),
        SockFilter::new(RETURN, 0, 0, 0),
        SockFilter::new(LOAD_HALF, 0, 0, 12),
        SockFilter::new(JUMP_IF_EQUAL, 0, 7, 0x0800),
    ];
    program.extend([26, 30].into_iter().flat_map(v4));
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
        .extend([SockFilter::new(JUMP_IF_EQUAL, 1, 0, 0x86dd), SockFilter::new(RETURN, 0, 0, 0)]);
    program.extend([22, 38].into_iter().flat_map(v6));
    program.push(SockFilter::new(RETURN, 0, 0, 0));
    program
}

/// The number of a device in the calling thread's namespace.
fn index_of(device: &str) -> Result<u32> {
    let (family, kind) = (rustix::net::AddressFamily::UNIX, rustix::net::SocketType::DGRAM);
    let any = rustix::net::socket(family, kind, None)?;
    rustix::net::netdevice::name_to_index(any, device).with_context(|| format!("no {device}"))
}

// Classic BPF instructions (linux/bpf_common.h): class | size | mode.
const LOAD_WORD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const LOAD_HALF: u16 = 0x28; // BPF_LD | BPF_H | BPF_ABS
const LOAD_BYTE: u16 = 0x30; // BPF_LD | BPF_B | BPF_ABS
const JUMP_IF_EQUAL: u16 = 0x15; // BPF_JMP | BPF_JEQ | BPF_K
const JUMP_IF_MORE: u16 = 0x25; // BPF_JMP | BPF_JGT | BPF_K
const RETURN: u16 = 0x06; // BPF_RET | BPF_K
/// `SKF_AD_OFF + SKF_AD_IFINDEX` (linux/filter.h).
const DEVICE_INDEX: u32 = 0xffff_f000 + 8;
/// `SKF_AD_OFF + SKF_AD_PKTTYPE`, and `PACKET_OUTGOING` (linux/if_packet.h).
const KIND_OF_PACKET: u32 = 0xffff_f000 + 4;
const OUTGOING: u32 = 4;

/// Every protocol (linux/if_ether.h).
const ETH_P_ALL: u16 = 0x0003;
