//! What one packet costs by its size, one at a time and 32 in a row, and the bare cipher on the same octets.
//!
//! ```text
//!   cargo bench -p esp --bench packet                      last a table: least ns a packet, and all but the cipher
//!   cargo bench -p esp --bench packet -- gcm/1400          only this
//!   cargo bench -p esp --bench packet --features aws-lc    the same on AWS-LC, and `ring` beside
//!
//!   suite/octets of the inner packet/batch/ encap | decap [/library: the bare cipher]
//! ```
//!
//! One at a time, reading the clock is part of the time: of the bare cipher's too, so that differences are right.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

mod common;

use common::{Backend, Bare, CBC, GCM, HEADERS, Table, pair, tcp_packet};
use criterion::{BenchmarkGroup, measurement::WallTime};
use esp::{HEADROOM, OutboundSa, Suite, TAILROOM};

const SIZES: [usize; 5] = [64, 256, 576, 1400, 8192];
const BATCHES: [usize; 2] = [1, 32];

type Group<'c> = BenchmarkGroup<'c, WallTime>;

/// Packets of one size, each in a buffer of its own.
struct Batch {
    inner: Vec<u8>,
    buffers: Vec<Vec<u8>>,
}

impl Batch {
    fn new(size: usize, packets: usize) -> Self {
        let (inner, buffer) = (tcp_packet(size), vec![0; HEADROOM + size + TAILROOM]);
        Self { inner, buffers: vec![buffer; packets] }
    }

    /// Seals every packet: ciphertext with a fresh header does as its payload.
    fn encap(&mut self, sa: &mut OutboundSa) {
        let place = HEADROOM..HEADROOM + self.inner.len();
        for buffer in &mut self.buffers {
            buffer[HEADROOM..HEADROOM + HEADERS].copy_from_slice(&self.inner[..HEADERS]);
            sa.encap(buffer, place.clone()).unwrap();
        }
    }

    /// The ESP packets.
    fn sealed(&mut self, sa: &OutboundSa) -> impl Iterator<Item = &mut [u8]> {
        let start = HEADROOM - (8 + sa.suite().iv_len());
        let end = start + sa.packet_len(self.inner.len());
        self.buffers.iter_mut().map(move |buffer| &mut buffer[start..end])
    }
}

fn packets(group: &mut Group<'_>, table: &mut Table, (name, suite): (&str, Suite)) {
    for (size, count) in SIZES.into_iter().flat_map(|size| BATCHES.map(|count| (size, count))) {
        let (mut sender, mut receiver) = pair(suite);
        let mut batch = Batch::new(size, count);
        let name = format!("{name}/{size:04}/{count:02}");
        let encap = (&*format!("{name}/encap"), count);
        table.measure(group, encap, &mut batch, |_| (), |batch| batch.encap(&mut sender));
        let (sizes, _) = pair(suite);
        let decap = (&*format!("{name}/decap"), count);
        let seal = |batch: &mut Batch| batch.encap(&mut sender);
        table.measure(group, decap, &mut batch, seal, |batch| {
            batch.sealed(&sizes).for_each(|one| assert!(receiver.decap(one).is_ok()));
        });
        if suite == GCM {
            bare::<Backend>(group, table, (&name, &sizes), &mut batch);
            #[cfg(feature = "aws-lc")]
            bare::<common::Ring>(group, table, (&name, &sizes), &mut batch);
        }
    }
}

fn bare<B: Bare>(
    group: &mut Group<'_>,
    table: &mut Table,
    (name, sizes): (&str, &OutboundSa),
    batch: &mut Batch,
) {
    let (cipher, count) = (B::new(), batch.buffers.len());
    let seal = |batch: &mut Batch| batch.sealed(sizes).for_each(|one| cipher.seal(one));
    let open = |batch: &mut Batch| batch.sealed(sizes).for_each(|one| cipher.open(one));
    table.measure(group, (&format!("{name}/encap/{}", B::NAME), count), batch, |_| (), seal);
    table.measure(group, (&format!("{name}/decap/{}", B::NAME), count), batch, seal, open);
}

fn main() {
    let mut criterion = common::short();
    let mut table = Table::default();
    let mut group = criterion.benchmark_group("packet");
    packets(&mut group, &mut table, ("gcm", GCM));
    packets(&mut group, &mut table, ("cbc", CBC));
    group.finish();
    table.print();
    criterion.final_summary();
}
