//! What the fuzzers begin with.
//!
//! ```text
//!   fuzz/seeds/TARGET/*                                          ours: made, or what once brought something down
//!   $IPSEC_VECTORS or ../shared/vectors                          others', read where they lie, if they are there
//!     fuzz-seeds/openiked-corpus-part1.tar.gz                    payloads, message
//!     fuzz-seeds/strongswan-certs-ids.tar.gz                     certificate; identity, config
//!     captures/*, malformed/*                                    message; icmp and inner take their packets
//! ```

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use etherparse::{NetSlice, SlicedPacket, TransportSlice};

/// One input; the name tells where it is from.
#[derive(Debug, Clone)]
pub struct Seed {
    /// For messages and file names: letters, digits, `-` and `.`.
    pub name: String,
    /// The input.
    pub octets: Vec<u8>,
}

/// Those in the tree.
///
/// # Errors
/// If the directory cannot be read; one that is not there has none.
pub fn ours(target: &str) -> io::Result<Vec<Seed>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let mut paths =
        fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    paths.sort();
    let read = |path: PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Seed { name, octets: fs::read(path)? })
    };
    paths.into_iter().map(read).collect()
}

/// Those of others that fit the target; none where they are not at hand.
#[must_use]
pub fn others(target: &str) -> Vec<Seed> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/vectors");
    let root = std::env::var_os("IPSEC_VECTORS").map_or_else(beside, PathBuf::from);
    match target {
        "message" => [datagrams(&root), with_header(payloads(&root))].concat(),
        "payloads" => [payloads(&root), without_header(&datagrams(&root))].concat(),
        "identity" => archive(&root, "strongswan-certs-ids.tar.gz", "ids/"),
        "certificate" => archive(&root, "strongswan-certs-ids.tar.gz", "certs/"),
        "inner" => packets(&root).map(|it| prefixed(&[5, 220, 3], it)).collect(),
        _ => Vec::new(),
    }
}

/// Writes all of them into `dir`, one file each; tells how many there are.
///
/// # Errors
/// If a file cannot be read or written.
pub fn export(target: &str, dir: &Path) -> io::Result<usize> {
    fs::create_dir_all(dir)?;
    let all = [ours(target)?, others(target)].concat();
    for seed in &all {
        fs::write(dir.join(&seed.name), &seed.octets)?;
    }
    Ok(all.len())
}

fn prefixed(front: &[u8], seed: Seed) -> Seed {
    Seed { octets: [front, &seed.octets].concat(), ..seed }
}

/// Chains of payloads whose first is, most often, an SA payload.
fn payloads(root: &Path) -> Vec<Seed> {
    let all = archive(root, "openiked-corpus-part1.tar.gz", "./");
    all.into_iter().map(|seed| prefixed(&[33], seed)).collect()
}

fn with_header(chains: Vec<Seed>) -> Vec<Seed> {
    let header = |seed: Seed| {
        let chain = seed.octets.get(1..).unwrap_or_default();
        let len = u32::try_from(28 + chain.len()).unwrap_or(0).to_be_bytes();
        let mut octets = vec![1; 8];
        octets.extend([0; 8]);
        octets.extend([33, 0x20, 34, 8, 0, 0, 0, 0]);
        octets.extend(len);
        octets.extend_from_slice(chain);
        Seed { octets, ..seed }
    };
    chains.into_iter().map(header).collect()
}

fn without_header(datagrams: &[Seed]) -> Vec<Seed> {
    let chain = |seed: &Seed| {
        let first = *seed.octets.get(16)?;
        let octets = [&[first], seed.octets.get(28..)?].concat();
        Some(Seed { octets, name: seed.name.clone() })
    };
    datagrams.iter().filter_map(chain).collect()
}

/// The files below `front` in a compressed archive.
fn archive(root: &Path, name: &str, front: &str) -> Vec<Seed> {
    let Ok(file) = fs::File::open(root.join("fuzz-seeds").join(name)) else { return Vec::new() };
    let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(file));
    let Ok(entries) = archive.entries() else { return Vec::new() };
    let read = |entry: io::Result<tar::Entry<'_, _>>| {
        let mut entry = entry.ok()?;
        let path = entry.path().ok()?.to_string_lossy().into_owned();
        let name = path.strip_prefix(front)?.replace('/', "-");
        let mut octets = Vec::new();
        entry.read_to_end(&mut octets).ok()?;
        (!name.is_empty() && !octets.is_empty()).then_some(Seed { name, octets })
    };
    entries.filter_map(read).collect()
}

/// What is recorded as IKE.
fn datagrams(root: &Path) -> Vec<Seed> {
    let mut all = Vec::new();
    for name in ["ike-sa-init-req.bin", "ike-sa-init-resp.bin"] {
        if let Ok(octets) = fs::read(root.join("captures").join(name)) {
            all.push(Seed { name: name.into(), octets });
        }
    }
    for seed in frames(root) {
        let Ok(sliced) = SlicedPacket::from_ethernet(&seed.octets) else { continue };
        let Some(TransportSlice::Udp(udp)) = sliced.transport else { continue };
        let octets = udp.payload();
        let octets = octets.strip_prefix(&[0; 4]).unwrap_or(octets).to_vec();
        all.push(Seed { octets, name: seed.name });
    }
    all
}

/// The IP packets of the recordings.
fn packets(root: &Path) -> impl Iterator<Item = Seed> {
    frames(root).into_iter().filter_map(|seed| {
        let sliced = SlicedPacket::from_ethernet(&seed.octets).ok()?;
        let is_ip = matches!(sliced.net, Some(NetSlice::Ipv4(_) | NetSlice::Ipv6(_)));
        let octets = seed.octets.get(14..).filter(|_| is_ip)?.to_vec();
        Some(Seed { octets, ..seed })
    })
}

fn frames(root: &Path) -> Vec<Seed> {
    let mut all = Vec::new();
    for dir in ["captures", "malformed"] {
        let Ok(entries) = fs::read_dir(root.join(dir)) else { continue };
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let read =
                fs::read(&path).ok().and_then(|octets| recorded(&octets)).unwrap_or_default();
            for (number, octets) in read.into_iter().enumerate() {
                all.push(Seed { name: format!("{stem}-{number}"), octets });
            }
        }
    }
    all
}

/// The packets of a recording in pcap format.
fn recorded(octets: &[u8]) -> Option<Vec<Vec<u8>>> {
    let mut reader = pcap_file::pcap::PcapReader::new(octets).ok()?;
    let mut all = Vec::new();
    while let Some(Ok(packet)) = reader.next_packet() {
        all.push(packet.data.into_owned());
    }
    Some(all)
}
