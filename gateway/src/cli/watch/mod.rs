//! `status --watch` on a terminal: a full screen that follows the daemon.
//!
//! ```text
//!   feed.rs    a thread of its own asks the daemon: Status, and Events of the connection that is open     ─► Update
//!   view.rs    Updates and keys ─► what is chosen, open, typed, held, and what each connection carried
//!   frame.rs   View ─► a frame of so many columns and rows, a pure function       list.rs  detail.rs  chart.rs
//!   screen.rs  the terminal: raw, its other screen, and back, also after a panic or a signal
//! ```
//!
//! All facts are those of `status --json` and `events`. Where stdout or stdin is no terminal, or one that cannot move its cursor
//! or does not know its size, or is not ours (started in the background), `cli/screen.rs` writes text instead.

mod chart;
mod detail;
mod feed;
mod frame;
mod list;
mod screen;
#[cfg(test)]
mod tests;
mod view;

use std::path::Path;
use std::time::Duration;

use super::client::{snapshot, unknown};
use super::output::DONE;
use super::{Code, Failure, Outcome};
use feed::Feed;
use screen::{Screen, Woken};
use view::{Step, View};

pub(super) use screen::is_possible;

/// Follows the daemon at `socket` until somebody types `q` or a signal comes; begins with everything about `name`.
///
/// # Errors
/// No daemon and no such connection, before anything is drawn; a terminal that is gone.
pub(super) fn run(socket: &Path, name: Option<&str>, pause: Duration) -> Outcome {
    let first = snapshot(socket)?;
    if let Some(name) = name
        && !first.connections.iter().any(|connection| connection.name == name)
    {
        return Err(unknown(name, &first));
    }
    let mut view = View::new(first, name, super::output::has_colour(&std::io::stdout()));
    let lost = |error| Failure::new(Code::Failed, format!("the terminal is gone: {error}"));
    let feed = Feed::start(socket, pause, name).map_err(|error| {
        Failure::new(Code::Failed, format!("cannot start a thread that asks the daemon: {error}"))
    })?;
    let mut screen = Screen::enter().map_err(lost)?;
    loop {
        screen.draw(&mut view).map_err(lost)?;
        match screen.wait(&feed.wake).map_err(lost)? {
            Woken::Ended => return DONE,
            Woken::Nothing => {}
            Woken::Fed => feed.take(|update| view.update(update)),
            Woken::Typed(keys) => {
                for key in keys {
                    if view.key(key) == Step::Leave {
                        return DONE;
                    }
                }
                feed.look_at(view.opened());
            }
        }
    }
}
