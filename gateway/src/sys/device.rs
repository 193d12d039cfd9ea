//! Making a TUN device and setting what a link has: ioctl(2) on `/dev/net/tun` and on a socket (tuntap, netdevice(7)).
//!
//! ```text
//!   /dev/net/tun  TUNSETIFF         name, flags ─► the descriptor is a queue of that device
//!                 TUNGETIFF         whose queue it is, and its flags
//!                 TUNSETVNETHDRSZ   octets of the header before each packet
//!                 TUNSETOFFLOAD     what the kernel may leave to us; all of it or, if it does not know a bit, nothing
//!   a socket      SIOCSIF..         MTU, queue length, up, in the namespace that the socket was made in
//! ```

use std::ffi::{c_int, c_short, c_uint};
use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::ioctl::{self, IntegerSetter, Opcode, Setter, Updater};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socket_with};

/// Opens a non-blocking descriptor and makes it a queue of the TUN device `name`, which is made if there is none, with
/// the flags of `TUNSETIFF` (`IFF_..`, 16 bits).
///
/// # Errors
/// What the system says; `InvalidInput` if the name does not fit.
pub(crate) fn attach(name: &str, flags: u16) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/dev/net/tun")?;
    let mut request = request_for(name)?;
    request.ifr_ifru.ifru_flags = flags.cast_signed();
    // SAFETY: TUNSETIFF reads and writes one ifreq, which `request` is.
    unsafe { ioctl::ioctl(&file, Updater::<TUNSETIFF, libc::ifreq>::new(&mut request)) }?;
    Ok(file)
}

/// The device that a descriptor is a queue of, and its flags (`IFF_..`).
///
/// # Errors
/// EBADFD for a descriptor of `/dev/net/tun` that was not attached, ENOTTY or the like for one of anything else.
pub(crate) fn of_queue(queue: BorrowedFd<'_>) -> io::Result<(String, u16)> {
    let mut answer = request_for("")?;
    // SAFETY: TUNGETIFF writes one ifreq, which `answer` is.
    unsafe { ioctl::ioctl(queue, Updater::<TUNGETIFF, libc::ifreq>::new(&mut answer)) }?;
    let name = answer.ifr_name.iter().map(|octet| octet.to_ne_bytes()[0]);
    let name: Vec<u8> = name.take_while(|octet| *octet != 0).collect();
    // SAFETY: TUNGETIFF succeeded, so that it wrote this member.
    let flags = unsafe { answer.ifr_ifru.ifru_flags };
    Ok((String::from_utf8_lossy(&name).into_owned(), flags.cast_unsigned()))
}

/// Sets how many octets of virtio-net header precede each packet on a device with `IFF_VNET_HDR`.
///
/// # Errors
/// What the system says, for instance that it is too little.
pub(crate) fn set_header_len(tun: BorrowedFd<'_>, octets: u8) -> io::Result<()> {
    // SAFETY: TUNSETVNETHDRSZ reads one int through the pointer.
    let octets = unsafe { Setter::<TUNSETVNETHDRSZ, c_int>::new(c_int::from(octets)) };
    // SAFETY: as before; it writes nothing.
    Ok(unsafe { ioctl::ioctl(tun, octets) }?)
}

/// Says what the kernel may leave to us (`TUN_F_..`).
///
/// # Errors
/// `InvalidInput` if the kernel does not know a bit of it; then nothing has changed.
pub(crate) fn set_offload(tun: BorrowedFd<'_>, features: u32) -> io::Result<()> {
    // SAFETY: the argument of TUNSETOFFLOAD is a number, not a pointer.
    let features = unsafe { IntegerSetter::<TUNSETOFFLOAD>::new_usize(features as usize) };
    // SAFETY: as before; no memory is read or written.
    Ok(unsafe { ioctl::ioctl(tun, features) }?)
}

/// Sets what the devices of one network namespace have, from any thread.
#[derive(Debug)]
pub(crate) struct Links {
    socket: OwnedFd,
}

impl Links {
    /// Of the namespace of the calling thread.
    ///
    /// # Errors
    /// If the process has no descriptor left.
    pub(crate) fn open() -> io::Result<Self> {
        let (family, kind) = (AddressFamily::INET, SocketType::DGRAM);
        Ok(Self { socket: socket_with(family, kind, SocketFlags::CLOEXEC, None)? })
    }

