//! `capture`: packets of a running gateway, as a file that tcpdump and Wireshark read.
//!
//! ```text
//!   Request::Capture ──► Response::Packets, one after the other ──► pcapng.rs ──► file, or stdout into another program
//!   ends: --count, --seconds, Ctrl-C, a reader that goes away, the daemon; then it says how many there were, and how many not
//! ```

mod pcapng;

use std::fs::OpenOptions;
use std::io::{self, IsTerminal as _, Write};
use std::ops::ControlFlow;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use signal_hook::consts::{SIGINT, SIGTERM};

use self::pcapng::Pcapng;
use super::client::{Daemon, refused, strange};
use super::explain::protocol;
use super::output::say;
use super::{Code, Failure, Outcome};
use crate::clock;
use crate::status::capture::{Captured, Filter, Side};
use crate::status::client::{self, ClientError};
use crate::status::protocol::{Request, Response};

/// Write packets that pass the gateway into a file
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Capture {
    /// Only of this connection
    name: Option<String>,
    /// lan: clear, at the TUN device; tunnel: clear, inside the tunnel; wire: ESP and IKE; several with commas between
    #[arg(
        long,
        value_name = "SIDE",
        value_enum,
        value_delimiter = ',',
        default_value = "lan",
        hide_possible_values = true,
        help = "lan: clear, at the TUN device;\ntunnel: clear, inside the tunnel; wire: ESP and IKE;\nseveral with commas"
    )]
    side: Vec<Side>,
    #[command(flatten)]
    filter: Which,
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=MOST_SECONDS))]
    seconds: Option<u64>,
    /// Keep so many octets of each packet; all by default
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    snaplen: Option<u32>,
    /// Where to; without it, or with -, to stdout
    #[arg(short, long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    daemon: Daemon,
}

/// All that is given has to fit. On the wire it is the outer packet that counts.
#[derive(Debug, clap::Args)]
struct Which {
    /// Only with a source or destination in this network
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = network)]
    host: Option<IpNet>,
    /// Only with a source in this network
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = network)]
    src: Option<IpNet>,
    /// Only with a destination in this network
    #[arg(long, value_name = "ADDR[/LEN]", value_parser = network)]
    dst: Option<IpNet>,
    /// Only with this source or destination port
    #[arg(long)]
    port: Option<u16>,
    /// Only this: tcp, udp, icmp, sctp, esp .. or a number
    #[arg(long, value_name = "PROTOCOL", value_parser = protocol)]
    proto: Option<u8>,
}

const EXAMPLES: &str = "Examples:
  s2s-gw capture berlin -w berlin.pcapng --seconds 60
  s2s-gw capture --proto icmp | tcpdump -n -r -
  s2s-gw capture berlin --side wire,tunnel -w both.pcapng --count 1000
  ssh gw s2s-gw capture berlin | wireshark -k -i -

On the wire, --host, --port and the others speak of the outer packet.
To decrypt what crossed the wire: docs/diagnosis.md, s2s-gw keys";

impl Capture {
    pub(super) fn run(self) -> Outcome {
        let file = self.write.as_ref().filter(|path| path.as_os_str() != "-");
        if file.is_none() && io::stdout().is_terminal() {
            return Err(Failure::new(
                Code::Usage,
                "a capture is nothing to read on a terminal: write it to a file with `-w FILE`, or give it to a program \
                 that shows it, as in `s2s-gw capture | tcpdump -n -r -`",
            ));
        }
        let mut sides = self.side;
        sides.sort_unstable();
        sides.dedup();
        let Which { host, src, dst, port, proto } = self.filter;
        let filter = Filter { host, source: src, destination: dst, port, protocol: proto };
        let snap = self.snaplen.and_then(|octets| usize::try_from(octets).ok());
        let request =
            Request::Capture { sides: sides.clone(), connection: self.name, filter, snap };
        let stop = Stop::watch().map_err(|error| Failure::new(Code::Failed, error))?;
        let until = self.seconds.map(|seconds| clock::now() + Duration::from_secs(seconds));
        let mut sink = Sink {
            sides,
            pcapng: None,
            out: None,
            file: file.cloned(),
            packets: 0,
            most: self.count,
            lost: 0,
        };
        let end = client::follow_or_tick(&self.daemon.control, &request, TICK, |answer| {
            if stop.is_wanted() || until.is_some_and(|until| until <= clock::now()) {
                return ControlFlow::Break(Ok(()));
            }
            sink.take(answer)
        });
        sink.finish(end)
    }
}

/// Where the packets go, and what went there.
struct Sink {
    sides: Vec<Side>,
    /// Once the daemon has agreed.
    pcapng: Option<Pcapng>,
    out: Option<Box<dyn Write>>,
    /// `None`: stdout.
    file: Option<PathBuf>,
    packets: u64,
    most: Option<u64>,
    lost: u64,
}

/// How it ended: well, or why not.
type End = Result<(), Failure>;

