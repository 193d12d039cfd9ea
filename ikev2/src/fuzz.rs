//! What a fuzzer does where the public interface does not reach: with the keys of an SA, or before them.
//!
//! ```text
//!   octets ─► Input ─┬─► responder, initiator   endpoint/fuzz.rs           both ends, one of them hostile, driven by a script
//!                    ├─► fragments              crypto/sk/fragments/fuzz   reassembly beside a model of it
//!                    └─► chain                  here                       certificates of a stranger, held against CAs
//! ```
//!
//! The functions never return what they found: they panic. Everything else is fuzzed from the crate `fuzz`, through the public
//! interface. The tests of this crate replay `fuzz/seeds`.

use crate::crypto::sk::fuzz as sk;
use crate::endpoint::fuzz as endpoint;
use crate::pki::{Certificate, CertificateTrust, Crl, CrlPolicy, chain::leaves};
use crate::wire::identity::Identity;

/// A name, and what it stands for.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: [Target; 4] = [
    ("responder", endpoint::responder),
    ("initiator", endpoint::initiator),
    ("fragments", sk::fragments),
    ("chain", chain),
];

/// Octets of a fuzzer, taken from the front. Where there are none left, there are zeros.
pub(crate) struct Input<'d>(pub(crate) &'d [u8]);

impl<'d> Input<'d> {
    pub(crate) fn octet(&mut self) -> u8 {
        self.0.split_off_first().copied().unwrap_or(0)
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.octet(), self.octet()])
    }

    /// As many as the next octet says, or all that are left.
    pub(crate) fn few(&mut self) -> &'d [u8] {
        let len = usize::from(self.octet());
        self.up_to(len)
    }

    /// As many as the next two octets say, or all that are left.
    pub(crate) fn many(&mut self) -> &'d [u8] {
        let len = usize::from(self.short());
        self.up_to(len)
    }

    fn up_to(&mut self, len: usize) -> &'d [u8] {
        let len = len.min(self.0.len());
        self.0.split_off(..len).unwrap_or_default()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// | flags | how many anchors | each: length, DER | how many lists | each | what the peer sent: each |
///
/// The peer claims what its own certificate says, so that the path is looked at, or something else.
fn chain(data: &[u8]) {
    let mut input = Input(data);
    let flags = input.octet();
    let mut trust = CertificateTrust::default();
    for _ in 0..input.octet() % 4 {
        let Ok(anchor) = Certificate::from_der(input.many()) else { continue };
        if flags & 1 == 0 { &mut trust.anchors } else { &mut trust.pinned }.push(anchor);
    }
    for _ in 0..input.octet() % 3 {
        trust.crls.extend(Crl::from_der(input.many()));
    }
    if flags & 2 != 0 {
        trust.crl_policy = CrlPolicy::Require;
    }
    let mut sent = Vec::new();
    while !input.is_empty() {
        sent.push(input.many());
    }
    let own = sent.first().and_then(|leaf| Certificate::from_der(leaf).ok());
    let own = own.and_then(|leaf| leaf.identities().first().cloned());
    let claimed = own.unwrap_or_else(|| Identity::Fqdn("gw.example.com".into()));
    for now in [None, Some(0), Some(NOW), Some(u64::MAX)] {
        match leaves(&trust, &sent, &claimed, now) {
            Ok(good) => {
                assert!(!good.is_empty() && now.is_some());
                for leaf in good {
                    assert!(leaf.covers(&claimed), "{claimed} is not what the certificate is for");
                    assert!(now.is_some_and(|now| leaf.not_before() <= now));
                    assert!(now.is_some_and(|now| now <= leaf.not_after()));
                }
            }
            Err(problem) => drop(problem.to_string()),
        }
    }
}

/// 2026-06-01, when the certificates of the tests are valid.
const NOW: u64 = 1_780_272_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_harmless() {
        for (name, body) in TARGETS {
            let dir = format!("{}/../fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
            let mut count = 0;
            for entry in std::fs::read_dir(&dir).unwrap_or_else(|error| panic!("{dir}: {error}")) {
                let path = entry.unwrap().path();
                println!("{}", path.display());
                body(&std::fs::read(path).unwrap());
                count += 1;
            }
            assert!(count > 0, "{dir} has no seeds");
        }
    }

    /// Whatever comes in: a few thousand inputs of no sense, so that `cargo test` shows what falls over at once.
    #[test]
    fn nonsense_is_harmless() {
        for (_, body) in TARGETS {
            body(&[]);
            for seed in 0..200_u32 {
                let mut state = seed.wrapping_mul(2_654_435_761) | 1;
                let octets: Vec<u8> = (0..seed * 3)
                    .map(|_| {
                        state ^= state << 13;
                        state ^= state >> 17;
                        state ^= state << 5;
                        state.to_be_bytes()[0]
                    })
                    .collect();
                body(&octets);
            }
        }
    }
}
