//! The octets of RFC 7296 §3: parse borrows, emit owns, nothing here knows of keys or states.

pub mod identity;
pub mod proposal;
pub mod selector;
