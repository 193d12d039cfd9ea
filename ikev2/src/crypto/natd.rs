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

#[cfg(test)]
mod tests {
    use super::super::vectors;
    use super::*;

    /// What strongSwan hashed, and what came out: SPIi | SPIr | address | port.
    #[test]
    fn agrees_with_a_recorded_negotiation() {
        let file = "captures/strongswan_ikev2_transcripts_part.json";
        let Some(json) = vectors::external_json(file) else { return };
        let mut tested = 0;
        for case in json["cases"].as_array().unwrap() {
            let secrets = case["secrets"].as_array().unwrap();
            for pair in secrets.windows(2).filter(|pair| pair[0]["label"] == "natd_chunk") {
                assert_eq!(pair[1]["label"], "natd_hash");
                let chunk = vectors::octets(&pair[0]["hex"]);
                let spi =
                    |at: usize| IkeSpi(u64::from_be_bytes(chunk[at..at + 8].try_into().unwrap()));
                let addr: [u8; 4] = chunk[16..20].try_into().unwrap();
                let port = u16::from_be_bytes(chunk[20..].try_into().unwrap());
                let hash = nat_detection_hash(spi(0), spi(8), addr.into(), port);
                assert_eq!(hash.as_slice(), vectors::octets(&pair[1]["hex"]));
                tested += 1;
            }
        }
        assert_eq!(tested, 8);
    }

    /// One of those, and the same with an IPv6 address (the answer is from sha1sum of the 34 octets).
    #[test]
    fn hashes_the_octets_in_the_order_of_the_rfc() {
        let (spi_i, spi_r) = (IkeSpi(0x6c09_526f_6f40_fb04), IkeSpi(0x374c_ca43_1aa5_2792));
        let hash = nat_detection_hash(spi_i, spi_r, [192, 0, 2, 1].into(), 500);
        assert_eq!(hex::encode(hash), "fef4ab62ce2ed44963b377f6c3d6ea6f600531df");
        let hash = nat_detection_hash(spi_i, spi_r, "2001:db8::1".parse().unwrap(), 4500);
        assert_eq!(hex::encode(hash), "6013f716bb9fdf8d385a1ae768d123b816b99137");
    }
}
