//! The TUN device: IP packets, each behind the header that says what is left to do for it (`IFF_TUN | IFF_NO_PI | IFF_VNET_HDR`).
//!
//! ```text
//!   applications ─► kernel routing ─► s2s0 ─► Tun::read   ─► protected      (tx pump)
//!                                     s2s0 ◄─ Tun::write  ◄─ opened          (rx pump)
//!
//!   | flags 1 | gso_type 1 | hdr_len 2 | gso_size 2 | csum_start 2 | csum_offset 2 |  IP packet, up to 65535 octets
//!     virtio-net header, numbers in the machine's byte order
//! ```
//!
//! With [`Offloads`] the kernel hands over super-packets, which TCP or UDP segments have been merged into or were never made
//! of, and leaves checksums to us; it takes the same from us. So one call moves up to 64 KiB.
//!
//! The device leads into SAs and nowhere else. It lives in the network namespace of the thread that opened it and goes
//! when the last descriptor is closed, routes included.

use std::fmt;
use std::fs::File;
use std::io::{self, IoSlice, Read as _, Write as _};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};

use crate::io::OpenError;
use crate::sys::device::{self, Links};
use crate::sys::steering;

/// One queue of an open TUN device; both pumps use it through a shared reference.
pub struct Tun {
    queue: File,
    device: Arc<Device>,
}

/// The queues of one worker.
#[derive(Debug)]
pub struct Lanes {
    /// For everything.
    pub bulk: Tun,
    /// To be read first.
    pub urgent: Option<Tun>,
}

/// What all queues share.
struct Device {
    name: String,
    index: u32,
    links: Links,
    offloads: AtomicU32,
}

impl Tun {
    /// Octets of the header before each packet.
    pub const HEADER_LEN: usize = 10;

    /// Creates the device with one queue, sets its MTU (68 to 65535 octets, IPv6 needs 1280) and brings it up, with all
    /// offloads that the kernel knows.
    ///
    /// # Errors
    /// [`OpenError`], one of the TUN kinds.
    pub fn open(name: &str, mtu: u16) -> Result<Self, OpenError> {
        let device = |tuns: Vec<Self>| tuns.into_iter().next();
        let nothing = || OpenError::Tun {
            what: "open a queue of",
            name: name.to_owned(),
            cause: io::ErrorKind::NotFound.into(),
        };
        Self::open_queues(name, mtu, 1).and_then(|tuns| device(tuns).ok_or_else(nothing))
    }

