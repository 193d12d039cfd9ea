//! The story without a fault: two sites, a tunnel, and what the internet has seen of it.
//!
//! ```text
//!   before     without a tunnel, a ping is readable on the internet, and lost there: the alarm works
//!   gateways   two daemons, a new key, five lines of configuration each
//!   tunnel     IKE_SA_INIT, IKE_AUTH, up
//!   ping       host-a to host-b and back
//!   wire       what the internet has seen of it
//!   speed      TCP for two seconds
//! ```

use std::time::{Duration, Instant};

use ipnet::Ipv4Net;

use super::evidence::{Evidence, Pings};
use super::gateways::{Gateway, KEY, connection, write_key};
use super::hexview::side_by_side;
use super::ping::Pinger;
use super::stage::{Paint, Stage};
use super::story::{Setting, own_devices};
use super::swan::{self, Swan};
use super::topology::{SITE_A, SITE_B, Topology, inside};
use super::wire::{Eye, Sighting, classify};
use super::{Against, DemoError, During as _, speed};
use crate::clock;

/// Tells it, and returns what runs on both sides. `user_namespace`: we are root only of our own little world. `started`: when
/// the user began to wait.
pub(super) fn tell(
    setting: &Setting<'_>,
    topology: &Topology,
    user_namespace: bool,
    started: Instant,
) -> Result<Running, DemoError> {
    let stage = setting.stage;
    let mut tale = Tale { setting, stage, topology, started, evidence: Evidence::default() };
    tale.evidence.unprivileged = user_namespace;
    tale.before()?;
    let alarm = tale.alarm()?;
    let everything = tale.everything()?;
    let gateways = match setting.args.against {
        None => tale.gateways()?,
        Some(Against::Strongswan) => tale.against_strongswan()?,
    };
    let sent = tale.pings()?;
    tale.wire(&everything, &sent)?;
    drop(everything);
    if tale.evidence.pings.received > 0 {
        tale.speed(&alarm)?;
    }
    if let Some(swan) = &gateways.swan {
        swan.types(stage, &["--list-sas"])?;
    }

    let doubts = tale.evidence.doubts();
    if !doubts.is_empty() {
        return Err(DemoError::Doubts(doubts));
    }
    stage.succeed(&tale.evidence);
    Ok(gateways)
}

/// What runs on both sides, for as long as this lives.
pub(super) struct Running {
    _ours: Vec<Gateway>,
    swan: Option<Swan>,
}

struct Tale<'a> {
    setting: &'a Setting<'a>,
    stage: &'a Stage,
    topology: &'a Topology,
    started: Instant,
    evidence: Evidence,
}

