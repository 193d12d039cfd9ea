//! Sockets and TUN queues that whoever starts the gateway has opened for it, so that the gateway needs no privilege itself.
//!
//! ```text
//!   LISTEN_PID=4711  LISTEN_FDS=4  LISTEN_FDNAMES=ike:nat:tun:control          sd_listen_fds(3)
//!     3  ike       UDP, bound to `ike_port`    one for each address of `listen`; without `listen` 0.0.0.0 and [::], or one of them
//!     4  nat       UDP, bound to `nat_port`    the same; with several workers so many for each address (SO_REUSEPORT)
//!     5  tun       a queue of the TUN device   IFF_TUN | IFF_NO_PI | IFF_VNET_HDR, the device up; one queue for each worker
//!     6  control   listening Unix socket       at the path of `control`
//!     7  http      listening socket            TCP or Unix, one for each of `listen` in [http]
//! ```
//!
//! What is not handed over is opened as ever. What is, and is not what it has to be, ends the start with a sentence: a
//! gateway that opens another socket instead would need the right to, which it was not meant to have.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;

use mio::net::TcpListener;
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::net::{AddressFamily, SocketType, sockopt};
use socket2::Socket;

use crate::config::HttpListen;
use crate::io::at_path::SocketFile;
use crate::io::stream::Listener;
use crate::io::{Port, Tun, UdpSocket};
use crate::sys::device;
use crate::sys::handed::{self, Descriptor};
use crate::sys::netlink::Netlink;

/// A descriptor that was handed over cannot be used: what, why, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HandedError {
    /// The environment does not say which there are.
    #[error(
        "cannot take the descriptors that LISTEN_FDS announces: {source}; it has to be the number of open descriptors from 3 \
         upwards, and LISTEN_FDNAMES a name for each with colons between them"
    )]
    Announced {
        /// What is wrong with it.
        source: io::Error,
    },
    /// Nothing of ours is called so.
    #[error(
        "descriptor {number} is handed over by the name `{name}`, which means nothing here; call it ike, nat, tun, control or http \
         (LISTEN_FDNAMES, or FileDescriptorName= in a .socket unit)"
    )]
    Name {
        /// The descriptor.
        number: i32,
        /// What it is called.
        name: String,
    },
    /// It is something else than its name says.
    #[error("descriptor {number} is handed over as `{name}`, but {is}; {mend}")]
    Unfit {
        /// The descriptor.
        number: i32,
        /// What it is called.
        name: &'static str,
        /// What it is.
        is: String,
        /// What to do.
        mend: String,
    },
    /// There are too few or too many of a name.
    #[error("{is}; {mend}")]
    Number {
        /// How many there are, and how many there have to be.
        is: String,
        /// What to do.
        mend: String,
    },
}

/// All that was handed over and not taken yet.
#[derive(Debug, Default)]
pub struct Handed {
    all: BTreeMap<&'static str, Vec<Descriptor>>,
}

impl Handed {
    /// What the environment of this process announces; to be called before it opens anything itself.
    ///
    /// # Errors
    /// [`HandedError`], of the announcement or of a name.
    pub fn of_process() -> Result<Self, HandedError> {
        Self::of(handed::take().map_err(|source| HandedError::Announced { source })?)
    }

    fn of(descriptors: Vec<Descriptor>) -> Result<Self, HandedError> {
        let mut handed = Self::default();
        for descriptor in descriptors {
            let Some(name) = NAMES.into_iter().find(|name| *name == descriptor.name) else {
                let Descriptor { number, name, .. } = descriptor;
                return Err(HandedError::Name { number, name });
            };
            handed.all.entry(name).or_default().push(descriptor);
        }
        Ok(handed)
    }

