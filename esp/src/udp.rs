//! ESP, IKE and keepalives on one UDP port (RFC 3948 §2).
//!
//! ```text
//! payload   00 00 00 00 | IKE message ..      non-ESP marker, then IKE (§2.2)
//!           SPI (not 0) | sequence number ..  ESP (§2.1)
//!           ff                                keepalive, exactly one octet (§2.3)
//! ```
//!
//! The marker works because an ESP SPI is never 0 (RFC 4303 §2.1).

/// The four octets before an IKE message on port 4500 (RFC 3948 §2.2).
pub const NON_ESP_MARKER: [u8; 4] = [0; 4];

/// The payload of a NAT keepalive (RFC 3948 §2.3).
pub const KEEPALIVE: [u8; 1] = [0xff];

/// What a UDP payload on the NAT traversal port holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram<'a> {
    /// An IKE message, its non-ESP marker removed. May be empty.
    Ike(&'a [u8]),
    /// An ESP packet, from the SPI to the end of the ICV; at least 4 octets, the SPI is not 0.
    Esp(&'a [u8]),
    /// One octet 0xff, which only keeps a NAT mapping alive.
    Keepalive,
    /// Too short for any of them.
    Runt,
}

/// Tells apart what arrives on the NAT traversal port. `payload` is a whole UDP payload.
#[must_use]
pub fn classify(payload: &[u8]) -> Datagram<'_> {
    if payload == KEEPALIVE {
        return Datagram::Keepalive;
    }
    match payload.split_first_chunk::<4>() {
        None => Datagram::Runt,
        Some((&NON_ESP_MARKER, message)) => Datagram::Ike(message),
        Some(_) => Datagram::Esp(payload),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_is_told_apart() {
        assert_eq!(classify(&[]), Datagram::Runt);
        assert_eq!(classify(&[0xff]), Datagram::Keepalive);
        assert_eq!(classify(&[0xfe]), Datagram::Runt);
        assert_eq!(classify(&[0xff, 0xff]), Datagram::Runt);
        assert_eq!(classify(&[0, 0, 0]), Datagram::Runt);
        assert_eq!(classify(&[0, 0, 0, 0]), Datagram::Ike(&[]));
        assert_eq!(classify(&[0, 0, 0, 0, 7]), Datagram::Ike(&[7]));
        assert_eq!(classify(&[0, 0, 0, 1]), Datagram::Esp(&[0, 0, 0, 1]));
        assert_eq!(classify(&[0xff; 4]), Datagram::Esp(&[0xff; 4]));
    }
}
