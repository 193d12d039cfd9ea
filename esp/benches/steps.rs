//! What the steps around the cipher cost, each alone.
//!
//! ```text
//!   cargo bench -p esp --bench steps       last a table: least ns a packet
//!
//!   replay/in order, /swapped    check and commit
//!   demux                        udp::classify of ESP packets
//!   vnet                         VnetHeader, read and written
//!   split                        Segments, each written out: copy, headers, checksum
//!   coalesce                     Coalescer, push and drain: headers compared, checksum
//! ```
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a benchmark may panic")]

mod common;

use std::hint::black_box;

use common::{HEADERS, MSS, PACKETS, Table, super_packet};
use criterion::{BenchmarkGroup, measurement::WallTime};
use esp::{Coalescer, Mergeable, Segments, VnetHeader, ip::View, replay::ReplayWindow, udp};

type Group<'c> = BenchmarkGroup<'c, WallTime>;

/// Packets of those steps that are shorter than a look at the clock.
const MANY: usize = 1024;

fn replay(group: &mut Group<'_>, table: &mut Table) {
    for (name, swap) in [("replay/in order", 0), ("replay/swapped", 7)] {
        let (mut window, mut next) = (ReplayWindow::new(4096, true).unwrap(), 0_u32);
        table.measure(
            group,
            (name, MANY),
            &mut window,
            |_| (),
            |window| {
                for place in 0..1024 {
                    // 8 7 6 5 4 3 2 1, 16 15 14 ..
                    let candidate = window.check(black_box(next + (place ^ swap) + 1)).unwrap();
                    window.commit(candidate).unwrap();
                }
                next += 1024;
            },
        );
    }
}

fn demux(group: &mut Group<'_>, table: &mut Table) {
    let packet = [1; 1472];
    table.measure(
        group,
        ("demux", MANY),
        &mut (),
        |()| (),
        |()| {
            for _ in 0..MANY {
                assert!(matches!(udp::classify(black_box(&packet)), udp::Datagram::Esp(_)));
            }
        },
    );
}

fn vnet(group: &mut Group<'_>, table: &mut Table) {
    let octets = super_packet().0.emit();
    table.measure(
        group,
        ("vnet", MANY),
        &mut (),
        |()| (),
        |()| {
            for _ in 0..MANY {
                black_box(VnetHeader::parse(black_box(&octets)).unwrap().emit());
            }
        },
    );
}

fn split(group: &mut Group<'_>, table: &mut Table) {
    let (vnet, packet) = super_packet();
    let mut out = vec![0; PACKETS * (HEADERS + MSS)];
    table.measure(
        group,
        ("split", PACKETS),
        &mut *out,
        |_| (),
        |out| {
            let mut segments = Segments::new(&vnet, black_box(&packet)).unwrap();
            out.chunks_mut(HEADERS + MSS).for_each(|out| assert!(segments.write_next(out)));
        },
    );
}

fn coalesce(group: &mut Group<'_>, table: &mut Table) {
    let (vnet, packet) = super_packet();
    let mut fresh = vec![0; PACKETS * (HEADERS + MSS)];
    let mut segments = Segments::new(&vnet, &packet).unwrap();
    fresh.chunks_mut(HEADERS + MSS).for_each(|out| assert!(segments.write_next(out)));
    let mut merger = Coalescer::new(Mergeable { tcp_v4: true, tcp_v6: true, udp: true });
    let view = View::parse(&fresh).unwrap();
    let restore = |buffer: &mut [u8]| buffer.copy_from_slice(&fresh);
    table.measure(group, ("coalesce", PACKETS), &mut *fresh.clone(), restore, |buffer| {
        for start in (0..buffer.len()).step_by(HEADERS + MSS) {
            merger.push(buffer, start..start + HEADERS + MSS, black_box(&view), 1);
        }
        merger.drain(buffer, |one| assert_eq!(one.packets, PACKETS));
    });
}

fn main() {
    let mut criterion = common::short();
    let mut table = Table::default();
    let mut group = criterion.benchmark_group("steps");
    for step in [replay, demux, vnet, split, coalesce] {
        step(&mut group, &mut table);
    }
    group.finish();
    table.print();
    criterion.final_summary();
}
