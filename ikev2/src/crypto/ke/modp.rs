//! MODP groups 2 and 5 (RFC 7296 App. B.2, RFC 3526 §2) and 14 to 18 (RFC 3526 §3 to §7): powers of 2 modulo a safe prime, in
//! constant time.
//!
//! ```text
//!   group   prime       private exponent      p = 2^n - 2^(n-64) - 1 + 2^64 * ([2^(n-130) pi] + c)
//!    2      1024 bits   240 bits              c =  129093     legacy
//!    5      1536 bits   240 bits              c =  741804     legacy
//!   14      2048 bits   320 bits              c =  124476
//!   15      3072 bits   424 bits              c = 1690314
//!   16      4096 bits   480 bits              c =  240904
//!   17      6144 bits   544 bits              c =  929484
//!   18      8192 bits   624 bits              c = 4743158
//! ```
//!
//! The exponents have twice the bits of the higher strength estimate in RFC 3526 §8 (120, 160, 210, 240, 270, 310; 420, 540 and
//! 620 are no whole number of octets), which is as much as the groups can give at a fraction of the work of full exponents.
//! Group 2, of which it does not speak, is not given less than group 5. The length of an exponent is public; how many of its
//! bits are zero is not, because the power is computed over all of them. A safe prime needs no check of the peer's value
//! but 1 < y < p-1 (RFC 6989 §2.1).

mod primes;

use crypto_bigint::modular::{ConstMontyForm, ConstMontyParams, FixedMontyParams};
use crypto_bigint::{Odd, U1024, U1536, U2048, U3072, U4096, U6144, U8192, Uint};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

use crate::registry::KeMethod;

/// One of the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Modp1024,
    Modp1536,
    Modp2048,
    Modp3072,
    Modp4096,
    Modp6144,
    Modp8192,
}

/// Runs a function that has the type of a group's prime and the limbs of its numbers as parameters.
macro_rules! in_group {
    ($group:expr, $function:ident($($argument:expr),*)) => {
        match $group {
            Group::Modp1024 => $function::<Prime1024, { U1024::LIMBS }>($($argument),*),
            Group::Modp1536 => $function::<Prime1536, { U1536::LIMBS }>($($argument),*),
            Group::Modp2048 => $function::<Prime2048, { U2048::LIMBS }>($($argument),*),
            Group::Modp3072 => $function::<Prime3072, { U3072::LIMBS }>($($argument),*),
            Group::Modp4096 => $function::<Prime4096, { U4096::LIMBS }>($($argument),*),
            Group::Modp6144 => $function::<Prime6144, { U6144::LIMBS }>($($argument),*),
            Group::Modp8192 => $function::<Prime8192, { U8192::LIMBS }>($($argument),*),
        }
    };
}

impl Group {
    /// The group of a method; `None` if it is no MODP group, or one that nobody should use.
    pub(super) const fn of(method: KeMethod) -> Option<Self> {
        match method {
            KeMethod::MODP_1024 => Some(Self::Modp1024),
            KeMethod::MODP_1536 => Some(Self::Modp1536),
            KeMethod::MODP_2048 => Some(Self::Modp2048),
            KeMethod::MODP_3072 => Some(Self::Modp3072),
            KeMethod::MODP_4096 => Some(Self::Modp4096),
            KeMethod::MODP_6144 => Some(Self::Modp6144),
            KeMethod::MODP_8192 => Some(Self::Modp8192),
            _ => None,
        }
    }

    /// Draws a private exponent, big-endian.
    pub(super) fn exponent(self, rng: &mut impl CryptoRng) -> Zeroizing<Vec<u8>> {
        let mut exponent = Zeroizing::new(vec![0; self.exponent_len()]);
        rng.fill_bytes(&mut exponent);
        exponent
    }

    /// 2^exponent, as long as the prime.
    pub(super) fn public(self, exponent: &[u8]) -> Vec<u8> {
        in_group!(self, public(exponent))
    }

    /// peer^exponent, as long as the prime; `None` unless 1 < peer < p-1. `peer` has the prime's length.
    pub(super) fn agree(self, exponent: &[u8], peer: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        in_group!(self, agree(exponent, peer))
    }

    /// The prime, big-endian.
    #[cfg(test)]
    pub(super) fn prime(self) -> Vec<u8> {
        in_group!(self, prime())
    }

    /// Octets of the private exponent.
    const fn exponent_len(self) -> usize {
        match self {
            Self::Modp1024 | Self::Modp1536 => 240 / 8,
            Self::Modp2048 => 320 / 8,
            Self::Modp3072 => 424 / 8,
            Self::Modp4096 => 480 / 8,
            Self::Modp6144 => 544 / 8,
            Self::Modp8192 => 624 / 8,
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

#[cfg(test)]
fn prime<P: ConstMontyParams<N>, const N: usize>() -> Vec<u8> {
    P::PARAMS.modulus().to_be_bytes().as_ref().to_vec()
}

/// base^exponent mod p. The time depends on the group and on the length of the exponent, not on their values.
fn power<P: ConstMontyParams<N>, const N: usize>(
    base: &Uint<N>,
    exponent: &[u8],
) -> Zeroizing<Uint<N>> {
    let bits =
        u32::try_from(8 * exponent.len()).expect("invariant: exponents have 78 octets at most");
    let exponent = Zeroizing::new(Uint::<N>::from_be_slice_truncated(exponent, Uint::<N>::BITS));
    let power =
        Zeroizing::new(ConstMontyForm::<P, N>::new(base).pow_amm_bounded_exp(&exponent, bits));
    Zeroizing::new(power.retrieve())
}

/// Declares the type of a prime.
macro_rules! prime {
    ($name:ident, $uint:ident, $hex:ident) => {
        #[doc = concat!("The prime of ", stringify!($uint), " numbers.")]
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        struct $name;

        impl ConstMontyParams<{ $uint::LIMBS }> for $name {
            const LIMBS: usize = $uint::LIMBS;
            const PARAMS: FixedMontyParams<{ $uint::LIMBS }> =
                FixedMontyParams::new_vartime(Odd::<$uint>::from_be_hex(primes::$hex));
        }
    };
}

prime!(Prime1024, U1024, PRIME_1024);
prime!(Prime1536, U1536, PRIME_1536);
prime!(Prime2048, U2048, PRIME_2048);
prime!(Prime3072, U3072, PRIME_3072);
prime!(Prime4096, U4096, PRIME_4096);
prime!(Prime6144, U6144, PRIME_6144);
prime!(Prime8192, U8192, PRIME_8192);