    /// As [`open`](Self::open), with so many queues (at least one, at most 256). The kernel keeps a flow on one queue.
    ///
    /// # Errors
    /// [`OpenError`], one of the TUN kinds.
    pub fn open_queues(name: &str, mtu: u16, queues: usize) -> Result<Vec<Self>, OpenError> {
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['/', ' ', '%', '\0']) {
            return Err(OpenError::TunName { name: name.to_owned() });
        }
        let other = |what| move |cause| OpenError::Tun { what, name: name.to_owned(), cause };
        let attach = |flags| device::attach(name, flags).map_err(|cause| why_not(name, cause));
        // Without EXCL the second program of that name would become a further queue of the first one's device.
        let (first, next) = match queues {
            0 | 1 => (ONE_QUEUE, ONE_QUEUE),
            _ => (SEVERAL_QUEUES | IFF_TUN_EXCL, SEVERAL_QUEUES),
        };
        let mut files = vec![attach(first)?];
        for _ in 1..queues {
            files.push(attach(next)?);
        }
        let links = Links::open().map_err(other("set up"))?;
        links.set_mtu(name, mtu).map_err(other("set the MTU of"))?;
        // No link-local address, so that the kernel asks no router in the tunnel; where /proc is read-only it may.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), "1");
        let tuns = Self::of_files(files, name, links)?;
        if let Some(tun) = tuns.first() {
            tun.device.links.up(name).map_err(other("bring up"))?;
        }
        Ok(tuns)
    }

    /// Queues with the headers and offloads that we want.
    fn of_files(files: Vec<File>, name: &str, links: Links) -> Result<Vec<Self>, OpenError> {
        let other = |what| move |cause| OpenError::Tun { what, name: name.to_owned(), cause };
        for file in &files {
            device::set_header_len(file.as_fd(), HEADER_LEN).map_err(other("set the header of"))?;
        }
        let index = links.index(name).map_err(other("find the index of"))?;
        let device = Device { name: name.to_owned(), index, links, offloads: AtomicU32::default() };
        let device = Arc::new(device);
        let tuns: Vec<_> =
            files.into_iter().map(|queue| Self { queue, device: Arc::clone(&device) }).collect();
        if let Some(tun) = tuns.first() {
            tun.set_offloads(Offloads::ALL).map_err(other("set the offloads of"))?;
        }
        Ok(tuns)
    }

    /// Takes the queues of a device that somebody else has made, non-blocking and with our flags: one for each of `workers`, or
    /// two, of which the later ones become those that are read first. Gives it the MTU and switches it on, if it is not so
    /// already. Says the MTU that it has, which is another one than wanted only if that may differ (not `exactly`).
    ///
    /// # Errors
    /// [`OpenError`], one of the TUN kinds.
    pub(crate) fn adopt(
        files: Vec<File>,
        name: &str,
        (mtu, exactly): (u16, bool),
        workers: usize,
    ) -> Result<(Vec<Lanes>, u16), OpenError> {
        let other = |what| move |cause| OpenError::Tun { what, name: name.to_owned(), cause };
        let links = Links::open().map_err(other("look at"))?;
        let mut have = links.mtu(name).map_err(other("find the MTU of"))?;
        if have != mtu {
            match links.set_mtu(name, mtu) {
                Ok(()) => have = mtu,
                Err(cause) if exactly => {
                    let (name, wanted) = (name.to_owned(), mtu);
                    return Err(OpenError::TunMtu { name, have, wanted, cause });
                }
                Err(_) => {}
            }
        }
        if !links.is_up(name).map_err(other("look at"))? {
            let down = |cause| OpenError::TunDown { name: name.to_owned(), cause };
            links.up(name).map_err(down)?;
        }
        let mut queues = Self::of_files(files, name, links)?;
        if queues.len() == workers {
            let lanes = queues.into_iter().map(|bulk| Lanes { bulk, urgent: None });
            return Ok((lanes.collect(), have));
        }
        if let Some(tun) = queues.first() {
            let steered = u32::try_from(workers).unwrap_or(1);
            steering::steer_tun(tun.as_fd(), steered)
                .map_err(other("steer the queues, of which there are two for each worker, of"))?;
        }
        let urgent = queues.split_off(workers.min(queues.len()));
        let lanes = queues.into_iter().zip(urgent);
        let lanes = lanes.map(|(bulk, urgent)| Lanes { bulk, urgent: Some(urgent) });
        Ok((lanes.collect(), have))
    }

    /// Whether all of `wanted` (`IFF_..`) are among the flags of a queue.
    pub(crate) fn has_flags(flags: u16, wanted: libc::c_int) -> bool {
        libc::c_int::from(flags) & wanted == wanted
    }

    /// As [`open_queues`](Self::open_queues), two queues for each worker: of the second one the worker reads first what others wait
    /// for (`sys/steering.rs`). Without the right to load such a program, one queue each.
    ///
    /// # Errors
    /// [`OpenError`], one of the TUN kinds.
    pub fn open_for(name: &str, mtu: u16, workers: usize) -> Result<Vec<Lanes>, OpenError> {
        let steered = u32::try_from(workers).unwrap_or(1);
        let mut queues = Self::open_queues(name, mtu, 2 * workers)?;
        let attached = queues.first().map(|tun| steering::steer_tun(tun.as_fd(), steered));
        if let Some(Err(error)) = attached {
            tracing::info!(target: "gateway", event = "no-steering", %error);
            drop(queues);
            let queues = Self::open_queues(name, mtu, workers)?;
            return Ok(queues.into_iter().map(|bulk| Lanes { bulk, urgent: None }).collect());
        }
        let urgent = queues.split_off(workers.min(queues.len()));
        let lanes = queues.into_iter().zip(urgent);
        Ok(lanes.map(|(bulk, urgent)| Lanes { bulk, urgent: Some(urgent) }).collect())
    }

    /// The interface name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.device.name
    }

    /// The interface index, in the namespace it was opened in.
    #[must_use]
    pub fn index(&self) -> u32 {
        self.device.index
    }

    /// Changes the MTU, in octets, from any thread.
    ///
    /// # Errors
    /// What the system says, for instance if the MTU is out of range.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        self.device.links.set_mtu(&self.device.name, mtu)
    }

    /// Sets how many packets, each of up to 64 KiB, may wait to be read before the kernel drops more; 500 if not set.
    ///
    /// # Errors
    /// What the system says.
    pub fn set_queue_len(&self, packets: u32) -> io::Result<()> {
        self.device.links.set_queue_len(&self.device.name, packets)
    }

    /// How many packets may wait.
    ///
    /// # Errors
    /// What the system says.
    pub fn queue_len(&self) -> io::Result<u32> {
        self.device.links.queue_len(&self.device.name)
    }

    /// What the kernel leaves to us at present.
    #[must_use]
    pub fn offloads(&self) -> Offloads {
        Offloads(self.device.offloads.load(Ordering::Relaxed))
    }

    /// Takes over what the kernel knows of `wanted`, for all queues, and says what that is. What was handed over before may
    /// still be read.
    ///
    /// # Errors
    /// What the system says; not for a feature that it does not know.
    pub fn set_offloads(&self, wanted: Offloads) -> io::Result<Offloads> {
        let queue = self.queue.as_fd();
        // The device keeps them while it lives, longer than the program if it is persistent: start from none.
        device::set_offload(queue, 0)?;
        let mut on = Offloads::NONE;
        // The kernel takes a set as a whole or not at all; so each is added by itself. It does not take segments without
        // checksums, nor ECN in segments without segments.
        for (feature, _) in Offloads::FEATURES {
            let more = Offloads(on.0 | feature.0);
            if wanted.has(feature) {
                match device::set_offload(queue, more.0) {
                    Ok(()) => on = more,
                    Err(error) if error.kind() == io::ErrorKind::InvalidInput => {}
                    Err(error) => return Err(error),
                }
            }
        }
        self.device.offloads.store(on.0, Ordering::Relaxed);
        Ok(on)
    }

    /// Reads one header and packet into `buffer`; returns their octets together. A longer packet would be cut, so give
    /// [`HEADER_LEN`](Self::HEADER_LEN) + 65535 octets.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; anything else means that the device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.queue).read(buffer)
    }

    /// Writes one header and packet, gathered from `parts` (up to 1024 of them). A super-packet of more than 65513 octets is cut
    /// in software where it leaves on an Ethernet device, which costs many times as much.
    ///
    /// # Errors
    /// What the system says; see [`is_transient`](crate::io::is_transient). `InvalidInput` if the header does not fit the
    /// packet.
    pub fn write(&self, parts: &[IoSlice<'_>]) -> io::Result<()> {
        (&self.queue).write_vectored(parts).map(|_| ())
    }
}

