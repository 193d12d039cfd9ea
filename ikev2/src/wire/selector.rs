//! Traffic selectors (RFC 7296 §3.13): what may travel in a child SA.
//!
//! ```text
//! payload body:   | count | 0 0 0 | selector | selector | ...
//!
//! selector:  +---------------+---------------+-------------------------------+
//!            | type 7 or 8   | IP protocol   |  length: 16 (IPv4), 40 (IPv6) |
//!            +---------------+---------------+-------------------------------+
//!            |          first port           |           last port           |
//!            +-------------------------------+-------------------------------+
//!            |       first address, then last address, 4 or 16 octets each   |
//!            +---------------------------------------------------------------+
//! ```
//!
//! Invariant of what [`parse`] returns: `start` and `end` are of one family and in order, and so are the ports unless
//! they are OPAQUE.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Error;
use super::cursor::{Reader, Writer};
use crate::registry::TsType;

/// A range of addresses, a range of ports, one protocol or all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TrafficSelector {
    /// IP protocol; 0 means any.
    pub protocol: u8,
    /// First and last port, both included; `(0, 65535)` means any, `(65535, 0)` is OPAQUE (RFC 7296 §3.13.1).
    pub ports: (u16, u16),
    /// First address.
    pub start: IpAddr,
    /// Last address, of the same family, not before `start`.
    pub end: IpAddr,
}

/// The most selectors that one payload can carry: their count is one octet.
pub const MAX_SELECTORS: usize = 255;

const ANY_PORT: (u16, u16) = (0, u16::MAX);
const OPAQUE: (u16, u16) = (u16::MAX, 0);

impl TrafficSelector {
    /// Every packet of IPv4.
    #[must_use]
    pub const fn any_v4() -> Self {
        Self::range(IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::BROADCAST))
    }

    /// Every packet of IPv6.
    #[must_use]
    pub const fn any_v6() -> Self {
        let last = Ipv6Addr::from_bits(u128::MAX);
        Self::range(IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V6(last))
    }

    /// Every packet of the subnet in which `address` lies. A `prefix_len` beyond the family's 32 or 128 bits means the
    /// single address.
    #[must_use]
    pub fn subnet(address: IpAddr, prefix_len: u8) -> Self {
        let prefix_len = u32::from(prefix_len);
        match address {
            IpAddr::V4(address) => {
                let host_bits = u32::MAX.checked_shr(prefix_len).unwrap_or(0);
                let first = address.to_bits() & !host_bits;
                let last = first | host_bits;
                Self::range(Ipv4Addr::from_bits(first).into(), Ipv4Addr::from_bits(last).into())
            }
            IpAddr::V6(address) => {
                let host_bits = u128::MAX.checked_shr(prefix_len).unwrap_or(0);
                let first = address.to_bits() & !host_bits;
                let last = first | host_bits;
                Self::range(Ipv6Addr::from_bits(first).into(), Ipv6Addr::from_bits(last).into())
            }
        }
    }

    /// Every packet of one address.
    #[must_use]
    pub const fn host(address: IpAddr) -> Self {
        Self::range(address, address)
    }

    /// Every protocol and port between two addresses of one family.
    const fn range(start: IpAddr, end: IpAddr) -> Self {
        Self { protocol: 0, ports: ANY_PORT, start, end }
    }

    /// Whether every packet that `other` selects is selected by this one too.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.intersect(other) == Some(*other)
    }

    /// How much it selects, as a number to compare with others.
    pub(crate) fn breadth(&self) -> f64 {
        let span = match (self.start, self.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => {
                u128::from(end.to_bits().saturating_sub(start.to_bits()))
            }
            (IpAddr::V6(start), IpAddr::V6(end)) => end.to_bits().saturating_sub(start.to_bits()),
            _ => 0,
        };
        let addresses =
            1.0 + span.to_be_bytes().iter().fold(0.0, |sum, octet| sum * 256.0 + f64::from(*octet));
        let ports = 1.0 + f64::from(self.ports.1.saturating_sub(self.ports.0));
        let protocols = if self.protocol == 0 { 256.0 } else { 1.0 };
        addresses * ports * protocols
    }

    /// The packets that both select, or `None` if there are none.
    #[must_use]
    pub fn intersect(&self, other: &Self) -> Option<Self> {
        if self.start.is_ipv4() != other.start.is_ipv4() {
            return None;
        }
        let protocol = match (self.protocol, other.protocol) {
            (0, protocol) | (protocol, 0) => protocol,
            (ours, theirs) if ours == theirs => ours,
            _ => return None,
        };
        let ports = intersect_ports(self.ports, other.ports)?;
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);
        (start <= end).then_some(Self { protocol, ports, start, end })
    }

    fn parse(kind: TsType, body: &mut Reader<'_>) -> Result<Self, Error> {
        let protocol = body.u8()?;
        let _length = body.u16()?;
        let ports = (body.u16()?, body.u16()?);
        let (start, end): (IpAddr, IpAddr) = if kind == TsType::IPV4_ADDR_RANGE {
            (body.array::<4>()?.into(), body.array::<4>()?.into())
        } else {
            (body.array::<16>()?.into(), body.array::<16>()?.into())
        };
        body.finish()?;
        if start > end {
            return Err(Error::Value("traffic selector ends before its first address"));
        }
        if ports.0 > ports.1 && ports != OPAQUE {
            return Err(Error::Value("traffic selector ends before its first port"));
        }
        Ok(Self { protocol, ports, start, end })
    }

    fn emit(&self, writer: &mut Writer) {
        let (kind, len) = match self.start {
            IpAddr::V4(_) => (TsType::IPV4_ADDR_RANGE, 16),
            IpAddr::V6(_) => (TsType::IPV6_ADDR_RANGE, 40),
        };
        writer.u8(kind.0);
        writer.u8(self.protocol);
        writer.u16(len);
        writer.u16(self.ports.0);
        writer.u16(self.ports.1);
        for address in [self.start, self.end] {
            match address {
                IpAddr::V4(address) => writer.put(&address.octets()),
                IpAddr::V6(address) => writer.put(&address.octets()),
            }
        }
    }

    /// The length of the prefix, if the addresses are exactly one subnet.
    fn prefix_len(&self) -> Option<u32> {
        let (differ, bits) = match (self.start, self.end) {
            (IpAddr::V4(start), IpAddr::V4(end)) => {
                (u128::from(start.to_bits() ^ end.to_bits()), Ipv4Addr::BITS)
            }
            (IpAddr::V6(start), IpAddr::V6(end)) => {
                (start.to_bits() ^ end.to_bits(), Ipv6Addr::BITS)
            }
            _ => return None,
        };
        let host_bits = u128::BITS - differ.leading_zeros();
        let prefix_len = bits - host_bits;
        let whole = Self::subnet(self.start, u8::try_from(prefix_len).ok()?);
        (whole.start == self.start && whole.end == self.end).then_some(prefix_len)
    }
}

