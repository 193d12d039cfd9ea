//! Every IANA number that IKEv2 uses, once, with its RFC. Open newtypes: unknown values survive and print as numbers.
//!
//! ```text
//!   octets ──► ExchangeType(34) ──► "IKE_SA_INIT"        named values are constants: ExchangeType::IKE_SA_INIT
//!              ExchangeType(250) ──► "ExchangeType(250)"  unknown values are values like any other
//! ```
//!
//! The registry is <https://www.iana.org/assignments/ikev2-parameters>. Algorithms that we do not offer are named too,
//! so that a refused offer can be shown to people; what we can do is said by [`crate::keyword`] alone.

/// Declares one registry: an open newtype, its named values, `ALL` and a `Debug`/`Display` that prints names.
macro_rules! registry {
    ($(#[$meta:meta])* $name:ident($repr:ty) { $($value:ident = $number:literal, $rfc:literal;)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub $repr);

        impl $name {
            $(#[doc = concat!("`", stringify!($value), "` (", $rfc, ").")]
            pub const $value: Self = Self($number);)*

            /// Every named value.
            pub const ALL: &'static [(Self, &'static str)] =
                &[$((Self::$value, stringify!($value)),)*];
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                match Self::ALL.iter().find(|(value, _)| value == self) {
                    Some((_, name)) => f.write_str(name),
                    None => write!(f, "{}({})", stringify!($name), self.0),
                }
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Display::fmt(self, f)
            }
        }
    };
}

registry! {
    /// Exchange types (RFC 7296 §3.1).
    ExchangeType(u8) {
        IKE_SA_INIT = 34, "RFC 7296 §1.2";
        IKE_AUTH = 35, "RFC 7296 §1.2";
        CREATE_CHILD_SA = 36, "RFC 7296 §1.3";
        INFORMATIONAL = 37, "RFC 7296 §1.4";
        IKE_INTERMEDIATE = 43, "RFC 9242 §3.2";
        IKE_FOLLOWUP_KE = 44, "RFC 9370 §2.2.4";
    }
}

registry! {
    /// Payload types (RFC 7296 §3.2).
    PayloadType(u8) {
        NONE = 0, "RFC 7296 §3.2";
        SA = 33, "RFC 7296 §3.3";
        KE = 34, "RFC 7296 §3.4";
        ID_I = 35, "RFC 7296 §3.5";
        ID_R = 36, "RFC 7296 §3.5";
        CERT = 37, "RFC 7296 §3.6";
        CERTREQ = 38, "RFC 7296 §3.7";
        AUTH = 39, "RFC 7296 §3.8";
        NONCE = 40, "RFC 7296 §3.9";
        NOTIFY = 41, "RFC 7296 §3.10";
        DELETE = 42, "RFC 7296 §3.11";
        VENDOR_ID = 43, "RFC 7296 §3.12";
        TS_I = 44, "RFC 7296 §3.13";
        TS_R = 45, "RFC 7296 §3.13";
        SK = 46, "RFC 7296 §3.14";
        CP = 47, "RFC 7296 §3.15";
        EAP = 48, "RFC 7296 §3.16";
        SKF = 53, "RFC 7383 §2.5";
    }
}

registry! {
    /// Security protocol identifiers (RFC 7296 §3.3.1).
    ProtocolId(u8) {
        NONE = 0, "RFC 7296 §3.10";
        IKE = 1, "RFC 7296 §3.3.1";
        AH = 2, "RFC 7296 §3.3.1";
        ESP = 3, "RFC 7296 §3.3.1";
    }
}

