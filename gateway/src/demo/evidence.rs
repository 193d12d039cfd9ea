//! What the demo has found out, and whether it proves that packets crossed encrypted and came back.
//!
//! ```text
//!   Evidence ─► doubts()   one sentence for each thing that does not fit; none: proven
//!            └► JSON       {"schema":"s2s-gw/demo/1","ok":true,..}
//! ```

use std::time::Duration;

use serde::Serialize;

use super::speed::Throughput;
use super::wire::Tally;

/// The name and version of the JSON form. It only ever grows.
pub(super) const SCHEMA: &str = "s2s-gw/demo/1";

/// Everything that was measured and seen.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Evidence {
    /// Whether it ran in a user namespace of its own, that is, without root.
    pub(super) unprivileged: bool,
    /// Without a tunnel, a ping was seen in the clear: the eyes on the wire are open.
    pub(super) alarm_works: bool,
    /// From the start of the initiating gateway until both said "up".
    pub(super) handshake_seconds: f64,
    /// Of the IKE SA, IANA names.
    pub(super) ike_suite: String,
    /// Of the ESP SAs, IANA names.
    pub(super) esp_suite: String,
    /// The SPI that gw-a says it sends with, hexadecimal.
    pub(super) spi: String,
    /// The SPI of the packet that was looked at on the wire, hexadecimal.
    pub(super) spi_on_wire: String,
    /// From the start of the demo to the first reply through the tunnel.
    pub(super) first_ping_seconds: f64,
    /// Pings through the tunnel.
    pub(super) pings: Pings,
    /// What crossed the internet from the start of the gateways to the last ping.
    pub(super) wire: Tally,
    /// TCP through the tunnel.
    pub(super) throughput: Throughput,
    /// Readable packets that the alarm has seen since the gateways started, during the TCP transfer, too.
    pub(super) clear_packets: u32,
}

/// The fate of the pings.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Pings {
    /// Requests sent.
    pub(super) sent: u32,
    /// Replies received.
    pub(super) received: u32,
    /// Requests without reply, per cent.
    pub(super) loss_percent: f64,
    /// The shortest round trip.
    pub(super) min_seconds: f64,
    /// The mean round trip.
    pub(super) mean_seconds: f64,
    /// The longest round trip.
    pub(super) max_seconds: f64,
}

impl Pings {
    /// Sums up; `None` is a ping without reply.
    pub(super) fn new(round_trips: &[Option<Duration>]) -> Self {
        let replies = || round_trips.iter().flatten().map(Duration::as_secs_f64);
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        let (sent, received) = (count(round_trips.len()), count(replies().count()));
        Self {
            sent,
            received,
            loss_percent: 100.0 * f64::from(sent - received) / f64::from(sent.max(1)),
            min_seconds: replies().reduce(f64::min).unwrap_or_default(),
            mean_seconds: replies().sum::<f64>() / f64::from(received.max(1)),
            max_seconds: replies().reduce(f64::max).unwrap_or_default(),
        }
    }
}

impl Evidence {
    /// What speaks against "packets crossed encrypted and came back"; empty if nothing does.
    pub(super) fn doubts(&self) -> Vec<String> {
        let Pings { sent, received, .. } = self.pings;
        let Tally { esp_from_a, esp_from_b, clear, ike, .. } = self.wire;
        let clear = clear.max(self.clear_packets);
        let suspicions = [
            (!self.alarm_works, "the alarm for readable packets was never seen to work".to_owned()),
            (sent == 0, "no ping was sent".to_owned()),
            (received < sent, format!("{} of {sent} pings did not come back", sent - received)),
            (clear > 0, format!("{clear} packets crossed the internet in the clear")),
            (ike == 0, "no IKE message crossed the internet".to_owned()),
            (
                esp_from_a < sent,
                format!("only {esp_from_a} ESP packets left gw-a for {sent} pings"),
            ),
            (
                esp_from_b < received,
                format!("only {esp_from_b} ESP packets left gw-b for {received} replies"),
            ),
            (
                esp_from_a > 0 && self.spi != self.spi_on_wire,
                format!("gw-a sends with SPI {}, on the wire is {}", self.spi, self.spi_on_wire),
            ),
            (self.throughput.octets == 0, "no TCP octet arrived".to_owned()),
        ];
        suspicions.into_iter().filter(|(holds, _)| *holds).map(|(_, sentence)| sentence).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Evidence as a demo without faults collects it.
    fn sound() -> Evidence {
        Evidence {
            alarm_works: true,
            spi: "c1a20001".to_owned(),
            spi_on_wire: "c1a20001".to_owned(),
            pings: Pings::new(&[Some(Duration::from_millis(1)); 10]),
            wire: Tally { esp_from_a: 10, esp_from_b: 10, ike: 4, ..Tally::default() },
            throughput: Throughput { octets: 1, seconds: 1.0, bits_per_second: 8.0 },
            ..Evidence::default()
        }
    }

    #[test]
    fn sound_evidence_leaves_no_doubt() {
        assert_eq!(sound().doubts(), [""; 0]);
    }

    #[test]
    fn every_fault_is_noticed() {
        type Fault = (fn(&mut Evidence), &'static str);
        let faults: [Fault; 9] = [
            (|e| e.alarm_works = false, "the alarm for readable packets was never seen to work"),
            (|e| e.pings.received = 9, "1 of 10 pings did not come back"),
            (|e| e.wire.clear = 1, "1 packets crossed the internet in the clear"),
            (|e| e.clear_packets = 2, "2 packets crossed the internet in the clear"),
            (|e| e.wire.ike = 0, "no IKE message crossed the internet"),
            (|e| e.wire.esp_from_a = 9, "only 9 ESP packets left gw-a for 10 pings"),
            (|e| e.wire.esp_from_b = 0, "only 0 ESP packets left gw-b for 10 replies"),
            (
                |e| e.spi_on_wire = "c1a20002".to_owned(),
                "gw-a sends with SPI c1a20001, on the wire is c1a20002",
            ),
            (|e| e.throughput.octets = 0, "no TCP octet arrived"),
        ];
        for (spoil, sentence) in faults {
            let mut evidence = sound();
            spoil(&mut evidence);
            assert_eq!(evidence.doubts(), [sentence]);
        }
        let nothing = Evidence { pings: Pings::new(&[]), ..sound() };
        assert_eq!(nothing.doubts(), ["no ping was sent"]);
    }

    #[test]
    fn pings_are_summed_up() {
        let ms = Duration::from_millis;
        let pings = Pings::new(&[Some(ms(3)), None, Some(ms(1)), Some(ms(2))]);
        assert_eq!((pings.sent, pings.received), (4, 3));
        let close = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(close(pings.loss_percent, 25.0));
        assert!(close(pings.min_seconds, 0.001) && close(pings.max_seconds, 0.003));
        assert!(close(pings.mean_seconds, 0.002));
        assert!(close(Pings::new(&[]).loss_percent, 0.0));
    }
}
