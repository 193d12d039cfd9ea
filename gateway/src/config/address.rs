//! Addresses, networks and endpoints of peers: text to value, with errors that say what to write instead.
//!
//! ```text
//!   10.1.0.0/16              network            10.1.0.5/16   E0123, 10.1.0.0/16 or 10.1.0.5/32
//!   198.51.100.20[:4500]     endpoint           10.1.0.0/160  E0122, 0 to 32; a netmask: its length
//!   [2001:db8::10]:4500      endpoint           10.1.0.0      E0121, prefix length missing
//!   ber-a.example.com:4500   endpoint           300.1.1.1     E0128, not a name either
//! ```

use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net};

use super::codes::Code;
use super::model::{Host, HostName};
use super::report::Diagnostic;
use super::section::Findings;
use super::source::{At, Place};

/// Reads a network; host bits are an error.
pub(super) fn network(at: &At<String>, findings: &mut Findings) -> Option<At<IpNet>> {
    match parse_network(&at.value, &at.place) {
        Ok(network) => Some(At::new(network, at.place.clone())),
        Err(diagnostic) => {
            findings.add(*diagnostic);
            None
        }
    }
}

fn parse_network(text: &str, place: &Place) -> Result<IpNet, Box<Diagnostic>> {
    if let Some(diagnostic) = not_alone(text, place) {
        return Err(Box::new(diagnostic));
    }
    let (address_text, prefix_text) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let Ok(address) = address_text.parse::<IpAddr>() else {
        let diagnostic =
            Diagnostic::at(Code::BadNetwork, place, format!("`{text}` is not a network"))
                .label(format!("`{address_text}` is not an address"))
                .fix("write an address and a prefix length, such as 10.1.0.0/16 or 2001:db8::/32");
        return Err(Box::new(diagnostic));
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let Some(prefix_text) = prefix_text else {
        let diagnostic =
            Diagnostic::at(Code::BadNetwork, place, format!("`{text}` has no prefix length"))
                .label("how large is this network?")
                .fix(format!(
                    "write {address}/{bits} for this one host, or the prefix length of its network"
                ));
        return Err(Box::new(diagnostic));
    };
    if let (IpAddr::V4(address), Ok(mask)) = (address, prefix_text.parse::<Ipv4Addr>()) {
        return Err(Box::new(netmask(address, mask, place)));
    }
    let prefix = prefix_of(address, prefix_text, place)?;
    let network =
        IpNet::new(address, prefix).map_err(|_| prefix_error(address, prefix_text, place))?;
    if network.trunc() != network {
        return Err(Box::new(host_bits(network, place)));
    }
    Ok(network)
}

/// E0121 if there is more than one network in the text, or more than a network.
fn not_alone(text: &str, place: &Place) -> Option<Diagnostic> {
    let between = |c: char| c.is_whitespace() || matches!(c, ',' | ';');
    if !text.contains(between) {
        return None;
    }
    let words: Vec<_> = text.split(between).filter(|word| !word.is_empty()).collect();
    let is_network = |word: &str| {
        word.split('/').next().is_some_and(|address| address.parse::<IpAddr>().is_ok())
    };
    let said = |label: &str, fix: String| {
        Diagnostic::at(Code::BadNetwork, place, format!("`{text}` is not a network"))
            .label(label)
            .fix(fix)
    };
    match words.as_slice() {
        &[network] => {
            Some(said("white space or a comma beside the network", format!("write \"{network}\"")))
        }
        all if text.contains([',', ';']) || all.iter().all(|word| is_network(word)) => {
            let list: Vec<_> = all.iter().map(|word| format!("\"{word}\"")).collect();
            Some(said("one network in each text", format!("write [{}]", list.join(", "))))
        }
        &[network, word, ..] if is_network(network) => {
            let label = match word {
                "via" => "a tunnel has no next hop",
                _ => "only the network stands here",
            };
            Some(said(label, format!("write \"{network}\"")))
        }
        _ => None,
    }
}

/// E0122 with the prefix length that a netmask stands for, or the mask of access lists (`0.0.255.255`).
fn netmask(address: Ipv4Addr, mask: Ipv4Addr, place: &Place) -> Diagnostic {
    let said = |message: String| Diagnostic::at(Code::PrefixLength, place, message);
    let bits = [u32::from(mask), !u32::from(mask)];
    let bits = bits.into_iter().find(|bits| bits.leading_ones() == bits.count_ones());
    let prefix = bits.and_then(|bits| u8::try_from(bits.leading_ones()).ok());
    let network = prefix.and_then(|prefix| Ipv4Net::new(address, prefix).ok());
    let Some(network) = network else {
        return said(format!("`{mask}` is no netmask"))
            .label("its ones are not all on one side")
            .fix("write a prefix length of 0 to 32");
    };
    let meant = network.trunc();
    let fix = if meant.addr() == address {
        format!("write {meant}")
    } else {
        format!("write {meant}, or {address}/32 for this one host")
    };
    said(format!("`{mask}` is a netmask"))
        .label("networks are written with a prefix length here")
        .fix(fix)
}

fn prefix_of(address: IpAddr, text: &str, place: &Place) -> Result<u8, Box<Diagnostic>> {
    let plain = text.len() <= 3 && text.bytes().all(|octet| octet.is_ascii_digit());
    let prefix = text.parse::<u8>().ok().filter(|_| plain);
    prefix.ok_or_else(|| prefix_error(address, text, place))
}

fn prefix_error(address: IpAddr, text: &str, place: &Place) -> Box<Diagnostic> {
    let (family, bits) = if address.is_ipv4() { ("IPv4", 32) } else { ("IPv6", 128) };
    // A digit too many is the usual slip: 160 for 16, 644 for 64; few mean a network as large as /3.
    let shorter = text.get(..text.len().saturating_sub(1)).unwrap_or("");
    let meant = shorter.parse::<u8>().ok().filter(|&prefix| prefix >= 8 && prefix <= bits);
    Box::new(
        Diagnostic::at(
            Code::PrefixLength,
            place,
            format!("prefix length {text} is impossible for {family}"),
        )
        .label(format!("{family} addresses have {bits} bits"))
        .fix(format!("write a prefix length of 0 to {bits}"))
        .help(meant.map(|prefix| format!("did you mean /{prefix}?"))),
    )
}

fn host_bits(network: IpNet, place: &Place) -> Diagnostic {
    let (address, meant) = (network.addr(), network.trunc());
    Diagnostic::at(Code::HostBits, place, format!("network {network} has host bits set"))
        .label(format!("{address} is a host in {meant}"))
        .why("both gateways must name exactly the same network")
        .fix(format!("write {meant}, or {address}/{} for this one host", network.max_prefix_len()))
}

/// Reads an address that a socket can have.
pub(super) fn address(key: &str, at: &At<String>, findings: &mut Findings) -> Option<At<IpAddr>> {
    let complaint = match at.value.parse::<IpAddr>() {
        Ok(address) => match unusable(address) {
            None => return Some(At::new(address, at.place.clone())),
            Some(complaint) => complaint,
        },
        Err(_) => "not an IPv4 or IPv6 address",
    };
    findings.add(
        Diagnostic::at(Code::BadAddress, &at.place, format!("`{}` cannot be used in `{key}`", at.value))
            .label(complaint)
            .fix(format!("write an address such as \"203.0.113.10\" or \"2001:db8::10\", or leave `{key}` out to use all")),
    );
    None
}

fn unusable(address: IpAddr) -> Option<&'static str> {
    if address.is_unspecified() {
        return Some("the unspecified address");
    }
    if address.is_multicast() || address == IpAddr::from([255; 4]) {
        return Some("an address of many hosts");
    }
    None
}