impl Sink {
    /// What the daemon said, or nothing for a while.
    fn take(&mut self, answer: Option<Response>) -> ControlFlow<End> {
        let done = match answer {
            None => return ControlFlow::Continue(()),
            Some(Response::Capturing { tun }) => self.begin(&tun),
            Some(Response::Packets { packets, lost }) => {
                self.lost = lost;
                self.write(&packets)
            }
            Some(Response::Refused { kind, message }) => Err(refused(kind, message)),
            Some(
                Response::Status { .. }
                | Response::Shown { .. }
                | Response::Explained { .. }
                | Response::Reload { .. }
                | Response::Events { .. }
                | Response::Keys { .. }
                | Response::Done { .. },
            ) => Err(strange()),
        };
        match done {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(Ok(())),
            Err(failure) => ControlFlow::Break(Err(failure)),
        }
    }

    /// Opens the file only now: a refusal leaves none behind.
    fn begin(&mut self, tun: &str) -> Result<bool, Failure> {
        self.out = Some(match &self.file {
            None => Box::new(io::stdout()),
            // What is in it was meant for others.
            Some(path) => Box::new(
                OpenOptions::new()
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .mode(0o600)
                    .open(path)
                    .map_err(|error| {
                    let path = path.display();
                    Failure::new(Code::Failed, format!("cannot make {path}: {error}"))
                })?,
            ),
        });
        let mut pcapng = Pcapng::new(&self.sides, tun)?;
        let octets = pcapng.take();
        self.pcapng = Some(pcapng);
        self.put(&octets)
    }

    fn write(&mut self, packets: &[Captured]) -> Result<bool, Failure> {
        let left = self.most.map_or(u64::MAX, |most| most.saturating_sub(self.packets));
        let some = packets.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let Some(pcapng) = &mut self.pcapng else { return Err(strange()) };
        for packet in packets.iter().take(some) {
            pcapng.add(packet)?;
        }
        let octets = pcapng.take();
        let goes_on = self.put(&octets)?;
        self.packets = self.packets.saturating_add(u64::try_from(some).unwrap_or(0));
        Ok(goes_on && self.most.is_none_or(|most| self.packets < most))
    }

    /// False if the reader has seen enough.
    fn put(&mut self, octets: &[u8]) -> Result<bool, Failure> {
        let Some(out) = &mut self.out else { return Ok(false) };
        match out.write_all(octets).and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => {
                let place =
                    self.file.as_ref().map_or("stdout".into(), |path| path.display().to_string());
                let sentence = format!(
                    "cannot write to {place}: {error}; what was written before is whole, make room and begin again"
                );
                Err(Failure::new(Code::Failed, sentence))
            }
        }
    }

    /// Says how many there were, unless nothing began.
    fn finish(self, end: Result<End, ClientError>) -> Outcome {
        if self.pcapng.is_some() {
            say(&summary(self.packets, self.lost));
        }
        end??;
        Ok(ExitCode::SUCCESS)
    }
}

fn summary(packets: u64, lost: u64) -> String {
    let plural = |number: u64| if number == 1 { "" } else { "s" };
    let missing = match lost {
        0 => String::new(),
        _ => format!(
            ", and {lost} more went by unseen: whoever reads the capture was too slow (the tunnel lost nothing)"
        ),
    };
    format!("{packets} packet{}{missing}\n", plural(packets))
}

/// Whether somebody wants it to end.
struct Stop(Arc<AtomicBool>);

impl Stop {
    /// The first signal asks for the end, the second one ends the program, though its reader keeps it waiting.
    fn watch() -> io::Result<Self> {
        let wanted = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register_conditional_default(signal, Arc::clone(&wanted))?;
            signal_hook::flag::register(signal, Arc::clone(&wanted))?;
        }
        Ok(Self(wanted))
    }

    fn is_wanted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// `10.1.0.0/16`, or one address.
fn network(text: &str) -> Result<IpNet, String> {
    let one = || text.parse().map(|address: std::net::IpAddr| IpNet::from(address));
    text.parse().or_else(|_| one()).map_err(|_| "write an address or a network: 10.1.0.0/16".into())
}

/// How often signals and the clock are looked at while no packet comes.
const TICK: Duration = Duration::from_millis(100);

/// A year.
const MOST_SECONDS: u64 = 365 * 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks_and_single_addresses_are_read() {
        assert_eq!(network("10.1.0.5").map(|net| net.to_string()), Ok("10.1.0.5/32".into()));
        assert_eq!(network("10.1.0.0/16").map(|net| net.to_string()), Ok("10.1.0.0/16".into()));
        assert_eq!(network("2001:db8::1").map(|net| net.to_string()), Ok("2001:db8::1/128".into()));
        assert!(network("berlin").is_err());
    }

    #[test]
    fn the_end_says_what_is_missing() {
        assert_eq!(summary(1, 0), "1 packet\n");
        assert!(summary(12, 3).starts_with("12 packets, and 3 more went by unseen"));
    }
}
