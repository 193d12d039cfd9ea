//! Hosts that never cease to send, whatever becomes of it: UDP, pings, connections of TCP, from each side to the other.
//!
//! ```text
//!   left.host  ── UDP to port 9, every 3 ms; an echo request and a SYN, every 30 ms ──►  right.host
//!              ◄──────────────────────────── the same ────────────────────────────────
//! ```

use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use testkit::netns::{Family, Netns, Sites};
use testkit::peer::pause;

/// Goes on until it is dropped.
pub(crate) struct Chatter {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Chatter {
    /// Both hosts begin, in every family of the tunnel.
    pub(crate) fn start(sites: &Sites, families: &[Family]) -> Result<Self> {
        let mut chatter = Self { stop: Arc::default(), threads: Vec::new() };
        for (from, to) in [(&sites.left, &sites.right), (&sites.right, &sites.left)] {
            for family in families {
                chatter.say(&from.host, &to.host, to.host_address(*family, 0))?;
            }
        }
        Ok(chatter)
    }

    fn say(&mut self, from: &Netns, to: &Netns, at: IpAddr) -> Result<()> {
        let listener = to.inside(|| Ok(TcpListener::bind(SocketAddr::new(at, 0))?))?;
        let port = listener.local_addr()?;
        let any: IpAddr = if at.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
        let udp = from.inside(|| Ok(UdpSocket::bind(SocketAddr::new(any, 0))?))?;
        let name = from.name().to_owned();
        let (stop, ends) = (Arc::clone(&self.stop), Arc::clone(&self.stop));
        self.threads.push(std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                // Whatever the way there is like: no route, no neighbour, no answer.
                let _ = udp.send_to(&[0x55; 200], (at, 9));
                pause(Duration::from_millis(3));
            }
        }));
        self.threads.push(std::thread::spawn(move || {
            if testkit::netns::enter(&name).is_err() {
                return;
            }
            let _open = listener;
            while !ends.load(Ordering::Relaxed) {
                let _ = testkit::ping::ping(at, 1, Duration::ZERO, Duration::from_millis(15));
                let _ = TcpStream::connect_timeout(&port, Duration::from_millis(15));
            }
        }));
        Ok(())
    }
}

impl Drop for Chatter {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
