//! Who may begin: bounds the half-open SAs and recognises a repeated IKE_SA_INIT (RFC 7296 §2.1, §2.6).
//!
//! ```text
//!   (SPIi, address and port) ─► known: same octets      ─► the same answer again
//!                               known: other octets     ─► a new SA beside the old one; one of the two will never be used
//!                               unknown, room           ─► new
//!                               unknown, no room        ─► dropped
//! ```

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::event::Path;
use crate::wire::header::IkeSpi;

/// The half-open SAs that others began.
pub(crate) struct Admission {
    limit: usize,
    by_request: HashMap<(IkeSpi, SocketAddr), Entry>,
    by_sa: HashMap<IkeSpi, (IkeSpi, SocketAddr)>,
}

struct Entry {
    sa: IkeSpi,
    digest: [u8; 32],
    answer: Arc<[u8]>,
}

/// What is known of a first IKE_SA_INIT.
pub(crate) enum HalfOpen {
    /// Nothing, and there is room.
    New,
    /// It was answered with these octets.
    Repeat(Arc<[u8]>),
    /// There is no room for another.
    Full,
}

impl Admission {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, by_request: HashMap::new(), by_sa: HashMap::new() }
    }

    pub(crate) fn look(&self, spi_i: IkeSpi, path: Path, datagram: &[u8]) -> HalfOpen {
        let digest: [u8; 32] = Sha256::digest(datagram).into();
        match self.by_request.get(&(spi_i, path.remote)) {
            Some(entry) if entry.digest == digest => HalfOpen::Repeat(Arc::clone(&entry.answer)),
            _ if self.by_sa.len() >= self.limit => HalfOpen::Full,
            _ => HalfOpen::New,
        }
    }

    pub(crate) fn begin(
        &mut self,
        spi_i: IkeSpi,
        path: Path,
        datagram: &[u8],
        sa: IkeSpi,
        answer: Arc<[u8]>,
    ) {
        let digest: [u8; 32] = Sha256::digest(datagram).into();
        let key = (spi_i, path.remote);
        self.by_request.insert(key, Entry { sa, digest, answer });
        self.by_sa.insert(sa, key);
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.by_sa.len().max(self.by_request.len())
    }

    /// The SA is up, or gone. One that was refused counts until then.
    pub(crate) fn end(&mut self, sa: IkeSpi) {
        if let Some(key) = self.by_sa.remove(&sa)
            && self.by_request.get(&key).is_some_and(|entry| entry.sa == sa)
        {
            self.by_request.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(port: u16) -> Path {
        let local = SocketAddr::from(([192, 0, 2, 1], 500));
        Path { local, remote: SocketAddr::from(([192, 0, 2, 2], port)) }
    }

    #[test]
    fn a_repeat_gets_the_same_answer_and_a_change_does_not() {
        let mut admission = Admission::new(10);
        admission.begin(IkeSpi(1), path(500), b"request", IkeSpi(9), Arc::from(&b"answer"[..]));
        let look = |datagram: &[u8], port| admission.look(IkeSpi(1), path(port), datagram);
        assert!(matches!(look(b"request", 500), HalfOpen::Repeat(a) if *a == *b"answer"));
        assert!(matches!(look(b"changed", 500), HalfOpen::New));
        assert!(matches!(look(b"request", 501), HalfOpen::New));
    }

    #[test]
    fn the_limit_holds_and_an_ended_sa_makes_room() {
        let mut admission = Admission::new(1);
        admission.begin(IkeSpi(1), path(500), b"a", IkeSpi(9), Arc::from(&b"x"[..]));
        assert!(matches!(admission.look(IkeSpi(2), path(500), b"b"), HalfOpen::Full));
        admission.end(IkeSpi(9));
        assert!(matches!(admission.look(IkeSpi(2), path(500), b"b"), HalfOpen::New));
        assert!(admission.by_request.is_empty());
    }
}
