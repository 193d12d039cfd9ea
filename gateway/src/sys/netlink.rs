//! Links, addresses and routes of the kernel (rtnetlink(7)), one request at a time and no `ip` program.
//!
//! ```text
//!   Netlink::ask      request + NLM_F_ACK   ─►  NLMSG_ERROR (code 0 is the acknowledgement)
//!   Netlink::list     request + NLM_F_DUMP  ─►  answer, answer, .. NLMSG_DONE
//!   Netlink::look_up  request               ─►  one answer, or NLMSG_ERROR
//! ```
//!
//! A [`Netlink`] works in the network namespace of the thread that opened it, wherever it is used later. Requests are
//! answered inside the system call, so nothing here waits. What fails says what was tried: "cannot add route
//! 10.2.0.0/16 dev s2s0: operation not permitted; needs CAP_NET_ADMIN".

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, BorrowedFd};

use ipnet::IpNet;
use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_EXCL, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkMessage,
    NetlinkPayload, NlasIterator,
};
use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{
    InfoData, InfoKind, InfoVeth, LinkAttribute, LinkFlags, LinkInfo, LinkMessage,
};
use netlink_packet_route::route::{RouteAttribute, RouteFlags, RouteMessage};
use netlink_packet_route::rule::{RuleAction, RuleAttribute, RuleMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

pub use self::model::{Link, MAIN_TABLE, Route};
use self::model::{family_of, link_from, link_message, name_of, route_from, route_message};

mod model;

/// A request that the kernel refused, as a sentence.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}: {}{}", reason(.source, .explained.as_deref()), advice(.source))]
pub struct NetlinkError {
    action: String,
    /// The kernel's own words, where it has some (`NLMSGERR_ATTR_MSG`).
    explained: Option<String>,
    source: io::Error,
}

impl NetlinkError {
    /// Whether the object exists already (`EEXIST`).
    #[must_use]
    pub fn is_exists(&self) -> bool {
        self.source.raw_os_error() == Some(libc::EEXIST)
    }

    /// Whether there is no such object (`ESRCH`, `ENODEV`, `ENOENT`), so that there is nothing to remove.
    #[must_use]
    pub fn is_absent(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ESRCH | libc::ENODEV | libc::ENOENT))
    }

    /// Whether no route leads to the address asked for (`ENETUNREACH`, `EHOSTUNREACH`).
    #[must_use]
    pub fn is_unreachable(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::ENETUNREACH | libc::EHOSTUNREACH))
    }

    /// Whether the route to the address asked for is one that leads nowhere: the kernel answers a question for such a route
    /// as it answers who sends (`EINVAL` for a blackhole, `EACCES` for one that prohibits).
    #[must_use]
    pub fn is_blackhole(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::EINVAL | libc::EACCES))
    }
}

impl NetlinkError {
    /// Whether the kernel would not take such a packet from such a device: rp_filter (`EXDEV`), or a source that is none
    /// (`EINVAL`).
    #[must_use]
    pub fn is_filtered(&self) -> bool {
        matches!(self.source.raw_os_error(), Some(libc::EXDEV | libc::EINVAL))
    }
}

/// A connection to the kernel's rtnetlink.
pub struct Netlink {
    socket: Socket,
    sequence: u32,
}

impl fmt::Debug for Netlink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Netlink").field("fd", &self.socket.as_raw_fd()).finish_non_exhaustive()
    }
}

