//! Small programs that the kernel runs to choose a queue or a socket for each packet (bpf(2), socket(7)).
//!
//! ```text
//!   TUN device      flow ─► worker = hash of addresses and ports % workers        queue worker
//!                   ICMP, DNS, bare TCP acknowledgments, urgent DSCP              queue workers + worker: read first
//!   UDP port 4500   SPI ─► socket = SPI % 64 % workers   IKE, whose first word is 0, and keepalives: socket 0
//!   IP protocol 50  SPI ─► as before: every raw socket gets each packet and takes its own
//! ```
//!
//! What goes to a queue that is read first overtakes the rest, so only what is alike in all packets of a flow counts there, and
//! what may overtake: an acknowledgment without payload, the beginning of a connection.

use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use ikev2::EspSpi;
use rustix::ioctl::{self, Opcode, Setter};

/// Loads the program for a TUN device with twice as many queues as `workers`, and gives it to the device, of which `tun` is a
/// queue.
///
/// # Errors
/// What the system says: EPERM without CAP_BPF, ENOSYS or EINVAL where the kernel has no BPF.
pub(crate) fn steer_tun(tun: BorrowedFd<'_>, workers: u32) -> io::Result<()> {
    let program = load(&queue_of_packet(workers.max(1)))?;
    let descriptor = program.as_raw_fd();
    // SAFETY: TUNSETSTEERINGEBPF reads one int, a descriptor that is open; the device keeps a reference of its own.
    let request = unsafe { Setter::<TUNSETSTEERINGEBPF, libc::c_int>::new(descriptor) };
    // SAFETY: as before; it writes nothing.
    Ok(unsafe { ioctl::ioctl(tun, request) }?)
}

