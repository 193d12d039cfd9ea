//! What is measured, whether it is here, and how it gets here.
//!
//! ```text
//!   forward      the kernel forwards, no tunnel: what the cables can do
//!   relay        a tunnel in user space with every offload and no cryptography: the ceiling
//!   relay-sealed the same with the cipher alone: the ceiling of whoever encrypts
//!   s2s-gw       ours, built from this checkout; -raw: ESP without UDP; -chacha, -cbc: with other suites
//!   strongswan   kernel-libipsec                 Debian packages; -chacha, -cbc as ours
//!   gotatun, boringtun                           cargo install, into target/bench-peers
//!   wireguard-go                                 Debian package
//! ```

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::peers;
use crate::step::workspace;

/// In the order of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Product {
    Forward,
    Relay,
    #[value(name = "relay-sealed")]
    #[serde(rename = "relay-sealed")]
    RelaySealed,
    #[value(name = "s2s-gw")]
    #[serde(rename = "s2s-gw")]
    Gateway,
    #[value(name = "s2s-gw-raw")]
    #[serde(rename = "s2s-gw-raw")]
    GatewayRaw,
    #[value(name = "s2s-gw-chacha")]
    #[serde(rename = "s2s-gw-chacha")]
    GatewayChacha,
    #[value(name = "s2s-gw-cbc")]
    #[serde(rename = "s2s-gw-cbc")]
    GatewayCbc,
    #[value(name = "wireguard-go")]
    WireguardGo,
    Gotatun,
    Boringtun,
    #[value(name = "strongswan")]
    #[serde(rename = "strongswan")]
    StrongSwan,
    #[value(name = "strongswan-chacha")]
    #[serde(rename = "strongswan-chacha")]
    StrongSwanChacha,
    #[value(name = "strongswan-cbc")]
    #[serde(rename = "strongswan-cbc")]
    StrongSwanCbc,
}

