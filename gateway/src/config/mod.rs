//! The configuration file: TOML in, a checked [`Config`] or every mistake at once out.
//!
//! ```text
//!   s2s-gw.toml ─► load ─► document ─► raw ─────► validate ──► Config
//!   conf.d/*.toml  files,   TOML with   form: keys,  meaning: references,   model.rs
//!                  include  positions   types, words  keys, overlaps
//!                     │         │          │             │
//!                     └─────────┴──────────┴─────────────┴────► Report   report.rs, codes.rs
//! ```
//!
//! No stage stops at its first error, so one run shows everything that is wrong. Unknown keys are errors, planned keys
//! that this version does not support are errors of their own kind, and no message contains a key.

mod codes;
mod genpsk;
mod load;
mod model;
mod report;
mod source;

pub use codes::Code;
pub use genpsk::genpsk;
pub use model::{Child, Config, Connection, Gateway, Host, HostName, Peer, Policy, Routes};
pub use report::{Diagnostic, Label, Report, Severity};
pub use source::{Place, Source};
