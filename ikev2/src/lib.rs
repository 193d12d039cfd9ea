//! IKEv2 (RFC 7296) as a sans-IO state machine, for both roles.
//!
//! ```text
//!   UDP payloads ──► handle_datagram ┐                  ┌─► poll_event     install / remove SAs FIRST
//!        clock   ──► handle_timeout  ├──►  Endpoint  ───┼─► poll_transmit  then send these datagrams
//!     commands   ──► connect, rekey… ┘  (owns all SAs)  └─► poll_timeout   then sleep until this deadline
//! ```
//!
//! The crate opens no socket, reads no clock and spawns nothing. Time (`now`) and randomness (a seed) are arguments,
//! so the same inputs give the same bytes. No input makes it panic; what is not authentic changes no SA that is up.
//!
//! # The drain contract
//!
//! After every `handle_*` call or command, call [`Endpoint::poll_event`] until it returns `None`, then
//! [`Endpoint::poll_transmit`] until `None`, then read [`Endpoint::poll_timeout`]. Events come before transmits because
//! a responder must be able to receive on a new SA before its answer leaves (RFC 7296 §2.8). Drain after a datagram that was
//! [dropped](Disposition::Dropped), too: a cookie or a repeated answer may wait to be sent. `now` never goes back.
//!
//! # Two endpoints in a dozen lines
//!
//! What goes over a wire elsewhere goes from hand to hand here; `examples/two_sockets.rs` has sockets and a clock.
//!
//! ```
//! use std::time::Instant;
//! use ikev2::{ChildConfig, Endpoint, EndpointConfig, Event, Path, PeerConfig, Proposal, Psk, TrafficSelector};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let addresses = ["192.0.2.1:500".parse()?, "192.0.2.2:500".parse()?];
//! let nets = [1, 2].map(|n| vec![TrafficSelector::subnet([10, n, 0, 0].into(), 16)]);
//! let now = Instant::now();
//! let mut ends = Vec::new();
//! for us in [0, 1] {
//!     let ike = vec![Proposal::ike_from_keywords("aes256gcm16-prfsha256-curve25519")?];
//!     let esp = vec![Proposal::esp_from_keywords("aes256gcm16")?];
//!     let mut peer = PeerConfig::new("the other", Psk::new(b"a secret of both".to_vec()), ike);
//!     peer.paths = vec![Path { local: addresses[us], remote: addresses[1 - us] }];
//!     peer.children = vec![ChildConfig::new("net", nets[us].clone(), nets[1 - us].clone(), esp)];
//!     // The seed decides every key: take it from the operating system.
//!     let mut endpoint = Endpoint::new(EndpointConfig::default(), [us as u8; 32]);
//!     endpoint.add_peer(now, peer);
//!     ends.push(endpoint);
//! }
//! let mut installed = 0;
//! while installed < 2 {
//!     for us in [0, 1] {
//!         while let Some(event) = ends[us].poll_event() {
//!             if let Event::ChildUp { child, .. } = event {
//!                 assert_eq!(child.remote_ts, nets[1 - us]); // `child` has the keys and SPIs of both directions
//!                 installed += 1;
//!             }
//!         }
//!         while let Some(transmit) = ends[us].poll_transmit() {
//!             let Path { local, remote } = transmit.path;
//!             let path = Path { local: remote, remote: local };
//!             ends[1 - us].handle_datagram(now, path, &mut transmit.payload.to_vec());
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What the caller does
//!
//! - **Datagrams.** On the NAT port (4500) it adds and removes the four zero octets of the non-ESP marker (RFC 3948 §2.2) and
//!   hands ESP to its data plane. [`Transmit::path`] names both ends; the local address matters on a host with several.
//! - **NAT.** While [`IkeSaInfo::nat_local`] is true it sends an octet 0xff from the NAT port to the peer every 20 s, so that the
//!   NAT keeps its mapping (RFC 3948 §2.3, §4).
//! - **SAs.** [`Event::ChildUp`] and [`Event::ChildDown`] install and remove ESP SAs; [`SendWhen`] says when the outbound half
//!   may be used; [`Event::PeerMoved`] takes children elsewhere.
//! - **Usage.** [`Endpoint::report_usage`] drives lifetimes in octets and packets, and liveness; [`Endpoint::heard_from`]
//!   tells where a peer behind a NAT sends from.
//! - **Certificates.** [`pki`] takes DER and reads no file; [`Endpoint::set_wall_clock`] says what time of day it is, which
//!   nothing but their validity depends on. [`IkeSaInfo`] has the certificate that a peer showed.
//! - **Operators.** [`Event::PeerDown`], [`Event::Refused`] and [`Event::ChildFailed`] carry a [`CloseReason`], with what
//!   was offered and what would have been accepted; it counts the [`DropReason`]s.
//!
//! # Versions
//!
//! What will grow is `#[non_exhaustive]`: configurations are made by their constructors and changed field by field, events and
//! drop reasons are matched with a wildcard. [`CloseReason`] is exhaustive on purpose: whoever explains these to people has to
//! explain each, so a new one is a new major version. So are the small choices of a configuration ([`Start`], [`Encap`] and their
//! like), and what an event brings ([`ChildSa`], [`IkeSaInfo`]) is read field by field.
#![forbid(unsafe_code)]

mod admission;
mod allowance;
mod candidates;
mod config;
mod crypto;
mod difference;
#[cfg(test)]
mod effort;
mod endpoint;
mod error;
mod event;
#[cfg(any(test, feature = "fuzz"))]
pub mod fuzz;
pub mod keyword;
mod peer;
mod peers;
pub mod pki;
pub mod registry;
mod sa;
mod shared;
mod timers;
pub mod wire;

pub use config::{
    ChildConfig, Childless, Dpd, DpdAction, Encap, EndpointConfig, FragmentSizes, Fragmentation,
    Lifetime, LocalAuth, Pairing, PeerConfig, Ppk, PpkKey, PpkMix, Psk, RemoteAuth, RemoteId,
    Start,
};
pub use crypto::additional::AdditionalKe;
pub use crypto::suite::{ChildSuite, IkeSuite};
#[doc(hidden)]
pub use crypto::timing;
pub use difference::{Difference, TypeDifference, closest};
pub use endpoint::Endpoint;
pub use endpoint::exposed::ExposedKeys;
pub use error::{CloseReason, DropReason, PpkProblem, Unknown};
pub use event::{
    ChildId, ChildKeys, ChildSa, ChildUsage, Deadline, Disposition, EspSpi, Event, IkeSaInfo,
    Limits, Path, PeerId, ProbeId, SendWhen, Transmit,
};
pub use keyword::KeywordError;
pub use wire::identity::{Identity, IdentityError};
pub use wire::ppk::PpkId;
pub use wire::proposal::{Proposal, Transform};
pub use wire::redirect::GatewayId;
pub use wire::selector::TrafficSelector;
pub use wire::traffic::{PacketSelectors, Traffic};
