//! What an iperf3 client says at its end, with `-J`.
//!
//! ```text
//!   { "end": { "sum_sent": { "retransmits" }, "sum_received": { "bytes", "seconds" } }, "error"?: ".." }
//! ```

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

/// One transfer, or several at once.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Transfer {
    /// Octets of payload that arrived.
    pub(crate) octets: f64,
    /// Bits per second, as many as arrived.
    pub(crate) rate: f64,
    /// Segments that were sent again.
    pub(crate) retransmits: f64,
}

impl std::ops::AddAssign for Transfer {
    fn add_assign(&mut self, other: Self) {
        self.octets += other.octets;
        self.rate += other.rate;
        self.retransmits += other.retransmits;
    }
}

/// Reads the report of one client; the direction does not matter.
pub(crate) fn parse(json: &str) -> Result<Transfer> {
    let output: Output = serde_json::from_str(json).with_context(|| format!("iperf3: {json}"))?;
    if let Some(error) = output.error {
        bail!("iperf3: {error}");
    }
    let end = output.end.context("iperf3 ended early")?;
    let received = end.sum_received.context("iperf3 received nothing")?;
    if received.seconds <= 0.0 || received.bytes <= 0.0 {
        bail!("iperf3: nothing arrived");
    }
    Ok(Transfer {
        octets: received.bytes,
        rate: received.bytes * 8.0 / received.seconds,
        retransmits: end.sum_sent.map_or(0.0, |sent| sent.retransmits),
    })
}

#[derive(Deserialize)]
struct Output {
    error: Option<String>,
    end: Option<End>,
}

#[derive(Deserialize)]
struct End {
    sum_sent: Option<Sent>,
    sum_received: Option<Received>,
}

#[derive(Deserialize)]
struct Sent {
    #[serde(default)]
    retransmits: f64,
}

#[derive(Deserialize)]
struct Received {
    bytes: f64,
    seconds: f64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_what_arrived() {
        let json = r#"{ "start": {}, "intervals": [], "end": { "streams": [],
            "sum_sent": { "seconds": 2.0, "bytes": 9000000, "bits_per_second": 36000000, "retransmits": 7, "sender": true },
            "sum_received": { "seconds": 2.0, "bytes": 8000000, "bits_per_second": 32000000, "sender": true } } }"#;
        let transfer = parse(json).unwrap();
        assert_eq!(transfer, Transfer { octets: 8e6, rate: 32e6, retransmits: 7.0 });
        let mut both = transfer;
        both += transfer;
        assert_eq!(both, Transfer { octets: 16e6, rate: 64e6, retransmits: 14.0 });
    }

    #[test]
    fn an_error_is_told_in_its_own_words() {
        let told = |json| parse(json).unwrap_err().to_string();
        let json = r#"{ "start": {}, "end": {}, "error": "unable to connect to server: No route to host" }"#;
        assert_eq!(told(json), "iperf3: unable to connect to server: No route to host");
        assert!(told("iperf3: command line").starts_with("iperf3: "));
        let silent = r#"{ "end": { "sum_received": { "seconds": 2, "bytes": 0 } } }"#;
        assert_eq!(told(silent), "iperf3: nothing arrived");
    }
}