/// What the kernel leaves to the reader of the device, a set.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Offloads(u32);

impl Offloads {
    /// Whole packets only, with their checksums.
    pub const NONE: Self = Self(0);
    /// TCP and UDP checksums.
    pub const CHECKSUM: Self = Self(libc::TUN_F_CSUM);
    /// Super-packets of TCP over IPv4.
    pub const TCP_V4: Self = Self(libc::TUN_F_TSO4);
    /// Super-packets of TCP over IPv6.
    pub const TCP_V6: Self = Self(libc::TUN_F_TSO6);
    /// Super-packets of TCP whose first segment has CWR set (RFC 3168 §6.1.2).
    pub const TCP_ECN: Self = Self(libc::TUN_F_TSO_ECN);
    /// Super-packets of UDP, both families. Only a kernel that leaves them to us (6.2) takes them from us.
    pub const UDP: Self = Self(libc::TUN_F_USO4 | libc::TUN_F_USO6);
    /// All.
    pub const ALL: Self =
        Self(Self::CHECKSUM.0 | Self::TCP_V4.0 | Self::TCP_V6.0 | Self::TCP_ECN.0 | Self::UDP.0);

    /// In the order in which one needs another.
    const FEATURES: [(Self, &'static str); 5] = [
        (Self::CHECKSUM, "csum"),
        (Self::TCP_V4, "tso4"),
        (Self::TCP_V6, "tso6"),
        (Self::TCP_ECN, "tso-ecn"),
        (Self::UDP, "uso"),
    ];

    /// Whether all of `features` are among them.
    #[must_use]
    pub const fn has(self, features: Self) -> bool {
        self.0 & features.0 == features.0
    }

    /// These but for `features`.
    #[must_use]
    pub const fn without(self, features: Self) -> Self {
        Self(self.0 & !features.0)
    }
}

/// `csum tso4 tso6 tso-ecn uso`, or `none`.
impl fmt::Display for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut space = "";
        for (feature, word) in Self::FEATURES {
            if self.has(feature) {
                write!(f, "{space}{word}")?;
                space = " ";
            }
        }
        if space.is_empty() { f.write_str("none") } else { Ok(()) }
    }
}

