//! Devices and sockets: open them with errors that say what to do, read and write them without blocking.
//!
//! ```text
//!   tun.rs   the TUN device that the inner packets come from and go to       one super-packet a call
//!   udp.rs   UDP 500 and 4500: IKE, and ESP behind RFC 3948                  many messages a call, each of many datagrams
//!   raw.rs   IP protocol 50: ESP without UDP                                 many packets a call
//!   icmp.rs  what routers say about packets that were too big for the path
//!   echo.rs  echoes of the command line, and what routers say about them
//!   question.rs  one echo or TCP connection to a host that is watched
//!   holder.rs  who has a port that we want
//!   at_path.rs  Unix sockets that listen
//!   stream.rs  what the status page listens on
//!   handed.rs  what our starter has opened for us
//! ```
//!
//! Everything here is non-blocking and implements `mio::event::Source`, edge-triggered: read until `WouldBlock`.

pub(crate) mod at_path;
pub(crate) mod echo;
pub mod handed;
pub(crate) mod holder;
pub mod icmp;
pub(crate) mod question;
pub mod raw;
pub(crate) mod stream;
pub mod tun;
pub mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};

pub use at_path::SocketError;
pub use handed::{Handed, HandedError};
pub use raw::RawEsp;
pub use tun::{Lanes, Tun};
pub use udp::{Port, UdpSocket, UdpSockets, source_for};

/// A device or socket could not be opened: what, why, and what to do about it, in one sentence.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Something that our starter has opened for us.
    #[error(transparent)]
    Handed(#[from] HandedError),
    /// The device that our starter has opened for us is down.
    #[error(
        "the TUN device {name} is handed over but down, and we may not switch it on: {cause}; `ip link set dev {name} up` first"
    )]
    TunDown {
        /// The interface name.
        name: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// The device that our starter has opened for us has another MTU than it is to have.
    #[error(
        "the TUN device {name} is handed over with an MTU of {have}, and we may not change it: {cause}; \
         `ip link set dev {name} mtu {wanted}` first, or write `mtu = {have}` in [gateway]"
    )]
    TunMtu {
        /// The interface name.
        name: String,
        /// Octets.
        have: u16,
        /// Octets, by `mtu` in the configuration.
        wanted: u16,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// `/dev/net/tun` does not exist.
    #[error(
        "cannot open /dev/net/tun: it does not exist; load the kernel module (modprobe tun) or, in a container, pass the device in (--device /dev/net/tun)"
    )]
    NoTunDevice,
    /// We may not open the TUN device.
    #[error(
        "cannot create TUN device {name}: permission denied; run as root or grant CAP_NET_ADMIN"
    )]
    TunDenied {
        /// The interface name.
        name: String,
    },
    /// An interface of that name exists and is in use.
    #[error(
        "cannot create TUN device {name}: the name is in use; is another s2s-gw running? (ip -d link show {name})"
    )]
    TunBusy {
        /// The interface name.
        name: String,
    },
    /// An interface name has 1 to 15 octets.
    #[error("cannot create TUN device {name:?}: an interface name has 1 to 15 letters or digits")]
    TunName {
        /// The interface name.
        name: String,
    },
    /// Something else about the TUN device.
    #[error("cannot {what} TUN device {name}: {cause}")]
    Tun {
        /// What we tried.
        what: &'static str,
        /// The interface name.
        name: String,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Somebody else has the port.
    #[error(
        "UDP port {port} on {address} is in use by {holder}; stop it, or give both other addresses to `listen` on (ss -lunp | grep :{port})",
        port = .local.port(), address = .local.ip(),
        holder = .holder.as_deref().unwrap_or("another program, perhaps another s2s-gw or strongSwan")
    )]
    PortInUse {
        /// What we wanted to bind.
        local: SocketAddr,
        /// Its name and process id, if we may know.
        holder: Option<String>,
    },
    /// Ports below 1024 need a privilege.
    #[error(
        "cannot bind UDP port {port} on {address}: permission denied; run as root or grant CAP_NET_BIND_SERVICE",
        port = .local.port(), address = .local.ip()
    )]
    PortDenied {
        /// What we wanted to bind.
        local: SocketAddr,
    },
    /// No interface has the address.
    #[error(
        "cannot bind {address}: no interface of this host has that address; check `listen` (ip address show)"
    )]
    NoSuchAddress {
        /// What we wanted to bind.
        address: IpAddr,
    },
    /// Something else about a UDP socket.
    #[error("cannot {what} the UDP socket on {local}: {cause}")]
    Udp {
        /// What we tried.
        what: &'static str,
        /// What we wanted to bind.
        local: SocketAddr,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
    /// Raw sockets need a privilege.
    #[error(
        "cannot open a raw ESP socket on {address}: permission denied; run as root, grant CAP_NET_RAW, or set encap = \"force\""
    )]
    RawDenied {
        /// What we wanted to bind.
        address: IpAddr,
    },
    /// Something else about a raw socket.
    #[error("cannot {what} the raw ESP socket on {address}: {cause}")]
    Raw {
        /// What we tried.
        what: &'static str,
        /// What we wanted to bind.
        address: IpAddr,
        /// What the system said.
        #[source]
        cause: io::Error,
    },
}

/// Whether an error of a read or write is one packet's misfortune: it is counted and the descriptor stays good. Otherwise the
/// descriptor itself is of no more use.
#[must_use]
pub fn is_transient(error: &io::Error) -> bool {
    !matches!(error.raw_os_error(), Some(libc::EBADF | libc::ENOTSOCK | libc::EBADFD))
}

/// Whether a queue has no device any more: somebody removed it, as `ip link del` does.
#[must_use]
pub(crate) fn is_device_gone(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EBADFD)
}

/// Whether this host has the address: only its own can be bound. Sends nothing.
pub(crate) fn is_ours(address: IpAddr) -> bool {
    std::net::UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_dead_descriptor_ends_a_pump() {
        let cases = [
            (libc::EBADFD, false),
            (libc::EBADF, false),
            (libc::ENOTSOCK, false),
            (libc::EIO, true),
            (libc::EINVAL, true),
            (libc::ECONNREFUSED, true),
            (libc::EMSGSIZE, true),
        ];
        for (number, transient) in cases {
            let error = io::Error::from_raw_os_error(number);
            assert_eq!(is_transient(&error), transient, "{error}");
        }
    }
}
