//! `s2s-gw`: a site-to-site IPsec gateway in user space. The only crate that does IO.
//!
//! ```text
//!   config ──► control (ikev2::Endpoint, timers, control socket, netlink)      one thread, never touches a data packet
//!                 │ install / remove SAs, policy        ▲ IKE datagrams, acquire, first inbound
//!                 ▼                                     │
//!            dataplane  tx pump: TUN ─► esp ─► UDP      rx pump: UDP ─► esp ─► TUN
//! ```

pub mod cli;
pub mod clock;
pub mod codes;
pub mod config;
pub mod control;
pub mod dataplane;
pub mod demo;
mod fault;
pub mod io;
pub mod log;
pub mod metrics;
pub mod pki;
pub mod port;
pub mod route;
mod sandbox;
pub mod status;
pub mod sys;
mod web;

/// The guide for those who embed the libraries: its code is compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../../docs/embedding.md")]
pub mod embedding {}
