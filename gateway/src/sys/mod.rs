//! The system calls that no safe crate offers in the shape we need, and the only `unsafe` of the project.
//!
//! ```text
//!   attempt.rs   what an intruder would try, for tests
//!   batch.rs     sendmmsg and recvmmsg, each message of many datagrams (UDP_SEGMENT, UDP_GRO)
//!   changes.rs   that links, addresses or routes changed
//!   device.rs    TUN devices, and what a link has (ioctl)
//!   ending.rs    the end after a panic or a refused system call
//!   handed.rs    descriptors that our starter opened
//!   inbound.rs   what comes in clear from the other end of a tunnel stays out (nf_tables)
//!   label.rs     control messages: addresses, traffic class, segments, losses
//!   message.rs   sendmsg with a source address, recvmsg with the address that was asked  (IP_PKTINFO, IPV6_PKTINFO)
//!   netlink.rs   links, addresses and routes
//!   netns.rs     network namespaces
//!   notify.rs    what systemd is told
//!   privileges.rs  what the process may do
//!   schedule.rs  when a thread gets its turn
//!   steering.rs  which queue or socket gets a packet (bpf)
//!   wipe.rs      nothing is left in memory that is given back
//!   xfrm.rs      whether the kernel has IPsec policies of its own
//! ```

#[cfg(debug_assertions)]
pub(crate) mod attempt;
pub(crate) mod batch;
pub(crate) mod changes;
pub(crate) mod device;
pub(crate) mod ending;
pub(crate) mod handed;
pub(crate) mod inbound;
mod label;
pub(crate) mod message;
pub mod netlink;
pub mod netns;
pub(crate) mod notify;
pub(crate) mod privileges;
pub(crate) mod schedule;
pub(crate) mod steering;
pub mod wipe;
pub(crate) mod xfrm;
