//! Key exchange against fixed keys (RFC 5903 §8, RFC 7748 §6.1), against Wycheproof's edge cases, and against other
//! implementations: ring for the curves, num-bigint for the MODP groups.

use num_bigint::BigUint;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use ring::agreement;
use ring::rand::SystemRandom;

use super::super::vectors;
use super::*;

const MODP: [(KeMethod, Group, usize); 3] = [
    (KeMethod::MODP_2048, Group::Modp2048, 2048),
    (KeMethod::MODP_3072, Group::Modp3072, 3072),
    (KeMethod::MODP_4096, Group::Modp4096, 4096),
];

const CURVES: [(KeMethod, &agreement::Algorithm); 3] = [
    (KeMethod::ECP_256, &agreement::ECDH_P256),
    (KeMethod::ECP_384, &agreement::ECDH_P384),
    (KeMethod::CURVE25519, &agreement::X25519),
];

#[test]
fn every_supported_method_agrees_with_itself() {
    for &(method, name) in KeMethod::ALL {
        let mut rng = rng(7);
        let pair = KeSecret::generate(method, &mut rng).zip(KeSecret::generate(method, &mut rng));
        assert_eq!(pair.is_some(), supported(method), "{name}");
        let Some((a, b)) = pair else { continue };
        assert_eq!(a.method(), method);
        assert_ne!(a.public(), b.public(), "{name}");
        let (public, answered) = answer(method, a.public(), &mut rng).unwrap();
        assert_eq!(a.agree(&public).unwrap(), answered, "{name}");
        assert_ne!(public, a.public(), "{name}");
    }
    assert!(!supported(KeMethod::NONE) && !supported(KeMethod(2)));
}

#[test]
fn the_seed_decides_the_key_pair() {
    for (method, _) in CURVES {
        let public = |seed| KeSecret::generate(method, &mut rng(seed)).unwrap().public().to_vec();
        assert_eq!(public(1), public(1), "{method}");
        assert_ne!(public(1), public(2), "{method}");
    }
}

#[test]
fn public_values_of_another_length_are_refused() {
    for &(method, name) in KeMethod::ALL {
        let Some(ours) = KeSecret::generate(method, &mut rng(3)) else { continue };
        let theirs = KeSecret::generate(method, &mut rng(4)).unwrap().public().to_vec();
        for len in [0, 1, theirs.len() - 1] {
            assert_eq!(ours.agree(&theirs[..len]), Err(KeError::Length(method)), "{name} {len}");
        }
        let longer = [&[0], theirs.as_slice()].concat();
        assert_eq!(ours.agree(&longer), Err(KeError::Length(method)), "{name}");
    }
}

#[test]
fn computes_the_answers_of_rfc5903() {
    let methods = [KeMethod::ECP_256, KeMethod::ECP_384];
    for (method, case) in methods.into_iter().zip(vectors::committed("rfc5903.txt")) {
        assert!(case.name.starts_with(&method.to_string()));
        let i = with_private(method, case.octets("i")).unwrap();
        let r = with_private(method, case.octets("r")).unwrap();
        assert_eq!(i.public(), case.octets("gi"), "{}", case.name);
        assert_eq!(r.public(), case.octets("gr"), "{}", case.name);
        assert_eq!(i.agree(r.public()).unwrap().as_slice(), case.octets("gir"), "{}", case.name);
        assert_eq!(r.agree(i.public()).unwrap().as_slice(), case.octets("gir"), "{}", case.name);
    }
}

#[test]
fn computes_the_answers_of_rfc7748() {
    for case in vectors::committed("rfc7748.txt") {
        let a = with_private(KeMethod::CURVE25519, case.octets("a")).unwrap();
        let b = with_private(KeMethod::CURVE25519, case.octets("b")).unwrap();
        assert_eq!(a.public(), case.octets("ka"));
        assert_eq!(b.public(), case.octets("kb"));
        assert_eq!(a.agree(b.public()).unwrap().as_slice(), case.octets("k"));
        assert_eq!(b.agree(a.public()).unwrap().as_slice(), case.octets("k"));
    }
}

#[test]
fn ring_computes_the_same() {
    let random = SystemRandom::new();
    for (method, algorithm) in CURVES {
        let with_form = method != KeMethod::CURVE25519;
        for seed in 0..8 {
            let ours = KeSecret::generate(method, &mut rng(seed)).unwrap();
            let theirs = agreement::EphemeralPrivateKey::generate(algorithm, &random).unwrap();
            let their_public = theirs.compute_public_key().unwrap();
            let their_value = without_form_of(method, their_public.as_ref());
            let mut our_value = ours.public().to_vec();
            if with_form {
                our_value.insert(0, 0x04);
            }
            let our_value = agreement::UnparsedPublicKey::new(algorithm, our_value);
            let expected = agreement::agree_ephemeral(theirs, &our_value, <[u8]>::to_vec).unwrap();
            assert_eq!(ours.agree(their_value).unwrap().as_slice(), expected, "{method} {seed}");
        }
    }
}