registry! {
    /// Transform types (RFC 7296 §3.3.2).
    TransformType(u8) {
        ENCR = 1, "RFC 7296 §3.3.2";
        PRF = 2, "RFC 7296 §3.3.2";
        INTEG = 3, "RFC 7296 §3.3.2";
        KE = 4, "RFC 9370 §2.2";
        SN = 5, "RFC 7296 §3.3.2";
        ADDKE1 = 6, "RFC 9370 §2.2.1";
        ADDKE2 = 7, "RFC 9370 §2.2.1";
        ADDKE3 = 8, "RFC 9370 §2.2.1";
        ADDKE4 = 9, "RFC 9370 §2.2.1";
        ADDKE5 = 10, "RFC 9370 §2.2.1";
        ADDKE6 = 11, "RFC 9370 §2.2.1";
        ADDKE7 = 12, "RFC 9370 §2.2.1";
    }
}

impl TransformType {
    /// Which of the further key exchanges it is, 1 to 7 (RFC 9370 §2.2.1); `None` for every other type.
    #[must_use]
    pub const fn additional_ke(self) -> Option<u8> {
        match self.0 {
            6..=12 => Some(self.0 - Self::SN.0),
            _ => None,
        }
    }
}

registry! {
    /// Encryption algorithms, transform type 1.
    EncrId(u16) {
        TRIPLE_DES = 3, "RFC 2451";
        NULL = 11, "RFC 2410";
        AES_CBC = 12, "RFC 3602";
        AES_CTR = 13, "RFC 5930";
        AES_CCM_8 = 14, "RFC 5282";
        AES_CCM_12 = 15, "RFC 5282";
        AES_CCM_16 = 16, "RFC 5282";
        AES_GCM_8 = 18, "RFC 5282";
        AES_GCM_12 = 19, "RFC 5282";
        AES_GCM_16 = 20, "RFC 4106, RFC 5282";
        NULL_AUTH_AES_GMAC = 21, "RFC 4543";
        CAMELLIA_CBC = 23, "RFC 5529";
        CHACHA20_POLY1305 = 28, "RFC 7634";
        AES_CCM_8_IIV = 29, "RFC 8750";
        AES_GCM_16_IIV = 30, "RFC 8750";
        CHACHA20_POLY1305_IIV = 31, "RFC 8750";
    }
}

impl EncrId {
    /// Whether the cipher authenticates too, so that it goes without an integrity algorithm (RFC 5282 §8).
    #[must_use]
    pub const fn is_aead(self) -> bool {
        matches!(
            self,
            Self::AES_CCM_8
                | Self::AES_CCM_12
                | Self::AES_CCM_16
                | Self::AES_GCM_8
                | Self::AES_GCM_12
                | Self::AES_GCM_16
                | Self::NULL_AUTH_AES_GMAC
                | Self::CHACHA20_POLY1305
                | Self::AES_CCM_8_IIV
                | Self::AES_GCM_16_IIV
                | Self::CHACHA20_POLY1305_IIV
        )
    }

    /// Whether what it protects stays readable: ESP with NULL (RFC 2410) or GMAC (RFC 4543).
    #[must_use]
    pub const fn leaves_readable(self) -> bool {
        matches!(self, Self::NULL | Self::NULL_AUTH_AES_GMAC)
    }

    /// Whether it is for ESP alone. The SK payload is always encrypted (RFC 7296 §5), and has an explicit IV (RFC 8750 §2).
    #[must_use]
    pub const fn is_for_esp_alone(self) -> bool {
        self.leaves_readable()
            || matches!(
                self,
                Self::AES_CCM_8_IIV | Self::AES_GCM_16_IIV | Self::CHACHA20_POLY1305_IIV
            )
    }

    /// Bits of the key where the Key Length attribute has this value, or is absent. `None` if that is not as the cipher
    /// wants it: AES must say how long its key is, the ciphers with one length must not (RFC 7296 §3.3.5).
    #[must_use]
    pub const fn key_bits(self, attribute: Option<u16>) -> Option<u16> {
        match (self, attribute) {
            (Self::NULL, None) => Some(0),
            (Self::TRIPLE_DES, None) => Some(192),
            (Self::CHACHA20_POLY1305 | Self::CHACHA20_POLY1305_IIV, None) => Some(256),
            (
                Self::NULL
                | Self::TRIPLE_DES
                | Self::CHACHA20_POLY1305
                | Self::CHACHA20_POLY1305_IIV,
                _,
            ) => None,
            (_, Some(bits @ (128 | 192 | 256))) => Some(bits),
            _ => None,
        }
    }

