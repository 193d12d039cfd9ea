//! TCP flows between two namespaces, checked octet by octet, with the longest silence measured.
//!
//! ```text
//!  client (in `from`)                     server (in `to`)
//!    writer ── words of seed A, paced ──►   reader: compares, times the gap between two reads
//!    reader ◄── words of seed B, paced ──   writer
//! ```
//!
//! The content is a function of seed and offset, so that the reader knows every octet before it comes: a lost, doubled or
//! moved octet shows as the offset of the first difference. Real time, real sockets: this is about stalls that a user sees.

#![expect(clippy::disallowed_methods, reason = "measures real stalls of real sockets")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    reason = "offsets within one period, lengths within one chunk"
)]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::netns::Netns;

/// How much to send each way, and how fast.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Octets to send each way; with [`Flow::finish`] the flow may end earlier.
    pub octets: u64,
    /// Octets per second each way; `None` is as fast as it goes.
    pub pace: Option<u64>,
}

/// What one direction went through.
#[derive(Debug, Clone)]
pub struct Report {
    /// Octets that the writer handed to its socket.
    pub sent: u64,
    /// Octets that the reader got.
    pub received: u64,
    /// Offset of the first octet that was not the expected one.
    pub first_difference: Option<u64>,
    /// The longest time between two reads (or the start and the first).
    pub longest_stall: Duration,
    /// From the first to the last octet.
    pub elapsed: Duration,
}

impl Report {
    /// Fails unless every octet came, as sent, without a silence of more than `stall`.
    ///
    /// # Errors
    /// Says what was lost, changed or late.
    pub fn check(&self, stall: Duration) -> Result<()> {
        ensure!(self.first_difference.is_none(), "content differs: {self:?}");
        ensure!(self.sent == self.received, "octets lost: {self:?}");
        ensure!(self.sent > 0, "nothing was sent: {self:?}");
        ensure!(self.longest_stall <= stall, "stalled for more than {stall:?}: {self:?}");
        Ok(())
    }
}

/// A TCP connection that carries both directions at once, running in the background.
#[derive(Debug)]
pub struct Flow {
    stop: Arc<AtomicBool>,
    received: [Arc<AtomicU64>; 2],
    threads: Vec<JoinHandle<Result<Half>>>,
}

