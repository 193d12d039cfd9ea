//! The ICMP answer to an inside host whose packet does not fit into the tunnel: what path MTU discovery lives on.
//!
//! ```text
//! IPv4   | IP header 20 | 3 | 4 | checksum |  0   | MTU 16 | the packet, until all is 576 octets  |   RFC 1191 §4
//! IPv6   | IP header 40 | 2 | 0 | checksum |    MTU 32     | the packet, until all is 1280 octets |   RFC 4443 §3.2
//!          from us, to the packet's source
//! ```
//!
//! Who never gets one: the sender of an ICMP error, or two routers could answer each other for ever; a later fragment,
//! whose first fragment got it; a source that is not one host; for IPv4 a destination that is not one host (RFC 1122
//! §3.2.2). An IPv6 packet to a multicast group is answered: RFC 4443 §2.4 (e.3) excepts this very message.
//!
//! An IPv4 packet without DF is none of this: it may be fragmented, and that is the kernel's job. The MTU of the TUN
//! device is the inner MTU, so it comes here in pieces that fit, and so the kernel answers most of what has DF as well;
//! this is for the time in which a path MTU shrank and the device does not know yet.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{
    checksum::Sum,
    ip::{Fragment, Upper, View},
    mtu::MIN_MTU_V6,
};

/// Longest message in octets, for IPv4 (RFC 1812 §4.3.2.3).
pub const MAX_LEN_V4: usize = 576;

/// Longest message in octets, for IPv6 (RFC 4443 §2.4 (c)).
pub const MAX_LEN_V6: usize = 1280;

/// Writes into `out` the IP packet that tells the source of `offending` to send no more than `mtu` octets. `source` is
/// an address of ours that may write to it, of the same family. [`MAX_LEN_V6`] octets of room are always enough.
/// `view` was read from `offending`; a packet with a partial checksum is quoted as it is.
///
/// Returns the length of the message. `None` if there must be none (see above), if the packet fits, if an IPv4 packet
/// lacks DF, or if `out` is too small. A super-packet is the caller's to judge: its segments may fit.
///
/// Below what each host must be able to receive the MTU is not told: 68 octets for IPv4 (RFC 791), and 1280 for IPv6,
/// where the host would discard the message (RFC 8201 §4).
#[must_use]
pub fn too_big(
    offending: &[u8],
    view: &View,
    source: IpAddr,
    mtu: u16,
    out: &mut [u8],
) -> Option<usize> {
    let packet = offending.get(..view.total_len)?;
    if view.fragment == Fragment::Later || is_icmp_error(view) {
        return None;
    }
    match (source, view.source, view.destination) {
        (IpAddr::V4(from), IpAddr::V4(to), IpAddr::V4(destination)) => {
            let mtu = mtu.max(LEAST_LINK_V4);
            let answered = view.dont_fragment
                && packet.len() > usize::from(mtu)
                && is_one_host_v4(to)
                && is_one_host_v4(destination);
            answered.then(|| write_v4(packet, from, to, mtu, out))?
        }
        (IpAddr::V6(from), IpAddr::V6(to), IpAddr::V6(_)) => {
            let mtu = mtu.max(MIN_MTU_V6);
            let answered = packet.len() > usize::from(mtu) && is_one_host_v6(to);
            answered.then(|| write_v6(packet, from, to, mtu, out))?
        }
        _ => None,
    }
}

/// Whether this is an ICMP error, or ICMP that cannot be told from one (RFC 1122 §3.2.2, RFC 4443 §2.4 (e.1), (e.2)).
pub(crate) fn is_icmp_error(view: &View) -> bool {
    let kind = match view.upper {
        Upper::Type(type_and_code) => Some(type_and_code >> 8),
        Upper::Ports { .. } | Upper::Opaque => None,
    };
    match view.protocol {
        // Requests and replies; whatever else there may be is taken for an error.
        ICMP => !matches!(kind, Some(0 | 8..=10 | 13..=18 | 42 | 43)),
        // The upper half are no errors; a redirect is treated like one.
        ICMP_V6 => !matches!(kind, Some(128..=136 | 138..)),
        _ => false,
    }
}

/// Whether the address may be one host's: not "this network", loopback, multicast, reserved or broadcast. Broadcasts
/// of a subnet look like any other address from here.
fn is_one_host_v4(address: Ipv4Addr) -> bool {
    !matches!(address.octets(), [0 | 127 | 224..=255, ..])
}

