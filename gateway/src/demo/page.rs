//! `--web`: the status page of gw-a, for a browser of this machine.
//!
//! ```text
//!   browser ──► 127.0.0.1:9780 of the host ──► accept │ connect ──► 127.0.0.1:9780 in gw-a   s2s-gw [http]
//!               opened before the demo left            └ a thread that has entered gw-a
//!               the host's namespace
//! ```
//!
//! A socket stays in the namespace that it was opened in, and a thread can work with sockets of two.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::thread;

use super::{DemoError, During as _};
use crate::sys::netns::{Netns, enter};

/// Where a browser finds it.
#[derive(Debug)]
pub(super) struct Page {
    listener: Arc<TcpListener>,
}

impl Page {
    /// Opens the port in the namespace of the caller: the one of the page, or if somebody has that, any.
    pub(super) fn open() -> Result<Self, DemoError> {
        let on = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
        let listener = on(PORT).or_else(|_| on(0)).during("open a port for the page")?;
        Ok(Self { listener: Arc::new(listener) })
    }

    /// What to type into the browser.
    pub(super) fn address(&self) -> String {
        self.listener
            .local_addr()
            .map_or_else(|error| error.to_string(), |at| format!("http://{at}/"))
    }

    /// From now on passes on what comes to the gateway in that namespace, until the process ends.
    pub(super) fn serve(&self, gateway: &Netns) -> Result<(), DemoError> {
        let what = "serve the page";
        let namespace = gateway.as_fd().try_clone_to_owned().during(what)?;
        let listener = Arc::clone(&self.listener);
        let relay = move || {
            // Threads that it starts are in there, too.
            if enter(namespace.as_fd()).is_err() {
                return;
            }
            for browser in listener.incoming().flatten() {
                // A browser that cannot be served sees its connection end.
                let _ = thread::Builder::new().spawn(move || pass_on(&browser));
            }
        };
        thread::Builder::new().name("page".into()).spawn(relay).during(what).map(drop)
    }
}

/// What a gateway needs in its configuration to have the page.
pub(super) const HTTP: &str = "\n[http]\n";

fn pass_on(browser: &TcpStream) -> io::Result<()> {
    let gateway = TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)))?;
    thread::scope(|scope| {
        scope.spawn(|| one_way(browser, &gateway));
        one_way(&gateway, browser)
    })
}

/// To the end of what `from` has to say.
fn one_way(mut from: &TcpStream, mut to: &TcpStream) -> io::Result<()> {
    let copied = io::copy(&mut from, &mut to).and_then(|_| to.flush());
    let _ = to.shutdown(Shutdown::Write);
    copied
}

/// That of `[http]` where nothing else is said.
const PORT: u16 = 9780;