/// The ports that both ranges hold. "Any" includes OPAQUE, a narrower range does not (RFC 4301 §4.4.1.1).
fn intersect_ports(a: (u16, u16), b: (u16, u16)) -> Option<(u16, u16)> {
    if a == OPAQUE || b == OPAQUE {
        let other = if a == OPAQUE { b } else { a };
        return (other == OPAQUE || other == ANY_PORT).then_some(OPAQUE);
    }
    let ports = (a.0.max(b.0), a.1.min(b.1));
    (ports.0 <= ports.1).then_some(ports)
}

/// Reads the body of a TSi or TSr payload. Selectors of unknown types are left out (RFC 7296 §2.9 lets us narrow).
///
/// # Errors
/// If the count or a length disagrees with the octets, or a range runs backwards.
pub fn parse(body: &[u8]) -> Result<Vec<TrafficSelector>, Error> {
    let mut reader = Reader::new("traffic selector payload", body);
    let count = reader.u8()?;
    let _reserved = reader.take(3)?;
    let mut selectors = Vec::new();
    for _ in 0..count {
        let mut ahead = reader.clone();
        let kind = TsType(ahead.u8()?);
        let _protocol = ahead.u8()?;
        let len = usize::from(ahead.u16()?);
        if len < 4 {
            return Err(Error::Length("traffic selector"));
        }
        let mut selector = reader.part("traffic selector", len)?;
        let _kind = selector.u8()?;
        if kind == TsType::IPV4_ADDR_RANGE || kind == TsType::IPV6_ADDR_RANGE {
            selectors.push(TrafficSelector::parse(kind, &mut selector)?);
        }
    }
    reader.finish()?;
    Ok(selectors)
}

