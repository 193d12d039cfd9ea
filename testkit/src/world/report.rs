//! What happened in a [`World`], as text for people: one line of time, every host in it.
//!
//! ```text
//!   WORLD_SEED=7 at 10.2s                                  with WORLD_TRACE set: from the beginning
//!   capture: target/world-failures/TEST-7.pcap
//!   left: up {PeerId(0)}, 1 child of 1, next "liveness" in 20s
//!     0ns        left   192.0.2.1:500 -> 198.51.100.1:500 IKE_SA_INIT request 0, 230 octets
//!     31ms       right  ChildUp 1: in 0x1a2b3c4d, out 0x5e6f7081
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use ikev2::Event;
use ikev2::wire::header::Header;

use super::{Sent, World};

/// Lines of the past that a report shows.
const LINES: usize = 60;

impl World {
    /// The seed, the state of each host, and the last events and datagrams; all of them if the environment variable
    /// `WORLD_TRACE` is set. Everything that was sent goes to a capture in the build directory, which the report names.
    #[must_use]
    pub fn report(&self) -> String {
        let mut text = format!("WORLD_SEED={} at {:?}\n", self.seed, self.elapsed());
        if let Some(path) = self.save_capture() {
            let _fits = writeln!(text, "capture: {}", path.display());
        }
        for host in &self.hosts {
            let timer = host.endpoint.poll_timeout();
            let timer = timer.map(|next| (next.why, next.at.saturating_duration_since(self.now)));
            let _fits = writeln!(
                text,
                "{}: up {:?}, {} children of {}, timer {timer:?}",
                host.name,
                host.up.keys(),
                host.child_count(),
                host.wanted,
            );
        }
        let mut lines = self.timeline();
        lines.sort_by_key(|(at, _)| *at);
        let skipped = match std::env::var_os("WORLD_TRACE") {
            Some(_) => 0,
            None => lines.len().saturating_sub(LINES),
        };
        for (at, line) in lines.into_iter().skip(skipped) {
            let _fits = writeln!(text, "  {:<12} {line}", format!("{at:.1?}"));
        }
        text
    }

    fn timeline(&self) -> Vec<(Duration, String)> {
        let mut lines = Vec::new();
        for host in &self.hosts {
            let name = host.name;
            let events = host.events.iter();
            lines.extend(events.map(|(at, event)| (*at, format!("{name:<6} {}", tell(event)))));
            let drops = host.drops.iter();
            lines.extend(drops.map(|(at, why)| (*at, format!("{name:<6} dropped: {why:?}"))));
        }
        lines.extend(self.sent.iter().map(|sent| {
            let name = self.host(sent.host).name;
            (sent.at, format!("{name:<6} {}", tell_sent(sent)))
        }));
        lines
    }
}

fn tell_sent(sent: &Sent) -> String {
    let Ok(header) = Header::parse(&sent.payload) else {
        return format!("{} no IKE message", sent.path);
    };
    let kind = if header.flags.response { "response" } else { "request" };
    format!(
        "{} {} {kind} {} of {:.4}../{:.4}.., {} octets",
        sent.path,
        header.exchange,
        header.message_id,
        header.spi_i.to_string(),
        header.spi_r.to_string(),
        sent.payload.len()
    )
}

fn tell(event: &Event) -> String {
    if let Event::ChildUp { child, replaces } = event {
        format!(
            "ChildUp {}: in 0x{:08x}, out 0x{:08x}, send {:?}, replaces {replaces:?}",
            child.id.0, child.spi_in.0, child.spi_out.0, child.send
        )
    } else if let Event::PeerUp { info, .. } = event {
        format!("PeerUp {:016x?} on {}", info.spis, info.path)
    } else if let Event::PeerRekeyed { info, .. } = event {
        format!("PeerRekeyed {:016x?}", info.spis)
    } else {
        format!("{event:?}")
    }
}
