//! Every suite that both programs have, in both roles: does it come up, carry packets both ways, and survive a rekey of the
//! children by one side and of the IKE SA by the other?
//!
//! ```text
//!   IKE   each cipher, PRF, integrity algorithm and key exchange     with ESP as everybody has it
//!   ESP   each cipher, integrity algorithm and group                 with IKE as everybody has it
//!
//!   target/netns-numbers.txt     suites                                    ours-to-swan   swan-to-ours
//!                                suites/ike/aes256ctr-sha256-curve25519    passed         passed
//! ```
//!
//! What an algorithm computes is known from the vectors of its RFC; here is shown that both ends mean the same by its name,
//! the length of its keys, its salt and its place in the keying material.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};

use crate::List;
use crate::case::{Case, Pair, Tunnel, measured};
use crate::rekey::{child_now, ike_now};

pub(crate) fn list(list: &mut List) {
    let with_swan = SUITES.iter().map(|suite| (suite, true));
    let ours_alone = OURS_ALONE.iter().map(|suite| (suite, false));
    for (&(name, word), with_swan) in with_swan.chain(ours_alone) {
        let (ike, esp) = match (name.strip_prefix(OF_IKE), name.strip_prefix(OF_ESP)) {
            (Some(ike), _) => (ike, ESP_OF_ALL),
            (_, Some(esp)) => (IKE_OF_ALL, esp),
            _ => continue,
        };
        for pair in Pair::all().into_iter().filter(|pair| pair.has_swan() == with_swan) {
            list.tunnel(name, Tunnel::new(pair).suite(ike, esp), move |case| {
                note(name, pair, false);
                carries(case, word)?;
                note(name, pair, true);
                Ok(())
            });
        }
    }
}

fn carries(case: &mut Case, word: &str) -> Result<()> {
    case.up()?;
    case.ping_all()?;
    is_in_use(case, word)?;
    child_now(case, true)?;
    is_in_use(case, word)?;
    ike_now(case, false)?;
    child_now(case, false)?;
    is_in_use(case, word)?;
    case.ping_all()
}

/// Both sides name what only this suite has.
fn is_in_use(case: &Case, word: &str) -> Result<()> {
    for facts in case.facts()? {
        let said = facts.suites.to_uppercase().replace("CURVE_", "CURVE");
        ensure!(said.contains(word), "{word} is not in {said}");
    }
    Ok(())
}

/// What passed: for each suite and each of the roles whether.
type Passed = BTreeMap<&'static str, BTreeMap<&'static str, bool>>;

static PASSED: Mutex<Passed> = Mutex::new(BTreeMap::new());

fn note(suite: &'static str, pair: Pair, passed: bool) {
    let mut all = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    all.entry(suite).or_default().insert(pair.name(), passed);
}

/// Writes down the table of those that ran, for the reader.
pub(crate) fn report() {
    let all = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
    if all.is_empty() {
        return;
    }
    let roles = [Pair::OursToSwan, Pair::SwanToOurs, Pair::OursToOurs].map(Pair::name);
    let [one, two, three] = roles;
    let mut table = format!("{:56} {one:14} {two:14} {three:14}\n", "suites");
    for (suite, outcome) in all.iter() {
        let [one, two, three] = roles.map(|role| match outcome.get(role) {
            Some(true) => "passed",
            Some(false) => "failed",
            None => "-",
        });
        let _ = writeln!(table, "{suite:56} {one:14} {two:14} {three:14}");
    }
    let of = |role| all.values().filter_map(move |outcome| outcome.get(role));
    let [one, two, three] = roles.map(|role| {
        format!("{} of {}", of(role).filter(|passed| **passed).count(), of(role).count())
    });
    let _ = write!(table, "{:56} {one:14} {two:14} {three:14}", "passed");
    measured(&table);
}

const OF_IKE: &str = "suites/ike/";
const OF_ESP: &str = "suites/esp/";
const IKE_OF_ALL: &str = "aes256gcm16-prfsha256-curve25519";
const ESP_OF_ALL: &str = "aes256gcm16";

