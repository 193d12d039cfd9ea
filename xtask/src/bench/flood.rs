//! `cargo xtask bench flood`: how much of a TCP stream is left while a stranger sends garbage as fast as he can.
//!
//! ```text
//!   host ◄── gateway A ◄══ one TCP stream through the tunnel ══ gateway B ◄── host
//!               ▲
//!            stranger     200 000 packets a second to UDP 4500
//!
//!   none      no flood
//!   nft       dropped by a rule of nftables before it reaches a socket: what the flood alone costs this machine
//!   unknown   ESP with an SPI that A does not have                              ┐ share of nft: what it costs
//!   forged    ESP with the SPI of the tunnel, ahead in sequence, no valid ICV   ┘ that A looks at it
//! ```
//!
//! The stranger's own work is done by the same processors as the gateways'; `nft` has it, too, so that only the
//! difference is A's. A receives the stream: its data and the garbage wait in the same socket.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use testkit::flood::{Pour, pour};
use testkit::gateway::Ours;
use testkit::netns::{Between, Site, Sites};
use testkit::peer::{Peer as _, now};

use super::begin;
use super::figures::{Figure, Figures, Goal, figure};
use super::keep::{Better, Keep};
use super::machine::peak_memory_of;
use super::product::Product;
use super::traffic::{Load, Traffic, Way};
use super::tunnel::Tunnel;

/// How much of it.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Packets that the stranger sends in a second.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// How often everything is measured; the table has the medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each stream takes.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    #[command(flatten)]
    keep: Keep,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let earlier = options.keep.earlier(|file| Figures::read(file, BENCH))?;
    let stop = begin(&[Product::Gateway], false)?;
    let (rounds, seconds, rate) = (options.rounds, options.seconds, options.rate);
    let about =
        format!("one TCP stream, while a stranger sends {rate} packets of ESP in UDP a second");
    let mut figures = Figures::new(BENCH, about, (rounds, seconds), all_figures())?;
    let directory = tempfile::tempdir()?;
    let sites = Sites::uncounted(Between::WireAndThird)?;
    let mut tunnel = Tunnel::start(Product::Gateway, &sites, directory.path())?;
    let pids = tunnel.pids();
    let traffic = Traffic::new(Load { seconds, stop: &stop }, &sites, directory.path());
    traffic.ready()?;
    let _servers = traffic.servers()?;
    let gateways = tunnel.ours();
    let flooded = gateways.last().context("no gateway")?;
    let stranger = sites.third.as_ref().context("nobody to send")?;
    let scene = Scene { traffic, flooded, stranger, rate };
    for round in 1..=rounds {
        eprint!("round {round}/{rounds}");
        let mut order = [Flood::None, Flood::Nft, Flood::Unknown, Flood::Forged];
        if round % 2 == 0 {
            order.reverse();
        }
        for flood in order {
            scene.measure(flood, &mut figures)?;
        }
        for (key, flood) in [("unknown_share", Flood::Unknown), ("forged_share", Flood::Forged)] {
            let both = figures.last(flood.tcp()).zip(figures.last(Flood::Nft.tcp()));
            if let Some((looked_at, dropped)) = both {
                figures.note(key, 100.0 * looked_at / dropped);
            }
        }
        figures.note("memory", peak_memory_of(&pids)?);
        figures.keep(&options.keep)?;
    }
    tunnel.stop()?;
    Ok(figures.finish(earlier.as_ref()))
}

fn all_figures() -> Vec<Figure> {
    let (more, less, neither) = (Better::More, Better::Less, Better::Neither);
    let lines = |flood: &str| {
        figure(&format!("{flood}_log"), "  log", "lines/s", less).goal(Goal::AtMost(10.0))
    };
    let share = |flood: &str| {
        let title = "  of that with nftables";
        figure(&format!("{flood}_share"), title, "%", neither).goal(Goal::AtLeast(80.0))
    };
    let looked_at = |flood: &str| {
        figure(&format!("{flood}_seen"), "  dropped by the gateway", "1000/s", neither)
    };
    vec![
        figure("sent", "sent by the stranger", "1000/s", neither),
        figure("tcp_none", "TCP, no flood", "Gbit/s", more),
        figure("tcp_nft", "TCP, flood dropped by nftables", "Gbit/s", more),
        figure("tcp_unknown", "TCP, unknown SPI", "Gbit/s", more),
        share("unknown"),
        looked_at("unknown"),
        lines("unknown"),
        figure("tcp_forged", "TCP, forged ICV", "Gbit/s", more),
        share("forged"),
        looked_at("forged"),
        lines("forged"),
        figure("memory", "peak memory of a gateway", "MB", less).goal(Goal::AtMost(16.0)),
    ]
}

/// What the stranger sends, and what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flood {
    None,
    Nft,
    Unknown,
    Forged,
}

