//! Keeps packets that come in clear, though their sender is at the other end of a tunnel, out of this host and its networks
//! (RFC 4301 §5.2): one rule of nf_tables, which needs no list of networks, since the routes have it.
//!
//! ```text
//!   table inet s2s-gw-s2s0 {                              of this process alone, gone with its socket (NFT_TABLE_F_OWNER)
//!     chain inbound {
//!       type filter hook prerouting priority -140; policy accept;
//!       iifname != "s2s0" fib saddr . mark oifname "s2s0" counter drop
//!     }                    the way back to the sender is the tunnel, and the packet did not come from there
//!   }
//! ```
//!
//! It is what a strict `rp_filter` does, but for the tunnel alone, and for IPv6 too. Routes that are nearer than those into the
//! tunnel count, so do policy rules by source address or mark.
//!
//! A message is `| length 4 | type 2 | flags 2 | sequence 4 | port 4 | family 1 | version 1 | resource 2 | attributes |`, an
//! attribute `| length 2 | type 2 | value, padded to 4 |`; numbers in values are big-endian (nfnetlink.h, nf_tables.h).

use std::fmt;
use std::io;
use std::os::fd::AsRawFd as _;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_NETFILTER};

/// The rule, in force while this lives.
pub(crate) struct Inbound {
    /// Who owns the table, in the kernel's eyes.
    socket: Socket,
}

impl fmt::Debug for Inbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbound").field("fd", &self.socket.as_raw_fd()).finish()
    }
}

impl Inbound {
    /// Puts the rule in force for the TUN device of that name, in the calling thread's network namespace. The device may be
    /// made and removed meanwhile: it is known by its name.
    ///
    /// # Errors
    /// What the system says: EPERM without CAP_NET_ADMIN, others where the kernel has no nf_tables, no `fib` expression, or
    /// no tables that somebody owns (before Linux 5.12).
    pub(crate) fn guard(tun: &str) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_NETFILTER)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        socket.send(&batch(tun), 0)?;
        let (answer, _) = socket.recv_from_full()?;
        match error_of(&answer) {
            0 => Ok(Self { socket }),
            number => Err(io::Error::from_raw_os_error(number)),
        }
    }
}

/// All or nothing: the table, its chain and the rule.
fn batch(tun: &str) -> Vec<u8> {
    let table = [b"s2s-gw-", tun.as_bytes(), b"\0"].concat();
    let flags = number(NFT_TABLE_F_OWNER);
    let new_table = [attribute(1, &table), attribute(2, &flags)].concat();
    let hook = [attribute(1, &number(PRE_ROUTING)), attribute(2, &PRIORITY.to_be_bytes())].concat();
    let new_chain = [
        attribute(1, &table),
        attribute(3, CHAIN),
        attribute(NESTED | 4, &hook),
        attribute(5, &number(ACCEPT)),
        attribute(7, b"filter\0"),
    ]
    .concat();
    let name = interface(tun);
    let rule = [
        expression(b"meta\0", &[attribute(1, &number(REGISTER)), attribute(2, &number(IIFNAME))]),
        compare(NOT_EQUAL, &name),
        expression(
            b"fib\0",
            &[
                attribute(1, &number(REGISTER)),
                attribute(2, &number(OIFNAME)),
                attribute(3, &number(SADDR | MARK)),
            ],
        ),
        compare(EQUAL, &name),
        expression(b"counter\0", &[]),
        drop_it(),
    ]
    .concat();
    let new_rule =
        [attribute(1, &table), attribute(2, CHAIN), attribute(NESTED | 4, &rule)].concat();
    [
        message(BATCH_BEGIN, REQUEST, 0, NF_TABLES, &[]),
        message(NF_TABLES << 8, REQUEST | CREATE | EXCL, INET, 0, &new_table),
        message(NF_TABLES << 8 | 3, REQUEST | CREATE | EXCL, INET, 0, &new_chain),
        message(NF_TABLES << 8 | 6, REQUEST | CREATE | APPEND | ACK, INET, 0, &new_rule),
        message(BATCH_END, REQUEST, 0, NF_TABLES, &[]),
    ]
    .concat()
}

/// One element of a rule.
fn expression(name: &[u8], data: &[Vec<u8>]) -> Vec<u8> {
    let element = [attribute(1, name), attribute(NESTED | 2, &data.concat())].concat();
    attribute(NESTED | 1, &element)
}