/// Reads one endpoint of a peer (not the word `any`).
pub(super) fn host(at: &At<String>, findings: &mut Findings) -> Option<At<Host>> {
    match parse_host(&at.value) {
        Ok(host) => Some(At::new(host, at.place.clone())),
        Err((complaint, fix)) => {
            findings.add(
                Diagnostic::at(Code::BadPeer, &at.place, format!("`{}` is not a peer", at.value))
                    .label(complaint)
                    .fix(fix),
            );
            None
        }
    }
}

const HOST_FIX: &str = "write an address or a name, such as \"198.51.100.20\", \"[2001:db8::1]:4500\" or \"ber.example.com:4500\"";

/// Whether a text can stand in `peer`.
pub(crate) fn is_host(text: &str) -> bool {
    parse_host(text).is_ok()
}

/// The error is what is wrong and what to write.
fn parse_host(text: &str) -> Result<Host, (String, String)> {
    let fault = |complaint: &str| (complaint.to_owned(), HOST_FIX.to_owned());
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(Host { name: usable(address)?, port: None });
    }
    if let Some(inner) = text.strip_prefix('[') {
        let (address, after) = inner.split_once(']').ok_or_else(|| fault("`]` is missing"))?;
        let address = address
            .parse::<std::net::Ipv6Addr>()
            .map_err(|_| fault("what is in brackets is not an IPv6 address"))?;
        let port = match after.strip_prefix(':') {
            Some(port) => Some(parse_port(port)?),
            None if after.is_empty() => None,
            None => return Err(fault("only `:port` may follow the bracket")),
        };
        return Ok(Host { name: usable(address.into())?, port });
    }
    let (name, port) = match text.split_once(':') {
        Some((name, port)) if !port.contains(':') => (name, Some(parse_port(port)?)),
        Some(_) if text.contains('%') => return Err(fault("zones are not supported")),
        Some(_) => return Err(fault("neither an IPv6 address nor a name with a port")),
        None => (text, None),
    };
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(Host { name: usable(address)?, port });
    }
    if name.contains('/') {
        return Err(fault("a peer is one host, not a network"));
    }
    if name.chars().all(|c| c.is_ascii_digit() || c == '.') {
        return Err(fault("not an IPv4 address: four numbers up to 255"));
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    if is_dns_name(&name) {
        return Ok(Host { name: HostName::Dns(name), port });
    }
    Err(fault("not a DNS name: letters, digits and `-` in labels of 1 to 63, joined by dots"))
}