impl Flow {
    /// Connects from a host in `from` to `address` in `to` and begins.
    ///
    /// # Errors
    /// If the connection is not there within ten seconds.
    pub fn start(from: &Netns, to: &Netns, address: IpAddr, plan: Plan) -> Result<Self> {
        let listener = to.inside(|| Ok(TcpListener::bind(SocketAddr::new(address, 0))?))?;
        let at = listener.local_addr()?;
        let client = from.inside(|| {
            TcpStream::connect_timeout(&at, CONNECT).with_context(|| format!("no TCP to {at}"))
        })?;
        let (server, _) = listener.accept()?;
        let stop = Arc::new(AtomicBool::new(false));
        let received = [Arc::default(), Arc::default()];
        let mut threads = Vec::new();
        for (stream, seeds, received) in
            [(client, [SEED, SEED + 1], &received[0]), (server, [SEED + 1, SEED], &received[1])]
        {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(SILENCE))?;
            stream.set_write_timeout(Some(SILENCE))?;
            let (other, stop, received) =
                (stream.try_clone()?, Arc::clone(&stop), Arc::clone(received));
            threads.push(std::thread::spawn(move || write(&stream, seeds[0], plan, &stop)));
            threads.push(std::thread::spawn(move || read(&other, seeds[1], &received)));
        }
        Ok(Self { stop, received, threads })
    }

    /// Octets that have arrived so far (at the client, at the server).
    #[must_use]
    pub fn progress(&self) -> [u64; 2] {
        [self.received[0].load(Ordering::Relaxed), self.received[1].load(Ordering::Relaxed)]
    }

    /// Stops sending, waits until everything that was sent has arrived, and reports (client to server, back).
    ///
    /// # Errors
    /// If a socket failed.
    pub fn finish(self) -> Result<[Report; 2]> {
        self.stop.store(true, Ordering::Relaxed);
        self.wait()
    }

    /// Waits until the whole plan is done, and reports (client to server, back).
    ///
    /// # Errors
    /// If a socket failed, or was silent for half a minute.
    pub fn wait(mut self) -> Result<[Report; 2]> {
        let halves: Vec<Half> = std::mem::take(&mut self.threads)
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a flow thread panicked"))?)
            .collect::<Result<_>>()?;
        let [client_out, client_in, server_out, server_in] = halves.as_slice() else {
            unreachable!("invariant: start makes four threads")
        };
        Ok([report(client_out, server_in), report(server_out, client_in)])
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        // An abandoned flow has to end by itself.
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// 20 MB each way at once, as fast as it goes, every octet compared.
///
/// # Errors
/// If anything was lost, changed or stalled.
pub fn exchange(from: &Netns, to: &Netns, address: IpAddr, stall: Duration) -> Result<[Report; 2]> {
    let plan = Plan { octets: 20_000_000, pace: None };
    let reports = Flow::start(from, to, address, plan)?.wait()?;
    for report in &reports {
        report.check(stall)?;
        ensure!(report.received == plan.octets, "incomplete: {report:?}");
    }
    Ok(reports)
}

#[derive(Debug, Clone, Default)]
struct Half {
    octets: u64,
    first_difference: Option<u64>,
    longest_stall: Duration,
    elapsed: Duration,
}

fn report(out: &Half, back: &Half) -> Report {
    Report {
        sent: out.octets,
        received: back.octets,
        first_difference: back.first_difference,
        longest_stall: back.longest_stall,
        elapsed: back.elapsed,
    }
}

fn write(mut stream: &TcpStream, seed: u64, plan: Plan, stop: &AtomicBool) -> Result<Half> {
    let start = Instant::now();
    let mut octets = 0;
    while octets < plan.octets && !stop.load(Ordering::Relaxed) {
        if let Some(pace) = plan.pace {
            let due = start + Duration::from_micros(octets.saturating_mul(1_000_000) / pace);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        let len = usize::try_from(plan.octets - octets).map_or(CHUNK, |left| left.min(CHUNK));
        stream
            .write_all(content(seed, octets, len))
            .with_context(|| format!("writing at octet {octets}"))?;
        octets += len as u64;
    }
    stream.flush()?;
    stream.shutdown(std::net::Shutdown::Write)?;
    Ok(Half { octets, elapsed: start.elapsed(), ..Half::default() })
}

fn read(mut stream: &TcpStream, seed: u64, received: &AtomicU64) -> Result<Half> {
    let (mut half, start) = (Half::default(), Instant::now());
    let (mut last, mut buffer) = (start, vec![0; CHUNK]);
    loop {
        let len = stream
            .read(&mut buffer)
            .with_context(|| format!("reading at octet {}", half.octets))?;
        let now = Instant::now();
        half.longest_stall = half.longest_stall.max(now - last);
        half.elapsed = now - start;
        last = now;
        if len == 0 {
            return Ok(half);
        }
        let (got, want) = (&buffer[..len], content(seed, half.octets, len));
        if half.first_difference.is_none() && got != want {
            let at = got.iter().zip(want).position(|(got, want)| got != want);
            half.first_difference = at.map(|at| half.octets + at as u64);
        }
        half.octets += len as u64;
        received.store(half.octets, Ordering::Relaxed);
    }
}

/// `len` octets of a stream's content from `offset` on, at most a [`CHUNK`].
///
/// The content repeats after [`PERIOD`], a prime: to lose a stretch unseen, one would have to lose a multiple of it, and
/// then the count is wrong.
pub(crate) fn content(seed: u64, offset: u64, len: usize) -> &'static [u8] {
    static STREAMS: [OnceLock<Vec<u8>>; 2] = [OnceLock::new(), OnceLock::new()];
    let stream = STREAMS[(seed % 2) as usize].get_or_init(|| {
        let words = (0..(PERIOD as u64)).map(|at| mix(seed ^ at).to_le_bytes()[0]);
        let mut once: Vec<u8> = words.collect();
        once.extend_from_within(..CHUNK);
        once
    });
    let start = (offset % PERIOD as u64) as usize;
    &stream[start..start + len]
}

/// The finaliser of splitmix64: every input bit changes half of the output bits.
pub(crate) fn mix(word: u64) -> u64 {
    let word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

const PERIOD: usize = 1_000_003;
/// Small enough that a paced flow of a few MB/s writes every few milliseconds.
const CHUNK: usize = 16 * 1024;
const SEED: u64 = 7296;
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// A connection that is silent for so long will not come back.
const SILENCE: Duration = Duration::from_secs(30);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_depends_on_the_offset_alone() {
        assert_eq!(content(0, 0, 100)[37..87], *content(0, 37, 50));
        assert_eq!(content(0, 0, 100), content(0, PERIOD as u64, 100));
        assert_ne!(content(0, 0, 100), content(1, 0, 100));
    }

    #[test]
    fn a_lost_octet_is_a_difference_and_a_silence_is_a_stall() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let writer = std::thread::spawn(move || {
            let content = content(SEED, 0, 64);
            client.write_all(&content[..10]).unwrap();
            std::thread::sleep(Duration::from_millis(60));
            client.write_all(&content[11..]).unwrap();
        });
        let half = read(&server, SEED, &AtomicU64::new(0)).unwrap();
        writer.join().unwrap();
        let report = report(&Half { octets: 64, ..Half::default() }, &half);
        assert_eq!((report.received, report.first_difference), (63, Some(10)));
        assert!(report.longest_stall >= Duration::from_millis(50), "{report:?}");
        assert!(report.check(Duration::from_secs(1)).is_err());
    }
}
