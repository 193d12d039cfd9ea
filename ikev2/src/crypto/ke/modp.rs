//! MODP groups 14, 15 and 16 (RFC 3526 §3 to §5): powers of 2 modulo a safe prime, in constant time.
//!
//! ```text
//!   group   prime       private exponent      p = 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + c)
//!   14      2048 bits   320 bits              c =  124476
//!   15      3072 bits   424 bits              c = 1690314
//!   16      4096 bits   480 bits              c =  240904
//! ```
//!
//! The exponents have twice the bits of the higher strength estimate in RFC 3526 §8 (160, 210, 240; 420 is no whole number
//! of octets), which is as much as the groups can give at a sixth to an eighth of the work of full exponents. Their length is public; how many of their bits are zero is
//! not, because the power is computed over all of them. A safe prime needs no check of the peer's value but
//! 1 < y < p-1 (RFC 6989 §2.1).

use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams, FixedMontyParams};
use crypto_bigint::{Odd, U2048, U3072, U4096, Uint};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// One of the groups.
#[derive(Clone, Copy)]
pub(super) enum Group {
    Modp2048,
    Modp3072,
    Modp4096,
}

impl Group {
    /// Draws a private exponent, big-endian.
    pub(super) fn exponent(self, rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
        let mut exponent = Zeroizing::new(vec![0; self.exponent_len()]);
        rng.fill_bytes(&mut exponent);
        exponent
    }

    /// 2^exponent, as long as the prime.
    pub(super) fn public(self, exponent: &[u8]) -> Vec<u8> {
        match self {
            Self::Modp2048 => public::<Prime2048, { U2048::LIMBS }>(exponent),
            Self::Modp3072 => public::<Prime3072, { U3072::LIMBS }>(exponent),
            Self::Modp4096 => public::<Prime4096, { U4096::LIMBS }>(exponent),
        }
    }

    /// peer^exponent, as long as the prime; `None` unless 1 < peer < p-1. `peer` has the prime's length.
    pub(super) fn agree(self, exponent: &[u8], peer: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        match self {
            Self::Modp2048 => agree::<Prime2048, { U2048::LIMBS }>(exponent, peer),
            Self::Modp3072 => agree::<Prime3072, { U3072::LIMBS }>(exponent, peer),
            Self::Modp4096 => agree::<Prime4096, { U4096::LIMBS }>(exponent, peer),
        }
    }

    /// The prime, big-endian.
    #[cfg(test)]
    pub(super) fn prime(self) -> Vec<u8> {
        match self {
            Self::Modp2048 => Prime2048::PARAMS.modulus().to_be_bytes().as_ref().to_vec(),
            Self::Modp3072 => Prime3072::PARAMS.modulus().to_be_bytes().as_ref().to_vec(),
            Self::Modp4096 => Prime4096::PARAMS.modulus().to_be_bytes().as_ref().to_vec(),
        }
    }

    /// Octets of the private exponent.
    const fn exponent_len(self) -> usize {
        match self {
            Self::Modp2048 => 320 / 8,
            Self::Modp3072 => 424 / 8,
            Self::Modp4096 => 480 / 8,
        }
    }
}

fn public<P: ConstMontyParams<N>, const N: usize>(exponent: &[u8]) -> Vec<u8> {
    power::<P, N>(&Uint::from(2u8), exponent).to_be_bytes().as_ref().to_vec()
}

fn agree<P: ConstMontyParams<N>, const N: usize>(
    exponent: &[u8],
    peer: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    if peer.len() != Uint::<N>::BYTES {
        return None;
    }
    let peer = Uint::<N>::from_be_slice(peer);
    let last = P::PARAMS.modulus().as_ref().wrapping_sub(&Uint::ONE);
    if peer <= Uint::ONE || peer >= last {
        return None;
    }
    let shared = power::<P, N>(&peer, exponent);
    Some(Zeroizing::new(Zeroizing::new(shared.to_be_bytes()).as_ref().to_vec()))
}