    /// The UDP sockets for `port`, those of one address beside each other; `None` if there are none. `of_each` is how many
    /// there have to be for each address.
    ///
    /// # Errors
    /// [`HandedError`].
    pub(crate) fn udp(
        &mut self,
        port: Port,
        number: u16,
        listen: &[IpAddr],
        of_each: usize,
    ) -> Result<Option<Vec<UdpSocket>>, HandedError> {
        let (name, key) = match port {
            Port::Ike => (IKE, "ike_port"),
            Port::Nat => (NAT, "nat_port"),
        };
        let Some(descriptors) = self.all.remove(name) else { return Ok(None) };
        let mut by_address: BTreeMap<IpAddr, Vec<UdpSocket>> = BTreeMap::new();
        for Descriptor { number: descriptor, fd, .. } in descriptors {
            let unfit = |(is, mend)| HandedError::Unfit { number: descriptor, name, is, mend };
            let socket = Socket::from(fd);
            let local = bound(&socket).map_err(unfit)?;
            fits(local, (number, key), listen).map_err(unfit)?;
            let adopted = UdpSocket::adopt(socket, local, port).map_err(|error| {
                unfit((format!("cannot be prepared: {error}"), "bind another one".to_owned()))
            })?;
            by_address.entry(local.ip()).or_default().push(adopted);
        }
        let missing = listen.iter().find(|address| !by_address.contains_key(address));
        if let Some(missing) = missing {
            return Err(HandedError::Number {
                is: format!("no socket for {missing} is handed over as `{name}`"),
                mend: "hand one over for each address of `listen`".to_owned(),
            });
        }
        for (address, sockets) in &by_address {
            let have = sockets.len();
            if have != of_each {
                let mend = if of_each > 1 {
                    format!(
                        "bind {of_each} with SO_REUSEPORT, one for each worker, or write `workers = {have}` in [gateway]"
                    )
                } else {
                    "hand it over once".to_owned()
                };
                let is = format!(
                    "{have} sockets for {address} are handed over as `{name}`, where {of_each} are needed"
                );
                return Err(HandedError::Number { is, mend });
            }
        }
        Ok(Some(by_address.into_values().flatten().collect()))
    }

    /// The queues of the TUN device `tun`, which is up; `None` if there are none. There are `workers` of them, or twice as
    /// many.
    ///
    /// # Errors
    /// [`HandedError`].
    pub(crate) fn queues(
        &mut self,
        tun: &str,
        workers: usize,
    ) -> Result<Option<Vec<File>>, HandedError> {
        let Some(descriptors) = self.all.remove(TUN) else { return Ok(None) };
        let have = descriptors.len();
        if have != workers && have != 2 * workers {
            let is = format!(
                "{have} queues are handed over as `tun`, where {workers} are needed, one for each worker"
            );
            let mend = format!(
                "attach {workers} descriptors of /dev/net/tun to {tun} (IFF_MULTI_QUEUE), or write `workers = {have}` in [gateway]"
            );
            return Err(HandedError::Number { is, mend });
        }
        let mut files = Vec::new();
        for Descriptor { number, fd, .. } in descriptors {
            let file = File::from(fd);
            queue_of(&file, tun, have > 1).map_err(|(is, mend)| HandedError::Unfit {
                number,
                name: TUN,
                is,
                mend,
            })?;
            files.push(file);
        }
        Ok(Some(files))
    }

    /// The control socket, which listens at `path`.
    ///
    /// # Errors
    /// [`HandedError`].
    pub(crate) fn control(&mut self, path: &Path) -> Result<Option<UnixListener>, HandedError> {
        let Some(descriptors) = self.all.remove(CONTROL) else { return Ok(None) };
        let have = descriptors.len();
        let mut each = descriptors.into_iter();
        let (Some(Descriptor { number, fd, .. }), None) = (each.next(), each.next()) else {
            let is = format!("{have} descriptors are handed over as `control`");
            return Err(HandedError::Number { is, mend: "hand over one".to_owned() });
        };
        let unfit = |(is, mend)| HandedError::Unfit { number, name: CONTROL, is, mend };
        let listener = listening_at(fd, path).map_err(unfit)?;
        let local = listener.local_addr().ok();
        let at = local.as_ref().and_then(|local| local.as_pathname());
        if at != Some(path) {
            let at = at.map_or_else(|| "no path".to_owned(), |at| at.display().to_string());
            let is = format!("listens at {at}, while `control` in [gateway] is {}", path.display());
            let mend = "make the two the same: that is where `s2s-gw status` looks".to_owned();
            return Err(unfit((is, mend)));
        }
        Ok(Some(listener))
    }