/// Writes the body of a TSi or TSr payload.
///
/// # Errors
/// [`Error::Overflow`] if there are more than [`MAX_SELECTORS`].
pub fn emit(selectors: &[TrafficSelector], writer: &mut Writer) -> Result<(), Error> {
    let count =
        u8::try_from(selectors.len()).map_err(|_| Error::Overflow("traffic selector payload"))?;
    writer.u8(count);
    writer.put(&[0; 3]);
    for selector in selectors {
        selector.emit(writer);
    }
    Ok(())
}

/// What a responder with the policy `ours` makes of the initiator's `offer` (RFC 7296 §2.9).
///
/// Every pair is intersected; what is contained in another result is left out. The order is that of the offer, so a
/// first selector that stands for the packet at hand keeps its place. Empty means TS_UNACCEPTABLE. At most
/// [`MAX_SELECTORS`] come out.
#[must_use]
pub fn narrow(offer: &[TrafficSelector], ours: &[TrafficSelector]) -> Vec<TrafficSelector> {
    let mut narrowed: Vec<TrafficSelector> = Vec::new();
    let pairs = offer.iter().flat_map(|theirs| ours.iter().map(move |own| (theirs, own)));
    for common in pairs.filter_map(|(theirs, own)| theirs.intersect(own)) {
        if narrowed.iter().any(|known| known.contains(&common)) {
            continue;
        }
        narrowed.retain(|known| !common.contains(known));
        if narrowed.len() < MAX_SELECTORS {
            narrowed.push(common);
        }
    }
    narrowed
}