    /// The Key Length attribute that says this many bits: the reverse of [`Self::key_bits`].
    #[must_use]
    pub const fn key_length_attribute(self, key_bits: u16) -> Option<u16> {
        if self.key_bits(None).is_some() { None } else { Some(key_bits) }
    }

    /// Octets that follow the key in the keying material and begin every nonce (RFC 4106 §8.1, RFC 4309 §7.1, RFC 3686
    /// §5.1, RFC 4543 §5.3, RFC 7634 §2).
    #[must_use]
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AES_CCM_8 | Self::AES_CCM_12 | Self::AES_CCM_16 | Self::AES_CCM_8_IIV => 3,
            Self::AES_CTR => 4,
            _ if self.is_aead() => 4,
            _ => 0,
        }
    }
}

registry! {
    /// Pseudorandom functions, transform type 2.
    PrfId(u16) {
        HMAC_MD5 = 1, "RFC 2104";
        HMAC_SHA1 = 2, "RFC 2104";
        AES128_XCBC = 4, "RFC 4434";
        HMAC_SHA2_256 = 5, "RFC 4868";
        HMAC_SHA2_384 = 6, "RFC 4868";
        HMAC_SHA2_512 = 7, "RFC 4868";
        AES128_CMAC = 8, "RFC 4615";
    }
}

registry! {
    /// Integrity algorithms, transform type 3.
    IntegId(u16) {
        NONE = 0, "RFC 7296 §3.3.2";
        HMAC_MD5_96 = 1, "RFC 2403";
        HMAC_SHA1_96 = 2, "RFC 2404";
        AES_XCBC_96 = 5, "RFC 3566";
        AES_CMAC_96 = 8, "RFC 4494";
        HMAC_SHA2_256_128 = 12, "RFC 4868";
        HMAC_SHA2_384_192 = 13, "RFC 4868";
        HMAC_SHA2_512_256 = 14, "RFC 4868";
    }
}

registry! {
    /// Key exchange methods (Diffie-Hellman groups), transform type 4.
    KeMethod(u16) {
        NONE = 0, "RFC 7296 §3.3.2";
        MODP_768 = 1, "RFC 7296 App. B.1";
        MODP_1024 = 2, "RFC 7296 App. B.2";
        MODP_1536 = 5, "RFC 3526 §2";
        MODP_2048 = 14, "RFC 3526 §3";
        MODP_3072 = 15, "RFC 3526 §4";
        MODP_4096 = 16, "RFC 3526 §5";
        MODP_6144 = 17, "RFC 3526 §6";
        MODP_8192 = 18, "RFC 3526 §7";
        ECP_256 = 19, "RFC 5903 §3.1";
        ECP_384 = 20, "RFC 5903 §3.2";
        ECP_521 = 21, "RFC 5903 §3.3";
        MODP_1024_160 = 22, "RFC 5114 §2.1";
        MODP_2048_224 = 23, "RFC 5114 §2.2";
        MODP_2048_256 = 24, "RFC 5114 §2.3";
        ECP_192 = 25, "RFC 5114 §2.4";
        ECP_224 = 26, "RFC 5114 §2.5";
        BRAINPOOL_224 = 27, "RFC 6954 §2";
        BRAINPOOL_256 = 28, "RFC 6954 §2";
        BRAINPOOL_384 = 29, "RFC 6954 §2";
        BRAINPOOL_512 = 30, "RFC 6954 §2";
        CURVE25519 = 31, "RFC 8031 §2";
        CURVE448 = 32, "RFC 8031 §2";
        ML_KEM_512 = 35, "FIPS 203, draft-ietf-ipsecme-ikev2-mlkem";
        ML_KEM_768 = 36, "FIPS 203, draft-ietf-ipsecme-ikev2-mlkem";
        ML_KEM_1024 = 37, "FIPS 203, draft-ietf-ipsecme-ikev2-mlkem";
    }
}

