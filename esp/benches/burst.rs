//! What a super-packet costs each way, and the bare cipher on the same octets: 64 KiB of TCP over IPv4, 47 packets.
//!
//! ```text
//!   cargo bench -p esp --bench burst                       last a table: least ns a packet, and all but the cipher
//!   cargo bench -p esp --bench burst --features aws-lc     the same on AWS-LC, and `ring` beside
//!
//!   send       Segments ─► encap_segments ─► one train
//!   receive    decap_viewed ─► Coalescer ─► drain, one super-packet
//! ```
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

mod common;

use std::hint::black_box;

use common::{Backend, Bare, GCM, PACKETS, STRIDE, Table, pair, send, super_packet};
use criterion::{BenchmarkGroup, measurement::WallTime};
use esp::{Coalescer, InboundSa, Mergeable};

fn bursts(group: &mut BenchmarkGroup<'_, WallTime>, table: &mut Table, wire: &mut [u8]) {
    let (vnet, packet) = super_packet();
    let (mut sender, mut receiver) = pair(GCM);
    let mut merger = Coalescer::new(Mergeable { tcp_v4: true, tcp_v6: true, udp: true });
    table.measure(
        group,
        ("send", PACKETS),
        wire,
        |_| (),
        |wire| {
            send(&mut sender, &vnet, black_box(&packet), wire);
        },
    );
    let prepare = |wire: &mut [u8]| send(&mut sender, &vnet, &packet, wire);
    table.measure(group, ("receive", PACKETS), wire, prepare, |wire| {
        receive(&mut receiver, &mut merger, wire);
    });
}

/// Opens and merges the packets of `wire`, to one.
fn receive(sa: &mut InboundSa, merger: &mut Coalescer, wire: &mut [u8]) {
    for start in (0..wire.len()).step_by(STRIDE) {
        let (place, view) = sa.decap_viewed(&mut wire[start..start + STRIDE]).unwrap();
        merger.push(wire, start + place.start..start + place.end, &view, 1);
    }
    merger.drain(wire, |one| {
        assert_eq!(one.packets, PACKETS);
        black_box(one.parts().map(<[u8]>::len).sum::<usize>());
    });
}

/// What is left if everything around the cipher cost nothing.
fn bare<B: Bare>(group: &mut BenchmarkGroup<'_, WallTime>, table: &mut Table, wire: &mut [u8]) {
    let cipher = B::new();
    let seal = |wire: &mut [u8]| wire.chunks_mut(STRIDE).for_each(|one| cipher.seal(one));
    let open = |wire: &mut [u8]| wire.chunks_mut(STRIDE).for_each(|one| cipher.open(one));
    table.measure(group, (&format!("send/{}", B::NAME), PACKETS), wire, |_| (), seal);
    table.measure(group, (&format!("receive/{}", B::NAME), PACKETS), wire, seal, open);
}

fn main() {
    let mut criterion = common::short();
    let (mut table, mut wire) = (Table::default(), vec![0; PACKETS * STRIDE]);
    let mut group = criterion.benchmark_group("burst");
    bursts(&mut group, &mut table, &mut wire);
    bare::<Backend>(&mut group, &mut table, &mut wire);
    #[cfg(feature = "aws-lc")]
    bare::<common::Ring>(&mut group, &mut table, &mut wire);
    group.finish();
    table.print();
    criterion.final_summary();
}
