//! The TUN device, when somebody else lays hands on it: switched off it is switched on again, removed it is made anew.
//!
//! ```text
//!   kernel says that links changed, or a second is over ──► is it there, is it on?
//!     on                 ─► fine
//!     off                ─► switched on; its routes, which went with that, are added again
//!     gone, another's    ─► made anew: new queues for the pumps, routes into it           handed over: the gateway stops
//!     cannot be mended   ─► W0505, every connection degraded, again in a second
//! ```
//!
//! Meanwhile the guards keep what is for a protected network from going elsewhere (tunnel.rs). SAs, which know nothing of the
//! device, stay.

use std::io;
use std::time::{Duration, Instant};

use super::{Control, Run, Stop, start, tunnel};
use crate::io::{OpenError, Tun};
use crate::status::{Code, Warning};
use crate::sys::device::Links;

/// The TUN device as the control thread knows it.
#[derive(Debug)]
pub(super) struct Device {
    links: Links,
    name: String,
    index: u32,
    /// Our starter made it: if it goes it is not ours to make.
    handed: bool,
    /// What is wrong with it, in words.
    trouble: Option<String>,
    mended_at: Option<Instant>,
}

/// How it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    On,
    Off,
    Gone,
}

impl Device {
    /// That of this name and index, in the calling thread's namespace.
    pub(super) fn new(name: &str, index: u32, handed: bool) -> io::Result<Self> {
        let links = Links::open()?;
        Ok(Self { links, name: name.to_owned(), index, handed, trouble: None, mended_at: None })
    }

    fn look(&self) -> Found {
        if self.links.index(&self.name).ok() != Some(self.index) {
            return Found::Gone;
        }
        // Where it cannot be asked it is gone, which the next look shows.
        if self.links.is_up(&self.name).unwrap_or(true) { Found::On } else { Found::Off }
    }

    /// Whether packets have no way into the tunnels.
    pub(super) fn is_lost(&self) -> bool {
        self.trouble.is_some()
    }

    /// The warning that holds.
    pub(super) fn warning(&self) -> Option<Warning> {
        let trouble = self.trouble.clone()?;
        Some(Warning { message: Some(trouble), ..Warning::of(Code::DeviceLost) })
    }

    /// Something does not work; says so once.
    fn is_troubled(&mut self, what: String) {
        if self.trouble.as_ref() == Some(&what) {
            return;
        }
        let Warning { code, fix, .. } = Warning::of(Code::DeviceLost);
        tracing::error!(target: "gateway", event = "device-lost", tun = self.name, code, msg = what, fix);
        self.trouble = Some(what);
    }
}

impl Control {
    /// Mends the device if it has to be; cheap if not.
    pub(super) fn look_at_device(&mut self, now: Instant) {
        if self.run != Run::On || self.device.mended_at.is_some_and(|at| now < at + BREATH) {
            return;
        }
        let mended = match self.device.look() {
            Found::On if !self.device.is_lost() => return,
            Found::On => Ok(()),
            Found::Off => self.switch_on(now),
            Found::Gone => self.replace_device(now),
        };
        self.device.mended_at = Some(now);
        match mended {
            Ok(()) => {
                self.device.trouble = None;
                self.tunnel.restore();
                tracing::info!(target: "gateway", event = "device-mended", tun = self.device.name);
            }
            Err(what) => self.device.is_troubled(what),
        }
    }

    fn switch_on(&mut self, now: Instant) -> Result<(), String> {
        match self.device.links.up(&self.device.name) {
            // Who removes a device switches it off first.
            Err(_) if self.device.look() == Found::Gone => return self.replace_device(now),
            Err(error) => return Err(error.to_string()),
            Ok(()) => {}
        }
        tracing::warn!(
            target: "gateway", event = "device-off", tun = self.device.name,
            msg = "somebody had switched the TUN device off; it is on again"
        );
        Ok(())
    }

    /// Makes the device anew, if it is ours to make.
    fn replace_device(&mut self, now: Instant) -> Result<(), String> {
        if self.device.handed {
            let name = &self.device.name;
            let what =
                format!("the TUN device {name}, which was handed over, is gone or was replaced");
            self.stop(now, Stop::Broken(what.clone()));
            return Err(what);
        }
        if !self.device.is_lost() {
            tracing::warn!(
                target: "gateway", event = "device-gone", tun = self.device.name,
                msg = "somebody removed the TUN device; it is made anew"
            );
        }
        self.make_device().map_err(|error| error.to_string())
    }

    /// New queues of a new device for the pumps.
    fn make_device(&mut self) -> Result<(), OpenError> {
        let name = self.device.name.clone();
        let lanes = Tun::open_for(&name, self.mtu, self.dataplane.workers())?;
        let Some(first) = lanes.first() else { return Ok(()) };
        start::shorten(&first.bulk);
        self.device.index = first.bulk.index();
        self.tunnel.moved(self.device.index);
        if self.connections.iter().any(|connection| connection.config.relay) {
            tunnel::quiet_redirects(&name);
        }
        self.dataplane.equip(lanes);
        Ok(())
    }
}

/// Between two attempts: whoever removes it again and again costs no more than that.
const BREATH: Duration = Duration::from_millis(200);
