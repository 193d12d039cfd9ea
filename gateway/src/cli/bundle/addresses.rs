//! Addresses in any text, and others for them: those that share so many leading bits do so afterwards, too.
//!
//! ```text
//!   10.1.0.0/16  10.1.7.5      ─►  44.83.0.0/16  44.83.201.9       inside each other as before
//!   at each bit: the bits before it ─► a coin, thrown once for each run ─► keep it, or turn it round
//! ```
//!
//! Nothing is enciphered: the coins are kept nowhere, so that nobody can go back. 0.0.0.0, loopback, groups, masks and the
//! beginnings of link-local addresses stay what they are, and nothing else becomes one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::ops::Range;

/// What stands in a text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Thing {
    /// An address, and the length of the prefix behind it.
    Ip(IpAddr, Option<u8>),
    /// Of a device, as it is written.
    Mac(String),
}

/// Every address in a text, and where: of `10.1.0.0/16` all, of `10.1.0.5:500` only the address.
pub(super) fn find(text: &str) -> Vec<(Range<usize>, Thing)> {
    let octets = text.as_bytes();
    let is_part = |at: usize| {
        octets.get(at).is_some_and(|octet| octet.is_ascii_hexdigit() || b".:".contains(octet))
    };
    let mut found = Vec::new();
    let mut at = 0;
    while at < octets.len() {
        if !is_part(at) {
            at += 1;
            continue;
        }
        let start = at;
        while is_part(at) {
            at += 1;
        }
        in_run(text, start..at, &mut found);
    }
    found
}

/// The addresses in a run of hexadecimal digits, dots and colons.
fn in_run(text: &str, run: Range<usize>, found: &mut Vec<(Range<usize>, Thing)>) {
    let word = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    let octets = text.as_bytes();
    let is_joined =
        word(run.start.checked_sub(1).and_then(|at| octets.get(at))) || word(octets.get(run.end));
    let whole = text.get(run.clone()).unwrap_or_default();
    if !is_joined {
        for shown in [whole, whole.trim_end_matches('.'), whole.strip_suffix(':').unwrap_or(whole)]
        {
            let place = run.start..run.start + shown.len();
            if is_mac(shown) {
                found.push((place, Thing::Mac(shown.to_ascii_lowercase())));
                return;
            }
            if let Ok(address) = shown.parse::<IpAddr>() {
                found.push(with_prefix(text, place, address));
                return;
            }
        }
    }
    // `10.1.0.5:500`, `::ffff:10.1.0.5`, and what hangs together with a word.
    let mut at = run.start;
    for part in whole.split(|c: char| !c.is_ascii_digit() && c != '.') {
        let lead = part.len() - part.trim_start_matches('.').len();
        let shown = part.trim_matches('.');
        if let Ok(address) = shown.parse::<IpAddr>() {
            found.push(with_prefix(text, at + lead..at + lead + shown.len(), address));
        }
        at += part.len() + 1;
    }
}

fn is_mac(text: &str) -> bool {
    text.len() == 17
        && text.split(':').count() == 6
        && text.split(':').all(|pair| pair.len() == 2 && u8::from_str_radix(pair, 16).is_ok())
}

/// The same with `/16` behind it, if that is there and possible.
fn with_prefix(text: &str, place: Range<usize>, address: IpAddr) -> (Range<usize>, Thing) {
    let rest = text.get(place.end..).and_then(|rest| rest.strip_prefix('/')).unwrap_or_default();
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let length = rest.get(..digits).and_then(|digits| digits.parse::<u8>().ok());
    match length.filter(|length| *length <= width(address)) {
        Some(length) => (place.start..place.end + 1 + digits, Thing::Ip(address, Some(length))),
        None => (place, Thing::Ip(address, None)),
    }
}

/// What becomes of addresses.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// Family, how many bits stand before, which ones: whether the next is turned round.
    coins: BTreeMap<(u8, u8, u128), bool>,
    macs: BTreeMap<String, String>,
    /// Random octets that were not used yet.
    pool: Vec<u8>,
}