/// The same of either family.
pub(crate) fn is_one_host(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_one_host_v4(address),
        IpAddr::V6(address) => is_one_host_v6(address),
    }
}

fn is_one_host_v6(address: Ipv6Addr) -> bool {
    !(address.is_unspecified() || address.is_loopback() || address.is_multicast())
}

fn write_v4(
    packet: &[u8],
    from: Ipv4Addr,
    to: Ipv4Addr,
    mtu: u16,
    out: &mut [u8],
) -> Option<usize> {
    let quote = packet.get(..MAX_LEN_V4 - V4_HEADER_LEN - ICMP_HEADER_LEN).unwrap_or(packet);
    let len = V4_HEADER_LEN + ICMP_HEADER_LEN + quote.len();
    let (header, message) = out.get_mut(..len)?.split_first_chunk_mut::<V4_HEADER_LEN>()?;

    let [len_hi, len_lo] = u16::try_from(len).ok()?.to_be_bytes();
    let [s0, s1, s2, s3] = from.octets();
    let [d0, d1, d2, d3] = to.octets();
    // Identification 0: what has DF and is no fragment needs none (RFC 6864 §4.1).
    *header = [
        0x45, CS6, len_hi, len_lo, 0, 0, 0x40, 0, HOPS, ICMP, 0, 0, s0, s1, s2, s3, d0, d1, d2, d3,
    ];
    let [sum_hi, sum_lo] = Sum::of(header).finish().to_be_bytes();
    [header[10], header[11]] = [sum_hi, sum_lo];

    let [mtu_hi, mtu_lo] = mtu.to_be_bytes();
    write_message([3, 4, 0, 0, 0, 0, mtu_hi, mtu_lo], quote, Sum::ZERO, message)?;
    Some(len)
}

fn write_v6(
    packet: &[u8],
    from: Ipv6Addr,
    to: Ipv6Addr,
    mtu: u16,
    out: &mut [u8],
) -> Option<usize> {
    let quote = packet.get(..MAX_LEN_V6 - V6_HEADER_LEN - ICMP_HEADER_LEN).unwrap_or(packet);
    let message_len = u16::try_from(ICMP_HEADER_LEN + quote.len()).ok()?;
    let len = V6_HEADER_LEN + usize::from(message_len);
    let (header, message) = out.get_mut(..len)?.split_first_chunk_mut::<V6_HEADER_LEN>()?;

    let (front, addresses) = header.split_first_chunk_mut::<8>()?;
    let [len_hi, len_lo] = message_len.to_be_bytes();
    *front = [0x60 | CS6 >> 4, CS6 << 4, 0, 0, len_hi, len_lo, ICMP_V6, HOPS];
    let (source, destination) = addresses.split_at_mut_checked(16)?;
    source.copy_from_slice(&from.octets());
    destination.copy_from_slice(&to.octets());

    let [mtu_hi, mtu_lo] = mtu.to_be_bytes();
    let pseudo = Sum::pseudo_v6(from.octets(), to.octets(), ICMP_V6, u32::from(message_len));
    write_message([2, 0, 0, 0, 0, 0, mtu_hi, mtu_lo], quote, pseudo, message)?;
    Some(len)
}

/// Writes ICMP header and quote, and the checksum over both and what `pseudo` has.
fn write_message(
    header: [u8; ICMP_HEADER_LEN],
    quote: &[u8],
    pseudo: Sum,
    message: &mut [u8],
) -> Option<()> {
    let (front, body) = message.split_first_chunk_mut::<ICMP_HEADER_LEN>()?;
    *front = header;
    body.copy_from_slice(quote);
    let sum = pseudo + Sum::of(&header) + Sum::of(quote);
    let [sum_hi, sum_lo] = sum.finish().to_be_bytes();
    [front[2], front[3]] = [sum_hi, sum_lo];
    Some(())
}

pub(crate) const V4_HEADER_LEN: usize = 20;
pub(crate) const V6_HEADER_LEN: usize = 40;
pub(crate) const ICMP_HEADER_LEN: usize = 8;

const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;

/// Least MTU of a link (RFC 791 §3.2).
const LEAST_LINK_V4: u16 = 68;

/// Traffic class of network control, which errors have as IP precedence 6 in RFC 1812 §4.3.2.5; Not-ECT.
const CS6: u8 = 0xc0;

/// Hop limit that IANA recommends.
const HOPS: u8 = 64;

#[cfg(test)]
mod tests;
