//! How fast TCP is from host to host: a stream of zeros, counted where it arrives.
//!
//! ```text
//!   host-a  connect, write 64 KiB at a time until the time is over, close   ──►   host-b  accept, read to the end
//! ```

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{DemoError, During as _};
use crate::clock;
use crate::sys::netns::Netns;

/// What arrived.
#[derive(Debug, Clone, Copy, Default, PartialEq, serde::Serialize)]
pub(super) struct Throughput {
    /// Octets of TCP payload.
    pub(super) octets: u64,
    /// From the first octet to the last.
    pub(super) seconds: f64,
    /// The quotient.
    pub(super) bits_per_second: f64,
}

/// Sends from one namespace to `to` in another for `duration`.
pub(super) fn measure(
    from: &Netns,
    into: &Netns,
    to: Ipv4Addr,
    duration: Duration,
) -> Result<Throughput, DemoError> {
    let what = "measure the throughput";
    let listener = into.run(|| TcpListener::bind((to, 0))).during(what)?.during(what)?;
    let address = listener.local_addr().during(what)?;
    let (sent, received) = thread::scope(|scope| {
        let sender = scope.spawn(|| from.run(|| send(address, duration)));
        let received = receive(&listener);
        (sender.join(), received)
    });
    let sent = sent.unwrap_or_else(|_| Err(io::Error::other("the sender panicked")));
    sent.during(what)?.during(what)?;
    received.during(what)
}

fn send(to: SocketAddr, duration: Duration) -> io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let block = vec![0; BLOCK_LEN];
    let started = clock::now();
    while clock::now() - started < duration {
        stream.write_all(&block)?;
    }
    Ok(())
}

fn receive(listener: &TcpListener) -> io::Result<Throughput> {
    let patience = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    if poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&patience))? == 0 {
        return Err(io::ErrorKind::TimedOut.into()); // the sender could not connect, and says why
    }
    let (mut stream, _) = listener.accept()?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut block = vec![0; BLOCK_LEN];
    let started = clock::now();
    let mut octets = 0;
    loop {
        match stream.read(&mut block)? {
            0 => break,
            length => octets += length as u64,
        }
    }
    let seconds = (clock::now() - started).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "2^53 octets take a while")]
    let bits_per_second = octets as f64 * 8.0 / seconds;
    Ok(Throughput { octets, seconds, bits_per_second })
}

/// Longer than any stall of a tunnel that works.
const PATIENCE: Duration = Duration::from_secs(5);

/// Octets per system call, so that system calls cost little.
const BLOCK_LEN: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sent_arrives() {
        let here = Netns::current().unwrap();
        let result = Ipv4Addr::LOCALHOST;
        match measure(&here, &here, result, Duration::from_millis(100)) {
            Ok(throughput) => {
                assert!(throughput.octets >= BLOCK_LEN as u64);
                assert!(throughput.seconds >= 0.05 && throughput.bits_per_second > 1e6);
            }
            Err(error) => println!("skipped: {error}"),
        }
    }
}