impl Addresses {
    /// For these things: none of them becomes another of them, as far as throwing the coins again achieves that.
    ///
    /// # Errors
    /// A sentence, if the kernel gives no random octets.
    pub(super) fn of(all: &BTreeSet<Thing>) -> Result<Self, String> {
        let originals: BTreeSet<IpAddr> = all
            .iter()
            .filter_map(|thing| match thing {
                Thing::Ip(address, _) => Some(*address).filter(|address| !is_kept(*address)),
                Thing::Mac(_) => None,
            })
            .collect();
        let mut best: Option<(usize, Self)> = None;
        for _ in 0..ATTEMPTS {
            let mut addresses = Self::default();
            let mut clashes = 0;
            for thing in all {
                if let Thing::Ip(address, length) = thing
                    && originals.contains(address)
                    && *length != Some(0)
                {
                    let image = addresses.image(*address, *length)?;
                    clashes += usize::from(originals.contains(&image));
                }
            }
            let is_clean = clashes == 0;
            if best.as_ref().is_none_or(|(least, _)| clashes < *least) {
                best = Some((clashes, addresses));
            }
            if is_clean {
                break;
            }
        }
        let mut addresses = best.map(|(_, addresses)| addresses).unwrap_or_default();
        let macs = all.iter().filter_map(|thing| match thing {
            Thing::Mac(mac)
                if !["00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff"].contains(&mac.as_str()) =>
            {
                Some(mac.clone())
            }
            Thing::Mac(_) | Thing::Ip(..) => None,
        });
        addresses.macs = macs
            .enumerate()
            .map(|(number, mac)| {
                let [.., high, low] = (number + 1).to_be_bytes();
                (mac, format!("02:00:00:00:{high:02x}:{low:02x}"))
            })
            .collect();
        Ok(addresses)
    }

    /// How it is written instead.
    ///
    /// # Errors
    /// A sentence, if the kernel gives no random octets.
    pub(super) fn instead(&mut self, thing: &Thing) -> Result<String, String> {
        Ok(match thing {
            Thing::Mac(mac) => self.macs.get(mac).unwrap_or(mac).clone(),
            Thing::Ip(address, None) => self.image(*address, None)?.to_string(),
            Thing::Ip(address, Some(length)) => {
                format!("{}/{length}", self.image(*address, Some(*length))?)
            }
        })
    }

    fn image(&mut self, address: IpAddr, length: Option<u8>) -> Result<IpAddr, String> {
        if is_kept(address) {
            return Ok(address);
        }
        let (width, bits) = (width(address), bits(address));
        let host_bits = |length: u8| bits & !(u128::MAX << (width - length).min(127));
        // A network: its host bits stay zeroes.
        let told = length.filter(|length| *length < width && host_bits(*length) == 0);
        let told = told.unwrap_or(width);
        let mut image = 0;
        for before in 0..told {
            let prefix = bits.checked_shr((width - before).into()).unwrap_or(0);
            let bit = (bits >> (width - before - 1)) & 1 == 1;
            let turned = self.coin(width, before, prefix)?;
            image |= u128::from(bit ^ turned) << (width - before - 1);
        }
        Ok(address_of(width, image))
    }

    fn coin(&mut self, width: u8, before: u8, prefix: u128) -> Result<bool, String> {
        if let Some(coin) = self.coins.get(&(width, before, prefix)) {
            return Ok(*coin);
        }
        // On the way to what stays: it can be reached from nowhere else.
        let is_fixed = KEPT.iter().any(|(of, length, kept)| {
            *of == width && before < *length && *kept >> (length - before) == prefix
        });
        let coin = !is_fixed && self.octet()? & 1 == 1;
        self.coins.insert((width, before, prefix), coin);
        Ok(coin)
    }

    fn octet(&mut self) -> Result<u8, String> {
        if self.pool.is_empty() {
            self.pool = vec![0; 4096];
            getrandom::fill(&mut self.pool)
                .map_err(|error| format!("the kernel gives no random octets: {error}"))?;
        }
        Ok(self.pool.pop().unwrap_or(0))
    }
}