/// The name of a test, which ends in the proposal, and a word that only the right choice has in the status of both programs.
const SUITES: &[(&str, &str)] = &[
    ("suites/ike/aes128gcm16-prfsha256-ecp256", "AES_GCM_16"),
    ("suites/ike/aes192gcm16-prfsha384-ecp384", "AES_GCM_16"),
    ("suites/ike/aes256gcm12-prfsha256-curve25519", "AES_GCM_12"),
    ("suites/ike/aes128gcm12-prfsha256-curve25519", "AES_GCM_12"),
    ("suites/ike/aes256gcm8-prfsha256-curve25519", "AES_GCM_8"),
    ("suites/ike/aes128gcm8-prfsha256-curve25519", "AES_GCM_8"),
    ("suites/ike/aes256ccm16-prfsha256-curve25519", "AES_CCM_16"),
    ("suites/ike/aes192ccm16-prfsha256-curve25519", "AES_CCM_16"),
    ("suites/ike/aes128ccm16-prfsha256-curve25519", "AES_CCM_16"),
    ("suites/ike/aes256ccm12-prfsha256-curve25519", "AES_CCM_12"),
    ("suites/ike/aes128ccm8-prfsha256-curve25519", "AES_CCM_8"),
    ("suites/ike/chacha20poly1305-prfsha256-curve25519", "CHACHA20_POLY1305"),
    ("suites/ike/aes256ctr-sha256-curve25519", "AES_CTR"),
    ("suites/ike/aes192ctr-sha384-curve25519", "AES_CTR"),
    ("suites/ike/aes128ctr-sha512-curve25519", "AES_CTR"),
    ("suites/ike/aes128-sha256-curve25519", "AES_CBC"),
    ("suites/ike/aes192-sha384-curve25519", "SHA2_384_192"),
    ("suites/ike/aes256-sha512-curve25519", "SHA2_512_256"),
    ("suites/ike/aes128-aesxcbc-curve25519", "AES_XCBC_96"),
    ("suites/ike/aes256-aescmac-curve25519", "AES_CMAC_96"),
    ("suites/ike/aes256-sha1-curve25519", "SHA1_96"),
    ("suites/ike/3des-sha256-curve25519", "DES"),
    ("suites/ike/3des-sha1-modp1024", "MODP_1024"),
    ("suites/ike/aes256gcm16-prfaesxcbc-curve25519", "PRF_AES128_XCBC"),
    ("suites/ike/aes256gcm16-prfaescmac-curve25519", "PRF_AES128_CMAC"),
    ("suites/ike/aes256gcm16-prfsha1-curve25519", "PRF_HMAC_SHA1"),
    ("suites/ike/aes256gcm16-prfsha256-curve25519", "CURVE25519"),
    ("suites/ike/aes256gcm16-prfsha512-ecp521", "ECP_521"),
    ("suites/ike/aes256gcm16-prfsha256-modp1536", "MODP_1536"),
    ("suites/ike/aes256gcm16-prfsha256-modp2048", "MODP_2048"),
    ("suites/ike/aes256gcm16-prfsha256-modp3072", "MODP_3072"),
    ("suites/ike/aes256gcm16-prfsha256-modp4096", "MODP_4096"),
    ("suites/ike/aes256gcm16-prfsha256-modp6144", "MODP_6144"),
    ("suites/ike/aes256gcm16-prfsha256-modp8192", "MODP_8192"),
    ("suites/esp/aes128gcm16-ecp521", "AES_GCM_16"),
    ("suites/esp/aes192gcm16", "AES_GCM_16"),
    ("suites/esp/aes256gcm12", "AES_GCM_12"),
    ("suites/esp/aes128gcm8", "AES_GCM_8"),
    ("suites/esp/aes256ccm16-modp8192", "AES_CCM_16"),
    ("suites/esp/aes192ccm12", "AES_CCM_12"),
    ("suites/esp/aes128ccm8", "AES_CCM_8"),
    ("suites/esp/chacha20poly1305-curve25519", "CHACHA20_POLY1305"),
    ("suites/esp/aes128ctr-sha256", "AES_CTR"),
    ("suites/esp/aes192ctr-aesxcbc", "AES_CTR"),
    ("suites/esp/aes256ctr-sha512", "AES_CTR"),
    ("suites/esp/aes128-sha256-modp6144", "SHA2_256_128"),
    ("suites/esp/aes192-sha384-ecp256", "SHA2_384_192"),
    ("suites/esp/aes256-sha512-modp3072", "SHA2_512_256"),
    ("suites/esp/aes256-aesxcbc", "AES_XCBC_96"),
    ("suites/esp/aes128-aescmac", "AES_CMAC_96"),
    ("suites/esp/aes256-sha1-modp1536", "SHA1_96"),
    ("suites/esp/3des-sha1-modp1024", "DES"),
    ("suites/esp/3des-sha256", "DES"),
    ("suites/esp/null-sha256", "NULL"),
    ("suites/esp/null-sha1", "NULL"),
];

/// What strongSwan's kernel-libipsec does not have: ciphers that are for AH's purpose, implicit IVs, extended sequence numbers.
const OURS_ALONE: &[(&str, &str)] = &[
    ("suites/esp/aes256gmac", "GMAC"),
    ("suites/esp/aes256gcm16iiv-esn", "AES_GCM_16_IIV"),
    ("suites/esp/chacha20poly1305iiv", "CHACHA20_POLY1305_IIV"),
    ("suites/esp/aes128ccm8iiv", "AES_CCM_8_IIV"),
    ("suites/esp/aes256ctr-aescmac-esn", "AES_CTR"),
    ("suites/esp/chacha20poly1305-esn", "CHACHA20_POLY1305"),
];