impl Flood {
    /// The key of the stream's rate.
    const fn tcp(self) -> &'static str {
        match self {
            Self::None => "tcp_none",
            Self::Nft => "tcp_nft",
            Self::Unknown => "tcp_unknown",
            Self::Forged => "tcp_forged",
        }
    }

    /// The gateway's word for it.
    const fn reason(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Nft => None,
            Self::Unknown => Some("unknown-spi"),
            Self::Forged => Some("bad-icv"),
        }
    }
}

/// Where it happens.
struct Scene<'a> {
    traffic: Traffic<'a>,
    flooded: &'a Ours,
    stranger: &'a Site,
    rate: u32,
}

impl Scene<'_> {
    /// One stream beside one flood.
    fn measure(&self, flood: Flood, figures: &mut Figures) -> Result<()> {
        let gateway = &self.traffic.sites.left.gateway;
        if flood == Flood::Nft {
            gateway.nft(DROP)?;
        }
        let seen = |flood: Flood| -> Result<u64> {
            let Some(reason) = flood.reason() else { return Ok(0) };
            Ok(self.flooded.drops()?.get(reason).copied().unwrap_or(0))
        };
        let (before, lines) = (seen(flood)?, self.log_lines());
        let begun = now();
        let (rate, sent) = self.stream_beside(flood)?;
        let seconds = begun.elapsed().as_secs_f64();
        if flood == Flood::Nft {
            gateway.nft(UNDROP)?;
        }
        figures.note(flood.tcp(), rate * 1e-9);
        if flood != Flood::None {
            figures.note("sent", thousands(sent) / seconds);
        }
        let name = match flood {
            Flood::None | Flood::Nft => return Ok(()),
            Flood::Unknown => "unknown",
            Flood::Forged => "forged",
        };
        figures.note(&format!("{name}_seen"), thousands(seen(flood)? - before) / seconds);
        let lines = self.log_lines() - lines;
        figures.note(&format!("{name}_log"), thousands(lines) * 1e3 / seconds);
        Ok(())
    }

    /// Bits per second of the stream, and packets of the flood.
    fn stream_beside(&self, flood: Flood) -> Result<(f64, u64)> {
        let traffic = self.traffic;
        if flood == Flood::None {
            return Ok((traffic.tcp(1, Way::Back)?.rate, 0));
        }
        let spi = self.spi()? ^ if flood == Flood::Forged { 0 } else { ANOTHER };
        let datagram = esp(spi);
        // The stream needs a moment to begin and to end; then the flood ends with it.
        let duration = traffic.load.duration() + Duration::from_secs(5);
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let flood = scope.spawn(|| {
                let plan = Pour { rate: self.rate, duration };
                pour(&self.stranger.gateway, TARGET, &datagram, plan, &over)
            });
            let transfer = traffic.tcp(1, Way::Back);
            over.store(true, Ordering::Relaxed);
            let sent = flood.join().map_err(|_| anyhow!("the stranger panicked"))??;
            Ok((transfer?.rate, sent))
        })
    }

    /// The SPI of the tunnel towards the flooded gateway.
    fn spi(&self) -> Result<u32> {
        let sas = self.flooded.sas()?;
        let child = sas.first().and_then(|sa| sa.children.first()).context("no child SA")?;
        Ok(u32::from_str_radix(&child.spis.0, 16)?)
    }

    fn log_lines(&self) -> u64 {
        self.flooded.log().lines().count() as u64
    }
}

/// 96 octets that look like ESP of AES-GCM, far ahead in sequence: only the cipher can tell.
fn esp(spi: u32) -> Vec<u8> {
    let mut datagram = spi.to_be_bytes().to_vec();
    datagram.extend(AHEAD.to_be_bytes());
    datagram.resize(96, 0x5a);
    datagram
}

fn thousands(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX)) * 1e-3
}

const BENCH: &str = "flood";
/// The flooded gateway, as the stranger reaches it.
const TARGET: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 1)), 4500);
const DROP: &str = "table inet bench { chain in { type filter hook prerouting priority raw; \
                    iifname \"out3\" udp dport 4500 drop; }; }\n";
const UNDROP: &str = "delete table inet bench\n";
/// What makes an SPI that nobody has of one that somebody has.
const ANOTHER: u32 = 0x4000_0000;
const AHEAD: u32 = 0x7000_0000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn garbage_looks_like_esp() {
        let datagram = esp(0x0102_0304);
        assert_eq!(datagram[..8], [1, 2, 3, 4, 0x70, 0, 0, 0]);
        // SPI, sequence, IV and ICV, and a ciphertext of whole words between.
        assert!(datagram.len() > 8 + 8 + 16 && datagram.len().is_multiple_of(4));
    }
}
