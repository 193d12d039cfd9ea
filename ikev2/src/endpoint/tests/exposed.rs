//! Keys that are given away: none unless that was asked for; the same at both ends, and others after a rekey.

use super::*;

/// A pair whose ends both keep their keys, or neither; up, and nothing on the way.
fn pair(expose_keys: bool, ike: &str) -> Pair {
    let mut pair = Pair::empty();
    for (end, seed) in [(A, 1), (B, 2)] {
        let config = EndpointConfig { expose_keys, ..EndpointConfig::default() };
        pair.ends[end] = Endpoint::new(config, [seed; 32]);
    }
    for end in [B, A] {
        let mut config = config(end);
        config.proposals = vec![Proposal::ike_from_keywords(ike).unwrap()];
        pair.ends[end].add_peer(pair.now, config);
    }
    pair.drain();
    pair.settle();
    pair
}

/// SPIs, and the four keys one after the other.
type Keys = ((u64, u64), [Vec<u8>; 4]);

/// Those of each SA.
fn exposed(pair: &Pair, end: usize) -> Vec<Keys> {
    let keys = pair.ends[end].exposed_keys(PeerId(0));
    let octets = |keys: crate::ExposedKeys| {
        let four = [keys.sk_ei, keys.sk_er, keys.sk_ai, keys.sk_ar];
        (keys.spis, four.map(|key| key.to_vec()))
    };
    keys.into_iter().map(octets).collect()
}

#[test]
fn no_key_is_given_away_unasked() {
    let mut pair = pair(false, IKE);
    assert!(exposed(&pair, A).is_empty() && exposed(&pair, B).is_empty());
    pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
    pair.drain();
    pair.settle();
    assert!(exposed(&pair, A).is_empty() && exposed(&pair, B).is_empty());
}

#[test]
fn both_ends_give_the_same_keys_away() {
    for (ike, lens) in [
        (IKE, [36, 36, 0, 0]),
        ("aes128-sha256-curve25519", [16, 16, 32, 32]),
        ("aes256gcm16-prfsha256-curve25519-ke1_mlkem768", [36, 36, 0, 0]),
    ] {
        let mut pair = pair(true, ike);
        let first = exposed(&pair, A);
        assert_eq!(first, exposed(&pair, B), "{ike}");
        let [(spis, keys)] = first.as_slice() else { panic!("{ike}: {} SAs", first.len()) };
        assert_eq!(keys.each_ref().map(Vec::len), lens, "{ike}");
        assert_ne!(keys[0], keys[1], "{ike}");
        assert_eq!(pair.ends[A].peer_of_spi(spis.0), Some(PeerId(0)), "{ike}");
        assert_eq!(pair.ends[B].peer_of_spi(spis.1), Some(PeerId(0)), "{ike}");
        assert_eq!(pair.ends[A].peer_of_spi(spis.1), None, "{ike}");

        pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
        pair.drain();
        pair.settle();
        let (ours, theirs) = (exposed(&pair, A), exposed(&pair, B));
        let newest = ours.last().unwrap();
        assert!(newest.1 != *keys && theirs.contains(newest), "{ike}");
    }
}

#[test]
fn what_is_given_away_is_not_printed() {
    let pair = pair(true, IKE);
    let keys = pair.ends[A].exposed_keys(PeerId(0));
    assert_eq!(format!("{keys:?}"), "[ExposedKeys(hidden)]");
}