impl Tale<'_> {
    /// The control experiment: what would a packet in the clear look like, and would we see it?
    fn before(&mut self) -> Result<(), DemoError> {
        self.stage.working("before", "host-a pings host-b without a tunnel…");
        let alarm = self.alarm()?;
        inside(&self.topology.host_a, || {
            Pinger::open(SITE_B.host).and_then(|mut pinger| pinger.send()).during("send a ping")
        })?;
        let what = "watch the wire";
        if alarm.wait(PATIENCE).during(what)? {
            let mut seen = false;
            alarm
                .drain(|frame| seen |= classify(frame, &sites()) == Sighting::Clear)
                .during(what)?;
            self.evidence.alarm_works = seen;
        }
        let text = "without a tunnel, anybody can read host-a's ping to host-b,\n\
                    and it is lost: the internet knows no way to private addresses";
        self.stage.found(self.evidence.alarm_works, "before", text);
        Ok(())
    }

    /// Key, configuration, two daemons, and the tunnel between them.
    fn gateways(&mut self) -> Result<Running, DemoError> {
        let directory = self.setting.directory;
        self.stage.working("gateways", "starting two daemons…");
        write_key(directory, KEY)?;
        let responder = connection(&SITE_B, &SITE_A) + "start          = \"respond-only\"\n";
        let mut b = Gateway::start(&SITE_B, &responder, &self.topology.gateway_b, directory)?;
        b.until_ready()?;
        let initiator = connection(&SITE_A, &SITE_B);
        let launched = clock::now();
        let told = initiator.clone() + self.setting.http();
        let mut a = Gateway::start(&SITE_A, &told, &self.topology.gateway_a, directory)?;
        let text = format!(
            "two daemons with a new 256-bit key; all that gw-a was told:\n{}",
            self.stage.paint(Paint::Cyan, initiator.trim_end()),
        );
        self.stage.done("gateways", &text);

        self.up(&mut a, launched, "after gw-a was started")?;
        b.until_up()?;
        Ok(Running { _ours: vec![a, b], swan: None })
    }

    /// The same with charon in the place of gw-b. It initiates, for it does so anyway once it has our configuration.
    fn against_strongswan(&mut self) -> Result<Running, DemoError> {
        let directory = self.setting.directory;
        self.stage.working("gateways", "starting a daemon and charon…");
        write_key(directory, KEY)?;
        let connection = connection(&SITE_A, &SITE_B) + "start          = \"respond-only\"\n";
        let told = connection.clone() + self.setting.http();
        let mut a = Gateway::start(&SITE_A, &told, &self.topology.gateway_a, directory)?;
        a.until_ready()?;
        let text = format!(
            "gw-a is s2s-gw, gw-b charon of strongSwan; what gw-a was told:\n{}",
            self.stage.paint(Paint::Cyan, connection.trim_end()),
        );
        self.stage.done("gateways", &text);
        let mut swan = Swan::start(self.stage, self.topology, directory, &a)?;
        let launched = clock::now();
        swan.types(self.stage, &["--load-all", "--file", swan::SWANCTL_CONF])?;
        self.stage.say("");
        self.up(&mut a, launched, "after charon was told")?;
        // gw-a has answered; charon has to read that before it takes packets.
        swan.until_up()?;
        Ok(Running { _ours: vec![a], swan: Some(swan) })
    }

    /// Waits for the tunnel and says what it is like.
    fn up(&mut self, a: &mut Gateway, launched: Instant, since: &str) -> Result<(), DemoError> {
        self.stage.working("tunnel", "waiting for the handshake…");
        let status = a.until_up()?;
        let evidence = &mut self.evidence;
        evidence.handshake_seconds = (clock::now() - launched).as_secs_f64();
        evidence.ike_suite = status.ike.map(|ike| ike.suite).unwrap_or_default();
        let sa = status.children.into_iter().find_map(|child| child.sa);
        (evidence.esp_suite, evidence.spi) =
            sa.map(|sa| (sa.suite, sa.spi_out)).unwrap_or_default();
        let text = format!(
            "up, {:.0} ms {since}\nIKE  {}\nESP  {}",
            evidence.handshake_seconds * 1e3,
            evidence.ike_suite,
            evidence.esp_suite,
        );
        self.stage.done("tunnel", &text);
        Ok(())
    }

    /// Pings from host to host; returns the first request as host-a has sent it.
    fn pings(&mut self) -> Result<Vec<u8>, DemoError> {
        let host = &self.topology.host_a;
        let eye = inside(host, || Eye::everything(Vec::new()).during("watch host-a's cable"))?;
        let mut pinger = inside(host, || Pinger::open(SITE_B.host).during("open a raw socket"))?;
        let mut round_trips = Vec::new();
        for number in 1..=PINGS {
            self.stage.working("ping", &format!("host-a to host-b, {number} of {PINGS}…"));
            let reply = pinger.ping(PATIENCE).during("send a ping")?;
            if reply.is_some() && round_trips.iter().all(Option::is_none) {
                self.evidence.first_ping_seconds = (clock::now() - self.started).as_secs_f64();
            }
            round_trips.push(reply);
        }
        let mut first = Vec::new();
        eye.drain(|frame| {
            // The eye on a host's own cable sees what anybody may see: the packet itself.
            if first.is_empty() && classify(frame, &sites()) == Sighting::Clear {
                first = frame.get(ETHERNET_HEADER_LEN..).unwrap_or_default().to_vec();
            }
        })
        .during("watch host-a's cable")?;
        self.evidence.pings = Pings::new(&round_trips);
        let pings = &self.evidence.pings;
        let mut text = format!("{} of {} came back", pings.received, pings.sent);
        if pings.received > 0 {
            text = format!(
                "{text}, {:.0} % lost, round trip {:.2} / {:.2} / {:.2} ms\n\
                 the first one {:.2} s after the start of this demo",
                pings.loss_percent,
                pings.min_seconds * 1e3,
                pings.mean_seconds * 1e3,
                pings.max_seconds * 1e3,
                self.evidence.first_ping_seconds,
            );
        }
        self.stage.found(pings.received == pings.sent, "ping", &text);
        Ok(first)
    }

    /// What the internet has seen since the gateways were started.
    fn wire(&mut self, eye: &Eye, sent: &[u8]) -> Result<(), DemoError> {
        let mut esp = Vec::new();
        let tally = &mut self.evidence.wire;
        eye.drain(|frame| {
            let sighting = classify(frame, &sites());
            tally.count(&sighting, SITE_A.wan);
            if let Sighting::Esp { from, packet } = sighting
                && from == SITE_A.wan
                && esp.is_empty()
            {
                esp = packet;
            }
        })
        .during("watch the wire")?;
        let spi = esp.first_chunk::<4>().map(|spi| u32::from_be_bytes(*spi));
        self.evidence.spi_on_wire = spi.map(|spi| format!("{spi:08x}")).unwrap_or_default();
        let tally = &self.evidence.wire;
        let text = format!(
            "{} IKE messages, {} ESP packets, {} packets that anybody can read",
            tally.ike,
            tally.esp_from_a + tally.esp_from_b,
            tally.clear,
        );
        self.stage.found(tally.clear == 0 && !esp.is_empty(), "wire", &text);
        let title = format!("{:<35}{}", "what host-a has sent", "what the internet has seen");
        let mut lines = vec![String::new(), self.stage.paint(Paint::Bold, &title)];
        lines.extend(side_by_side(sent, &esp, ROWS));
        self.stage.say(&(lines.join("\n  ") + "\n"));
        Ok(())
    }

    /// TCP through the tunnel, with the alarm on.
    fn speed(&mut self, alarm: &Eye) -> Result<(), DemoError> {
        self.stage.working("speed", "TCP from host-a to host-b for two seconds…");
        let Topology { host_a, host_b, .. } = self.topology;
        let throughput = speed::measure(host_a, host_b, SITE_B.host, SPEED_TIME)?;
        self.evidence.throughput = throughput;
        let mut clear = 0;
        alarm.drain(|_| clear += 1).during("watch the wire")?;
        self.evidence.clear_packets = clear;
        let text = format!(
            "TCP from host-a to host-b: {} for {:.1} s,\n{clear} packets that anybody can read",
            rate(throughput.bits_per_second),
            throughput.seconds,
        );
        self.stage.found(clear == 0, "speed", &text);
        Ok(())
    }

    /// An eye on the internet that sees only what must not be there.
    fn alarm(&self) -> Result<Eye, DemoError> {
        inside(&self.topology.internet, || {
            Eye::alarm(&sites(), own_devices()?).during("watch the wire")
        })
    }

    /// An eye on the internet that sees each packet once, as it comes in.
    fn everything(&self) -> Result<Eye, DemoError> {
        inside(&self.topology.internet, || Eye::everything(own_devices()?).during("watch the wire"))
    }
}

fn rate(bits_per_second: f64) -> String {
    if bits_per_second >= 1e9 {
        format!("{:.2} Gbit/s", bits_per_second / 1e9)
    } else {
        format!("{:.0} Mbit/s", bits_per_second / 1e6)
    }
}

/// The networks whose addresses must not be seen on the internet.
fn sites() -> [Ipv4Net; 2] {
    [SITE_A.network(), SITE_B.network()]
}

/// How many pings.
const PINGS: u32 = 10;

/// For one ping, and for the alarm. Much longer than any needs, so that a busy machine does not fail the demo.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long TCP is measured.
const SPEED_TIME: Duration = Duration::from_secs(2);

/// Rows of hexadecimal: an IPv4 packet with a ping has 84 octets, 11 rows.
const ROWS: usize = 11;

const ETHERNET_HEADER_LEN: usize = 14;
