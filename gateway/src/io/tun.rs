//! The TUN device: whole IP packets, no header before them (`IFF_TUN | IFF_NO_PI`).
//!
//! ```text
//!   applications ─► kernel routing ─► s2s0 ─► Tun::read   ─► protected      (tx pump)
//!                                     s2s0 ◄─ Tun::write  ◄─ opened          (rx pump)
//! ```
//!
//! The device leads into SAs and nowhere else. It lives in the network namespace of the thread that opened it and goes
//! when the last descriptor is closed, routes included.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, event};
use tun_rs::{DeviceBuilder, Layer, SyncDevice};

use crate::io::OpenError;

/// An open TUN device; both pumps use it through a shared reference.
pub struct Tun {
    device: SyncDevice,
    name: String,
    index: u32,
}

impl Tun {
    /// Creates the device, sets its MTU (68 to 65535 octets, IPv6 needs 1280) and brings it up.
    ///
    /// # Errors
    /// [`OpenError`], one of the TUN kinds.
    pub fn open(name: &str, mtu: u16) -> Result<Self, OpenError> {
        if name.is_empty() || name.len() >= libc::IFNAMSIZ || name.contains(['/', ' ', '%', '\0']) {
            return Err(OpenError::TunName { name: name.to_owned() });
        }
        let other = |what| move |cause| OpenError::Tun { what, name: name.to_owned(), cause };
        let device = DeviceBuilder::new()
            .name(name)
            .layer(Layer::L3)
            .enable(false)
            .build_sync()
            .map_err(|cause| why_not(name, cause))?;
        device.set_mtu(mtu).map_err(other("set the MTU of"))?;
        device.set_nonblocking(true).map_err(other("unblock"))?;
        // No link-local address, so that the kernel asks no router in the tunnel; where /proc is read-only it may.
        let _ = std::fs::write(format!("/proc/sys/net/ipv6/conf/{name}/addr_gen_mode"), "1");
        device.enabled(true).map_err(other("bring up"))?;
        let index = device.if_index().map_err(other("find the index of"))?;
        Ok(Self { device, name: name.to_owned(), index })
    }

    /// The interface name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface index, in the namespace it was opened in.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }

    /// Changes the MTU. Only from a thread in the device's namespace.
    ///
    /// # Errors
    /// What the system says, for instance if the MTU is out of range.
    pub fn set_mtu(&self, mtu: u16) -> io::Result<()> {
        self.device.set_mtu(mtu)
    }

    /// Reads one packet into `buffer`; returns its octets. A longer packet would be cut, so give 65535 octets.
    ///
    /// # Errors
    /// `WouldBlock` if there is none; anything else means that the device is gone.
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.device.recv(buffer)
    }

    /// Writes one packet.
    ///
    /// # Errors
    /// What the system says; see [`is_transient`](crate::io::is_transient).
    pub fn write(&self, packet: &[u8]) -> io::Result<()> {
        self.device.send(packet).map(|_| ())
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

impl std::fmt::Debug for Tun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tun({}, index {})", self.name, self.index)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

impl event::Source for &Tun {
    fn register(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&raw_fd(self)).register(to, token, interest)
    }

    fn reregister(&mut self, to: &Registry, token: Token, interest: Interest) -> io::Result<()> {
        SourceFd(&raw_fd(self)).reregister(to, token, interest)
    }

    fn deregister(&mut self, from: &Registry) -> io::Result<()> {
        SourceFd(&raw_fd(self)).deregister(from)
    }
}

fn raw_fd(tun: &Tun) -> RawFd {
    tun.device.as_raw_fd()
}