#[test]
fn wycheproof_on_the_ecp_groups() {
    for (method, file, len) in [
        (KeMethod::ECP_256, "ecdh_secp256r1_ecpoint", 32),
        (KeMethod::ECP_384, "ecdh_secp384r1_ecpoint", 48),
    ] {
        for (_, test) in vectors::wycheproof(file).unwrap_or_default() {
            let name = format!("{method} {}", test["tcId"]);
            let [public, private] = ["public", "private"].map(|f| vectors::octets(&test[f]));
            let ours = with_private(method, &resized(&private, len)).unwrap();
            // IKEv2 has no compressed points (RFC 5903 §7): what is not 0x04 | x | y has the wrong length for us.
            let shared = ours.agree(public.get(1..).unwrap_or_default());
            if test["result"] == "valid" {
                assert_eq!(shared.unwrap().as_slice(), vectors::octets(&test["shared"]), "{name}");
            } else {
                assert!(shared.is_err(), "{name}");
            }
        }
    }
}

#[test]
fn wycheproof_on_curve25519() {
    for (_, test) in vectors::wycheproof("x25519").unwrap_or_default() {
        let [public, private, expected] =
            ["public", "private", "shared"].map(|f| vectors::octets(&test[f]));
        let ours = with_private(KeMethod::CURVE25519, &private).unwrap();
        let shared = ours.agree(&public);
        if expected.iter().all(|&octet| octet == 0) {
            let refused = Err(KeError::InvalidPublicValue(KeMethod::CURVE25519));
            assert_eq!(shared, refused, "{}", test["tcId"]);
        } else {
            assert_eq!(shared.unwrap().as_slice(), expected, "{}", test["tcId"]);
        }
    }
}

#[test]
fn points_off_the_curve_are_refused() {
    for (method, _) in CURVES.into_iter().filter(|&(m, _)| m != KeMethod::CURVE25519) {
        let ours = KeSecret::generate(method, &mut rng(1)).unwrap();
        let good = KeSecret::generate(method, &mut rng(2)).unwrap().public().to_vec();
        assert!(ours.agree(&good).is_ok());
        let refused = Err(KeError::InvalidPublicValue(method));
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(ours.agree(&bad), refused, "{method} {at}");
        }
        // (0, 0) is how some write infinity; all ones are not reduced.
        assert_eq!(ours.agree(&vec![0; good.len()]), refused, "{method}");
        assert_eq!(ours.agree(&vec![0xff; good.len()]), refused, "{method}");
    }
}

#[test]
fn points_of_small_order_are_refused() {
    let ours = KeSecret::generate(KeMethod::CURVE25519, &mut rng(1)).unwrap();
    for small in [0, 1] {
        let mut u = [0; 32];
        u[0] = small;
        let refused = Err(KeError::InvalidPublicValue(KeMethod::CURVE25519));
        assert_eq!(ours.agree(&u), refused, "{small}");
    }
}

/// RFC 3526 §3 to §5 define the primes by pi; so does this test.
#[test]
fn the_primes_are_those_of_pi() {
    for ((method, group, bits), constant) in MODP.into_iter().zip([124_476_u32, 1_690_314, 240_904])
    {
        let two_to = |n: usize| BigUint::from(1u8) << n;
        let pi = pi_times_two_to(bits - 130);
        let prime = two_to(bits) - two_to(bits - 64) - 1u8 + two_to(64) * (pi + constant);
        assert_eq!(modulus(group), prime, "{method}");
    }
}

/// p and (p-1)/2 are prime (Fermat's test to base 3), and 2 generates the subgroup of that order, so every value but
/// 1 and p-1 has a large order and RFC 6989 §2.1 asks for no other check.
#[test]
fn the_primes_are_safe() {
    for (method, group, _) in MODP {
        let one = BigUint::from(1u8);
        let p = modulus(group);
        let q: BigUint = (&p - 1u8) / 2u8;
        assert_eq!(BigUint::from(3u8).modpow(&(&p - 1u8), &p), one, "{method}");
        assert_eq!(BigUint::from(3u8).modpow(&(&q - 1u8), &q), one, "{method}");
        assert_eq!(BigUint::from(2u8).modpow(&q, &p), one, "{method}");
    }
}

#[test]
fn num_bigint_computes_the_same_powers() {
    for (method, group, bits) in MODP {
        let p = modulus(group);
        let len = bits / 8;
        let padded = |n: &BigUint| resized(&n.to_bytes_be(), len);
        for seed in 0..3 {
            let mut rng = rng(seed);
            let (x, y) = (group.exponent(&mut rng), group.exponent(&mut rng));
            let (ours, theirs) =
                (with_private(method, &x).unwrap(), with_private(method, &y).unwrap());
            let (x, y) = (BigUint::from_bytes_be(&x), BigUint::from_bytes_be(&y));
            let gx = BigUint::from(2u8).modpow(&x, &p);
            let gy = BigUint::from(2u8).modpow(&y, &p);
            assert_eq!(ours.public(), padded(&gx), "{method} {seed}");
            assert_eq!(theirs.public(), padded(&gy), "{method} {seed}");
            let shared = ours.agree(theirs.public()).unwrap();
            assert_eq!(shared.as_slice(), padded(&gy.modpow(&x, &p)), "{method} {seed}");
        }
    }
}

