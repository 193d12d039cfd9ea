//! Who has a UDP port: for the one message that everybody meets who starts a second IKE daemon.
//!
//! ```text
//!   /proc/thread-self/net/udp   sl  local_address  .. inode          the namespace of this thread
//!                                   00000000:01F4  .. 4711  ──┐
//!   /proc/PID/fd/7 -> socket:[4711]  ◄────────────────────────┘ ──► /proc/PID/comm
//! ```
//!
//! Whatever cannot be read, for want of a privilege or of the process, is not known; that is no error.

use std::fmt;
use std::fs;
use std::path::Path;

/// The program that has bound the UDP port `number` on any address: `charon (pid 4711)`.
pub(super) fn of_port(number: u16) -> Option<String> {
    all_of_port(number).next().map(|holder| holder.to_string())
}

/// A process that has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) pid: u32,
    name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (pid {})", self.name, self.pid)
    }
}

/// Every program that has bound the UDP port `number` on some address.
pub(crate) fn all_of_port(number: u16) -> impl Iterator<Item = Holder> {
    let tables = ["udp", "udp6"].map(|name| format!("/proc/thread-self/net/{name}"));
    let text = tables.map(|path| fs::read_to_string(path).unwrap_or_default()).concat();
    let inodes: Vec<u64> = inodes(&text, number).collect();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(move |entry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let has = |inode: &u64| holds(&entry.path(), *inode);
        inodes.iter().any(has).then(|| {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            Holder { pid, name: printable(name.trim_end()) }
        })
    })
}

/// The sockets that are bound to the port `number`, by their inodes.
fn inodes(table: &str, number: u16) -> impl Iterator<Item = u64> {
    table.lines().filter_map(move |line| {
        let mut fields = line.split_whitespace();
        let (_, port) = fields.nth(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(port, 16) == Ok(number);
        // After sl and local_address: rem_address, st, queues, timer, retransmits, uid, timeout.
        is_it.then(|| fields.nth(7)?.parse().ok()).flatten()
    })
}

fn holds(process: &Path, inode: u64) -> bool {
    let wanted = format!("socket:[{inode}]");
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else { return false };
    descriptors.flatten().any(|one| {
        fs::read_link(one.path()).is_ok_and(|target| target.as_os_str() == wanted.as_str())
    })
}

/// A process names itself as it likes.
fn printable(name: &str) -> String {
    name.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_port_is_ours() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        let port = socket.local_addr().expect("an address").port();
        let holder = of_port(port).expect("we see our own descriptors");
        assert!(holder.ends_with(&format!("(pid {})", std::process::id())), "{holder}");
        drop(socket);
        assert_eq!(of_port(port), None);
    }

    #[test]
    fn the_table_of_the_kernel_is_read() {
        let table = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  100: 00000000:01F4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4711 2 0000000000000000 0
  101: 00000000:1194 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4712 2 0000000000000000 0
  102: 00000000000000000000000000000000:01F4 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 4713 2 0000000000000000 0
  103: 0100007F:01F4 torn
";
        assert_eq!(inodes(table, 500).collect::<Vec<_>>(), [4711, 4713]);
    }
}
