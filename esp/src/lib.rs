//! ESP (RFC 4303) tunnel mode on caller-owned buffers: no IO, no clock, no allocation, no lock per packet.
//!
//! ```text
//!            | .. HEADROOM .. |      inner IP packet       | .. TAILROOM .. |       one buffer
//!
//!  encap()   | SPI | seq | IV |   inner IP packet (enc.)   | pad | nh | ICV |       -> socket
//!  decap()   | SPI | seq | IV |      inner IP packet       | pad | nh | ICV |       -> TUN device
//! ```
//!
//! - [`OutboundSa`] and [`InboundSa`] are one direction of a child SA each. Keys are expanded when they are made
//!   ([`SaParams`]); after that they work on slices, one packet a call, in place.
//! - A packet that cannot be passed on is a [`DropReason`], a word to be counted. Nothing an attacker sends panics,
//!   and nothing unauthenticated changes an SA.
//! - [`ip`] reads IP headers, [`udp`] tells IKE from ESP on port 4500, [`replay`] is the replay window,
//!   [`inner_mtu`] says what fits.
//! - What else a tunnel does to inner packets: [`mss`] lowers what TCP announces, [`ecn`] carries congestion marks in
//!   and out, [`too_big`] answers what does not fit and [`mod@unreachable`] what no tunnel takes, [`checksum`] keeps all of them right.
//!
//! Suites, with keys of 128, 192 and 256 bits where the cipher is AES: AES-GCM (RFC 4106), AES-CCM (RFC 4309),
//! ChaCha20-Poly1305 (RFC 7634), each also with an implicit IV (RFC 8750), AES-GMAC (RFC 4543); AES-CBC (RFC 3602), AES-CTR
//! (RFC 3686), NULL (RFC 2410) and, for old peers, 3DES-CBC (RFC 2451) with HMAC-SHA2 (RFC 4868), HMAC-SHA1 (RFC 2404),
//! AES-XCBC (RFC 3566) or AES-CMAC (RFC 4494). Sequence numbers of 32 bits or extended ones of 64.
//!
//! # Features
//!
//! - `ring` (default): AES-GCM-16 with 128 and 256 bits and ChaCha20-Poly1305 by `ring`, three times as fast as the crates of
//!   RustCrypto, which do all other suites, and those too where neither feature is on.
//! - `aws-lc`: the same and AES-GCM-16 with 192 bits by AWS-LC: faster above some 4 KiB, slower at 1400 octets; needs a C compiler.
//!
//! # Example
//! ```
//! use std::{net::Ipv4Addr, num::NonZeroU32, sync::Arc};
//! use esp::{Aead, AesKey, DropReason, HEADROOM, InboundSa, OutboundSa, SaParams, Selector, Selectors, Suite, TAILROOM};
//!
//! let ours = Selector::addresses(Ipv4Addr::new(10, 1, 0, 0).into(), Ipv4Addr::new(10, 1, 255, 255).into());
//! let theirs = Selector::addresses(Ipv4Addr::new(10, 2, 0, 0).into(), Ipv4Addr::new(10, 2, 255, 255).into());
//! let params = |local, remote| SaParams {
//!     spi: NonZeroU32::new(0x1234_5678).unwrap(),
//!     suite: Suite::Combined(Aead::AesGcm16(AesKey::Bits256)),
//!     encr_key: &[7; 36], // from IKE: 32 octets of key, 4 of salt
//!     integ_key: &[],
//!     esn: true,
//!     selectors: Arc::new(Selectors { local: vec![local], remote: vec![remote] }),
//!     replay_window: esp::DEFAULT_REPLAY_WINDOW,
//! };
//! let mut sender = OutboundSa::new(params(ours, theirs))?;
//! let mut receiver = InboundSa::new(params(theirs, ours))?;
//!
//! // An IPv4 header and no payload, 10.1.0.1 to 10.2.0.1, with room around it.
//! let inner = [0x45, 0, 0, 20, 0, 0, 0x40, 0, 64, 253, 0, 0, 10, 1, 0, 1, 10, 2, 0, 1];
//! let mut buffer = vec![0; HEADROOM + inner.len() + TAILROOM];
//! let place = HEADROOM..HEADROOM + inner.len();
//! buffer[place.clone()].copy_from_slice(&inner);
//!
//! let sealed = sender.encap(&mut buffer, place)?;
//! let mut packet = buffer[sealed].to_vec(); // goes over the network
//! let mut copy = packet.clone();
//! let opened = receiver.decap(&mut packet)?;
//! assert_eq!(packet[opened], inner);
//! assert_eq!(receiver.decap(&mut copy), Err(DropReason::Replayed));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

#![forbid(unsafe_code)]

pub mod checksum;
pub mod ecn;
pub mod ip;
pub mod mss;
pub mod replay;
pub mod too_big;
pub mod udp;
pub mod unreachable;

mod cipher;
mod coalesce;
mod header;
mod inbound;
mod mtu;
mod outbound;
mod params;
mod reason;
mod segment;
mod selector;
mod sequence;
mod suite;
mod train;
mod vnet;

pub use coalesce::{Coalescer, Gathered, Mergeable};
pub use header::{HEADROOM, TAILROOM};
pub use inbound::InboundSa;
pub use mtu::{
    MIN_MTU_V4, MIN_MTU_V6, Quote, inner_mtu, inner_mtu_of_path, lowered_path_mtu, min_mtu,
    outer_len, overhead,
};
pub use outbound::OutboundSa;
pub use params::{DEFAULT_REPLAY_WINDOW, KeyError, SaParams};
pub use reason::DropReason;
pub use segment::Segments;
pub use selector::{ANY_PORT, OPAQUE_PORT, Selector, Selectors};
pub use suite::{Aead, AesKey, Cipher, Integrity, Suite};
pub use train::{Train, TrainLimits};
pub use vnet::{Gso, GsoKind, PartialChecksum, VNET_HEADER_LEN, VnetHeader};

#[cfg(test)]
mod tests;
