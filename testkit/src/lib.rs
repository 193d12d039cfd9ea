//! Test-only: what proves that the other crates work. Nothing here ends up in a product.
//!
//! ```text
//!   ikev2 alone  world ── Hosts with an Endpoint each          link ── loss, delay, order, NAT, from a seed
//!                         and a virtual clock
//!               explore ── every order of events of a race, instead of a seed
//!
//!   real peers   netns ── Sites: hosts, gateways, NAT          flow ── TCP, octet by octet, stalls measured
//!                peer ──┬─ gateway: s2s-gw run                  (a namespace test = Sites + two Peers + a Flow)
//!                       └─ strongswan: charon-systemd          datagrams ── UDP, in bursts   requests ── many short TCP
//!
//!   both         pki ── certification authorities
//!
//!   the page     webdriver ── chromium, driven
//!
//!                measured ── what a test of an attack found, for cargo xtask robust
//!   speed        relay ── a tunnel without cryptography         flood ── UDP, one packet a datagram
//!                wireguard ── WireGuard's programs
//! ```

#![forbid(unsafe_code)]

pub mod certificates;
pub mod datagrams;
pub mod explore;
pub mod flood;
pub mod flow;
pub mod gateway;
pub mod handover;
pub mod link;
pub mod measured;
pub mod netns;
pub mod peer;
pub mod ping;
pub mod pki;
pub mod relay;
pub mod requests;
pub mod strongswan;
pub mod webdriver;
pub mod wireguard;
pub mod world;