/// Lets the sockets that share a UDP port with `socket` get the packets by their SPI, in the order in which they were bound.
///
/// # Errors
/// What the system says.
pub(crate) fn steer_udp(socket: BorrowedFd<'_>, workers: u32) -> io::Result<()> {
    let program = [
        // The data behind the UDP header; a load beyond its end ends the program with 0.
        classic(LD_W_ABS, 0),
        classic(libc::BPF_ALU | MOD, EspSpi::FAMILIES),
        classic(libc::BPF_ALU | MOD, workers.max(1)),
        classic(libc::BPF_RET | RET_A, 0),
    ];
    attach(socket, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Lets a raw socket of IP protocol 50 take only the SPIs that are `worker`'s.
///
/// # Errors
/// What the system says.
pub(crate) fn steer_raw(
    socket: BorrowedFd<'_>,
    v4: bool,
    worker: u32,
    workers: u32,
) -> io::Result<()> {
    // IPv4 gives the header as well, IPv6 does not: raw(7).
    let spi = if v4 {
        [classic(libc::BPF_LDX | libc::BPF_B | libc::BPF_MSH, 0), classic(LD_W_IND, 0)]
    } else {
        [classic(libc::BPF_LDX | libc::BPF_IMM, 0), classic(LD_W_IND, 0)]
    };
    let [header_len, load_spi] = spi;
    let program = [
        header_len,
        load_spi,
        classic(libc::BPF_ALU | MOD, EspSpi::FAMILIES),
        classic(libc::BPF_ALU | MOD, workers.max(1)),
        libc::sock_filter { jf: 1, ..classic(libc::BPF_JMP | libc::BPF_JEQ, worker) },
        classic(libc::BPF_RET, u32::MAX),
        classic(libc::BPF_RET, 0),
    ];
    attach(socket, libc::SO_ATTACH_FILTER, &program)
}

fn attach(socket: BorrowedFd<'_>, option: i32, program: &[libc::sock_filter]) -> io::Result<()> {
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        filter: program.as_ptr().cast_mut(),
    };
    let len = libc::socklen_t::try_from(size_of::<libc::sock_fprog>())
        .map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the pointer and length describe `program`, whose instructions are borrowed for the call; setsockopt copies them.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            option,
            (&raw const program).cast(),
            len,
        )
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// One instruction of classic BPF.
fn classic(code: u32, k: u32) -> libc::sock_filter {
    let code = u16::try_from(code).expect("invariant: codes have 8 bits");
    libc::sock_filter { code, jt: 0, jf: 0, k }
}

const LD_W_ABS: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
const LD_W_IND: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_IND;
const MOD: u32 = 0x90;
const RET_A: u32 = 0x10;

/// The program for the TUN device.
///
/// r6: the packet, r7: hash, r8: octets of TCP header and payload, r9: where the upper header begins. A load beyond the end of
/// the packet ends the program with 0, the first queue.
fn queue_of_packet(workers: u32) -> Vec<Instruction> {
    let mut code = Assembler::default();
    code.copy(R6, R1);
    code.load(B, 0);
    code.shift_right(R0, 4);
    code.jump_if_equal(R0, 4, "v4");
    code.jump_if_equal(R0, 6, "v6");
    code.set(R7, 0);
    code.jump("bulk");

    code.label("v4");
    code.load(W, 12);
    code.copy(R7, R0);
    code.load(W, 16);
    code.xor(R7, R0);
    code.load(B, 1);
    code.jump_if_at_least(R0, URGENT, "first");
    code.load(H, 6);
    code.and(R0, 0x3fff);
    code.jump_unless_equal(R0, 0, "bulk");
    code.load(B, 0);
    code.and(R0, 0x0f);
    code.shift_left(R0, 2);
    code.copy(R9, R0);
    code.load(H, 2);
    code.subtract(R0, R9);
    code.copy(R8, R0);
    code.load(B, 9);
    code.jump_if_equal(R0, 1, "first");
    code.jump("upper");

    code.label("v6");
    code.set(R7, 0);
    for word in (8..40).step_by(4) {
        code.load(W, word);
        code.xor(R7, R0);
    }
    code.load(H, 0);
    code.shift_right(R0, 4);
    code.and(R0, 0xff);
    code.jump_if_at_least(R0, URGENT, "first");
    code.set(R9, 40);
    code.load(H, 4);
    code.copy(R8, R0);
    code.load(B, 6);
    code.jump_if_equal(R0, 58, "first");

    code.label("upper");
    code.jump_if_equal(R0, 6, "tcp");
    code.jump_unless_equal(R0, 17, "bulk");
    code.load_from(W, R9, 0);
    code.xor(R7, R0);
    code.load_from(H, R9, 0);
    code.jump_if_equal(R0, DNS, "first");
    code.load_from(H, R9, 2);
    code.jump_if_equal(R0, DNS, "first");
    code.jump("bulk");

    code.label("tcp");
    code.load_from(W, R9, 0);
    code.xor(R7, R0);
    code.load_from(B, R9, 12);
    code.shift_right(R0, 4);
    code.shift_left(R0, 2);
    code.subtract(R8, R0);
    code.jump_unless_equal(R8, 0, "bulk");
    code.load_from(B, R9, 13);
    code.and(R0, TCP_FIN_OR_RST);
    code.jump_unless_equal(R0, 0, "bulk");

    code.label("first");
    code.set(R9, workers);
    code.jump("out");
    code.label("bulk");
    code.set(R9, 0);
    code.label("out");
    // The upper half of the product depends on all bits of the hash.
    code.copy(R0, R7);
    code.multiply(R0, GOLDEN);
    code.shift_right(R0, 32);
    code.modulo(R0, workers);
    code.add(R0, R9);
    code.exit();
    code.finish()
}

/// One instruction of extended BPF.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// Writes instructions and finds where jumps lead, all of them forward.
#[derive(Default)]
struct Assembler {
    code: Vec<Instruction>,
    jumps: Vec<(usize, &'static str)>,
    labels: Vec<(&'static str, usize)>,
}

impl Assembler {
    fn push(&mut self, code: u8, to: u8, from: u8, immediate: u32) {
        let immediate = immediate.cast_signed();
        self.code.push(Instruction { code, registers: from << 4 | to, offset: 0, immediate });
    }

    fn label(&mut self, name: &'static str) {
        self.labels.push((name, self.code.len()));
    }

    /// r0 = the number of this size at `at` in the packet.
    fn load(&mut self, size: u8, at: u32) {
        self.push(LD | ABS | size, 0, 0, at);
    }

    /// The same, `at` octets behind `base`.
    fn load_from(&mut self, size: u8, base: u8, at: u32) {
        self.push(LD | IND | size, 0, base, at);
    }

    fn set(&mut self, to: u8, value: u32) {
        self.push(ALU64 | MOV, to, 0, value);
    }

    fn copy(&mut self, to: u8, from: u8) {
        self.push(ALU64 | MOV | X, to, from, 0);
    }

    fn xor(&mut self, to: u8, from: u8) {
        self.push(ALU64 | XOR | X, to, from, 0);
    }

    fn subtract(&mut self, to: u8, from: u8) {
        self.push(ALU64 | SUB | X, to, from, 0);
    }

    fn add(&mut self, to: u8, from: u8) {
        self.push(ALU64 | ADD | X, to, from, 0);
    }

    fn and(&mut self, to: u8, mask: u32) {
        self.push(ALU64 | AND, to, 0, mask);
    }

    fn multiply(&mut self, to: u8, by: u32) {
        self.push(ALU64 | MUL, to, 0, by);
    }

    fn modulo(&mut self, to: u8, by: u32) {
        self.push(ALU64 | MODULO, to, 0, by);
    }

    fn shift_left(&mut self, to: u8, by: u32) {
        self.push(ALU64 | LSH, to, 0, by);
    }

    fn shift_right(&mut self, to: u8, by: u32) {
        self.push(ALU64 | RSH, to, 0, by);
    }

    fn jump(&mut self, label: &'static str) {
        self.jump_by(JA, 0, 0, label);
    }

    fn jump_if_equal(&mut self, one: u8, other: u32, label: &'static str) {
        self.jump_by(JEQ, one, other, label);
    }

    fn jump_unless_equal(&mut self, one: u8, other: u32, label: &'static str) {
        self.jump_by(JNE, one, other, label);
    }

    fn jump_if_at_least(&mut self, one: u8, other: u32, label: &'static str) {
        self.jump_by(JGE, one, other, label);
    }

    fn jump_by(&mut self, kind: u8, register: u8, value: u32, label: &'static str) {
        self.jumps.push((self.code.len(), label));
        self.push(JMP | kind, register, 0, value);
    }

    fn exit(&mut self) {
        self.push(JMP | EXIT, 0, 0, 0);
    }

    fn finish(mut self) -> Vec<Instruction> {
        for (at, label) in self.jumps {
            let (_, to) = self
                .labels
                .iter()
                .find(|(name, _)| *name == label)
                .expect("invariant: every label was set");
            if let Some(jump) = self.code.get_mut(at) {
                jump.offset = i16::try_from(to - at - 1).expect("invariant: the program is short");
            }
        }
        self.code
    }
}

/// Gives a program to the kernel, which proves that it ends and reads nothing but the packet.
fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let request = Load {
        kind: BPF_PROG_TYPE_SOCKET_FILTER,
        count: u32::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?,
        instructions: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        rest: [0; 13],
    };
    // SAFETY: BPF_PROG_LOAD reads size_of::<Load>() octets of attributes, which begin as the kernel's union bpf_attr does and are
    // zero in what we do not use; both pointers in it are to memory that lives for the call and is only read.
    let descriptor = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const request, size_of::<Load>())
    };
    match i32::try_from(descriptor) {
        // SAFETY: the kernel just made this descriptor for us, and nobody else knows it.
        Ok(descriptor) if descriptor >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(descriptor) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The beginning of `union bpf_attr` for BPF_PROG_LOAD.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    rest: [u64; 13],
}

const BPF_PROG_LOAD: libc::c_int = 5;
const BPF_PROG_TYPE_SOCKET_FILTER: u32 = 1;
const TUNSETSTEERINGEBPF: Opcode = ioctl::opcode::read::<libc::c_int>(b'T', 224);

const R0: u8 = 0;
const R1: u8 = 1;
const R6: u8 = 6;
const R7: u8 = 7;
const R8: u8 = 8;
const R9: u8 = 9;

// Classes, operations and sizes of instructions (RFC 9669 §3).
const LD: u8 = 0x00;
const JMP: u8 = 0x05;
const ALU64: u8 = 0x07;
const ABS: u8 = 0x20;
const IND: u8 = 0x40;
const W: u8 = 0x00;
const H: u8 = 0x08;
const B: u8 = 0x10;
const X: u8 = 0x08;
const ADD: u8 = 0x00;
const SUB: u8 = 0x10;
const MUL: u8 = 0x20;
const AND: u8 = 0x50;
const LSH: u8 = 0x60;
const RSH: u8 = 0x70;
const MODULO: u8 = 0x90;
const XOR: u8 = 0xa0;
const MOV: u8 = 0xb0;
const JA: u8 = 0x00;
const JEQ: u8 = 0x10;
const JGE: u8 = 0x30;
const JNE: u8 = 0x50;
const EXIT: u8 = 0x90;

/// DSCP CS5 and above, EF among them (RFC 4594 §2.3): voice, signalling, network control. All packets of a flow have the same.
const URGENT: u32 = 0xa0;
/// The port of DNS.
const DNS: u32 = 53;
const TCP_FIN_OR_RST: u32 = 0x05;
/// Odd, with well mixed bits, and not negative as an immediate: 2^32 less itself divided by the golden ratio.
const GOLDEN: u32 = 0x61c8_8647;

#[cfg(test)]
mod tests;
