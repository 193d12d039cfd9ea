//! The system calls that no safe crate offers in the shape we need, and the only `unsafe` of the project.
//!
//! ```text
//!   changes.rs   that links, addresses or routes changed
//!   device.rs    TUN devices, and what a link has (ioctl)
//!   message.rs   sendmsg with a source address, recvmsg with the address that was asked  (IP_PKTINFO, IPV6_PKTINFO)
//!   netlink.rs   links, addresses and routes
//!   netns.rs     network namespaces
//! ```

pub(crate) mod changes;
pub(crate) mod device;
pub(crate) mod message;
pub mod netlink;
pub mod netns;
