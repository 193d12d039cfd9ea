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
//! ```text
//!   files       load, source, document        which, where in them a thing stands, and TOML with its secrets masked
//!   form        section, keys, foreign, alias a table and its keys, those that exist, and what others call them
//!               raw, raw_connection, raw_auth value, address     the tables; text to value
//!   meaning     validate                      names to what they name, everything compared with everything
//!               connection, policy, monitor, relay, http, security      a table each
//!               auth, identities, credentials who both sides are, and what proves it
//!               secret, pem, validity         the files that this needs, and how long certificates last
//!               overlap                       who gets a packet, and who a caller is
//!   beside      schema, genpsk                for editors; a new key
//! ```
//!
//! No stage stops at its first error, so one run shows everything that is wrong. Unknown keys are errors, planned keys
//! that this version does not support are errors of their own kind, and no message contains a key.

mod address;
mod alias;
mod auth;
mod codes;
mod connection;
mod credentials;
mod document;
mod foreign;
mod genpsk;
mod http;
mod identities;
mod keys;
mod load;
mod model;
mod monitor;
mod overlap;
mod pem;
mod policy;
mod raw;
mod raw_auth;
mod raw_connection;
mod relay;
mod report;
mod schema;
mod secret;
mod section;
mod security;
mod source;
mod validate;
pub(crate) mod validity;
mod value;

pub(crate) use address::is_host;
pub(crate) use alias::{alias, group};
pub use auth::{Auth, Dated, OurKey, OurProof, Part, TheirProof, Trust};
pub use codes::Code;
pub(crate) use document::without_secrets;
pub use genpsk::genpsk;
pub use load::{Connected, Surroundings};
pub use model::{
    Child, Config, Connection, Extensions, Failback, Failover, Gateway, Host, HostName, Http,
    HttpListen, LeakProtection, Limits, Log, LogFormat, Monitor, MonitorKind, MssClamp, Peer,
    Policy, Ppk, Routes, Security,
};
pub(crate) use policy::built_in_policy;
pub(crate) use report::printable;
pub use report::{Diagnostic, Label, Report, Severity};
pub use schema::schema;
pub use secret::PresharedKey;
pub use source::{Place, Source};
pub(crate) use value::shown_duration;