/// base^exponent mod p. The time depends on the group and on the length of the exponent, not on their values.
fn power<P: ConstMontyParams<N>, const N: usize>(
    base: &Uint<N>,
    exponent: &[u8],
) -> Zeroizing<Uint<N>> {
    let bits =
        u32::try_from(8 * exponent.len()).expect("invariant: exponents have 60 octets at most");
    let exponent = Zeroizing::new(Uint::<N>::from_be_slice_truncated(exponent, Uint::<N>::BITS));
    let power =
        Zeroizing::new(ConstMontyForm::<P, N>::new(base).pow_amm_bounded_exp(&exponent, bits));
    Zeroizing::new(power.retrieve())
}

/// The prime of RFC 3526 §3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Prime2048;

/// The prime of RFC 3526 §4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Prime3072;

/// The prime of RFC 3526 §5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Prime4096;

impl ConstMontyParams<{ U2048::LIMBS }> for Prime2048 {
    const LIMBS: usize = U2048::LIMBS;
    const PARAMS: FixedMontyParams<{ U2048::LIMBS }> =
        FixedMontyParams::new_vartime(Odd::<U2048>::from_be_hex(PRIME_2048));
}

impl ConstMontyParams<{ U3072::LIMBS }> for Prime3072 {
    const LIMBS: usize = U3072::LIMBS;
    const PARAMS: FixedMontyParams<{ U3072::LIMBS }> =
        FixedMontyParams::new_vartime(Odd::<U3072>::from_be_hex(PRIME_3072));
}

impl ConstMontyParams<{ U4096::LIMBS }> for Prime4096 {
    const LIMBS: usize = U4096::LIMBS;
    const PARAMS: FixedMontyParams<{ U4096::LIMBS }> =
        FixedMontyParams::new_vartime(Odd::<U4096>::from_be_hex(PRIME_4096));
}

const PRIME_2048: &str = "\
    FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
    020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
    4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
    EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
    98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
    9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
    E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
    3995497CEA956AE515D2261898FA051015728E5A8AACAA68FFFFFFFFFFFFFFFF";

const PRIME_3072: &str = "\
    FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
    020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
    4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
    EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
    98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
    9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
    E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
    3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33\
    A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
    ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864\
    D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2\
    08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A93AD2CAFFFFFFFFFFFFFFFF";

const PRIME_4096: &str = "\
    FFFFFFFFFFFFFFFFC90FDAA22168C234C4C6628B80DC1CD129024E088A67CC74\
    020BBEA63B139B22514A08798E3404DDEF9519B3CD3A431B302B0A6DF25F1437\
    4FE1356D6D51C245E485B576625E7EC6F44C42E9A637ED6B0BFF5CB6F406B7ED\
    EE386BFB5A899FA5AE9F24117C4B1FE649286651ECE45B3DC2007CB8A163BF05\
    98DA48361C55D39A69163FA8FD24CF5F83655D23DCA3AD961C62F356208552BB\
    9ED529077096966D670C354E4ABC9804F1746C08CA18217C32905E462E36CE3B\
    E39E772C180E86039B2783A2EC07A28FB5C55DF06F4C52C9DE2BCBF695581718\
    3995497CEA956AE515D2261898FA051015728E5A8AAAC42DAD33170D04507A33\
    A85521ABDF1CBA64ECFB850458DBEF0A8AEA71575D060C7DB3970F85A6E1E4C7\
    ABF5AE8CDB0933D71E8C94E04A25619DCEE3D2261AD2EE6BF12FFA06D98A0864\
    D87602733EC86A64521F2B18177B200CBBE117577A615D6C770988C0BAD946E2\
    08E24FA074E5AB3143DB5BFCE0FD108E4B82D120A92108011A723C12A787E6D7\
    88719A10BDBA5B2699C327186AF4E23C1A946834B6150BDA2583E9CA2AD44CE8\
    DBBBC2DB04DE8EF92E8EFC141FBECAA6287C59474E6BC05D99B2964FA090C3A2\
    233BA186515BE7ED1F612970CEE2D7AFB81BDD762170481CD0069127D5B05AA9\
    93B4EA988D8FDDC186FFB7DC90A6C08F4DF435C934063199FFFFFFFFFFFFFFFF";
