//! What `--break` breaks: the configurations or the wire with exactly one fault in it, and what mends it.
//!
//! ```text
//!   psk         two files that should be one        E1007    cp gw-b.psk gw-a.psk
//!   proposal    no algorithms in common             E1003    the same policy
//!   subnet      10.20 where 10.2 is meant           E1005    the network that is there
//!   pfs         two groups; shows when keys change  E1011    the same group
//!   mtu         a narrow link, ICMP filtered        E1022    mtu of the connection
//!   blackhole   a firewall knows UDP, but no ESP    E1016    ESP in UDP
//! ```

use super::gateways::{KEY, connection};
use super::topology::{SITE_A, SITE_B, Topology, inside};
use super::{DemoError, During as _};
use crate::sys::netlink::Netlink;

/// What `--break` can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// The two gateways have different pre-shared keys
    Psk,
    /// They have no algorithms in common
    Proposal,
    /// They do not mean the same networks
    Subnet,
    /// They want different groups when keys are replaced
    Pfs,
    /// A link between them is narrow, and nobody says so
    Mtu,
    /// A firewall between them drops ESP, but not IKE
    Blackhole,
}

/// Where a fault shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shows {
    /// The tunnel does not come up.
    AtOnce,
    /// It comes up, and when keys are replaced it shows that it will not last.
    AtRekey,
    /// It comes up, and packets are lost.
    InTraffic,
    /// It comes up, and long packets are lost.
    InLongPackets,
}

/// One fault and its end.
pub(super) struct Plan {
    /// The word for it.
    pub(super) word: &'static str,
    /// What is wrong.
    pub(super) what: &'static str,
    /// The stable code that names it.
    pub(super) code: &'static str,
    pub(super) shows: Shows,
    /// The connection of gw-a and of gw-b.
    pub(super) before: [String; 2],
    /// The same without the fault.
    pub(super) after: [String; 2],
    /// What mends it.
    pub(super) mends: &'static str,
}

impl Fault {
    /// All of it.
    pub(super) fn plan(self) -> Plan {
        let sound = [good(KEY), connection(&SITE_B, &SITE_A) + RESPONDS];
        let [a, b] = sound.clone();
        let with = |a: &str, b: &str| [good(KEY) + a, connection(&SITE_B, &SITE_A) + RESPONDS + b];
        let (word, what, code, shows, mends) = self.words();
        let (before, after) = match self {
            Self::Psk => ([good(OTHER_KEY), b.clone()], [good(OTHER_KEY), b]),
            Self::Proposal => (with(OLD, POLICY_CNSA), with(POLICY_CNSA, POLICY_CNSA)),
            Self::Subnet => ([a.replace("10.2.0.0", "10.20.0.0"), b], sound),
            Self::Pfs => (with(PFS_3072, PFS_25519), with(PFS_25519, PFS_25519)),
            Self::Mtu => (sound, with(MTU, MTU)),
            Self::Blackhole => (with(RAW, RAW), with("", "")),
        };
        Plan { word, what, code, shows, before, after, mends }
    }

    fn words(self) -> (&'static str, &'static str, &'static str, Shows, &'static str) {
        match self {
            Self::Psk => (
                "psk",
                "gw-a.psk and demo.psk of gw-b should be one key, and are two",
                "E1007",
                Shows::AtOnce,
                "the key of gw-b, copied to gw-a",
            ),
            Self::Proposal => (
                "proposal",
                "gw-a has the algorithms of ten years ago, gw-b those of tomorrow",
                "E1003",
                Shows::AtOnce,
                "the policy of gw-b on gw-a, too",
            ),
            Self::Subnet => (
                "subnet",
                "somebody wrote 10.20.0.0/16 on gw-a, and 10.2.0.0/16 is meant",
                "E1005",
                Shows::AtOnce,
                "the network that is there",
            ),
            Self::Pfs => (
                "pfs",
                "both want a new key exchange when keys change, in different groups",
                "E1011",
                Shows::AtRekey,
                "the group of gw-b on gw-a, too",
            ),
            Self::Mtu => (
                "mtu",
                "the internet has a link of 1300 octets, and filters the ICMP that says so",
                "E1022",
                Shows::InLongPackets,
                "what the doctor says, on both gateways",
            ),
            Self::Blackhole => (
                "blackhole",
                "a firewall on the internet passes IKE and drops ESP, without a word",
                "E1016",
                Shows::InTraffic,
                "ESP in UDP, which that firewall passes (and `encap` does by default)",
            ),
        }
    }

    /// Does to the internet what belongs to the fault.
    pub(super) fn spoil(self, topology: &Topology) -> Result<(), DemoError> {
        let protocol = match self {
            Self::Psk | Self::Proposal | Self::Subnet | Self::Pfs => return Ok(()),
            Self::Mtu => ICMP,
            Self::Blackhole => ESP,
        };
        inside(&topology.internet, || {
            let mut netlink = Netlink::open().during("open netlink")?;
            if self == Self::Mtu {
                for port in [SITE_A.port, SITE_B.port] {
                    let port = netlink.link_index(port)?;
                    netlink.set_mtu(port, NARROW)?;
                }
            }
            Ok(netlink.swallow(protocol)?)
        })
    }
}

fn good(key: &str) -> String {
    connection(&SITE_A, &SITE_B).replace(KEY, key)
}

/// The key file of gw-a where the two differ.
pub(super) const OTHER_KEY: &str = "gw-a.psk";

const RESPONDS: &str = "start          = \"respond-only\"\n";
const POLICY_CNSA: &str = "policy         = \"cnsa\"\n";
const OLD: &str = "policy         = \"old\"\n\n[policy.old]\nike = [\"aes128-sha256-modp2048\"]\n";
const PFS_3072: &str =
    "policy         = \"ours\"\n\n[policy.ours]\nesp = [\"aes256gcm16-modp3072\"]\n";
const PFS_25519: &str =
    "policy         = \"ours\"\n\n[policy.ours]\nesp = [\"aes256gcm16-curve25519\"]\n";
const RAW: &str = "encap          = \"auto\"\n";

/// What is left of [`NARROW`] after 62 octets of IP, UDP and ESP.
const MTU: &str = "mtu            = 1238\n";

/// Octets of the longest packet on the narrow link: more than any IKE message has.
const NARROW: u32 = 1300;

// IP protocols (IANA).
const ICMP: u8 = 1;
const ESP: u8 = 50;

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;

    use super::super::gateways::write_key;
    use super::*;
    use crate::config::Config;

    #[test]
    fn only_what_is_meant_is_broken() {
        let directory = tempfile::tempdir().unwrap();
        for key in [KEY, OTHER_KEY] {
            write_key(directory.path(), key).unwrap();
        }
        for fault in Fault::value_variants() {
            let plan = fault.plan();
            assert_eq!(fault.to_possible_value().unwrap().get_name(), plan.word);
            for text in plan.before.iter().chain(&plan.after) {
                let file = directory.path().join("gw.toml");
                std::fs::write(&file, text).unwrap();
                let config = Config::load(&file).unwrap_or_else(|report| {
                    panic!("{}: {:?}", plan.word, report.diagnostics);
                });
                assert_eq!(config.warnings.len(), 0, "{}: {:?}", plan.word, config.warnings);
            }
            let known = crate::status::Code::ALL.iter().any(|code| code.id() == plan.code);
            assert!(known, "{}", plan.code);
        }
    }
}
