//! What the negotiation computes, on top of the RustCrypto crates.

pub(crate) mod suite;
