//! Many short TCP connections at once: each asks, is answered and closes, and every octet is compared.
//!
//! ```text
//!   client n of `parallel`     SYN ─►  ◄─ SYN       number, 2 kB ─►        ◄─ 20 kB, FIN       FIN ─►
//! ```

#![expect(clippy::disallowed_methods, reason = "real sockets in real time")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::flow::{CONNECT, content};
use crate::netns::Netns;

/// How many connections, and what each of them carries.
#[derive(Debug, Clone, Copy)]
pub struct Requests {
    /// Connections in all.
    pub count: u64,
    /// At a time.
    pub parallel: u64,
    /// Octets of a request, 8 to 16384.
    pub request: usize,
    /// Octets of an answer.
    pub answer: usize,
}

/// Makes all connections from `from` to `address` in `to`; says how long the slowest took.
///
/// # Errors
/// The first that was not answered, or not with what was asked for.
pub fn requests(from: &Netns, to: &Netns, address: IpAddr, plan: Requests) -> Result<Duration> {
    let listener = to.inside(|| Ok(TcpListener::bind(SocketAddr::new(address, 0))?))?;
    let at = listener.local_addr()?;
    let (next, over) = (AtomicU64::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let server = scope.spawn(|| serve(&listener, plan, &over));
        let client = || -> Result<Duration> {
            from.enter()?;
            let mut slowest = Duration::ZERO;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= plan.count {
                    return Ok(slowest);
                }
                let begun = Instant::now();
                ask(at, number, plan).with_context(|| format!("request {number}"))?;
                slowest = slowest.max(begun.elapsed());
            }
        };
        let clients: Vec<_> = (0..plan.parallel).map(|_| scope.spawn(client)).collect();
        let asked: Vec<Result<Duration>> = clients
            .into_iter()
            .map(|client| client.join().map_err(|_| anyhow!("a client panicked"))?)
            .collect();
        over.store(true, Ordering::Relaxed);
        // Wakes the server, which sees that it is over.
        let woken = to.inside(|| Ok(TcpStream::connect_timeout(&at, CONNECT)?));
        let outcome = server.join().map_err(|_| anyhow!("the server panicked"))?;
        let slowest = asked.into_iter().collect::<Result<Vec<_>>>()?.into_iter().max();
        woken?;
        let whole = outcome?;
        ensure!(whole == plan.count, "{whole} of {} requests came whole", plan.count);
        slowest.context("no client")
    })
}

fn ask(at: SocketAddr, number: u64, plan: Requests) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&at, CONNECT)?;
    stream.set_read_timeout(Some(CONNECT))?;
    stream.write_all(&request(number, plan.request))?;
    let mut got = Vec::new();
    stream.read_to_end(&mut got)?;
    let want = answer(number, plan.answer);
    ensure!(got == want, "{} octets came, or others than the {} expected", got.len(), want.len());
    Ok(())
}

/// Answers until it is `over`; says how many requests were whole and right.
fn serve(listener: &TcpListener, plan: Requests, over: &AtomicBool) -> Result<u64> {
    let served = AtomicU64::new(0);
    std::thread::scope(|scope| {
        loop {
            let (stream, _) = listener.accept()?;
            if over.load(Ordering::Relaxed) {
                break;
            }
            // A request that is not answered is its client's error.
            scope.spawn(|| reply(stream, plan).map(|()| served.fetch_add(1, Ordering::Relaxed)));
        }
        Ok::<_, anyhow::Error>(())
    })?;
    Ok(served.into_inner())
}

fn reply(mut stream: TcpStream, plan: Requests) -> Result<()> {
    stream.set_read_timeout(Some(CONNECT))?;
    let mut got = vec![0; plan.request];
    stream.read_exact(&mut got)?;
    let number = got.first_chunk().map_or(0, |octets| u64::from_be_bytes(*octets));
    ensure!(got == request(number, plan.request), "request {number} was changed");
    stream.write_all(&answer(number, plan.answer))?;
    Ok(())
}

fn request(number: u64, len: usize) -> Vec<u8> {
    let mut octets = number.to_be_bytes().to_vec();
    octets.extend_from_slice(content(0, number * 7919, len - octets.len()));
    octets
}

fn answer(number: u64, len: usize) -> Vec<u8> {
    let mut octets = Vec::new();
    while octets.len() < len {
        let piece = (len - octets.len()).min(PIECE);
        octets.extend_from_slice(content(1, number * 104_729 + octets.len() as u64, piece));
    }
    octets
}

const PIECE: usize = 16 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_and_answered_depends_on_the_number() {
        assert_eq!((request(1, 2000).len(), answer(1, 20_000).len()), (2000, 20_000));
        assert_ne!(request(1, 2000)[8..], request(2, 2000)[8..]);
        assert_ne!(answer(1, 20_000), answer(2, 20_000));
    }
}