impl fmt::Debug for Offloads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offloads({self})")
    }
}

/// Names the frequent reasons.
fn why_not(name: &str, cause: io::Error) -> OpenError {
    let name = name.to_owned();
    match cause.raw_os_error() {
        Some(libc::ENOENT | libc::ENXIO | libc::ENODEV) => OpenError::NoTunDevice,
        Some(libc::EPERM | libc::EACCES) => OpenError::TunDenied { name },
        // EINVAL: an interface of another kind has the name.
        Some(libc::EBUSY | libc::EEXIST | libc::EINVAL) => OpenError::TunBusy { name },
        _ => OpenError::Tun { what: "create", name, cause },
    }
}

impl fmt::Debug for Tun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tun({}, index {}, {})", self.name(), self.index(), self.offloads())
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl event::Source for &Tun {
    fn register(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.queue.as_raw_fd()).register(to, token, interest)
    }

    fn reregister(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&self.queue.as_raw_fd()).reregister(to, token, interest)
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        SourceFd(&self.queue.as_raw_fd()).deregister(from)
    }
}

/// As the kernel wants it; [`Tun::HEADER_LEN`].
const HEADER_LEN: u8 = 10;

const IFF_TUN: u16 = 0x0001;
const IFF_MULTI_QUEUE: u16 = 0x0100;
const IFF_NO_PI: u16 = 0x1000;
const IFF_VNET_HDR: u16 = 0x4000;
const IFF_TUN_EXCL: u16 = 0x8000;
const ONE_QUEUE: u16 = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
const SEVERAL_QUEUES: u16 = ONE_QUEUE | IFF_MULTI_QUEUE;

const _: () = {
    assert!(Tun::HEADER_LEN == HEADER_LEN as usize);
    assert!(IFF_TUN as i32 == libc::IFF_TUN && IFF_NO_PI as i32 == libc::IFF_NO_PI);
    assert!(IFF_VNET_HDR as i32 == libc::IFF_VNET_HDR && IFF_TUN_EXCL as i32 == libc::IFF_TUN_EXCL);
    assert!(IFF_MULTI_QUEUE as i32 == libc::IFF_MULTI_QUEUE);
};

#[cfg(test)]
mod tests;