    /// The sockets of the status page, one for each of `listen`, which is `None` if there is no such page; `None` if there are
    /// none.
    ///
    /// # Errors
    /// [`HandedError`].
    pub(crate) fn http(
        &mut self,
        listen: Option<&[HttpListen]>,
    ) -> Result<Option<Vec<Listener>>, HandedError> {
        let Some(descriptors) = self.all.remove(HTTP) else { return Ok(None) };
        let listen = listen.unwrap_or_default();
        let mut there = Vec::new();
        for Descriptor { number, fd, .. } in descriptors {
            let unfit = |(is, mend)| HandedError::Unfit { number, name: HTTP, is, mend };
            let (at, listener) = page_socket(fd).map_err(unfit)?;
            if !listen.contains(&at) {
                let is = format!("listens at {at}, which `listen` in [http] has not");
                return Err(unfit((is, format!("write `listen = \"{at}\"` in [http]"))));
            }
            if there.iter().any(|(other, _)| *other == at) {
                let is = format!("listens at {at}, as another one does");
                return Err(unfit((is, "hand it over once".to_owned())));
            }
            there.push((at, listener));
        }
        let is_there = |place: &&HttpListen| there.iter().any(|(at, _)| at == *place);
        if let Some(missing) = listen.iter().find(|place| !is_there(place)) {
            return Err(HandedError::Number {
                is: format!("no socket for {missing} is handed over as `http`"),
                mend: "hand one over for each place of `listen` in [http]".to_owned(),
            });
        }
        Ok(Some(there.into_iter().map(|(_, listener)| listener).collect()))
    }
}

/// What something is, and how to mend it.
type Complaint = (String, String);

/// What has to be a Unix stream socket that listens; `path` is where it should.
fn listening_at(fd: OwnedFd, path: &Path) -> Result<UnixListener, Complaint> {
    let mend = || format!("bind and listen at {} (ListenStream=)", path.display());
    let family = sockopt::socket_domain(&fd).ok();
    let kind = sockopt::socket_type(&fd).ok();
    if family != Some(AddressFamily::UNIX) || kind != Some(SocketType::STREAM) {
        return Err(("is no Unix stream socket".to_owned(), mend()));
    }
    if !sockopt::socket_acceptconn(&fd).unwrap_or_default() {
        return Err(("does not listen".to_owned(), mend()));
    }
    let listener = UnixListener::from(fd);
    listener.set_nonblocking(true).map_err(not_prepared)?;
    Ok(listener)
}

#[expect(clippy::needless_pass_by_value, reason = "what `map_err` calls")]
fn not_prepared(error: io::Error) -> Complaint {
    (format!("cannot be prepared: {error}"), "hand over another one".to_owned())
}

/// What has to be a socket that listens for the status page, and where it does.
fn page_socket(fd: OwnedFd) -> Result<(HttpListen, Listener), Complaint> {
    let listen = || "bind and listen where `listen` in [http] says (ListenStream=)".to_owned();
    let kind = sockopt::socket_type(&fd).ok();
    if kind != Some(SocketType::STREAM) {
        return Err(("is no stream socket".to_owned(), listen()));
    }
    if !sockopt::socket_acceptconn(&fd).unwrap_or_default() {
        return Err(("does not listen".to_owned(), listen()));
    }
    let socket = Socket::from(fd);
    socket.set_nonblocking(true).map_err(not_prepared)?;
    let local = socket.local_addr().map_err(not_prepared)?;
    if let Some(address) = local.as_socket() {
        let listener = TcpListener::from_std(socket.into());
        return Ok((HttpListen::Tcp(address), Listener::Tcp(listener)));
    }
    let Some(path) = local.as_pathname().map(Path::to_owned) else {
        return Err(("listens neither at an address nor at a path".to_owned(), listen()));
    };
    let file = SocketFile::of_another(&path);
    let listener = mio::net::UnixListener::from_std(OwnedFd::from(socket).into());
    Ok((HttpListen::Unix(path), Listener::Unix { listener, _file: file }))
}