/// `10.1.0.0/16`, `10.1.0.5-10.1.0.9`; with `[tcp/443]` behind it when it is not for every protocol and port.
impl fmt::Display for TrafficSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.prefix_len() {
            Some(prefix_len) => write!(f, "{}/{prefix_len}", self.start)?,
            None => write!(f, "{}-{}", self.start, self.end)?,
        }
        if self.protocol == 0 && self.ports == ANY_PORT {
            return Ok(());
        }
        match self.protocol {
            0 => f.write_str("[any")?,
            1 => f.write_str("[icmp")?,
            6 => f.write_str("[tcp")?,
            17 => f.write_str("[udp")?,
            58 => f.write_str("[icmp6")?,
            132 => f.write_str("[sctp")?,
            protocol => write!(f, "[{protocol}")?,
        }
        match self.ports {
            ANY_PORT => {}
            OPAQUE => f.write_str("/opaque")?,
            (first, last) if first == last => write!(f, "/{first}")?,
            (first, last) => write!(f, "/{first}-{last}")?,
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn subnet(text: &str) -> TrafficSelector {
        let (address, prefix_len) = text.split_once('/').unwrap();
        TrafficSelector::subnet(address.parse().unwrap(), prefix_len.parse().unwrap())
    }

    fn ports(text: &str, protocol: u8, ports: (u16, u16)) -> TrafficSelector {
        TrafficSelector { protocol, ports, ..subnet(text) }
    }

    fn emitted(selectors: &[TrafficSelector]) -> Vec<u8> {
        let mut writer = Writer::new();
        emit(selectors, &mut writer).unwrap();
        writer.into_octets()
    }

    #[test]
    fn reads_and_writes_what_strongswan_sends() {
        let body = hex::decode("01000000070000100000ffff0a0100000a0100ff").unwrap();
        assert_eq!(parse(&body), Ok(vec![subnet("10.1.0.0/24")]));
        assert_eq!(emitted(&[subnet("10.1.0.0/24")]), body);
    }

    #[test]
    fn a_length_counts_its_own_header() {
        for (len, read) in [(0, false), (3, false), (4, true), (5, false)] {
            let body = [1, 0, 0, 0, 99, 0, 0, len];
            assert_eq!(parse(&body).is_ok(), read, "{len}");
        }
    }

    #[test]
    fn a_range_is_a_subnet_if_both_ends_are() {
        let range = |start: [u8; 4], end: [u8; 4]| {
            TrafficSelector::range(start.into(), end.into()).to_string()
        };
        assert_eq!(range([10, 0, 0, 0], [10, 0, 0, 3]), "10.0.0.0/30");
        assert_eq!(range([10, 0, 0, 0], [10, 0, 0, 2]), "10.0.0.0-10.0.0.2");
        assert_eq!(range([10, 0, 0, 1], [10, 0, 0, 3]), "10.0.0.1-10.0.0.3");
    }

    #[test]
    fn one_address_and_one_port_are_ranges_too() {
        for one in [ports("192.0.2.1/32", 6, (22, 22)), ports("2001:db8::1/128", 17, (53, 53))] {
            assert_eq!(parse(&emitted(&[one])), Ok(vec![one]));
        }
    }

    /// Addresses, ports and protocols, each of those that there are.
    #[test]
    fn breadth_is_how_many_packets_differ() {
        let of = |text, protocol, range| ports(text, protocol, range).breadth();
        for (breadth, expected) in [
            (of("192.0.2.1/32", 6, (22, 22)), 1.0),
            (of("192.0.2.0/24", 6, (22, 22)), 256.0),
            (of("192.0.2.1/32", 6, (22, 25)), 4.0),
            (of("192.0.2.0/31", 6, (1, 8)), 16.0),
            (of("192.0.2.0/24", 0, (1, 2)), 256.0 * 2.0 * 256.0),
            (of("2001:db8::/64", 6, (1, 1)), 2_f64.powi(64)),
        ] {
            assert!((breadth / expected - 1.0).abs() < 1e-9, "{breadth} for {expected}");
        }
    }

    #[test]
    fn unknown_types_are_skipped_and_lies_are_not() {
        let fc = hex::decode("02000000090000080000ffff070000100000ffff0a0100000a0100ff").unwrap();
        assert_eq!(parse(&fc), Ok(vec![subnet("10.1.0.0/24")]));
        for (bad, why) in [
            ("02000000070000100000ffff0a0100000a0100ff", "count too high"),
            ("00000000070000100000ffff0a0100000a0100ff", "count too low"),
            ("01000000070000100000ffff0a0101000a0100ff", "addresses run backwards"),
            ("0100000007000010000200010a0100000a0100ff", "ports run backwards"),
            ("01000000070000110000ffff0a0100000a0100ff00", "longer than the type is"),
            ("0100000007000003", "shorter than its own header"),
        ] {
            assert!(parse(&hex::decode(bad).unwrap()).is_err(), "{why}");
        }
        let opaque = hex::decode("0100000007060010ffff00000a0100000a0100ff").unwrap();
        assert_eq!(parse(&opaque), Ok(vec![ports("10.1.0.0/24", 6, OPAQUE)]));
    }

    #[test]
    fn subnets_are_masked_and_printed() {
        for (text, shown) in [
            ("10.1.2.3/16", "10.1.0.0/16"),
            ("10.1.2.3/32", "10.1.2.3/32"),
            ("10.1.2.3/99", "10.1.2.3/32"),
            ("10.1.2.3/0", "0.0.0.0/0"),
            ("2001:db8::1/64", "2001:db8::/64"),
            ("2001:db8::1/128", "2001:db8::1/128"),
            ("2001:db8::1/0", "::/0"),
        ] {
            assert_eq!(subnet(text).to_string(), shown, "{text}");
        }
        assert_eq!(TrafficSelector::any_v4(), subnet("0.0.0.0/0"));
        assert_eq!(TrafficSelector::any_v6(), subnet("::/0"));
        let mut range = subnet("10.1.0.0/24");
        range.start = "10.1.0.5".parse().unwrap();
        range.end = "10.1.0.9".parse().unwrap();
        assert_eq!(range.to_string(), "10.1.0.5-10.1.0.9");
        assert_eq!(ports("10.0.0.0/8", 6, (443, 443)).to_string(), "10.0.0.0/8[tcp/443]");
        assert_eq!(ports("10.0.0.0/8", 17, (1, 9)).to_string(), "10.0.0.0/8[udp/1-9]");
        assert_eq!(ports("10.0.0.0/8", 1, ANY_PORT).to_string(), "10.0.0.0/8[icmp]");
        assert_eq!(ports("10.0.0.0/8", 47, ANY_PORT).to_string(), "10.0.0.0/8[47]");
        assert_eq!(ports("10.0.0.0/8", 17, OPAQUE).to_string(), "10.0.0.0/8[udp/opaque]");
    }

    #[test]
    fn intersections() {
        let wide = subnet("10.0.0.0/8");
        let web = ports("10.1.0.0/16", 6, (443, 443));
        assert_eq!(wide.intersect(&web), Some(web));
        assert_eq!(web.intersect(&wide), Some(web));
        assert!(wide.contains(&web) && !web.contains(&wide));
        assert_eq!(wide.intersect(&subnet("192.168.0.0/16")), None);
        assert_eq!(wide.intersect(&subnet("::/0")), None);
        assert_eq!(web.intersect(&ports("10.0.0.0/8", 17, ANY_PORT)), None);
        assert_eq!(web.intersect(&ports("10.0.0.0/8", 6, (80, 442))), None);
        let opaque = ports("10.1.0.0/16", 6, OPAQUE);
        assert_eq!(wide.intersect(&opaque), Some(opaque));
        assert_eq!(web.intersect(&opaque), None);
        assert_eq!(opaque.intersect(&opaque), Some(opaque));
        assert!(!opaque.contains(&wide));
    }

    #[test]
    fn narrowing_keeps_the_order_of_the_offer_and_nothing_twice() {
        let ours = [subnet("10.1.0.0/16"), subnet("10.2.0.0/16"), subnet("2001:db8::/32")];
        let offer = [subnet("10.2.0.0/16"), subnet("10.1.3.0/24")];
        assert_eq!(narrow(&offer, &ours), offer);
        assert_eq!(narrow(&[TrafficSelector::any_v4()], &ours), ours[..2]);
        assert_eq!(narrow(&ours, &[TrafficSelector::any_v6()]), ours[2..]);
        let packet_first = [subnet("10.1.3.4/32"), subnet("10.1.0.0/16"), subnet("10.1.9.0/24")];
        assert_eq!(narrow(&packet_first, &ours), [subnet("10.1.0.0/16")]);
        assert_eq!(narrow(&[subnet("172.16.0.0/12")], &ours), []);
        assert_eq!(narrow(&[], &ours), []);
    }

    #[test]
    fn narrowing_is_bounded_by_what_a_payload_can_carry() {
        let odd: Vec<_> = (0..16).map(|i| ports("10.0.0.0/8", 6, (i * 2, i * 2))).collect();
        let hosts: Vec<_> =
            (0..32).map(|i| TrafficSelector::host(Ipv4Addr::new(10, 0, 0, i * 2).into())).collect();
        let narrowed = narrow(&hosts, &odd);
        assert_eq!(narrowed.len(), MAX_SELECTORS);
        let mut writer = Writer::new();
        assert_eq!(emit(&narrowed, &mut writer), Ok(()));
        let many = vec![hosts[0]; 256];
        assert_eq!(emit(&many, &mut writer), Err(Error::Overflow("traffic selector payload")));
    }

    fn any_selector() -> impl Strategy<Value = TrafficSelector> {
        let port_range = any::<(u16, u16)>().prop_map(|(a, b)| (a.min(b), a.max(b)));
        let addresses = prop_oneof![
            any::<(Ipv4Addr, Ipv4Addr)>()
                .prop_map(|(a, b)| (IpAddr::V4(a.min(b)), IpAddr::V4(a.max(b)))),
            any::<(Ipv6Addr, Ipv6Addr)>()
                .prop_map(|(a, b)| (IpAddr::V6(a.min(b)), IpAddr::V6(a.max(b)))),
        ];
        let port_range = prop_oneof![port_range, Just(ANY_PORT), Just(OPAQUE)];
        (prop_oneof![Just(0), Just(6), any::<u8>()], port_range, addresses).prop_map(
            |(protocol, ports, (start, end))| TrafficSelector { protocol, ports, start, end },
        )
    }

    proptest! {
        #[test]
        fn parse_undoes_emit(selectors in prop::collection::vec(any_selector(), 0..20)) {
            prop_assert_eq!(parse(&emitted(&selectors)), Ok(selectors));
        }

        #[test]
        fn an_intersection_is_in_both(a in any_selector(), b in any_selector()) {
            prop_assert!(a.contains(&a));
            prop_assert_eq!(a.intersect(&b), b.intersect(&a));
            if let Some(common) = a.intersect(&b) {
                prop_assert!(a.contains(&common) && b.contains(&common));
            }
        }

        #[test]
        fn any_octets_are_survived(octets in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(selectors) = parse(&octets) {
                prop_assert!(selectors.len() * 16 <= octets.len());
            }
        }
    }
}
