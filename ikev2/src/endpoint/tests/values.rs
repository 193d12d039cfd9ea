//! Public values that nobody honest sends (RFC 6989 §2, RFC 7748 §6.1, RFC 7296 §3.4), in every exchange that carries one
//! and on both sides: they are refused, and no key is ever derived from them. A peer that sends one within an SA is broken,
//! so that SA ends (RFC 7296 §2.21.3, RFC 6989 §2.5), and the next one comes up.
//!
//! ```text
//!                     request                                  answer
//!   IKE_SA_INIT       dropped, nothing is kept                 dropped, the real answer still counts
//!   CREATE_CHILD_SA   INVALID_SYNTAX, the end of the SA        DELETE, the end of the SA
//!   of another group  INVALID_KE_PAYLOAD, the SA goes on       the SA, or the child, is undone
//! ```

use super::letter::rebuilt;
use super::*;
use crate::crypto::ke::modp_prime;
use crate::keyword::Allow;
use crate::registry::{KeMethod, ProtocolId};

const GROUPS: [(&str, KeMethod); 9] = [
    ("curve25519", KeMethod::CURVE25519),
    ("ecp256", KeMethod::ECP_256),
    ("ecp384", KeMethod::ECP_384),
    ("ecp521", KeMethod::ECP_521),
    ("modp1536", KeMethod::MODP_1536),
    ("modp2048", KeMethod::MODP_2048),
    ("modp3072", KeMethod::MODP_3072),
    ("modp4096", KeMethod::MODP_4096),
    ("modp8192", KeMethod::MODP_8192),
];

/// Points of X25519 whose order divides eight, in every encoding below 2^255.
const LOW_ORDER: [&str; 7] = [
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0100000000000000000000000000000000000000000000000000000000000000",
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// A number of as many octets, with `add` added to its last: enough for the neighbours of a prime.
fn neighbour(number: &[u8], add: i16) -> Vec<u8> {
    let mut octets = number.to_vec();
    let mut carry = i32::from(add);
    for octet in octets.iter_mut().rev() {
        let sum = i32::from(*octet) + carry;
        *octet = u8::try_from(sum.rem_euclid(256)).unwrap();
        carry = sum.div_euclid(256);
    }
    octets
}

/// Values that are none, of a group that `len` octets long values have.
fn bad_values(method: KeMethod) -> Vec<Vec<u8>> {
    let len = match method {
        KeMethod::CURVE25519 => 32,
        KeMethod::ECP_256 => 64,
        KeMethod::ECP_384 => 96,
        KeMethod::ECP_521 => 132,
        _ => modp_prime(method).unwrap().len(),
    };
    // Of another length: none, short, long, with a form octet or compressed as SEC 1 has it.
    let lengths = [0, 1, len / 2, len / 2 + 1, len - 1, len + 1, 2 * len, 4000];
    let mut bad: Vec<_> = lengths.into_iter().map(|len| vec![4; len]).collect();
    if method == KeMethod::CURVE25519 {
        for point in LOW_ORDER {
            let mut point = hex::decode(point).unwrap();
            bad.push(point.clone());
            point[31] |= 0x80;
            bad.push(point);
        }
        return bad;
    }
    // 0, or (0, 0), which is how some write infinity.
    bad.push(vec![0; len]);
    if let Some(prime) = modp_prime(method) {
        let one = neighbour(&vec![0; len], 1);
        bad.extend([one, neighbour(&prime, -1), neighbour(&prime, 1), prime]);
    } else {
        // Off the curve, and not reduced.
        bad.push(vec![1; len]);
        bad.push([vec![0xff; len / 2], vec![1; len / 2]].concat());
    }
    bad.push(vec![0xff; len]);
    bad
}

fn pair_of(group: &str) -> Pair {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut config = config(end);
        let ike = format!("aes256gcm16-prfsha256-{group}");
        config.proposals = vec![Proposal::ike_from_keywords_allowing(&ike, Allow::ALL).unwrap()];
        let esp = format!("aes256gcm16-{group}-noesn");
        config.children[0].proposals =
            vec![Proposal::esp_from_keywords_allowing(&esp, Allow::ALL).unwrap()];
        pair.ends[end].add_peer(pair.now, config);
    }
    pair.drain();
    pair
}

fn up(group: &str) -> Pair {
    let mut pair = pair_of(group);
    pair.settle();
    assert_eq!((pair.ends[A].children.len(), pair.ends[B].children.len()), (1, 1), "{group}");
    pair
}