fn compare(operator: u32, value: &[u8]) -> Vec<u8> {
    let data = attribute(1, value);
    expression(
        b"cmp\0",
        &[
            attribute(1, &number(REGISTER)),
            attribute(2, &number(operator)),
            attribute(NESTED | 3, &data),
        ],
    )
}

fn drop_it() -> Vec<u8> {
    let verdict = attribute(NESTED | 2, &attribute(1, &number(DROP)));
    expression(
        b"immediate\0",
        &[attribute(1, &number(VERDICT_REGISTER)), attribute(NESTED | 2, &verdict)],
    )
}

fn message(kind: u16, flags: u16, family: u8, resource: u16, attributes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(20 + attributes.len()).expect("invariant: some hundred octets");
    let mut message = Vec::with_capacity(20 + attributes.len());
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend(flags.to_ne_bytes());
    message.extend([0; 8]);
    message.extend([family, 0]);
    message.extend(resource.to_be_bytes());
    message.extend(attributes);
    message
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("invariant: some hundred octets");
    let mut attribute = Vec::with_capacity(8 + value.len());
    attribute.extend(length.to_ne_bytes());
    attribute.extend(kind.to_ne_bytes());
    attribute.extend(value);
    attribute.resize(attribute.len().next_multiple_of(4), 0);
    attribute
}

const fn number(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

/// A name as it lies in a register.
fn interface(name: &str) -> [u8; libc::IFNAMSIZ] {
    let mut octets = [0; libc::IFNAMSIZ];
    for (to, from) in octets.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    octets
}

/// What `NLMSG_ERROR` says, a positive errno or 0; the number stands behind the header, negative.
fn error_of(answer: &[u8]) -> i32 {
    let number = answer.get(16..20).and_then(|octets| octets.first_chunk());
    number.map_or(libc::EPROTO, |octets| i32::from_ne_bytes(*octets).wrapping_neg())
}

const CHAIN: &[u8] = b"inbound\0";
/// After those that mark packets, by which routes may be chosen.
const PRIORITY: i32 = -140;

// linux/netlink.h.
const REQUEST: u16 = 0x1;
const ACK: u16 = 0x4;
const EXCL: u16 = 0x200;
const CREATE: u16 = 0x400;
const APPEND: u16 = 0x800;
const NESTED: u16 = 0x8000;
// linux/netfilter/nfnetlink.h.
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const NF_TABLES: u16 = 10;
// linux/netfilter.h, linux/netfilter/nf_tables.h.
const INET: u8 = 1;
const PRE_ROUTING: u32 = 0;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;
const NFT_TABLE_F_OWNER: u32 = 2;
const VERDICT_REGISTER: u32 = 0;
const REGISTER: u32 = 1;
const IIFNAME: u32 = 6;
const EQUAL: u32 = 0;
const NOT_EQUAL: u32 = 1;
const OIFNAME: u32 = 2;
const SADDR: u32 = 1;
const MARK: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::netns::Netns;

    #[test]
    fn the_kernel_takes_the_rule_once_and_forgets_it_with_its_owner() {
        let Ok(netns) = Netns::new() else {
            println!("skipped: no right to make a network namespace");
            return;
        };
        netns
            .run(|| {
                let first = match Inbound::guard("s2s0") {
                    Ok(first) => first,
                    Err(error) => return println!("skipped: {error}"),
                };
                let second = Inbound::guard("s2s0").unwrap_err();
                assert!(
                    matches!(second.raw_os_error(), Some(libc::EEXIST | libc::EPERM)),
                    "{second}"
                );
                let other = Inbound::guard("fifteen-octets0").unwrap();
                drop((first, other));
                Inbound::guard("s2s0").unwrap();
            })
            .unwrap();
    }

    #[test]
    fn attributes_have_lengths_without_and_places_with_padding() {
        let [length, kind] = [9_u16, 3].map(u16::to_ne_bytes);
        let expected = [length.as_slice(), &kind, b"four5\0\0\0"].concat();
        assert_eq!(attribute(3, b"four5"), expected);
        assert_eq!(error_of(&[[0; 16].as_slice(), &(-1_i32).to_ne_bytes()].concat()), 1);
        assert_eq!(error_of(&[0; 7]), libc::EPROTO);
    }
}