/// Beginnings that stay, and that nothing else gets: family, length, bits. 127/8, 169.254/16, 224/3; ff00::/8, fe80::/64.
const KEPT: [(u8, u8, u128); 5] =
    [(32, 8, 127), (32, 16, 0xa9fe), (32, 3, 7), (128, 8, 0xff), (128, 64, 0xfe80 << 48)];

/// How often the coins are thrown at most.
const ATTEMPTS: usize = 200;

/// Those that say nothing about anybody.
fn is_kept(address: IpAddr) -> bool {
    let is_high = matches!(address, IpAddr::V4(v4) if v4.octets()[0] >= 240);
    address.is_unspecified() || address.is_loopback() || address.is_multicast() || is_high
}

const fn width(address: IpAddr) -> u8 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_bits().into(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

fn address_of(width: u8, bits: u128) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if width == 32 => IpAddr::V4(bits.into()),
        Ok(_) | Err(_) => IpAddr::V6(bits.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Vec<String> {
        find(text).into_iter().filter_map(|(at, _)| text.get(at).map(str::to_owned)).collect()
    }

    #[test]
    fn addresses_are_found_wherever_they_stand() {
        let text = "peer=198.51.100.20:4500 [2001:db8::10]:500, 10.1.0.0/16,10.2.0.7. at 08:01:21 v0.1.0 \
                    ike::dead fe80::1%eth0 id10.3.0.1x 52:54:00:aa:bb:cc 10.4.0.0/33 2001:db8::1: no ::/0";
        let expected = [
            "198.51.100.20",
            "2001:db8::10",
            "10.1.0.0/16",
            "10.2.0.7",
            "fe80::1",
            "10.3.0.1",
            "52:54:00:aa:bb:cc",
            "10.4.0.0",
            "2001:db8::1",
            "::/0",
        ];
        assert_eq!(shown(text), expected);
    }

    #[test]
    fn what_shares_a_prefix_shares_as_much_afterwards() {
        let texts = [
            "10.1.0.0/16",
            "10.1.7.5",
            "10.1.7.0/24",
            "10.2.0.0/16",
            "2001:db8:1::/48",
            "2001:db8:1::7",
        ];
        let all: BTreeSet<Thing> =
            texts.iter().flat_map(|text| find(text)).map(|(_, thing)| thing).collect();
        let mut addresses = Addresses::of(&all).expect("random");
        let mut images = Vec::new();
        for text in texts {
            let (_, thing) = find(text).remove(0);
            let Thing::Ip(address, length) = thing else { panic!("{text}") };
            let image = addresses.image(address, length).expect("random");
            assert_ne!(image, address, "{text}");
            images.push((address, image));
        }
        for (a, a_image) in &images {
            for (b, b_image) in &images {
                let shared = |a: &IpAddr, b: &IpAddr| (bits(*a) ^ bits(*b)).leading_zeros();
                let _: (u8, u8) = (width(*a), width(*b));
                if width(*a) == width(*b) {
                    // Of networks the host bits are zeroes on both sides.
                    let (before, after) = (shared(a, b), shared(a_image, b_image));
                    assert!(before == after || before >= 128 - 16, "{a} {b}: {before} {after}");
                }
            }
        }
        assert!(addresses.instead(&find("10.1.0.0/16")[0].1).expect("random").ends_with(".0.0/16"));
    }

    #[test]
    fn what_means_the_same_to_everybody_stays() {
        let mut addresses = Addresses::default();
        for text in
            ["0.0.0.0/0", "127.0.0.1", "224.0.0.1", "255.255.255.0", "::1", "::/0", "ff02::1"]
        {
            let (_, thing) = find(text).remove(0);
            assert_eq!(addresses.instead(&thing).expect("random"), text);
        }
        for text in ["169.254.1.1", "fe80::1"] {
            let (_, thing) = find(text).remove(0);
            let image = addresses.instead(&thing).expect("random");
            assert_eq!(image.get(..4), text.get(..4), "still of the link");
        }
        for number in 0..=u8::MAX {
            let image = addresses.image([number, 7, 7, 7].into(), None).expect("random");
            let becomes = image.is_loopback() || image.is_multicast();
            assert_eq!(becomes, number == 127 || (224..240).contains(&number), "{number} {image}");
        }
    }
}
