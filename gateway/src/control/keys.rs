//! The keys of a connection, for Wireshark: only where `allow_key_export` in `[gateway]` says so.
//!
//! ```text
//!   ikev2: exposed_keys ──► ikev2_decryption_table   SPIi,SPIr,SK_ei,SK_er,"cipher",SK_ai,SK_ar,"integrity"
//!   install.rs: keys    ──► esp_sa                   "IPv4","*","*","0xSPI","cipher","0xKEY","integrity","0xKEY"
//! ```
//!
//! The words are those of Wireshark's packet-isakmp.c and packet-ipsec.c; a suite that it has no word for is left out, and said
//! so. Addresses are `*`: an SA is known by its SPI, and may move.

use std::fmt::Write as _;

use ikev2::registry::{EncrId, IntegId};
use ikev2::{ChildKeys, ExposedKeys};
use zeroize::Zeroizing;

use super::Control;
use super::commands::refuse;
use super::install::Installed;
use crate::status::protocol::{KeyTables, RefusalKind, Response};

impl Control {
    /// The keys of every SA of a connection that is there now.
    ///
    /// # Errors
    /// The refusal, if the configuration does not allow it or there is no such connection.
    pub(super) fn keys(&self, name: &str) -> Result<Response, Response> {
        let index = self.whole(name, "keys")?;
        if !self.gateway.allow_key_export {
            return Err(refuse(
                RefusalKind::Permission,
                "keys are not given away: the configuration does not allow it; write `allow_key_export = true` into \
                 [gateway] and start the gateway again, and take it out when you are done"
                    .to_owned(),
            ));
        }
        let connection = self.connections.get(index);
        let peer = connection.and_then(|connection| connection.peer);
        let mut keys = KeyTables::default();
        for sa in peer.map(|peer| self.endpoint.exposed_keys(peer)).unwrap_or_default() {
            match of_ike(&sa) {
                Some(line) => keys.ike.push(line),
                None => keys.missing.push(format!(
                    "the IKE SA {:016x}: Wireshark cannot open {}",
                    sa.spis.0, sa.suite
                )),
            }
        }
        for child in connection.into_iter().flat_map(|connection| &connection.children) {
            for (_, sa) in self.installer.of_slot(child.slot) {
                let is_v6 = self.is_over_v6(index);
                match of_child(sa, is_v6) {
                    Some(lines) => keys.esp.extend(lines),
                    None => keys.missing.push(format!(
                        "the child SA {:08x}: Wireshark cannot open {}",
                        sa.spi_in.0, sa.suite
                    )),
                }
            }
        }
        if keys.ike.is_empty() && keys.esp.is_empty() && keys.missing.is_empty() {
            let message =
                format!("{name} has no SA, and so no keys; `s2s-gw up {name}` makes some");
            return Err(refuse(RefusalKind::NotNow, message));
        }
        tracing::warn!(
            target: "gateway", event = "keys-exported", conn = name, ike = keys.ike.len(), esp = keys.esp.len(),
            "whoever has them reads what these SAs carried and will carry"
        );
        Ok(Response::Keys { keys })
    }

    /// Whether ESP of a connection travels over IPv6.
    fn is_over_v6(&self, index: usize) -> bool {
        use super::connection::Phase;
        let Some(connection) = self.connections.get(index) else { return false };
        match &connection.phase {
            Phase::Up { info } => info.path.remote.is_ipv6(),
            Phase::Connecting { path, .. } => path.remote.is_ipv6(),
            Phase::Idle | Phase::Failed { .. } => {
                connection.paths.first().is_some_and(|path| path.remote.is_ipv6())
            }
        }
    }
}

/// A line of `ikev2_decryption_table`.
fn of_ike(sa: &ExposedKeys) -> Option<String> {
    let ExposedKeys { spis: (spi_i, spi_r), suite, sk_ei, sk_er, sk_ai, sk_ar } = sa;
    let cipher = ike_cipher(suite.encr, suite.key_bits)?;
    let integrity = ike_integrity(suite.integ)?;
    let [ei, er, ai, ar] = [sk_ei, sk_er, sk_ai, sk_ar].map(|key| hex(key));
    let (ei, er, ai, ar) = (ei.as_str(), er.as_str(), ai.as_str(), ar.as_str());
    Some(format!("{spi_i:016x},{spi_r:016x},{ei},{er},\"{cipher}\",{ai},{ar},\"{integrity}\""))
}

/// The two lines of `esp_sa` of a pair of SAs; `None` also if its keys were not kept.
fn of_child(sa: &Installed, is_v6: bool) -> Option<[String; 2]> {
    let (keys_in, keys_out) = sa.keys.as_ref()?;
    let cipher = esp_cipher(sa.suite.encr)?;
    let integrity = esp_integrity(sa.suite.encr, sa.suite.integ, sa.suite.esn)?;
    let ip = if is_v6 { "IPv6" } else { "IPv4" };
    let line = |spi: u32, keys: &ChildKeys| {
        let (encr, integ) = (hex(&keys.encr), hex(&keys.integ));
        let integ = if integ.is_empty() { String::new() } else { format!("0x{}", *integ) };
        format!(
            "\"{ip}\",\"*\",\"*\",\"0x{spi:08x}\",\"{cipher}\",\"0x{}\",\"{integrity}\",\"{integ}\"",
            *encr
        )
    };
    Some([line(sa.spi_in.0.get(), keys_in), line(sa.spi_out.0.get(), keys_out)])
}

