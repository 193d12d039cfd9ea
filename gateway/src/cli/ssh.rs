//! Whether the one who types sits at the other end of a tunnel: then `down` takes the ground from under them.
//!
//! ```text
//!   $SSH_CONNECTION "10.2.0.5 51234 10.1.0.1 22", here or in a parent (sudo drops it) ──► 10.2.0.5
//!   remote networks of the connection ∋ 10.2.0.5 ──► ask
//! ```

use std::fs;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::net::IpAddr;

use ipnet::IpNet;

use super::output::say;
use super::{Code, Failure};
use crate::status::ConnectionStatus;

/// Asks whether to go on, where the session goes through this connection and somebody is there to answer.
///
/// # Errors
/// If the answer is no.
pub(super) fn ask_before_down(connection: &ConnectionStatus) -> Result<(), Failure> {
    if !(io::stdin().is_terminal() && io::stderr().is_terminal()) {
        return Ok(());
    }
    let Some(client) = client().filter(|client| goes_through(connection, *client)) else {
        return Ok(());
    };
    let name = &connection.name;
    say(&format!(
        "this SSH session comes from {client} through {name} and ends with it; take {name} down? [y/N] "
    ));
    let mut line = String::new();
    let _ = io::stdin().lock().read_line(&mut line);
    if ["y", "yes"].contains(&line.trim().to_ascii_lowercase().as_str()) {
        return Ok(());
    }
    Err(Failure::new(Code::Failed, "nothing was done; --yes does not ask"))
}

fn goes_through(connection: &ConnectionStatus, client: IpAddr) -> bool {
    let mut networks =
        connection.children.iter().filter(|child| child.sa.is_some()).flat_map(|c| &c.remote);
    networks.any(|text| text.parse().is_ok_and(|network: IpNet| network.contains(&client)))
}

/// Where the SSH session comes from, that of this process or of one above it.
fn client() -> Option<IpAddr> {
    let own = std::env::var("SSH_CONNECTION").ok();
    own.as_deref().and_then(address).or_else(|| {
        let mut pid = std::os::unix::process::parent_id();
        for _ in 0..GENERATIONS {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            let told = environment.split(|octet| *octet == 0).find_map(|entry| {
                address(std::str::from_utf8(entry).ok()?.strip_prefix("SSH_CONNECTION=")?)
            });
            if told.is_some() {
                return told;
            }
            pid = parent(pid).filter(|parent| *parent > 1)?;
        }
        None
    })
}

fn address(connection: &str) -> Option<IpAddr> {
    connection.split(' ').next()?.parse().ok()
}

/// The name of a process may have blanks and brackets in it, so that what follows is counted from the last one.
fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// sudo, a shell or two, tmux.
const GENERATIONS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_client_is_the_first_word() {
        assert_eq!(address("10.2.0.5 51234 10.1.0.1 22"), Some(IpAddr::from([10, 2, 0, 5])));
        assert_eq!(address(""), None);
    }

    #[test]
    fn only_what_the_tunnel_carries_goes_through_it() {
        let snapshot = crate::status::tests::sample();
        let [up, down] = snapshot.connections.as_slice() else { panic!() };
        assert!(goes_through(up, IpAddr::from([10, 2, 3, 4])));
        assert!(!goes_through(up, IpAddr::from([10, 1, 3, 4])), "our own side");
        assert!(!goes_through(down, IpAddr::from([10, 2, 3, 4])), "there is no tunnel");
    }

    #[test]
    fn a_process_has_a_parent() {
        assert_eq!(parent(std::process::id()), Some(std::os::unix::process::parent_id()));
    }
}