impl Product {
    pub(crate) fn all() -> Vec<Self> {
        Self::value_variants().to_vec()
    }

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Relay => "relay",
            Self::RelaySealed => "relay-sealed",
            Self::Gateway => "s2s-gw",
            Self::GatewayRaw => "s2s-gw-raw",
            Self::GatewayChacha => "s2s-gw-chacha",
            Self::GatewayCbc => "s2s-gw-cbc",
            Self::WireguardGo => "wireguard-go",
            Self::Gotatun => "gotatun",
            Self::Boringtun => "boringtun",
            Self::StrongSwan => "strongswan",
            Self::StrongSwanChacha => "strongswan-chacha",
            Self::StrongSwanCbc => "strongswan-cbc",
        }
    }

    /// What the name does not say.
    pub(crate) const fn about(self) -> &'static str {
        match self {
            Self::Forward => "the kernel forwards, no tunnel",
            Self::Relay => "a tunnel with every offload, without cryptography: the ceiling",
            Self::RelaySealed => {
                "the same, each 1448 octets sealed and opened by AES-256-GCM, and nothing else"
            }
            Self::Gateway => "ESP in UDP, AES-256-GCM",
            Self::GatewayRaw => "ESP without UDP, AES-256-GCM",
            Self::GatewayChacha => "ESP in UDP, ChaCha20-Poly1305",
            Self::GatewayCbc => "ESP in UDP, AES-256-CBC with HMAC-SHA2-256",
            Self::WireguardGo | Self::Gotatun | Self::Boringtun => "WireGuard, ChaCha20-Poly1305",
            Self::StrongSwan => "kernel-libipsec, ESP in UDP, AES-256-GCM",
            Self::StrongSwanChacha => "kernel-libipsec, ESP in UDP, ChaCha20-Poly1305",
            Self::StrongSwanCbc => "kernel-libipsec, ESP in UDP, AES-256-CBC with HMAC-SHA2-256",
        }
    }

    /// The ESP proposal of one that negotiates it; `None` for all others.
    pub(crate) const fn esp(self) -> Option<&'static str> {
        match self {
            Self::Gateway | Self::GatewayRaw | Self::StrongSwan => Some("aes256gcm16"),
            Self::GatewayChacha | Self::StrongSwanChacha => Some("chacha20poly1305"),
            Self::GatewayCbc | Self::StrongSwanCbc => Some("aes256-sha256"),
            Self::Forward
            | Self::Relay
            | Self::RelaySealed
            | Self::WireguardGo
            | Self::Gotatun
            | Self::Boringtun => None,
        }
    }

    /// Whether it is the project's own.
    pub(crate) const fn ours(self) -> bool {
        matches!(self, Self::Gateway | Self::GatewayRaw | Self::GatewayChacha | Self::GatewayCbc)
    }

    /// Whether it is strongSwan.
    pub(crate) const fn strongswan(self) -> bool {
        self.esp().is_some() && !self.ours()
    }

    /// What it is made of and is not here, empty if it can be measured.
    pub(crate) fn missing(self) -> Vec<&'static str> {
        let mut missing = self.missing_packages();
        missing.extend(self.cargo_package().filter(|_| !Path::new(&self.program()).exists()));
        missing
    }

    fn missing_packages(self) -> Vec<&'static str> {
        let absent =
            |(file, package): (&str, &'static str)| (!Path::new(file).exists()).then_some(package);
        match self {
            Self::Forward
            | Self::Relay
            | Self::RelaySealed
            | Self::Gateway
            | Self::GatewayRaw
            | Self::GatewayChacha
            | Self::GatewayCbc => Vec::new(),
            Self::WireguardGo => [WG, WIREGUARD_GO].into_iter().filter_map(absent).collect(),
            Self::Gotatun | Self::Boringtun => absent(WG).into_iter().collect(),
            Self::StrongSwan | Self::StrongSwanChacha | Self::StrongSwanCbc => {
                testkit::strongswan::missing()
            }
        }
    }

    /// The package in the Rust registry.
    const fn cargo_package(self) -> Option<&'static str> {
        match self {
            Self::Gotatun => Some("gotatun-cli"),
            Self::Boringtun => Some("boringtun-cli"),
            Self::Forward
            | Self::Relay
            | Self::RelaySealed
            | Self::Gateway
            | Self::GatewayRaw
            | Self::GatewayChacha
            | Self::GatewayCbc
            | Self::WireguardGo
            | Self::StrongSwan
            | Self::StrongSwanChacha
            | Self::StrongSwanCbc => None,
        }
    }

    /// What a user types to get it.
    pub(crate) fn remedy(self) -> String {
        let packages = self.missing_packages().join(" ");
        let debian = (!packages.is_empty())
            .then(|| format!("apt-get install --no-install-recommends {packages}"));
        let rust = self.cargo_package().filter(|_| !Path::new(&self.program()).exists());
        let rust = rust.map(|package| format!("cargo {}", cargo_install(package).join(" ")));
        let both: Vec<String> = debian.into_iter().chain(rust).collect();
        format!("{}   (or --install)", both.join(" && "))
    }

    /// The program that runs in both gateways, if it is one file.
    pub(crate) fn program(self) -> String {
        match self {
            Self::Forward
            | Self::Relay
            | Self::RelaySealed
            | Self::StrongSwan
            | Self::StrongSwanChacha
            | Self::StrongSwanCbc => String::new(),
            Self::Gateway | Self::GatewayRaw | Self::GatewayChacha | Self::GatewayCbc => {
                path(&target().join("release/s2s-gw"))
            }
            Self::WireguardGo => WIREGUARD_GO.0.into(),
            Self::Gotatun => path(&installed().join("bin/gotatun")),
            Self::Boringtun => path(&installed().join("bin/boringtun-cli")),
        }
    }

    /// What it says of itself; empty where there is nothing to say.
    pub(crate) fn version(self) -> String {
        let first_number = |program: &str, args: &[&str]| {
            let output = Command::new(program).args(args).stdin(Stdio::null()).output().ok()?;
            version_in(&String::from_utf8_lossy(&output.stdout))
        };
        match self {
            Self::Forward | Self::Relay | Self::RelaySealed => None,
            // charon-systemd knows no --version, and would run.
            Self::StrongSwan | Self::StrongSwanChacha | Self::StrongSwanCbc => {
                first_number("dpkg-query", &["-W", "-f", "${Version}", "charon-systemd"])
            }
            Self::Gateway
            | Self::GatewayRaw
            | Self::GatewayChacha
            | Self::GatewayCbc
            | Self::WireguardGo
            | Self::Gotatun
            | Self::Boringtun => first_number(&self.program(), &["--version"]),
        }
        .unwrap_or_default()
    }
}