registry! {
    /// Sequence numbers, transform type 5.
    SnId(u16) {
        SHORT = 0, "RFC 7296 §3.3.2";
        EXTENDED = 1, "RFC 7296 §3.3.2";
    }
}

registry! {
    /// Notify message types (RFC 7296 §3.10.1); below 16384 they are errors.
    NotifyType(u16) {
        UNSUPPORTED_CRITICAL_PAYLOAD = 1, "RFC 7296 §2.5";
        INVALID_IKE_SPI = 4, "RFC 7296 §2.21";
        INVALID_MAJOR_VERSION = 5, "RFC 7296 §2.5";
        INVALID_SYNTAX = 7, "RFC 7296 §2.21";
        INVALID_MESSAGE_ID = 9, "RFC 7296 §2.3";
        INVALID_SPI = 11, "RFC 7296 §1.5";
        NO_PROPOSAL_CHOSEN = 14, "RFC 7296 §2.7";
        INVALID_KE_PAYLOAD = 17, "RFC 7296 §1.3";
        AUTHENTICATION_FAILED = 24, "RFC 7296 §2.21.2";
        SINGLE_PAIR_REQUIRED = 34, "RFC 7296 §2.9";
        NO_ADDITIONAL_SAS = 35, "RFC 7296 §1.3";
        INTERNAL_ADDRESS_FAILURE = 36, "RFC 7296 §3.15.4";
        FAILED_CP_REQUIRED = 37, "RFC 7296 §2.19";
        TS_UNACCEPTABLE = 38, "RFC 7296 §2.9";
        INVALID_SELECTORS = 39, "RFC 7296 §3.10.1";
        UNACCEPTABLE_ADDRESSES = 40, "RFC 4555 §3.5";
        UNEXPECTED_NAT_DETECTED = 41, "RFC 4555 §3.9";
        TEMPORARY_FAILURE = 43, "RFC 7296 §2.25";
        CHILD_SA_NOT_FOUND = 44, "RFC 7296 §2.25";
        STATE_NOT_FOUND = 47, "RFC 9370 §2.2.4";
        TS_MAX_QUEUE = 48, "RFC 9611 §5.2";
        INITIAL_CONTACT = 16384, "RFC 7296 §2.4";
        SET_WINDOW_SIZE = 16385, "RFC 7296 §2.3";
        ADDITIONAL_TS_POSSIBLE = 16386, "RFC 7296 §2.9";
        IPCOMP_SUPPORTED = 16387, "RFC 7296 §2.22";
        NAT_DETECTION_SOURCE_IP = 16388, "RFC 7296 §2.23";
        NAT_DETECTION_DESTINATION_IP = 16389, "RFC 7296 §2.23";
        COOKIE = 16390, "RFC 7296 §2.6";
        USE_TRANSPORT_MODE = 16391, "RFC 7296 §1.3.1";
        HTTP_CERT_LOOKUP_SUPPORTED = 16392, "RFC 7296 §3.6";
        REKEY_SA = 16393, "RFC 7296 §1.3.3";
        ESP_TFC_PADDING_NOT_SUPPORTED = 16394, "RFC 7296 §1.3.1";
        NON_FIRST_FRAGMENTS_ALSO = 16395, "RFC 7296 §1.3.1";
        MOBIKE_SUPPORTED = 16396, "RFC 4555 §3.1";
        ADDITIONAL_IP4_ADDRESS = 16397, "RFC 4555 §3.6";
        ADDITIONAL_IP6_ADDRESS = 16398, "RFC 4555 §3.6";
        NO_ADDITIONAL_ADDRESSES = 16399, "RFC 4555 §3.6";
        UPDATE_SA_ADDRESSES = 16400, "RFC 4555 §3.5";
        COOKIE2 = 16401, "RFC 4555 §3.7";
        NO_NATS_ALLOWED = 16402, "RFC 4555 §3.9";
        AUTH_LIFETIME = 16403, "RFC 4478 §3";
        MULTIPLE_AUTH_SUPPORTED = 16404, "RFC 4739 §2.1";
        REDIRECT_SUPPORTED = 16406, "RFC 5685 §3";
        REDIRECT = 16407, "RFC 5685 §3";
        REDIRECTED_FROM = 16408, "RFC 5685 §3";
        EAP_ONLY_AUTHENTICATION = 16417, "RFC 5998 §3";
        CHILDLESS_IKEV2_SUPPORTED = 16418, "RFC 6023 §3";
        IKEV2_MESSAGE_ID_SYNC_SUPPORTED = 16420, "RFC 6311 §5";
        IPSEC_REPLAY_COUNTER_SYNC_SUPPORTED = 16421, "RFC 6311 §5";
        IKEV2_MESSAGE_ID_SYNC = 16422, "RFC 6311 §5";
        IPSEC_REPLAY_COUNTER_SYNC = 16423, "RFC 6311 §5";
        IKEV2_FRAGMENTATION_SUPPORTED = 16430, "RFC 7383 §2.3";
        SIGNATURE_HASH_ALGORITHMS = 16431, "RFC 7427 §4";
        USE_PPK = 16435, "RFC 8784 §3";
        PPK_IDENTITY = 16436, "RFC 8784 §3";
        NO_PPK_AUTH = 16437, "RFC 8784 §3";
        INTERMEDIATE_EXCHANGE_SUPPORTED = 16438, "RFC 9242 §3.1";
        ADDITIONAL_KEY_EXCHANGE = 16441, "RFC 9370 §2.2.4";
        SA_RESOURCE_INFO = 16444, "RFC 9611 §5.1";
        USE_PPK_INT = 16445, "RFC 9867 §3.1";
        PPK_IDENTITY_KEY = 16446, "RFC 9867 §3.1";
    }
}

