//! What other programs call algorithms, in our words.
//!
//! ```text
//!   dh14, group14, modp14  ─► modp2048        aes_gcm256     ─► aes256gcm16
//!   hmac_sha2_256, sha2    ─► sha256          null, esn_no   ─► nothing
//! ```

use ikev2::Transform;

/// Our word; `None` for one that says nothing here.
pub(crate) fn alias(word: &str) -> Option<String> {
    // `gcm16` of Libreswan is with `aes_gcm`, `aes_gcm_c_256`, `aes_gcm256`; `aes_ccm_a_128` has 8 octets of ICV.
    let packed = word.replace("aes_gcm_c", "aesgcm16").replace("aes_gcm_b", "aesgcm12");
    let packed = packed.replace("aes_gcm_a", "aesgcm8").replace("aes_gcm", "aesgcm16");
    let packed = packed.replace("aes_ccm_c", "aesccm16").replace("aes_ccm_b", "aesccm12");
    let packed = packed.replace("aes_ccm_a", "aesccm8").replace("aes_ccm", "aesccm16");
    for mode in ["gcm16", "gcm12", "gcm8", "ccm16", "ccm12", "ccm8"] {
        if let Some(bits) = packed.strip_prefix(&format!("aes{mode}")) {
            let bits = bits.trim_start_matches('_');
            let bits = if bits.is_empty() { "256" } else { bits };
            return Some(format!("aes{bits}{mode}"));
        }
    }
    Some(match word {
        // As integrity of an AEAD; and as the group of no PFS.
        "null" | "none" | "esn_no" => return None,
        "aes" | "aes_cbc" => "aes128".into(),
        "sha" | "hmac_sha1" => "sha1".into(),
        "sha2" | "hmac_sha2_256" => "sha256".into(),
        "hmac_sha2_384" => "sha384".into(),
        "hmac_sha2_512" => "sha512".into(),
        "aes_xcbc" => "aesxcbc".into(),
        "chacha20_poly1305" => "chacha20poly1305".into(),
        _ => match group_number(word) {
            Some(number) => group(number).map_or_else(|| word.to_owned(), ToOwned::to_owned),
            None => word.replace("aes_cbc", "aes").replace("aes_", "aes"),
        },
    })
}

/// `dh14`, `group14`, `dh_group_14` and, by mistake for `modp2048`, `modp14`.
fn group_number(word: &str) -> Option<u16> {
    let rest = word.strip_prefix("modp").filter(|digits| digits.len() < 3).or_else(|| {
        let rest = word.strip_prefix("dh").unwrap_or(word);
        let rest = rest.trim_start_matches('_');
        let rest = rest.strip_prefix("group").unwrap_or(rest);
        (rest != word).then(|| rest.trim_start_matches('_'))
    });
    rest?.parse().ok()
}

/// The word of a group by its number in the registry of IANA.
pub(crate) fn group(number: u16) -> Option<&'static str> {
    ikev2::keyword::TABLE.iter().find_map(|row| {
        let Transform::Ke(method) = row.transform else { return None };
        (method.0 == number).then(|| row.word())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_known_by_their_numbers() {
        for (theirs, ours) in [
            ("dh14", "modp2048"),
            ("group14", "modp2048"),
            ("dh_group_19", "ecp256"),
            ("modp14", "modp2048"),
            ("dh99", "dh99"),
            ("14", "14"),
            ("modp2048", "modp2048"),
        ] {
            assert_eq!(alias(theirs).as_deref(), Some(ours), "{theirs}");
        }
    }
}