/// Installs what is missing, if that is wanted, and builds ours.
pub(crate) fn prepare(wanted: &[Product], install: bool) -> Result<()> {
    let mut packages: Vec<&str> =
        wanted.iter().flat_map(|product| product.missing_packages()).collect();
    packages.extend((!Path::new(IPERF.0).exists()).then_some(IPERF.1));
    packages.sort_unstable();
    packages.dedup();
    if install && !packages.is_empty() {
        ensure!(peers::may_install(), "please install: {}", packages.join(" "));
        peers::install(&packages)?;
    }
    ensure!(
        Path::new(IPERF.0).exists(),
        "iperf3 sends the TCP: apt-get install iperf3 (or --install)"
    );
    for product in wanted.iter().filter(|product| install && !product.missing().is_empty()) {
        if let Some(package) = product.cargo_package() {
            eprintln!("installing {package} into {}", installed().display());
            cargo(&cargo_install(package).each_ref().map(String::as_str))?;
        }
    }
    if wanted.iter().any(|product| product.ours()) {
        eprintln!("building s2s-gw");
        cargo(&["build", "--release", "--quiet", "--bin", "s2s-gw"])?;
    }
    Ok(())
}

fn cargo_install(package: &str) -> [String; 5] {
    let root = installed().display().to_string();
    ["install".into(), "--locked".into(), "--root".into(), root, package.into()]
}

fn cargo(args: &[&str]) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(args).current_dir(workspace()).stdin(Stdio::null());
    let status = command.status().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(status.success(), "cargo {}: {status}", args.join(" "));
    Ok(())
}

/// The first word that begins with a digit, or with v and a digit.
fn version_in(text: &str) -> Option<String> {
    let mut words = text.split_whitespace().map(|word| word.strip_prefix('v').unwrap_or(word));
    words.find(|word| word.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned)
}

fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), Into::into)
}

fn installed() -> PathBuf {
    workspace().join("target/bench-peers")
}

fn path(path: &Path) -> String {
    path.display().to_string()
}

/// A file and the Debian package that brings it.
const WG: (&str, &str) = ("/usr/bin/wg", "wireguard-tools");
const WIREGUARD_GO: (&str, &str) = ("/usr/bin/wireguard-go", "wireguard-go");
const IPERF: (&str, &str) = ("/usr/bin/iperf3", "iperf3");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_the_same_everywhere() {
        for product in Product::all() {
            let json = serde_json::to_string(&product).unwrap();
            assert_eq!(json, format!("{:?}", product.name()));
            assert_eq!(Product::from_str(product.name(), false), Ok(product));
        }
    }

    #[test]
    fn a_version_is_found_in_what_a_program_says() {
        let of = |text| version_in(text).unwrap_or_default();
        assert_eq!(of("wireguard-go v0.0.20220316\n\nUserspace .."), "0.0.20220316");
        assert_eq!(of("gotatun-cli 0.10.2"), "0.10.2");
        assert_eq!(of("Linux strongSwan swanctl"), "");
    }
}
