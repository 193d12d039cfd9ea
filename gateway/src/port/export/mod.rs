//! The configuration of the other side: everything of a connection with the sides exchanged.
//!
//! ```text
//!   Config, connection ─► mirror ─┬─► strongswan   swanctl.conf
//!                                 ├─► ipsec        ipsec.conf and ipsec.secrets, in one text
//!                                 ├─► vpnaas       openstack vpn .. commands
//!                                 ├─► aws         aws ec2 .. commands
//!                                 ├─► toml         s2s-gw.toml (what `init --pair` writes)
//!                                 ├─► sheet        a page of Markdown to mail to somebody
//!                                 └─► routes       ip route lines for a router on our LAN
//! ```
//!
//! A key is in it only if that was asked for.

mod aws;
mod ipsec;
mod mirror;
mod routes;
mod sheet;
mod strongswan;
mod toml;
mod vpnaas;

use mirror::Mirror;
use serde::{Deserialize, Serialize};

use crate::config::{Connection, Gateway};

/// For what a configuration is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// swanctl.conf of strongSwan
    Strongswan,
    /// ipsec.conf and ipsec.secrets of strongSwan
    Ipsec,
    /// Commands of the OpenStack client for VPNaaS
    Vpnaas,
    /// Commands of the AWS client for a site-to-site VPN
    Aws,
    /// s2s-gw.toml for another s2s-gw
    S2sGw,
    /// A page of parameters, in Markdown, for people
    Sheet,
    /// `ip route` lines for a router on our LAN
    Routes,
}

/// How.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// For what.
    pub kind: Kind,
    /// Whether the key is in it.
    pub with_psk: bool,
    /// Our address as the peer sees it.
    pub address: Option<String>,
    /// The address that the kernel would call the peer from, where nothing better is known.
    pub guess: Option<String>,
    /// Our address on the LAN.
    pub via: Option<String>,
}

/// What was made.
#[derive(Debug)]
pub struct Made {
    /// The text; with [`Wanted::with_psk`] a secret.
    pub text: String,
    /// What the reader has to know.
    pub notes: Vec<String>,
}

/// The other side of a connection.
///
/// # Errors
/// What is not known and has to be said, as a sentence.
pub fn export(gateway: &Gateway, connection: &Connection, wanted: &Wanted) -> Result<Made, String> {
    if wanted.kind == Kind::Routes {
        return Ok(routes::text(connection, wanted.via.as_deref()));
    }
    let mirror = Mirror::new(gateway, connection, wanted)?;
    let (text, mut notes) = match wanted.kind {
        Kind::Strongswan => strongswan::text(&mirror),
        Kind::Ipsec => ipsec::text(&mirror),
        Kind::Vpnaas => vpnaas::text(&mirror)?,
        Kind::Aws => aws::text(&mirror)?,
        Kind::S2sGw => toml::text(&mirror),
        Kind::Sheet | Kind::Routes => sheet::text(&mirror),
    };
    notes.extend(mirror.notes.iter().cloned());
    Ok(Made { text, notes })
}
