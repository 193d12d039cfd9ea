//! NAT detection (RFC 7296 §2.23): each side tells the other a hash of the addresses that it believes in.
//!
//! ```text
//!   NAT_DETECTION_*_IP data = SHA-1( SPIi | SPIr | address, 4 or 16 octets | port, 2 octets )
//! ```
//!
//! SHA-1 is what the RFC demands here; nothing rests on its strength.

use std::net::IpAddr;

use sha1::{Digest, Sha1};

use crate::wire::header::IkeSpi;

/// The data of a NAT_DETECTION_SOURCE_IP or NAT_DETECTION_DESTINATION_IP notification. The SPIs are those of the header
/// of the message that carries it, so `spi_r` is zero in a first IKE_SA_INIT request.
pub(crate) fn nat_detection_hash(
    spi_i: IkeSpi,
    spi_r: IkeSpi,
    addr: IpAddr,
    port: u16,
) -> [u8; 20] {
    let mut hash = Sha1::new();
    hash.update(spi_i.octets());
    hash.update(spi_r.octets());
    match addr {
        IpAddr::V4(addr) => hash.update(addr.octets()),
        IpAddr::V6(addr) => hash.update(addr.octets()),
    }
    hash.update(port.to_be_bytes());
    hash.finalize().into()
}
