//! What the negotiation computes, on top of the RustCrypto crates. No primitive here is of our own making.
//!
//! ```text
//!   suite    the negotiated algorithms
//!     │
//!     ├── ke        our key pair + the peer's public value ──► g^ir
//!     │    ├─ modp    groups 2, 5, 14 to 18                     │
//!     │    ├─ kem     ML-KEM                                    │
//!     │    └─ additional   further exchanges (RFC 9370)         │
//!     ├── prf       HMAC, AES-CMAC, prf+                        │
//!     │    ├─ xcbc    AES-XCBC                                  │
//!     │    └─ integ   the same, truncated                       ▼
//!     ├── keymat    g^ir + nonces + SPIs ──► SK_d SK_a SK_e SK_p, keys of children
//!     │                                       │    └────┬───┘    │
//!     ├── sk        header + payloads ◄── seal / open ──┘        │   maker of `Authentic`
//!     │    └─ cipher  AEAD, or a cipher and a MAC                │
//!     ├── ppk       SK_d and SK_p with a post-quantum key mixed in   │
//!     ├── intauth   what IKE_INTERMEDIATE leaves for AUTH            │
//!     └── auth      AUTH of a pre-shared key, or signed ◄────────┘   maker of `PeerAuthenticated`
//!          └─ signature  RSA, ECDSA, Ed25519
//!
//!   natd     NAT detection hashes          rng     SPIs and nonces          timing   for benches/constant.rs
//! ```
//!
//! Everything random is drawn from a generator that the caller passes in, so a seed decides every octet. That is why
//! the key pairs come from `p256`, `p384`, `p521` and `x25519-dalek`: ring, which is six times as fast on P-256, draws its own
//! private keys and cannot be seeded. Half a millisecond once in hours does not matter to a tunnel; that a test, a failure
//! and a recorded negotiation can be run again does. (The salt of RSASSA-PSS is the exception: see `signature`.)
//! Secrets live in `Zeroizing`, have no `Debug`, and are compared in constant time.

pub(crate) mod additional;
pub(crate) mod auth;
mod cipher;
pub(crate) mod intauth;
mod integ;
pub(crate) mod ke;
pub(crate) mod keymat;
pub(crate) mod natd;
pub(crate) mod ppk;
pub(crate) mod prf;
pub(crate) mod rng;
pub(crate) mod signature;
pub(crate) mod sk;
pub(crate) mod suite;
pub mod timing;
#[cfg(test)]
mod transcripts;
#[cfg(test)]
pub(crate) mod vectors;
mod xcbc;
