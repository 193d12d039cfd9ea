//! What was sent in a [`World`], as a capture that Wireshark reads.
//!
//! ```text
//!   libpcap file: magic, 2.4, LINKTYPE_RAW     then for each datagram: time, length, IP, UDP, [non-ESP marker], IKE
//! ```
//!
//! It shows what the hosts sent, as they saw it: before NAT, links and attackers. The clock of the world begins in 1970.

use std::net::IpAddr;
use std::path::PathBuf;

use etherparse::PacketBuilder;

use super::{Sent, World};

/// LINKTYPE_RAW: each packet begins with its IP header.
const RAW_IP: u32 = 101;
/// The port on which four zero octets tell IKE from ESP (RFC 3948 §2.2).
const NAT_PORT: u16 = 4500;

impl World {
    /// Everything that was sent, in the libpcap format.
    #[must_use]
    pub fn capture(&self) -> Vec<u8> {
        let mut file = Vec::new();
        file.extend(0xa1b2_c3d4_u32.to_le_bytes());
        file.extend(2_u16.to_le_bytes());
        file.extend(4_u16.to_le_bytes());
        for word in [0, 0, 65_535, RAW_IP] {
            file.extend(word.to_le_bytes());
        }
        for sent in self.sent() {
            let Some(packet) = packet(sent) else { continue };
            let len = u32::try_from(packet.len()).unwrap_or(u32::MAX);
            let seconds = u32::try_from(sent.at.as_secs()).unwrap_or(u32::MAX);
            for word in [seconds, sent.at.subsec_micros(), len, len] {
                file.extend(word.to_le_bytes());
            }
            file.extend(packet);
        }
        file
    }

    /// Writes [`capture`](Self::capture) to `world-failures/TEST-SEED.pcap` in the build directory; where that is, unless
    /// it cannot be written.
    pub(super) fn save_capture(&self) -> Option<PathBuf> {
        let program = std::env::current_exe().ok()?;
        let build =
            program.ancestors().find(|path| path.ends_with("debug") || path.ends_with("release"));
        let directory = build?.parent()?.join("world-failures");
        std::fs::create_dir_all(&directory).ok()?;
        let test = std::thread::current().name().unwrap_or("test").replace("::", "-");
        let path = directory.join(format!("{test}-{}.pcap", self.seed));
        std::fs::write(&path, self.capture()).ok()?;
        Some(path)
    }
}

/// The IP packet of a datagram; `None` if its addresses are of different families.
fn packet(sent: &Sent) -> Option<Vec<u8>> {
    let (local, remote) = (sent.path.local, sent.path.remote);
    let builder = match (local.ip(), remote.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => PacketBuilder::ipv4(from.octets(), to.octets(), 64),
        (IpAddr::V6(from), IpAddr::V6(to)) => PacketBuilder::ipv6(from.octets(), to.octets(), 64),
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return None,
    };
    let marker = if local.port() == NAT_PORT { &[0; 4][..] } else { &[] };
    let payload = [marker, &sent.payload].concat();
    let mut packet = Vec::new();
    builder.udp(local.port(), remote.port()).write(&mut packet, &payload).ok()?;
    Some(packet)
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;
    use crate::world::psk_pair;

    fn up() -> World {
        let mut world = World::new(1).peers(psk_pair());
        world.run_until(World::both_up, Duration::from_secs(1));
        world
    }

    #[test]
    fn every_datagram_is_one_record() {
        let world = up();
        let file = world.capture();
        assert_eq!(file[..4], [0xd4, 0xc3, 0xb2, 0xa1]);
        let mut rest = &file[24..];
        let mut records = 0;
        while let Some((head, tail)) = rest.split_at_checked(16) {
            let len = u32::from_le_bytes(head[8..12].try_into().unwrap());
            rest = &tail[usize::try_from(len).unwrap()..];
            records += 1;
        }
        assert_eq!((records, rest.len()), (world.sent().len(), 0));
    }

    /// Where `tshark` is installed.
    #[test]
    fn wireshark_reads_it() {
        let path = up().save_capture().expect("the build directory can be written");
        let told = Command::new("tshark")
            .args(["-o", "udp.check_checksum:TRUE", "-T", "fields", "-e", "isakmp.exchangetype"])
            .args(["-e", "_ws.malformed", "-e", "udp.checksum.status", "-r"])
            .arg(&path)
            .output();
        let Ok(output) = told else { return };
        let lines = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Vec<&str>> = lines.lines().map(|l| l.split('\t').collect()).collect();
        let exchanges: Vec<&str> = lines.iter().map(|fields| fields[0]).collect();
        assert_eq!(exchanges, ["34", "34", "35", "35"], "{lines:?}");
        assert!(lines.iter().all(|fields| fields[1].is_empty() && fields[2] == "1"), "{lines:?}");
        std::fs::remove_file(path).unwrap();
    }
}