impl Netlink {
    /// Opens a connection in the network namespace of the calling thread.
    ///
    /// # Errors
    /// Only if the kernel has no rtnetlink or the process no descriptor left.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        // Both only make error messages better: our request is not echoed, the kernel adds its words.
        let _ = socket.set_cap_ack(true);
        let _ = socket.set_ext_ack(true);
        Ok(Self { socket, sequence: 0 })
    }

    /// All devices, in the kernel's order.
    ///
    /// # Errors
    /// If the kernel refuses to list them.
    pub fn links(&mut self) -> Result<Vec<Link>, NetlinkError> {
        let request = RouteNetlinkMessage::GetLink(LinkMessage::default());
        let answers = self.list("list the network devices", request)?;
        Ok(answers.into_iter().filter_map(link_from).collect())
    }

    /// The device of that name, `None` if there is none.
    ///
    /// # Errors
    /// If the kernel refuses to list the devices.
    pub fn link(&mut self, name: &str) -> Result<Option<Link>, NetlinkError> {
        Ok(self.links()?.into_iter().find(|link| link.name == name))
    }

    /// The index of the device of that name.
    ///
    /// # Errors
    /// `ENODEV` if there is none ([`NetlinkError::is_absent`]).
    pub fn link_index(&mut self, name: &str) -> Result<u32, NetlinkError> {
        let link = self.link(name)?.ok_or_else(|| NetlinkError {
            action: format!("find device {name}"),
            explained: None,
            source: io::Error::from_raw_os_error(libc::ENODEV),
        })?;
        Ok(link.index)
    }

    /// Switches a device on.
    ///
    /// # Errors
    /// See the module.
    pub fn link_up(&mut self, index: u32) -> Result<(), NetlinkError> {
        let mut message = link_message(index, Vec::new());
        message.header.flags = LinkFlags::Up;
        message.header.change_mask = LinkFlags::Up;
        self.ask(
            || format!("switch on {}", name_of(index)),
            RouteNetlinkMessage::SetLink(message),
            0,
        )
    }

    /// Sets the MTU of a device, in octets.
    ///
    /// # Errors
    /// See the module.
    pub fn set_mtu(&mut self, index: u32, mtu: u32) -> Result<(), NetlinkError> {
        let message = link_message(index, vec![LinkAttribute::Mtu(mtu)]);
        let action = || format!("set the MTU of {} to {mtu}", name_of(index));
        self.ask(action, RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Gives a device an address; `network` is the address with its prefix length. IPv6 addresses are usable at once
    /// (no duplicate address detection): they go on our own TUN and on cables with two ends.
    ///
    /// # Errors
    /// See the module; `EEXIST` if the device has it already.
    pub fn add_address(&mut self, index: u32, network: IpNet) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = network.prefix_len();
        message.header.family = family_of(network.addr());
        message.header.flags = AddressHeaderFlags::Nodad;
        message.attributes = vec![
            AddressAttribute::Local(network.addr()),
            AddressAttribute::Address(network.addr()),
        ];
        let action = || format!("add address {network} to {}", name_of(index));
        self.ask(action, RouteNetlinkMessage::NewAddress(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Makes a cable: two Ethernet devices `a` and `b`, what goes into one comes out of the other.
    ///
    /// # Errors
    /// See the module; `EEXIST` if a name is taken.
    pub fn add_veth(&mut self, a: &str, b: &str) -> Result<(), NetlinkError> {
        let peer = link_message(0, vec![LinkAttribute::IfName(b.to_owned())]);
        let message = link_message(
            0,
            vec![
                LinkAttribute::IfName(a.to_owned()),
                LinkAttribute::LinkInfo(vec![
                    LinkInfo::Kind(InfoKind::Veth),
                    LinkInfo::Data(InfoData::Veth(InfoVeth::Peer(peer))),
                ]),
            ],
        );
        let action = || format!("make the cable {a} - {b}");
        self.ask(action, RouteNetlinkMessage::NewLink(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Moves a device into another network namespace, where it is down and has a new index.
    ///
    /// # Errors
    /// See the module; `EEXIST` if its name is taken there.
    pub fn move_to_netns(&mut self, index: u32, to: BorrowedFd<'_>) -> Result<(), NetlinkError> {
        let message = link_message(index, vec![LinkAttribute::NetNsFd(to.as_raw_fd())]);
        let action = || format!("move {} to another namespace", name_of(index));
        self.ask(action, RouteNetlinkMessage::SetLink(message), 0)
    }

    /// Adds a route, never touching one that exists.
    ///
    /// # Errors
    /// See the module; `EEXIST` if the table has a route with the same destination and metric, whoever made it.
    pub fn add_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let action = || format!("add route {route}");
        let message = RouteNetlinkMessage::NewRoute(route_message(route));
        self.ask(action, message, NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Adds a route in place of the one with the same destination and metric, if there is one, whoever made it.
    ///
    /// # Errors
    /// See the module.
    pub fn replace_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let action = || format!("replace route {route}");
        let message = RouteNetlinkMessage::NewRoute(route_message(route));
        self.ask(action, message, NLM_F_CREATE | NLM_F_REPLACE)
    }

    /// Removes a route; only one that agrees in destination, metric, protocol, device and next hop.
    ///
    /// # Errors
    /// See the module; `ESRCH` if there is no such route ([`NetlinkError::is_absent`]).
    pub fn del_route(&mut self, route: &Route) -> Result<(), NetlinkError> {
        let action = || format!("remove route {route}");
        self.ask(action, RouteNetlinkMessage::DelRoute(route_message(route)), 0)
    }

    /// The routes of all tables and both families, those of one `protocol` or all.
    ///
    /// # Errors
    /// If the kernel refuses to list them.
    pub fn routes(&mut self, protocol: Option<u8>) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for family in [AddressFamily::Inet, AddressFamily::Inet6] {
            let mut message = RouteMessage::default();
            message.header.address_family = family;
            let answers = self.list("list the routes", RouteNetlinkMessage::GetRoute(message))?;
            routes.extend(answers.into_iter().filter_map(route_from));
        }
        routes.retain(|route| protocol.is_none_or(|wanted| wanted == route.protocol));
        Ok(routes)
    }

    /// The route that the kernel would use for a packet of ours to `destination`, with all its rules and tables.
    ///
    /// # Errors
    /// See the module; [`NetlinkError::is_unreachable`] if there is none.
    pub fn route_to(&mut self, destination: IpAddr) -> Result<Route, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(destination);
        message.header.destination_prefix_length = IpNet::from(destination).prefix_len();
        message.header.flags = RouteFlags::FibMatch;
        message.attributes = vec![RouteAttribute::Destination(destination.into())];
        let action = || format!("find the route to {destination}");
        let answer = self.look_up(action, RouteNetlinkMessage::GetRoute(message))?;
        answer.and_then(route_from).ok_or_else(|| NetlinkError {
            action: action(),
            explained: Some("the answer makes no sense".to_owned()),
            source: io::ErrorKind::InvalidData.into(),
        })
    }

    /// The route that the kernel would use for a packet from `source` to `destination` that comes in by the device `from`.
    ///
    /// # Errors
    /// As [`route_to`](Self::route_to); [`NetlinkError::is_filtered`] if the kernel would not take it from that device.
    pub fn route_of(
        &mut self,
        (source, from): (IpAddr, u32),
        destination: IpAddr,
    ) -> Result<Route, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = family_of(destination);
        message.header.destination_prefix_length = IpNet::from(destination).prefix_len();
        message.header.source_prefix_length = IpNet::from(source).prefix_len();
        message.header.flags = RouteFlags::FibMatch;
        message.attributes = vec![
            RouteAttribute::Destination(destination.into()),
            RouteAttribute::Source(source.into()),
            RouteAttribute::Iif(from),
        ];
        let action =
            || format!("find the route of {source} to {destination} from {}", name_of(from));
        let answer = self.look_up(action, RouteNetlinkMessage::GetRoute(message))?;
        answer.and_then(route_from).ok_or_else(|| NetlinkError {
            action: action(),
            explained: Some("the answer makes no sense".to_owned()),
            source: io::ErrorKind::InvalidData.into(),
        })
    }

    /// From now on this host sends and forwards no IPv4 packet of that IP protocol, and says so to nobody (the `blackhole`
    /// of ip-rule(8)). What is for this host itself still arrives.
    ///
    /// # Errors
    /// See the module; `EEXIST` if it is so already.
    pub fn swallow(&mut self, protocol: u8) -> Result<(), NetlinkError> {
        let mut message = RuleMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.action = RuleAction::Blackhole;
        message.attributes =
            vec![RuleAttribute::Priority(AFTER_LOCAL), RuleAttribute::IpProtocol(protocol.into())];
        let action = || format!("swallow IP protocol {protocol}");
        self.ask(action, RouteNetlinkMessage::NewRule(message), NLM_F_CREATE | NLM_F_EXCL)
    }

    /// Sends a request for a change and waits for its acknowledgement.
    fn ask(
        &mut self,
        action: impl Fn() -> String,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<(), NetlinkError> {
        self.exchange(request, flags | NLM_F_ACK).map(drop).map_err(|e| e.during(&action()))
    }

    /// Sends a request for a list; answers that the parser does not know are left out.
    fn list(
        &mut self,
        action: &str,
        request: RouteNetlinkMessage,
    ) -> Result<Vec<RouteNetlinkMessage>, NetlinkError> {
        self.exchange(request, NLM_F_DUMP).map_err(|e| e.during(action))
    }

    /// Sends a request that has one answer.
    fn look_up(
        &mut self,
        action: impl Fn() -> String,
        request: RouteNetlinkMessage,
    ) -> Result<Option<RouteNetlinkMessage>, NetlinkError> {
        // The acknowledgement ends the exchange, as NLMSG_DONE ends a list.
        let answers = self.exchange(request, NLM_F_ACK).map_err(|e| e.during(&action()))?;
        Ok(answers.into_iter().next())
    }

    fn exchange(
        &mut self,
        request: RouteNetlinkMessage,
        flags: u16,
    ) -> Result<Vec<RouteNetlinkMessage>, Refusal> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut message = NetlinkMessage::from(request);
        message.header.sequence_number = self.sequence;
        message.header.flags = NLM_F_REQUEST | flags;
        message.finalize();
        let mut octets = vec![0; message.buffer_len()];
        message.serialize(&mut octets);
        self.socket.send(&octets, 0)?;

        let mut answers = Vec::new();
        loop {
            let (datagram, from) = self.socket.recv_from_full()?;
            if from.port_number() != 0 {
                continue; // only port 0 is the kernel
            }
            if self.collect(&datagram, &mut answers)? {
                return Ok(answers);
            }
        }
    }

    /// Takes the answers out of one datagram; `true` when it ended the exchange.
    fn collect(
        &self,
        mut datagram: &[u8],
        answers: &mut Vec<RouteNetlinkMessage>,
    ) -> Result<bool, Refusal> {
        while let Some((header, rest)) = split_message(datagram) {
            datagram = rest;
            // A message that the parser does not know is nothing of ours, so it is passed over.
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(header) else {
                continue;
            };
            if message.header.sequence_number != self.sequence {
                continue; // left over from an exchange that failed halfway
            }
            match message.payload {
                NetlinkPayload::InnerMessage(answer) => answers.push(answer),
                NetlinkPayload::Error(error) if error.code.is_none() => return Ok(true),
                NetlinkPayload::Error(error) => {
                    let explained = kernel_words(&error.header);
                    return Err(Refusal { source: error.to_io(), explained });
                }
                NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::Overrun(_) => {
                    return Err(io::Error::other("the kernel lost a part of the answer").into());
                }
                NetlinkPayload::Noop | _ => {}
            }
        }
        Ok(false)
    }
}

/// A failed exchange that does not know yet what it was for.
struct Refusal {
    source: io::Error,
    explained: Option<String>,
}

impl Refusal {
    fn during(self, action: &str) -> NetlinkError {
        NetlinkError { action: action.to_owned(), explained: self.explained, source: self.source }
    }
}

impl From<io::Error> for Refusal {
    fn from(source: io::Error) -> Self {
        Self { source, explained: None }
    }
}

fn reason(error: &io::Error, explained: Option<&str>) -> String {
    match explained {
        Some(words) => format!("{} ({words})", plain(error)),
        None => plain(error),
    }
}

/// What went wrong, without the number and the capital letter of the C library's texts, to go on with in a sentence.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next().map(|c| c.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

fn advice(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => "; needs CAP_NET_ADMIN",
        _ => "",
    }
}

/// Cuts the first message off a datagram; its length is in its first 4 octets, messages start at multiples of 4.
fn split_message(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = datagram.first_chunk::<4>().map(|octets| u32::from_ne_bytes(*octets))?;
    let length = usize::try_from(length).ok().filter(|length| *length >= HEADER_LEN)?;
    let message = datagram.get(..length)?;
    Some((message, datagram.get(length.next_multiple_of(4)..).unwrap_or_default()))
}

/// The kernel's own words in an error message: attributes that follow the header of the request.
fn kernel_words(error: &[u8]) -> Option<String> {
    let attributes = error.get(HEADER_LEN..)?;
    let text = NlasIterator::new(attributes)
        .map_while(Result::ok)
        .find(|attribute| attribute.kind() == NLMSGERR_ATTR_MSG)?;
    let text = String::from_utf8_lossy(text.value()).trim_end_matches(['\0', '.']).to_owned();
    (!text.is_empty()).then_some(text)
}

/// The priority of a rule that comes after the one for the host's own addresses, which has 0.
const AFTER_LOCAL: u32 = 10;

/// Octets of a netlink message header (netlink(7)).
const HEADER_LEN: usize = 16;

/// The attribute of an error message that carries the kernel's words (netlink(7)).
const NLMSGERR_ATTR_MSG: u16 = 1;

#[cfg(test)]
mod tests;