    /// The index of a device.
    ///
    /// # Errors
    /// `ENODEV` if there is none of that name.
    pub(crate) fn index(&self, name: &str) -> io::Result<u32> {
        let answer = self.ask::<SIOCGIFINDEX>(request_for(name)?)?;
        // SAFETY: SIOCGIFINDEX succeeded, so that it wrote this member.
        let index = unsafe { answer.ifr_ifru.ifru_ifindex };
        u32::try_from(index).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// The MTU, in octets.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn mtu(&self, name: &str) -> io::Result<u16> {
        let answer = self.ask::<SIOCGIFMTU>(request_for(name)?)?;
        // SAFETY: SIOCGIFMTU succeeded, so that it wrote this member.
        let octets = unsafe { answer.ifr_ifru.ifru_mtu };
        u16::try_from(octets).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Sets the MTU, in octets.
    ///
    /// # Errors
    /// What the system says, for instance that it is out of range.
    pub(crate) fn set_mtu(&self, name: &str, octets: u16) -> io::Result<()> {
        let mut request = request_for(name)?;
        request.ifr_ifru.ifru_mtu = c_int::from(octets);
        self.ask::<SIOCSIFMTU>(request).map(|_| ())
    }

    /// Sets how many packets may wait in the device's queue.
    ///
    /// # Errors
    /// What the system says, for instance that it is out of range.
    pub(crate) fn set_queue_len(&self, name: &str, packets: u32) -> io::Result<()> {
        let mut request = request_for(name)?;
        // The kernel's ifr_qlen, an int like this member of the union.
        request.ifr_ifru.ifru_metric =
            c_int::try_from(packets).map_err(|_| io::ErrorKind::InvalidInput)?;
        self.ask::<SIOCSIFTXQLEN>(request).map(|_| ())
    }

    /// How many packets may wait in the device's queue.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn queue_len(&self, name: &str) -> io::Result<u32> {
        let answer = self.ask::<SIOCGIFTXQLEN>(request_for(name)?)?;
        // SAFETY: SIOCGIFTXQLEN succeeded, so that it wrote an int to where this member is.
        let packets = unsafe { answer.ifr_ifru.ifru_metric };
        u32::try_from(packets).map_err(|_| io::ErrorKind::InvalidData.into())
    }

    /// Whether the device is switched on.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn is_up(&self, name: &str) -> io::Result<bool> {
        let answer = self.ask::<SIOCGIFFLAGS>(request_for(name)?)?;
        // SAFETY: SIOCGIFFLAGS succeeded, so that it wrote this member.
        let flags = unsafe { answer.ifr_ifru.ifru_flags };
        Ok(flags & IFF_UP != 0)
    }

    /// Switches the device on.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn up(&self, name: &str) -> io::Result<()> {
        let mut request = self.ask::<SIOCGIFFLAGS>(request_for(name)?)?;
        // SAFETY: SIOCGIFFLAGS succeeded, so that it wrote this member.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        request.ifr_ifru.ifru_flags = flags | IFF_UP;
        self.ask::<SIOCSIFFLAGS>(request).map(|_| ())
    }

    fn ask<const REQUEST: Opcode>(&self, mut request: libc::ifreq) -> io::Result<libc::ifreq> {
        // SAFETY: every SIOC[GS]IF.. that is passed here reads and writes one ifreq, which `request` is.
        unsafe {
            ioctl::ioctl(self.socket.as_fd(), Updater::<REQUEST, libc::ifreq>::new(&mut request))
        }?;
        Ok(request)
    }
}

/// A request about the device `name`, zeroes but for that.
fn request_for(name: &str) -> io::Result<libc::ifreq> {
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    // SAFETY: zeroes are a valid ifreq: numbers and an empty name.
    let mut request = unsafe { MaybeUninit::<libc::ifreq>::zeroed().assume_init() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = libc::c_char::from_ne_bytes([from]);
    }
    Ok(request)
}

const TUNSETIFF: Opcode = ioctl::opcode::write::<c_int>(b'T', 202);
const TUNGETIFF: Opcode = ioctl::opcode::read::<c_uint>(b'T', 210);
const TUNSETOFFLOAD: Opcode = ioctl::opcode::write::<c_int>(b'T', 208);
const TUNSETVNETHDRSZ: Opcode = ioctl::opcode::write::<c_int>(b'T', 216);
const SIOCGIFFLAGS: Opcode = 0x8913;
const SIOCSIFFLAGS: Opcode = 0x8914;
const SIOCGIFMTU: Opcode = 0x8921;
const SIOCSIFMTU: Opcode = 0x8922;
const SIOCGIFINDEX: Opcode = 0x8933;
const SIOCGIFTXQLEN: Opcode = 0x8942;
const SIOCSIFTXQLEN: Opcode = 0x8943;
const IFF_UP: c_short = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_those_of_the_system() {
        let same = |ours: Opcode, theirs| assert_eq!(libc::Ioctl::from(ours), theirs);
        same(TUNSETIFF, libc::TUNSETIFF);
        same(TUNSETOFFLOAD, libc::TUNSETOFFLOAD);
        same(TUNSETVNETHDRSZ, libc::TUNSETVNETHDRSZ);
        same(TUNGETIFF, libc::TUNGETIFF);
        same(SIOCGIFFLAGS, libc::SIOCGIFFLAGS);
        same(SIOCSIFFLAGS, libc::SIOCSIFFLAGS);
        same(SIOCGIFMTU, libc::SIOCGIFMTU);
        same(SIOCSIFMTU, libc::SIOCSIFMTU);
        same(SIOCGIFINDEX, libc::SIOCGIFINDEX);
        same(SIOCGIFTXQLEN, libc::SIOCGIFTXQLEN);
        same(SIOCSIFTXQLEN, libc::SIOCSIFTXQLEN);
        assert_eq!(i32::from(IFF_UP), libc::IFF_UP);
    }

    #[test]
    fn a_name_that_does_not_fit_is_refused() {
        let links = Links::open().unwrap();
        let error = links.index("sixteen-octets-0").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        assert_eq!(links.index("not-there").unwrap_err().raw_os_error(), Some(libc::ENODEV));
    }
}
