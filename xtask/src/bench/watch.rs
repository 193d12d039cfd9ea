//! `cargo xtask bench watch`: what a TCP stream at full speed notices of those who look on.
//!
//! ```text
//!   host ──► gateway A ══ one TCP stream through the tunnel ══► gateway B ──► host
//!               ▲  ▲
//!               │  └ capture    s2s-gw capture of every clear packet, whole or its headers, to /dev/null
//!               └─── viewers    200 browsers that watch A's page by server-sent events
//!
//!   none ── viewers ── headers ── capture ── both          each a share of none
//! ```
//!
//! Viewers and capture run on the same processors as the gateways, so that what they take themselves counts, too.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use testkit::gateway::Ours;
use testkit::netns::{Between, Netns, Sites};
use testkit::peer::{pause, wait_for};

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
    /// How many watch the page.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=250))]
    viewers: u32,
    /// How often everything is measured; the table has the medians.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// How long each stream takes.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=600))]
    seconds: u32,
    #[command(flatten)]
    keep: Keep,
}

pub(super) fn run(options: &Options) -> Result<ExitCode> {
    let earlier = options.keep.earlier(|file| Figures::read(file, BENCH))?;
    let stop = begin(&[Product::Gateway], false)?;
    let (rounds, seconds) = (options.rounds, options.seconds);
    let about = format!(
        "one TCP stream; alone, beside {} viewers of the page, beside a capture, beside both",
        options.viewers
    );
    let mut figures = Figures::new(BENCH, about, (rounds, seconds), all_figures())?;
    let directory = tempfile::tempdir()?;
    let sites = Sites::uncounted(Between::Wire)?;
    let mut tunnel = Tunnel::start_with(Product::Gateway, &sites, directory.path(), "\n[http]\n")?;
    let pids = tunnel.pids();
    let traffic = Traffic::new(Load { seconds, stop: &stop }, &sites, directory.path());
    traffic.ready()?;
    let _servers = traffic.servers()?;
    let gateways = tunnel.ours();
    let scene = Scene {
        traffic,
        watched: gateways.last().context("no gateway")?,
        netns: &sites.left.gateway,
        viewers: options.viewers,
    };
    for round in 1..=rounds {
        eprint!("round {round}/{rounds}");
        let mut order = [
            ("none", false, None),
            ("viewers", true, None),
            ("headers", false, Some(&HEADERS[..])),
            ("capture", false, Some(&WHOLE[..])),
            ("both", true, Some(&WHOLE[..])),
        ];
        // The other way round every second time, against drift.
        if round % 2 == 0 {
            order.reverse();
        }
        for (name, viewers, capture) in order {
            scene.measure(name, viewers, capture, &mut figures)?;
        }
        for name in ["viewers", "headers", "capture", "both"] {
            let pair = figures.last(&format!("tcp_{name}")).zip(figures.last("tcp_none"));
            if let Some((with, without)) = pair {
                figures.note(&format!("{name}_share"), 100.0 * with / without);
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
    let share = |name: &str| figure(&format!("{name}_share"), "  of that alone", "%", neither);
    vec![
        figure("tcp_none", "TCP, nobody looks on", "Gbit/s", more),
        figure("tcp_viewers", "TCP, viewers of the page", "Gbit/s", more),
        share("viewers").goal(Goal::AtLeast(90.0)),
        figure("events", "  news that viewers got", "1/s", neither),
        figure("tcp_headers", "TCP, a capture of headers", "Gbit/s", more),
        share("headers"),
        figure("tcp_capture", "TCP, a capture of everything", "Gbit/s", more),
        share("capture"),
        figure("captured", "  packets captured", "1000/s", neither),
        figure("tcp_both", "TCP, viewers and capture", "Gbit/s", more),
        share("both"),
        figure("memory", "peak memory of a gateway", "MB", less),
    ]
}

/// Where it happens.
struct Scene<'a> {
    traffic: Traffic<'a>,
    watched: &'a Ours,
    netns: &'a Netns,
    viewers: u32,
}

impl Scene<'_> {
    /// One stream, and who looks on.
    fn measure(
        &self,
        name: &str,
        viewers: bool,
        capture: Option<&[&str]>,
        figures: &mut Figures,
    ) -> Result<()> {
        let over = AtomicBool::new(false);
        let crowd = if viewers { self.crowd()? } else { Vec::new() };
        let camera = capture.map(|how| Camera::begin(self.watched, how)).transpose()?;
        let (transfer, news) = std::thread::scope(|scope| {
            let crowd = scope.spawn(|| look(crowd, &over));
            let transfer = self.traffic.tcp(1, Way::Out);
            over.store(true, Ordering::Relaxed);
            let news = crowd.join().map_err(|_| anyhow!("the crowd panicked"))??;
            anyhow::Ok((transfer?, news))
        })?;
        figures.note(&format!("tcp_{name}"), transfer.rate * 1e-9);
        let seconds = f64::from(self.traffic.load.seconds);
        if name == "viewers" {
            figures.note("events", f64::from(news) / seconds);
        }
        if let Some(camera) = camera {
            let packets = camera.end()?;
            if name == "capture" {
                figures.note("captured", packets * 1e-3 / seconds);
            }
        }
        Ok(())
    }

    /// Browsers that watch the page.
    fn crowd(&self) -> Result<Vec<TcpStream>> {
        self.netns.inside(|| {
            let one = |_| -> Result<TcpStream> {
                let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, PORT))?;
                stream.write_all(WATCH.as_bytes())?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            };
            (0..self.viewers).map(one).collect()
        })
    }
}

