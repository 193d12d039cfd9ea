//! IKEv2 (RFC 7296) as a sans-IO state machine, for both roles.
//!
//! ```text
//!   UDP payloads ──► handle_datagram ┐                  ┌─► poll_event     install / remove SAs FIRST
//!        clock   ──► handle_timeout  ├──►  Endpoint  ───┼─► poll_transmit  then send these datagrams
//!     commands   ──► connect, rekey… ┘  (owns all SAs)  └─► poll_timeout   then sleep until this deadline
//! ```
//!
//! The crate opens no socket, reads no clock and spawns nothing. Time (`now`) and randomness (a seed) are arguments,
//! so the same inputs give the same bytes.
//!
//! **Drain contract.** After every `handle_*` call or command, call [`Endpoint::poll_event`] until it returns `None`,
//! then [`Endpoint::poll_transmit`] until `None`, then read [`Endpoint::poll_timeout`]. Events come before transmits
//! because a responder must be able to receive on a new SA before its answer leaves (RFC 7296 §2.8).
#![forbid(unsafe_code)]

mod admission;
mod config;
mod crypto;
mod endpoint;
mod error;
mod event;
pub mod keyword;
mod peer;
mod peers;
pub mod registry;
mod sa;
mod shared;
mod timers;
pub mod wire;

pub use config::{
    ChildConfig, Childless, Dpd, DpdAction, Encap, EndpointConfig, Lifetime, PeerConfig, Psk,
    RemoteId, Start,
};
pub use crypto::suite::{ChildSuite, IkeSuite};
pub use endpoint::Endpoint;
pub use error::{CloseReason, DropReason, Unknown};
pub use event::{
    ChildId, ChildKeys, ChildSa, ChildUsage, Deadline, Disposition, EspSpi, Event, IkeSaInfo, Path,
    PeerId, SendWhen, Transmit,
};
pub use keyword::KeywordError;
pub use wire::identity::{Identity, IdentityError};
pub use wire::proposal::{Proposal, Transform};
pub use wire::redirect::GatewayId;
pub use wire::selector::TrafficSelector;