impl NotifyType {
    /// Whether this notification reports an error (RFC 7296 §3.10.1).
    #[must_use]
    pub const fn is_error(self) -> bool {
        self.0 < 16384
    }
}

registry! {
    /// Identification types (RFC 7296 §3.5).
    IdType(u8) {
        IPV4_ADDR = 1, "RFC 7296 §3.5";
        FQDN = 2, "RFC 7296 §3.5";
        RFC822_ADDR = 3, "RFC 7296 §3.5";
        IPV6_ADDR = 5, "RFC 7296 §3.5";
        DER_ASN1_DN = 9, "RFC 7296 §3.5";
        DER_ASN1_GN = 10, "RFC 7296 §3.5";
        KEY_ID = 11, "RFC 7296 §3.5";
    }
}

registry! {
    /// Authentication methods (RFC 7296 §3.8).
    AuthMethod(u8) {
        RSA = 1, "RFC 7296 §2.15";
        SHARED_KEY = 2, "RFC 7296 §2.15";
        DSS = 3, "RFC 7296 §2.15";
        ECDSA_SHA_256_P256 = 9, "RFC 4754";
        ECDSA_SHA_384_P384 = 10, "RFC 4754";
        ECDSA_SHA_512_P521 = 11, "RFC 4754";
        NULL = 13, "RFC 7619";
        DIGITAL_SIGNATURE = 14, "RFC 7427 §3";
    }
}

registry! {
    /// Certificate encodings (RFC 7296 §3.6).
    CertEncoding(u8) {
        X509_SIGNATURE = 4, "RFC 7296 §3.6";
        RAW_PUBLIC_KEY = 15, "RFC 7670 §3";
    }
}

registry! {
    /// Kinds of names of post-quantum pre-shared keys (RFC 8784 §5.1).
    PpkIdType(u8) {
        OPAQUE = 1, "RFC 8784 §5.1";
        FIXED = 2, "RFC 8784 §5.1";
    }
}