/// An IKE_SA_INIT message with this in the place of its KE payload.
fn with_ke(octets: &[u8], method: KeMethod, value: &[u8]) -> Vec<u8> {
    rebuilt(octets, |payloads| {
        let ke = payloads.iter_mut().find(|payload| payload.0 == PayloadType::KE).unwrap();
        ke.2 = [&method.0.to_be_bytes(), &[0, 0], value].concat();
    })
}

fn ike_chain(group: &str, method: KeMethod, value: &[u8]) -> Chain {
    let words = format!("aes256gcm16-prfsha256-{group}");
    let mut proposal = Proposal::ike_from_keywords_allowing(&words, Allow::ALL).unwrap();
    (proposal.spi, proposal.number) = (vec![7; 8], 1);
    let mut chain = Chain::new();
    chain.sa(&[proposal]).nonce(&[7; 32]).ke(method, value);
    chain
}

/// The payloads about a child; with `rekeyed` in place of that one.
fn child_chain(group: &str, method: KeMethod, value: &[u8], rekeyed: Option<u32>) -> Chain {
    let words = format!("aes256gcm16-{group}-noesn");
    let mut proposal = Proposal::esp_from_keywords_allowing(&words, Allow::ALL).unwrap();
    (proposal.spi, proposal.number) = (vec![0, 0, 0x12, 0x34], 1);
    let mut chain = Chain::new();
    if let Some(spi) = rekeyed {
        chain.notify_spi(ProtocolId::ESP, &spi.to_be_bytes(), NotifyType::REKEY_SA, &[]);
    }
    chain.sa(&[proposal]).nonce(&[7; 32]).ke(method, value);
    chain.ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
    chain
}

fn ups(pair: &Pair, end: usize) -> usize {
    count(&pair.events[end], |event| {
        matches!(event, Event::ChildUp { .. } | Event::PeerUp { .. } | Event::PeerRekeyed { .. })
    })
}

/// Values of the large groups take long; one in four of them will do.
fn some(method: KeMethod) -> Vec<Vec<u8>> {
    let step = if modp_prime(method).is_some() { 4 } else { 1 };
    bad_values(method).into_iter().step_by(step).collect()
}

#[test]
fn a_bad_value_in_an_ike_sa_init_request_begins_nothing() {
    for (group, method) in GROUPS {
        let mut pair = pair_of(group);
        let (_, request) = pair.wire.pop_front().unwrap();
        for value in bad_values(method) {
            let forged = with_ke(&request.payload, method, &value);
            let disposition = pair.deliver(A, &forged);
            assert_eq!(
                disposition,
                Disposition::Dropped(DropReason::Malformed),
                "{group} {value:?}"
            );
            assert!(pair.ends[B].sas.is_empty() && pair.events[B].is_empty());
            assert!(pair.wire.iter().all(|(_, sent)| !notifies(&sent.payload).is_empty()));
            // What is refused without a cookie is held against the sender for a while.
            pair.wire.clear();
            pair.now += MINUTE;
        }
        assert_eq!(pair.deliver(A, &request.payload), Disposition::Accepted, "{group}");
        assert_eq!(pair.ends[B].sas.len(), 1);
    }
}

/// Before one is done: RFC 7296 §1.2, the group of the KE payload must be the one that was chosen.
#[test]
fn a_value_of_another_group_is_asked_for_anew() {
    for other in [KeMethod(0), KeMethod(1), KeMethod(2), KeMethod(1025), KeMethod(65535)] {
        for (group, method) in GROUPS {
            let mut pair = pair_of(group);
            let (_, request) = pair.wire.pop_front().unwrap();
            let forged = with_ke(&request.payload, other, &[4; 32]);
            let disposition = pair.deliver(A, &forged);
            assert_eq!(disposition, Disposition::Dropped(DropReason::Unexpected));
            let (_, answer) = pair.wire.pop_front().unwrap();
            let header = Header::parse(&answer.payload).unwrap();
            let body = Body::parse(header.next_payload, &answer.payload[Header::LEN..]).unwrap();
            let asked = body.notify(NotifyType::INVALID_KE_PAYLOAD).expect("a group").data;
            assert_eq!(asked, method.0.to_be_bytes());
            assert!(pair.ends[B].sas.is_empty());
        }
    }
}

#[test]
fn a_bad_value_in_an_ike_sa_init_answer_is_noise() {
    for (group, method) in GROUPS {
        let mut pair = pair_of(group);
        pair.pass();
        let (_, answer) = pair.wire.pop_front().unwrap();
        for value in bad_values(method) {
            let forged = with_ke(&answer.payload, method, &value);
            let disposition = pair.deliver(B, &forged);
            assert_eq!(disposition, Disposition::Dropped(DropReason::Unprotected), "{group}");
            assert!(pair.wire.is_empty(), "{group} {value:?}");
        }
        for other in [KeMethod(0), KeMethod(1025), KeMethod(2)] {
            let forged = with_ke(&answer.payload, other, &[4; 32]);
            assert!(matches!(pair.deliver(B, &forged), Disposition::Dropped(_)));
        }
        assert_eq!(pair.deliver(B, &answer.payload), Disposition::Accepted);
        pair.settle();
        assert_eq!(pair.ends[B].children.len(), 1, "{group}");
    }
}