fn ike_cipher(encr: EncrId, bits: u16) -> Option<String> {
    let with_icv = |mode, octets| format!("AES-{mode}-{bits} with {octets} octet ICV [RFC5282]");
    Some(match encr {
        EncrId::AES_CBC => format!("AES-CBC-{bits} [RFC3602]"),
        EncrId::AES_CTR => format!("AES-CTR-{bits} [RFC5930]"),
        EncrId::TRIPLE_DES => "3DES [RFC2451]".to_owned(),
        EncrId::AES_GCM_8 => with_icv("GCM", 8),
        EncrId::AES_GCM_12 => with_icv("GCM", 12),
        EncrId::AES_GCM_16 => with_icv("GCM", 16),
        EncrId::AES_CCM_8 => with_icv("CCM", 8),
        EncrId::AES_CCM_12 => with_icv("CCM", 12),
        EncrId::AES_CCM_16 => with_icv("CCM", 16),
        _ => return None,
    })
}

fn ike_integrity(integ: Option<IntegId>) -> Option<&'static str> {
    Some(match integ {
        None => "NONE [RFC4306]",
        Some(IntegId::HMAC_SHA1_96) => "HMAC_SHA1_96 [RFC2404]",
        Some(IntegId::HMAC_SHA2_256_128) => "HMAC_SHA2_256_128 [RFC4868]",
        Some(IntegId::HMAC_SHA2_384_192) => "HMAC_SHA2_384_192 [RFC4868]",
        Some(IntegId::HMAC_SHA2_512_256) => "HMAC_SHA2_512_256 [RFC4868]",
        Some(IntegId::AES_XCBC_96 | IntegId::AES_CMAC_96) => {
            "ANY 96-bits of Authentication [No Checking]"
        }
        Some(_) => return None,
    })
}

fn esp_cipher(encr: EncrId) -> Option<&'static str> {
    Some(match encr {
        EncrId::NULL => "NULL",
        EncrId::TRIPLE_DES => "TripleDES-CBC [RFC2451]",
        EncrId::AES_CBC => "AES-CBC [RFC3602]",
        EncrId::AES_CTR => "AES-CTR [RFC3686]",
        EncrId::AES_GCM_8 => "AES-GCM with 8 octet ICV [RFC4106]",
        EncrId::AES_GCM_12 => "AES-GCM with 12 octet ICV [RFC4106]",
        EncrId::AES_GCM_16 => "AES-GCM with 16 octet ICV [RFC4106]",
        _ => return None,
    })
}

/// Extended sequence numbers are part of what the ICV is made of and not in the packet (RFC 4303 §2.2.1), so that only who has
/// counted along can check it: then only its length is told.
fn esp_integrity(encr: EncrId, integ: Option<IntegId>, esn: bool) -> Option<&'static str> {
    Some(match (encr, integ) {
        (EncrId::AES_GCM_8 | EncrId::AES_GCM_12 | EncrId::AES_GCM_16, None) => "NULL",
        (_, Some(IntegId::HMAC_SHA1_96)) if !esn => "HMAC-SHA-1-96 [RFC2404]",
        (_, Some(IntegId::HMAC_SHA2_256_128)) if !esn => "HMAC-SHA-256-128 [RFC4868]",
        (_, Some(IntegId::HMAC_SHA2_384_192)) if !esn => "HMAC-SHA-384-192 [RFC4868]",
        (_, Some(IntegId::HMAC_SHA2_512_256)) if !esn => "HMAC-SHA-512-256 [RFC4868]",
        (_, Some(IntegId::HMAC_SHA1_96 | IntegId::AES_XCBC_96 | IntegId::AES_CMAC_96)) => {
            "ANY 96 bit authentication [no checking]"
        }
        (_, Some(IntegId::HMAC_SHA2_256_128)) => "ANY 128 bit authentication [no checking]",
        (_, Some(IntegId::HMAC_SHA2_384_192)) => "ANY 192 bit authentication [no checking]",
        (_, Some(IntegId::HMAC_SHA2_512_256)) => "ANY 256 bit authentication [no checking]",
        _ => return None,
    })
}

fn hex(key: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(2 * key.len()));
    for octet in key {
        // Writing to a string does not fail.
        let _ = write!(text, "{octet:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suites_have_the_words_of_wireshark() {
        let gcm = EncrId::AES_GCM_16;
        assert_eq!(
            ike_cipher(gcm, 256).as_deref(),
            Some("AES-GCM-256 with 16 octet ICV [RFC5282]")
        );
        assert_eq!(ike_cipher(EncrId::AES_CBC, 128).as_deref(), Some("AES-CBC-128 [RFC3602]"));
        assert_eq!(ike_cipher(EncrId::CHACHA20_POLY1305, 256), None);
        assert_eq!(esp_cipher(EncrId::CHACHA20_POLY1305), None);
        assert_eq!(esp_cipher(gcm), Some("AES-GCM with 16 octet ICV [RFC4106]"));
        let sha256 = Some(IntegId::HMAC_SHA2_256_128);
        let checked = esp_integrity(EncrId::AES_CBC, sha256, false);
        assert_eq!(checked, Some("HMAC-SHA-256-128 [RFC4868]"));
        let unchecked = esp_integrity(EncrId::AES_CBC, sha256, true);
        assert_eq!(unchecked, Some("ANY 128 bit authentication [no checking]"));
        assert_eq!(esp_integrity(gcm, None, true), Some("NULL"));
    }

    #[test]
    fn keys_are_hexadecimal() {
        assert_eq!(hex(&[0, 0x5a, 0xff]).as_str(), "005aff");
    }
}
