//! Test-only: what a fuzzer does with octets. Each target is a function that panics when something is wrong.
//!
//! ```text
//!   targets() ─┬─► cargo test -p fuzz      each of them, with its seeds and with nonsense
//!              └─► fuzz/libfuzzer          the same functions under libFuzzer (cargo xtask fuzz)
//!
//!   ike      message, payloads, identity, keywords, selectors                         what peers send and people write
//!   pki      certificate                       + of `ikev2::fuzz` with the feature `inside`: chain
//!   esp      esp, offload, coalesce, inner, icmp                                      packets
//!   text     config, control, import                                                  files and commands
//!            responder, initiator, fragments (of `ikev2::fuzz` with the feature `inside`)
//!
//!   seeds    fuzz/seeds/TARGET, and of $IPSEC_VECTORS what fits
//! ```
//!
//! An input that once brought something down is kept under `fuzz/seeds/TARGET`; whatever is in there is run by every
//! `cargo test`.

#![forbid(unsafe_code)]

mod esp;
mod icmp;
mod ike;
mod input;
mod offload;
mod pki;
pub mod seeds;
mod text;

/// Something that can be fuzzed.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// A word, also that of its directory of seeds.
    pub name: &'static str,
    /// Takes any octets; returns if all is well.
    pub body: fn(&[u8]),
}

const OURS: [Target; 14] = [
    Target { name: "message", body: ike::message },
    Target { name: "payloads", body: ike::payloads },
    Target { name: "identity", body: ike::identity },
    Target { name: "keywords", body: ike::keywords },
    Target { name: "selectors", body: ike::selectors },
    Target { name: "certificate", body: pki::certificate },
    Target { name: "esp", body: esp::open },
    Target { name: "offload", body: offload::offload },
    Target { name: "coalesce", body: offload::coalesce },
    Target { name: "inner", body: esp::inner },
    Target { name: "icmp", body: icmp::quote },
    Target { name: "config", body: text::config },
    Target { name: "control", body: text::control },
    Target { name: "import", body: text::import },
];

/// A name and a body, as `ikev2` has them.
type Named = (&'static str, fn(&[u8]));

#[cfg(feature = "inside")]
const INSIDE: &[Named] = &ikev2::fuzz::TARGETS;
#[cfg(not(feature = "inside"))]
const INSIDE: &[Named] = &[];

/// All targets that this crate was compiled with.
pub fn targets() -> impl Iterator<Item = Target> {
    let inside = INSIDE.iter().map(|(name, body)| Target { name, body: *body });
    OURS.into_iter().chain(inside)
}