#[test]
fn a_bad_value_in_a_request_for_new_keys_ends_the_sa() {
    for (group, method) in GROUPS {
        for value in some(method) {
            for kind in 0..3 {
                let mut pair = up(group);
                let old = requests::children(&pair, A)[0].spi_in;
                let chain = match kind {
                    0 => ike_chain(group, method, &value),
                    1 => child_chain(group, method, &value, None),
                    _ => child_chain(group, method, &value, Some(old)),
                };
                let before = ups(&pair, B);
                let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, 2, &chain);
                assert_eq!(answer, [NotifyType::INVALID_SYNTAX], "{group} {value:?}");
                assert_eq!(ups(&pair, B), before, "{group}: nothing comes of it");
                assert!(pair.ends[B].shared.esp_spis.is_empty(), "{group}");
                assert!(pair.ends[B].sas.values().all(|sa| sa.stage() != Stage::Up), "{group}");
            }
        }
    }
}

#[test]
fn a_value_of_another_group_within_an_sa_harms_nothing() {
    for (group, _) in GROUPS {
        let mut pair = up(group);
        let before = (ups(&pair, A), ups(&pair, B));
        let old = requests::children(&pair, A)[0].spi_in;
        let mut id = 2;
        for other in [KeMethod(0), KeMethod(1025), KeMethod(2)] {
            for chain in [
                ike_chain(group, other, &[4; 32]),
                child_chain(group, other, &[4; 32], None),
                child_chain(group, other, &[4; 32], Some(old)),
            ] {
                let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, id, &chain);
                assert_eq!(answer, [NotifyType::INVALID_KE_PAYLOAD], "{group} {other}");
                id += 1;
            }
        }
        assert_eq!((ups(&pair, A), ups(&pair, B)), before, "{group}");
        assert_eq!((pair.ends[B].shared.esp_spis.len(), pair.ends[B].sas.len()), (1, 1));
        // B goes on as if nothing had been: its own rekey is answered.
        let child = *pair.ends[B].children.keys().next().unwrap();
        pair.ends[B].rekey_child(pair.now, child).unwrap();
        pair.drain();
        pair.settle();
        assert_eq!(ups(&pair, B), before.1 + 1, "{group}");
    }
}

/// What A begins, B answers with this value: nothing comes of it.
fn answered(group: &str, value: &[u8], ike: bool, method: KeMethod) -> Pair {
    let mut pair = up(group);
    let child = *pair.ends[A].children.keys().next().unwrap();
    if ike {
        pair.ends[A].rekey_ike(pair.now, PeerId(0)).unwrap();
    } else {
        pair.ends[A].rekey_child(pair.now, child).unwrap();
    }
    pair.drain();
    pair.wire.clear();
    // Another request of that number takes its place at B, which then knows what comes next.
    pair.ask(A, ExchangeType::INFORMATIONAL, 2, &Chain::new());
    let chain =
        if ike { ike_chain(group, method, value) } else { child_chain(group, method, value, None) };
    let answer = pair.forge(B, ExchangeType::CREATE_CHILD_SA, (2, true), &chain);
    let before = ups(&pair, A);
    assert_eq!(pair.deliver(B, &answer), Disposition::Accepted);
    assert_eq!(ups(&pair, A), before, "{group}: nothing comes of it");
    pair
}

#[test]
fn a_bad_value_in_an_answer_with_new_keys_ends_the_sa_and_the_next_comes_up() {
    for (group, method) in GROUPS {
        for (value, method) in some(method)
            .iter()
            .map(|value| (&value[..], method))
            .chain([(&[4; 32][..], KeMethod(1025))])
        {
            for ike in [false, true] {
                let mut pair = answered(group, value, ike, method);
                // A child that names another group than its proposal is undone alone.
                let ends = ike || method != KeMethod(1025);
                assert_eq!(pair.ends[A].children.is_empty(), ends, "{group} {method}");
                pair.run_for(MINUTE);
                assert_eq!((pair.ends[A].children.len(), pair.ends[B].children.len()), (1, 1));
                assert_eq!(pair.ends[A].shared.esp_spis.len(), 1, "{group}");
            }
        }
    }
}
