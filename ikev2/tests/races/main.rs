//! Races between two established endpoints (RFC 7296 §2.8, §2.25), all of them: `testkit::explore` tries every order in
//! which the messages of two operations can arrive, with every single loss, copy and late arrival.
//!
//! ```text
//!   cargo test -p ikev2 --test races                         each pair of operations, one fault on a path
//!   RACES=deep cargo test -p ikev2 --test races              two faults on a path, more seeds: some minutes
//!   RACE='rekey-ike,rekey-child seed=2 : L a1 R' cargo test -p ikev2 --test races -- --nocapture again
//! ```
#![expect(clippy::wildcard_enum_match_arm, reason = "a test looks for one operation among all")]
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may panic, in helpers too"
)]

mod bounce;
mod every_order;
mod named;