/// The address of what has to be a UDP socket of one family.
fn bound(socket: &Socket) -> Result<SocketAddr, Complaint> {
    let complaint = |is: &str, mend: &str| (is.to_owned(), mend.to_owned());
    let open = "open a UDP socket (ListenDatagram=)";
    let Ok(kind) = sockopt::socket_type(socket) else {
        return Err(complaint("is no socket", open));
    };
    let is_udp = sockopt::socket_protocol(socket).ok().flatten() == Some(rustix::net::ipproto::UDP);
    let local = socket.local_addr().ok().and_then(|local| local.as_socket());
    let (SocketType::DGRAM, true, Some(local)) = (kind, is_udp, local) else {
        return Err(complaint("is no UDP socket over IPv4 or IPv6", open));
    };
    if local.is_ipv6() && !sockopt::ipv6_v6only(socket).unwrap_or_default() {
        return Err(complaint(
            "takes IPv4, too",
            "set IPV6_V6ONLY before it is bound (BindIPv6Only=ipv6-only) and hand over another one for IPv4",
        ));
    }
    if local.port() == 0 {
        return Err(complaint("is not bound", "bind it"));
    }
    Ok(local)
}

/// Whether a socket is where the configuration wants one.
fn fits(local: SocketAddr, (port, key): (u16, &str), listen: &[IpAddr]) -> Result<(), Complaint> {
    if local.port() != port {
        let is = format!("is bound to port {}, not {port}", local.port());
        return Err((
            is,
            format!("bind it to {port}, or write `{key} = {}` in [gateway]", local.port()),
        ));
    }
    let address = local.ip();
    if listen.is_empty() && !address.is_unspecified() {
        let is = format!("is bound to {address}, while `listen` in [gateway] names no address");
        return Err((is, format!("write `listen = [\"{address}\"]`, or bind it to all addresses")));
    }
    if !listen.is_empty() && !listen.contains(&address) {
        let is = format!("is bound to {address}, which `listen` in [gateway] has not");
        return Err((is, "bind it to an address of `listen`, or add this one there".to_owned()));
    }
    Ok(())
}

/// Makes sure that a file is a queue of this device with the right flags, and makes it non-blocking.
fn queue_of(file: &File, tun: &str, several: bool) -> Result<(), Complaint> {
    let complaint = |is: &str, mend: String| (is.to_owned(), mend);
    let attach = format!("open /dev/net/tun and attach it to {tun} (TUNSETIFF)");
    let (name, flags) = device::of_queue(file.as_fd()).map_err(|error| {
        if error.raw_os_error() == Some(libc::EBADFD) {
            complaint("is attached to no device", attach.clone())
        } else {
            complaint("is no queue of a TUN device", attach.clone())
        }
    })?;
    let again = |flags: &str| format!("attach it with {flags} (TUNSETIFF)");
    if !Tun::has_flags(flags, libc::IFF_TUN) {
        let mend = format!("{} and without IFF_TAP", again("IFF_TUN"));
        return Err(complaint("belongs to a TAP device, which carries Ethernet frames", mend));
    }
    if name != tun {
        let is = format!("belongs to the device {name}, while `tun` in [gateway] is {tun}");
        return Err((is, format!("write `tun = \"{name}\"`, or attach it to {tun}")));
    }
    if !Tun::has_flags(flags, libc::IFF_VNET_HDR) {
        let is = "has no header for offloads before its packets";
        return Err(complaint(is, again("IFF_VNET_HDR")));
    }
    // TUNGETIFF has another meaning for the bit of IFF_NO_PI (IFF_NOFILTER).
    let link = Netlink::open().ok().and_then(|mut netlink| netlink.link(tun).ok().flatten());
    if link.is_some_and(|link| link.numbers_protocols) {
        let is = "has a protocol number before its packets";
        return Err(complaint(is, again("IFF_NO_PI")));
    }
    if several && !Tun::has_flags(flags, libc::IFF_MULTI_QUEUE) {
        let is = "belongs to a device with one queue";
        return Err(complaint(is, again("IFF_MULTI_QUEUE")));
    }
    let non_blocking =
        fcntl_getfl(file).and_then(|flags| fcntl_setfl(file, flags | OFlags::NONBLOCK));
    non_blocking.map_err(|error| (format!("cannot be prepared: {error}"), attach))
}

const IKE: &str = "ike";
const NAT: &str = "nat";
const TUN: &str = "tun";
const CONTROL: &str = "control";
const HTTP: &str = "http";
const NAMES: [&str; 5] = [IKE, NAT, TUN, CONTROL, HTTP];

#[cfg(test)]
mod tests;