/// Reads what the viewers are told, as browsers do; how many pieces of news it was.
fn look(mut crowd: Vec<TcpStream>, over: &AtomicBool) -> Result<u32> {
    let mut octets = vec![0; 1 << 16];
    let mut news = 0;
    while !over.load(Ordering::Relaxed) {
        for viewer in &mut crowd {
            loop {
                match viewer.read(&mut octets) {
                    Ok(0) => return Err(anyhow!("the gateway hung up on a viewer")),
                    Ok(len) => {
                        let part = octets.get(..len).unwrap_or_default();
                        let lines = part.windows(6).filter(|six| six == b"\ndata:").count();
                        news += u32::try_from(lines)?;
                    }
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        pause(Duration::from_millis(50));
    }
    Ok(news)
}

/// A running `s2s-gw capture`.
struct Camera(Child);

impl Camera {
    fn begin(gateway: &Ours, how: &[&str]) -> Result<Self> {
        let begun =
            || -> Result<usize> { Ok(gateway.tell(&["events"])?.matches("capture-began").count()) };
        let before = begun()?;
        let mut command = gateway.asking(how);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let child = Self(command.spawn().context("cannot start a capture")?);
        wait_for("the capture to begin", Duration::from_secs(5), || {
            Ok((begun()? > before).then_some(()))
        })?;
        Ok(child)
    }

    /// Ends it; the number of packets that it wrote.
    fn end(mut self) -> Result<f64> {
        kill_process(Pid::from_child(&self.0), Signal::INT)?;
        let mut said = String::new();
        self.0.stderr.take().context("it says nothing")?.read_to_string(&mut said)?;
        let status = self.0.wait()?;
        ensure!(status.success(), "the capture ended with {status}: {said}");
        let number = said.split_whitespace().find_map(|word| word.parse::<u32>().ok());
        number.map(f64::from).with_context(|| format!("no number of packets in: {said}"))
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        // Fails if it has ended, which is as well.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const BENCH: &str = "watch";
const WHOLE: [&str; 1] = ["capture"];
/// Enough for IPv6, TCP and all its options.
const HEADERS: [&str; 3] = ["capture", "--snaplen", "128"];
const PORT: u16 = 9780;
const WATCH: &str = "GET /api/v1/stream HTTP/1.1\r\nHost: 127.0.0.1:9780\r\n\r\n";
