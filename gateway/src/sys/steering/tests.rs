//! The program runs in the kernel, on packets that an application of a namespace of its own sends.

use super::*;

/// Interprets the program, as far as it goes: what the kernel does with it is seen in the tests of the device.
fn run(program: &[Instruction], packet: &[u8]) -> u64 {
    let mut registers = [0_u64; 10];
    let mut at = 0;
    loop {
        let Instruction { code, registers: pair, offset, immediate } = program[at];
        let (to, from) = (usize::from(pair & 0x0f), usize::from(pair >> 4));
        let value = u64::from(immediate.cast_unsigned());
        at += 1;
        let operand = if code & X != 0 { registers[from] } else { value };
        match code & 0x07 {
            LD => {
                let base = if code & 0xe0 == IND { registers[from] } else { 0 };
                let start = usize::try_from(base + value).unwrap();
                let len = match code & 0x18 {
                    W => 4,
                    H => 2,
                    _ => 1,
                };
                let Some(octets) = packet.get(start..start + len) else { return 0 };
                registers[0] =
                    octets.iter().fold(0, |number, octet| number << 8 | u64::from(*octet));
            }
            ALU64 => {
                let old = registers[to];
                registers[to] = match code & 0xf0 {
                    ADD => old.wrapping_add(operand),
                    SUB => old.wrapping_sub(operand),
                    MUL => old.wrapping_mul(operand),
                    AND => old & operand,
                    LSH => old << operand,
                    RSH => old >> operand,
                    MODULO => old % operand,
                    XOR => old ^ operand,
                    MOV => operand,
                    other => panic!("{other:x}"),
                };
            }
            _ => {
                let taken = match code & 0xf0 {
                    JA => true,
                    JEQ => registers[to] == value,
                    JNE => registers[to] != value,
                    JGE => registers[to] >= value,
                    EXIT => return registers[0],
                    other => panic!("{other:x}"),
                };
                if taken {
                    at += usize::try_from(offset).unwrap();
                }
            }
        }
    }
}

fn v4(protocol: u8, tos: u8, fragment: u16, upper: &[u8]) -> Vec<u8> {
    let len = u16::try_from(20 + upper.len()).unwrap().to_be_bytes();
    let fragment = fragment.to_be_bytes();
    let mut packet =
        vec![0x45, tos, len[0], len[1], 0, 0, fragment[0], fragment[1], 64, protocol, 0, 0];
    packet.extend([10, 1, 0, 1, 10, 2, 0, 1]);
    packet.extend(upper);
    packet
}

fn v6(next_header: u8, class: u8, upper: &[u8]) -> Vec<u8> {
    let len = u16::try_from(upper.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60 | class >> 4, class << 4, 0, 0, len[0], len[1], next_header, 64];
    packet.extend([0xfd; 32]);
    packet.extend(upper);
    packet
}

fn tcp(flags: u8, payload: usize) -> Vec<u8> {
    let mut segment =
        vec![0x9c, 0x40, 1, 0xbb, 0, 0, 0, 1, 0, 0, 0, 2, 0x80, flags, 0, 9, 0, 0, 0, 0];
    segment.extend(vec![1; 12 + payload]);
    segment
}

fn udp(source: u16, destination: u16) -> Vec<u8> {
    [source, destination, 12, 0, 0, 0].into_iter().flat_map(u16::to_be_bytes).collect()
}

#[test]
fn what_others_wait_for_is_read_first_and_nothing_else() {
    let cases: [(&str, Vec<u8>, bool); 17] = [
        ("echo", v4(1, 0, 0x4000, &[8, 0, 0, 0]), true),
        ("echo, IPv6", v6(58, 0, &[128, 0, 0, 0]), true),
        ("acknowledgment", v4(6, 0, 0x4000, &tcp(0x10, 0)), true),
        ("acknowledgment, IPv6", v6(6, 0, &tcp(0x10, 0)), true),
        ("SYN", v4(6, 0, 0, &tcp(0x02, 0)), true),
        ("data", v4(6, 0, 0x4000, &tcp(0x18, 1)), false),
        ("data, IPv6", v6(6, 0, &tcp(0x10, 1)), false),
        ("FIN", v4(6, 0, 0x4000, &tcp(0x11, 0)), false),
        ("RST", v6(6, 0, &tcp(0x14, 0)), false),
        ("DNS question", v4(17, 0, 0, &udp(4711, 53)), true),
        ("DNS answer", v6(17, 0, &udp(53, 4711)), true),
        ("UDP", v4(17, 0, 0, &udp(4711, 443)), false),
        ("voice", v4(17, 0xb8, 0, &udp(4711, 443)), true),
        ("voice, IPv6", v6(17, 0xb8, &udp(4711, 443)), true),
        ("assured forwarding", v4(17, 0x88, 0, &udp(4711, 443)), false),
        ("first fragment of an echo", v4(1, 0, 0x2000, &[8, 0, 0, 0]), false),
        ("later fragment", v4(6, 0, 0x0010, &tcp(0x10, 0)), false),
    ];
    let program = queue_of_packet(1);
    for (what, packet, first) in cases {
        assert_eq!(run(&program, &packet), u64::from(first), "{what}");
    }
}

#[test]
fn flows_spread_over_the_workers_and_stay_where_they_are() {
    for workers in 1..=4_u32 {
        let program = queue_of_packet(workers);
        let mut seen = vec![0; workers as usize];
        for port in 0..1000 {
            let bulk = run(&program, &v4(17, 0, 0, &udp(port + 1000, 443)));
            assert!(bulk < u64::from(workers));
            seen[usize::try_from(bulk).unwrap()] += 1;
            let urgent = run(&program, &v4(17, 0, 0, &udp(port + 1000, 53)));
            assert!((u64::from(workers)..2 * u64::from(workers)).contains(&urgent));
        }
        let fair = 1000 / workers;
        assert!(seen.iter().all(|count| *count > fair / 2), "{workers}: {seen:?}");
        // Data and acknowledgments of a connection belong to the same worker.
        let data = run(&program, &v4(6, 0, 0, &tcp(0x18, 100)));
        assert_eq!(run(&program, &v4(6, 0, 0, &tcp(0x10, 0))), data + u64::from(workers));
    }
}

#[test]
fn what_is_cut_off_goes_to_the_first_queue() {
    let program = queue_of_packet(4);
    for packet in [vec![], vec![0x45], vec![0x60; 30], v4(6, 0, 0, &[])] {
        assert_eq!(run(&program, &packet), 0, "{packet:x?}");
    }
}