fn usable(address: IpAddr) -> Result<HostName, (String, String)> {
    let Some(complaint) = unusable(address) else {
        return Ok(HostName::Address(address));
    };
    let any = "write \"any\" for a peer that may call from everywhere";
    let fix = if address.is_unspecified() { any } else { HOST_FIX };
    Err((complaint.to_owned(), fix.to_owned()))
}

fn parse_port(text: &str) -> Result<u16, (String, String)> {
    let port = text.parse::<u16>().ok().filter(|&port| port > 0 && !text.starts_with('+'));
    port.ok_or_else(|| {
        (format!("`{text}` is not a port"), "write a port from 1 to 65535 after the `:`".to_owned())
    })
}

/// Host names of RFC 1123 §2.1, with `_` because it is in use.
fn is_dns_name(name: &str) -> bool {
    let label_fits = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label_fits)
}

/// Whether two networks have an address in common.
pub(super) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_are_read_with_and_without_port() {
        for (text, shown) in [
            ("198.51.100.20", "198.51.100.20"),
            ("198.51.100.20:4500", "198.51.100.20:4500"),
            ("2001:db8::4:703", "2001:db8::4:703"),
            ("[2001:db8::4]:703", "[2001:db8::4]:703"),
            ("[2001:db8::4]", "2001:db8::4"),
            ("Ber-A.example.com.", "ber-a.example.com"),
            ("ber.example.com:4500", "ber.example.com:4500"),
        ] {
            assert_eq!(
                parse_host(text).map(|host| host.to_string()).as_deref(),
                Ok(shown),
                "{text}"
            );
        }
        for text in [
            "",
            "300.1.1.1",
            "1.2.3",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            "ff02::1",
            "a:0",
            "a:65536",
            "a:+1",
            "a:",
            "[::1",
            "[1.2.3.4]:5",
            "[2001:db8::1]x",
            "fe80::1%eth0",
            "a b",
            "-a.com",
            "a..b",
            "10.0.0.0/8",
            "2001:db8::g",
        ] {
            assert!(parse_host(text).is_err(), "{text}");
        }
    }
}
