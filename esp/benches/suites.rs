//! What each family of suites costs: the packets of one super-packet, 47 of 1438 octets inside.
//!
//! ```text
//!   cargo bench -p esp --bench suites                          last a table: least ns a packet
//!   cargo bench -p esp --bench suites -- cbc                   only these
//!   cargo bench -p esp --bench suites --no-default-features    AES-GCM and ChaCha20-Poly1305 by RustCrypto
//!
//!   suite/seal, /open     packets one at a time: encap, decap
//!   suite/send            a super-packet: encap_segments, where some ciphers take several packets side by side
//! ```
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

mod common;

use common::{HEADERS, MSS, PACKETS, Table, pair, send, super_packet, tcp_packet};
use criterion::{BenchmarkGroup, measurement::WallTime};
use esp::{Aead, AesKey, Cipher, HEADROOM, Integrity, OutboundSa, Suite, TAILROOM};

/// Octets inside each packet.
const INNER: usize = HEADERS + MSS;

fn suites() -> Vec<(&'static str, Suite)> {
    use AesKey::{Bits128, Bits192, Bits256};
    let cbc = |key, with| Suite::Separate(Cipher::AesCbc(key), with);
    vec![
        ("gcm-256", Suite::Combined(Aead::AesGcm16(Bits256))),
        ("gcm-192", Suite::Combined(Aead::AesGcm16(Bits192))),
        ("gcm-128", Suite::Combined(Aead::AesGcm16(Bits128))),
        ("gcm-128-iiv", Suite::Combined(Aead::AesGcm16Iiv(Bits128))),
        ("gmac-256", Suite::Combined(Aead::AesGmac(Bits256))),
        ("chacha20-poly1305", Suite::Combined(Aead::ChaCha20Poly1305)),
        ("ccm-256", Suite::Combined(Aead::AesCcm16(Bits256))),
        ("cbc-256-sha256", cbc(Bits256, Integrity::HmacSha2_256_128)),
        ("cbc-128-sha256", cbc(Bits128, Integrity::HmacSha2_256_128)),
        ("cbc-256-sha512", cbc(Bits256, Integrity::HmacSha2_512_256)),
        ("cbc-128-sha1", cbc(Bits128, Integrity::HmacSha1_96)),
        ("cbc-128-xcbc", cbc(Bits128, Integrity::AesXcbc96)),
        ("cbc-128-cmac", cbc(Bits128, Integrity::AesCmac96)),
        ("ctr-256-sha256", Suite::Separate(Cipher::AesCtr(Bits256), Integrity::HmacSha2_256_128)),
        ("null-sha256", Suite::Separate(Cipher::Null, Integrity::HmacSha2_256_128)),
        ("3des-sha1", Suite::Separate(Cipher::TripleDesCbc, Integrity::HmacSha1_96)),
    ]
}

/// Packets, each in a buffer of its own.
struct Batch {
    inner: Vec<u8>,
    buffers: Vec<Vec<u8>>,
}

impl Batch {
    fn new() -> Self {
        let buffer = vec![0; HEADROOM + INNER + TAILROOM];
        Self { inner: tcp_packet(INNER), buffers: vec![buffer; PACKETS] }
    }

    /// Seals every packet: ciphertext with a fresh header does as its payload.
    fn seal(&mut self, sa: &mut OutboundSa) {
        for buffer in &mut self.buffers {
            buffer[HEADROOM..HEADROOM + HEADERS].copy_from_slice(&self.inner[..HEADERS]);
            sa.encap(buffer, HEADROOM..HEADROOM + INNER).unwrap();
        }
    }
}

fn measure(
    group: &mut BenchmarkGroup<'_, WallTime>,
    table: &mut Table,
    (name, suite): (&str, Suite),
) {
    let (mut sender, mut receiver) = pair(suite);
    let (mut batch, len) = (Batch::new(), sender.packet_len(INNER));
    let start = HEADROOM - 8 - suite.iv_len();
    let seal = (&*format!("{name}/seal"), PACKETS);
    table.measure(group, seal, &mut batch, |_| (), |batch| batch.seal(&mut sender));
    let open = (&*format!("{name}/open"), PACKETS);
    let prepare = |batch: &mut Batch| batch.seal(&mut sender);
    table.measure(group, open, &mut batch, prepare, |batch| {
        for buffer in &mut batch.buffers {
            receiver.decap(&mut buffer[start..start + len]).unwrap();
        }
    });
    let ((vnet, packet), mut wire) = (super_packet(), vec![0; PACKETS * len]);
    let whole = (&*format!("{name}/send"), PACKETS);
    table.measure(
        group,
        whole,
        &mut wire[..],
        |_| (),
        |wire| send(&mut sender, &vnet, &packet, wire),
    );
}

fn main() {
    let mut criterion = common::short();
    let mut table = Table::default();
    let mut group = criterion.benchmark_group("suites");
    for suite in suites() {
        measure(&mut group, &mut table, suite);
    }
    group.finish();
    table.print();
    criterion.final_summary();
}