registry! {
    /// Traffic selector types (RFC 7296 §3.13.1).
    TsType(u8) {
        IPV4_ADDR_RANGE = 7, "RFC 7296 §3.13.1";
        IPV6_ADDR_RANGE = 8, "RFC 7296 §3.13.1";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_printed_and_unknown_values_are_numbers() {
        assert_eq!(ExchangeType::CREATE_CHILD_SA.to_string(), "CREATE_CHILD_SA");
        assert_eq!(format!("{:?}", KeMethod(31)), "CURVE25519");
        assert_eq!(NotifyType(40_960).to_string(), "NotifyType(40960)");
    }

    #[test]
    fn no_value_is_named_twice() {
        fn unique<T: Ord + Copy + std::fmt::Debug>(all: &[(T, &str)]) {
            let mut values: Vec<T> = all.iter().map(|(value, _)| *value).collect();
            values.dedup();
            assert_eq!(values.len(), all.len());
            assert!(values.is_sorted(), "in the order of the numbers: {values:?}");
        }
        unique(ExchangeType::ALL);
        unique(PayloadType::ALL);
        unique(ProtocolId::ALL);
        unique(TransformType::ALL);
        unique(EncrId::ALL);
        unique(PrfId::ALL);
        unique(IntegId::ALL);
        unique(KeMethod::ALL);
        unique(SnId::ALL);
        unique(NotifyType::ALL);
        unique(IdType::ALL);
        unique(AuthMethod::ALL);
        unique(PpkIdType::ALL);
        unique(TsType::ALL);
    }

    #[test]
    fn errors_are_the_notifications_below_16384() {
        assert!(NotifyType::CHILD_SA_NOT_FOUND.is_error());
        assert!(NotifyType(16_383).is_error());
        assert!(!NotifyType::INITIAL_CONTACT.is_error());
        assert!(!NotifyType::COOKIE.is_error());
    }

    #[test]
    fn only_combined_modes_are_aead() {
        assert!(EncrId::AES_GCM_16.is_aead());
        assert!(EncrId::CHACHA20_POLY1305_IIV.is_aead());
        assert!(EncrId::NULL_AUTH_AES_GMAC.is_aead());
        assert!(!EncrId::AES_CBC.is_aead());
        assert!(!EncrId::AES_CTR.is_aead());
        assert!(!EncrId::NULL.is_aead());
    }

    #[test]
    fn a_key_length_stands_where_there_is_a_choice_and_only_there() {
        for (id, name) in EncrId::ALL {
            let fixed = matches!(
                *id,
                EncrId::NULL
                    | EncrId::TRIPLE_DES
                    | EncrId::CHACHA20_POLY1305
                    | EncrId::CHACHA20_POLY1305_IIV
            );
            assert_eq!(id.key_bits(None).is_some(), fixed, "{name}");
            for bits in [0, 1, 64, 127, 129, 512, u16::MAX] {
                assert_eq!(id.key_bits(Some(bits)), None, "{name} {bits}");
            }
            for bits in [128, 192, 256] {
                assert_eq!(id.key_bits(Some(bits)), (!fixed).then_some(bits), "{name} {bits}");
                assert_eq!(id.key_length_attribute(bits), (!fixed).then_some(bits), "{name}");
            }
        }
    }

    #[test]
    fn the_salt_is_that_of_the_rfc_of_each_cipher() {
        let salts = [
            (EncrId::AES_CBC, 0),
            (EncrId::TRIPLE_DES, 0),
            (EncrId::NULL, 0),
            (EncrId::AES_CTR, 4),
            (EncrId::AES_CCM_8, 3),
            (EncrId::AES_CCM_16, 3),
            (EncrId::AES_CCM_8_IIV, 3),
            (EncrId::AES_GCM_16, 4),
            (EncrId::AES_GCM_16_IIV, 4),
            (EncrId::NULL_AUTH_AES_GMAC, 4),
            (EncrId::CHACHA20_POLY1305, 4),
        ];
        for (id, salt) in salts {
            assert_eq!(id.salt_len(), salt, "{id}");
        }
    }
}