/// RFC 3526 §8 estimates 160, 210 and 240 bits of strength at most; the exponents have twice that, in whole octets.
#[test]
fn private_exponents_have_their_length() {
    for ((method, group, _), bits) in MODP.into_iter().zip([320, 424, 480]) {
        let drawn = (0..16).map(|seed| group.exponent(&mut rng(seed)));
        let top = drawn.fold(0, |top, exponent| {
            assert_eq!(exponent.len() * 8, bits, "{method}");
            top | exponent[0]
        });
        assert_eq!(top & 0x80, 0x80, "{method}: the highest bit is used");
    }
}

#[test]
fn values_are_padded_to_the_length_of_the_prime() {
    for (method, _, bits) in MODP {
        let one = with_private(method, &[1]).unwrap();
        let two = resized(&[2], bits / 8);
        assert_eq!(one.public(), two, "{method}: 2^1");
        assert_eq!(one.agree(&two).unwrap().as_slice(), two, "{method}: 2^1");
        let zero = with_private(method, &[0]).unwrap();
        assert_eq!(zero.public(), resized(&[1], bits / 8), "{method}: 2^0");
    }
}

/// 1 < y < p-1 (RFC 6989 §2.1).
#[test]
fn values_that_reveal_or_fix_the_secret_are_refused() {
    for (method, group, bits) in MODP {
        let len = bits / 8;
        let ours = KeSecret::generate(method, &mut rng(5)).unwrap();
        let p = modulus(group);
        let highest = (BigUint::from(1u8) << bits) - 1u8;
        let bad = [BigUint::ZERO, 1u8.into(), &p - 1u8, p.clone(), &p + 1u8, &p + 2u8, highest];
        for (case, y) in bad.iter().enumerate() {
            let y = resized(&y.to_bytes_be(), len);
            assert_eq!(ours.agree(&y), Err(KeError::InvalidPublicValue(method)), "{method} {case}");
        }
        for y in [2u8.into(), &p - 2u8] {
            assert!(ours.agree(&resized(&y.to_bytes_be(), len)).is_ok(), "{method}");
        }
    }
}

fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// A key pair with this private key; exponents may be shorter than those that are drawn.
fn with_private(method: KeMethod, private: &[u8]) -> Option<KeSecret> {
    let private = match method {
        KeMethod::MODP_2048 => Private::Modp(Group::Modp2048, octets(private)),
        KeMethod::MODP_3072 => Private::Modp(Group::Modp3072, octets(private)),
        KeMethod::MODP_4096 => Private::Modp(Group::Modp4096, octets(private)),
        KeMethod::ECP_256 => Private::Ecp256(p256::SecretKey::from_slice(private).ok()?),
        KeMethod::ECP_384 => Private::Ecp384(p384::SecretKey::from_slice(private).ok()?),
        KeMethod::CURVE25519 => Private::Curve25519(<[u8; 32]>::try_from(private).ok()?.into()),
        _ => return None,
    };
    Some(KeSecret::new(method, private))
}

fn without_form_of(method: KeMethod, public: &[u8]) -> &[u8] {
    if method == KeMethod::CURVE25519 { public } else { &public[1..] }
}

fn modulus(group: Group) -> BigUint {
    BigUint::from_bytes_be(&group.prime())
}

/// `number` with exactly `len` octets: zeros in front are added or taken away.
fn resized(number: &[u8], len: usize) -> Vec<u8> {
    let significant: Vec<u8> = number.iter().copied().skip_while(|&octet| octet == 0).collect();
    let mut padded = vec![0; len.checked_sub(significant.len()).unwrap()];
    padded.extend(significant);
    padded
}

/// The integer part of 2^bits * pi, by Machin's formula: pi = 16 atan(1/5) - 4 atan(1/239).
fn pi_times_two_to(bits: usize) -> BigUint {
    // Fewer than 2^11 terms, each rounded by less than one and taken 16 times: 64 more bits absorb that.
    let scale = BigUint::from(1u8) << (bits + 64);
    let pi = atan_of_inverse(5, &scale) * 16u8 - atan_of_inverse(239, &scale) * 4u8;
    pi >> 64
}

/// scale * atan(1/n) = scale * (1/n - 1/(3 n^3) + 1/(5 n^5) - ...).
fn atan_of_inverse(n: u32, scale: &BigUint) -> BigUint {
    let (mut plus, mut minus) = (BigUint::ZERO, BigUint::ZERO);
    let mut power = scale / n;
    for k in 0_u32.. {
        if power == BigUint::ZERO {
            break;
        }
        let term = &power / (2 * k + 1);
        *if k % 2 == 0 { &mut plus } else { &mut minus } += term;
        power /= n * n;
    }
    plus - minus
}
