//! The status page, its live stream, the metrics and a small API, over HTTP, in a thread of its own.
//!
//! ```text
//!   browser, curl, Prometheus, proxy
//!        │ TCP, loopback by default, or a Unix socket: ../io/stream.rs
//!        ▼
//!   server.rs    one thread, one loop: accepts, reads, sends; waits for nobody     http.rs    octets ◄─► request, answer
//!        │                                                                          access.rs  who may look, who may act
//!        ▼
//!   api.rs       path ─► answer                                    page/     the snapshot as HTML
//!        │                                                         stream.rs what of it changed since the last second
//!        ▼                                                         history.rs what was carried in the last ten minutes
//!   line.rs      Request ─► control thread ─► Response             hub.rs    the newest snapshot, and what of it is watched
//!   questions.rs what forms ask of control                         assets/   style, script, icon
//! ```
//!
//! Nothing here is near a packet: control is asked for one snapshot a second, however many watch, and counts as it does anyway.
//! No thread, no buffer and no descriptor grows with what clients do beyond the limits of `server.rs`.
//!
//! Why no server crate: `tiny_http` and `oxhttp` have a thread for each connection, whose time limit begins anew with every octet,
//! so that a few hundred slow clients shut everybody out; those on `tokio` bring a runtime into a daemon with keys in it. The
//! head of a request is read by `httparse`; what is left of HTTP that a page needs is in `http.rs`.

mod access;
mod api;
pub(crate) mod history;
mod http;
mod hub;
mod line;
mod page;
mod questions;
mod server;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;

use mio::net::{TcpListener, UnixListener};

pub(crate) use self::access::Access;
#[cfg(test)]
pub(crate) use self::line::line;
pub(crate) use self::line::{Line, Word};

use crate::config::{Http, HttpListen};
use crate::io::stream::Listener;
use crate::io::{SocketError, at_path};

/// The page cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// At an address.
    #[error(
        "cannot listen on {address} for the status page: {source}; set `listen` in [http] to a free port of an address of this host"
    )]
    Tcp {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// At a path.
    #[error(transparent)]
    Unix(#[from] SocketError),
}

/// The listening sockets, before anybody is served.
#[derive(Debug)]
pub(crate) struct Page {
    listeners: Vec<Listener>,
    access: Access,
}

impl Page {
    /// Listens where the configuration says, or takes what listens there already.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) fn open(http: &Http, handed: Option<Vec<Listener>>) -> Result<Self, OpenError> {
        let listeners = match handed {
            Some(handed) => handed,
            None => http.listen.iter().map(bind).collect::<Result<_, _>>()?,
        };
        for place in &http.listen {
            tracing::info!(target: "web", event = "serving", local = %place);
        }
        Ok(Self { listeners, access: Access::of(http) })
    }

    /// Serves it until the line that is returned is dropped. `control` wakes the one who answers.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn serve(self, control: Arc<mio::Waker>) -> io::Result<Line> {
        let (server, line) = server::Server::new(self.listeners, self.access, control)?;
        thread::Builder::new().name("web".to_owned()).spawn(move || server.run())?;
        Ok(line)
    }
}

fn bind(place: &HttpListen) -> Result<Listener, OpenError> {
    match place {
        HttpListen::Tcp(address) => TcpListener::bind(*address)
            .map(Listener::Tcp)
            .map_err(|source| OpenError::Tcp { address: *address, source }),
        HttpListen::Unix(path) => {
            let (listener, file) = at_path::listen(path, "`listen` in [http]")?;
            Ok(Listener::Unix { listener: UnixListener::from_std(listener), _file: file })
        }
    }
}

#[cfg(test)]
mod tests;
