//! Configurations of other programs: what they say about tunnels in, the configuration of the other side out.
//!
//! ```text
//!   swanctl.conf ────► settings ─► swanctl ─┐
//!   ipsec.conf ──────► stanza ───► ipsec ───┤
//!   VPNaaS JSON ─────► json ─────► vpnaas ──┼─► foreign ─► mend ─► together ─► write ─► s2s-gw.toml, NAME.psk, notes
//!   CloudStack JSON ─► json ─────► cloudstack
//!   AWS XML ─────────► aws ─────────────────┘
//!
//!   beside them: proposal, algorithms by the words of others; secrets, keys by the identities that they are for
//!
//!   Config, connection ─► export ─► swanctl.conf | ipsec.conf | openstack vpn .. | a sheet | routes   for the other side
//! ```
//!
//! Nothing here does IO: texts go in, and what a file includes comes by [`Files`]. What cannot be mapped is never dropped
//! without a [`Note`], and no note, message or `Debug` has a key in it.

mod aws;
mod cloudstack;
pub mod export;
mod foreign;
mod ipsec;
mod json;
mod mend;
mod note;
mod proposal;
mod secrets;
mod settings;
mod stanza;
mod swanctl;
mod text;
mod together;
mod vpnaas;
mod write;

use std::path::{Path, PathBuf};

pub use foreign::{Foreign, Secret};
pub use note::Note;
pub use write::Written;

use crate::config::Diagnostic;

/// What kind of file it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Kind {
    /// swanctl.conf of strongSwan
    Swanctl,
    /// ipsec.conf and ipsec.secrets of strongSwan or Libreswan
    Ipsec,
    /// JSON of `openstack vpn .. show -f json`, or of the API
    Vpnaas,
    /// JSON of CloudStack: listVpnConnections and its like
    Cloudstack,
    /// XML (or describe-vpn-connections JSON) of AWS for the customer
    Aws,
}

/// One file.
#[derive(Debug, Clone)]
pub struct Input {
    /// What messages call it; what it includes is looked for beside it.
    pub name: PathBuf,
    /// What is in it.
    pub text: String,
}

/// What a file refers to.
pub trait Files {
    /// The files that an `include` of `from` names.
    ///
    /// # Errors
    /// Why they cannot be had, in a few words.
    fn included(&mut self, pattern: &str, from: &Path) -> Result<Vec<Input>, String>;
}

/// No other files: an `include` becomes a note.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFiles;

impl Files for NoFiles {
    fn included(&mut self, _: &str, _: &Path) -> Result<Vec<Input>, String> {
        Err("it was not given".into())
    }
}

/// How to read.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The files are those of the peer: exchange the sides.
    pub mirror: bool,
    /// Keep 3DES, SHA-1 and MODP groups of 1024 and 1536 bits.
    pub allow_legacy: bool,
    /// Our networks, where the files do not say them.
    pub local: Vec<String>,
    /// The peer's, the same.
    pub remote: Vec<String>,
    /// The directory of the key files as the configuration names it; empty: that of the configuration.
    pub key_directory: String,
    /// Keys stand in the configuration itself.
    pub inline: bool,
}

/// What the files say.
#[derive(Debug, Default)]
pub struct Parsed {
    /// The tunnels, in their order.
    pub connections: Vec<Foreign>,
    /// What belongs to none of them.
    pub notes: Vec<Note>,
}

/// Reads files of one kind; they belong together.
///
/// # Errors
/// Where a file makes no sense any more.
pub fn parse(
    kind: Kind,
    inputs: &[Input],
    files: &mut dyn Files,
    options: &Options,
) -> Result<Parsed, Box<Diagnostic>> {
    let mut parsed = match kind {
        Kind::Swanctl => swanctl::parse(inputs, files)?,
        Kind::Ipsec => ipsec::parse(inputs, files)?,
        Kind::Vpnaas => vpnaas::parse(inputs)?,
        Kind::Cloudstack => cloudstack::parse(inputs)?,
        Kind::Aws => aws::parse(inputs)?,
    };
    for one in &mut parsed.connections {
        if options.mirror {
            one.mirror();
        }
        one.fill(&options.local, &options.remote);
    }
    Ok(parsed)
}

/// The configuration for what was read.
#[must_use]
pub fn write(kind: Kind, parsed: Parsed, options: &Options) -> Written {
    write::write(kind, parsed, options)
}

/// One text of one kind, without what it includes.
fn alone(kind: Kind, text: &str) -> Result<Parsed, Box<Diagnostic>> {
    let input = Input { name: PathBuf::from("text"), text: text.to_owned() };
    parse(kind, &[input], &mut NoFiles, &Options::default())
}

/// Reads a swanctl.conf.
///
/// # Errors
/// Where it makes no sense any more.
pub fn parse_swanctl(text: &str) -> Result<Parsed, Box<Diagnostic>> {
    alone(Kind::Swanctl, text)
}

/// Reads an ipsec.conf; an ipsec.secrets as well.
///
/// # Errors
/// Where it makes no sense any more.
pub fn parse_ipsec(text: &str) -> Result<Parsed, Box<Diagnostic>> {
    alone(Kind::Ipsec, text)
}

/// Reads JSON of OpenStack VPNaaS.
///
/// # Errors
/// Where it makes no sense any more.
pub fn parse_vpnaas(text: &str) -> Result<Parsed, Box<Diagnostic>> {
    alone(Kind::Vpnaas, text)
}

/// Reads JSON of CloudStack.
///
/// # Errors
/// Where it makes no sense any more.
pub fn parse_cloudstack(text: &str) -> Result<Parsed, Box<Diagnostic>> {
    alone(Kind::Cloudstack, text)
}

/// Reads what AWS has for its customers.
///
/// # Errors
/// Where it makes no sense any more.
pub fn parse_aws(text: &str) -> Result<Parsed, Box<Diagnostic>> {
    alone(Kind::Aws, text)
}
