//! A peer that is authenticated and wants our time and memory (T42, RFC 8019 §5): it is put off, and the others are served.
//!
//! ```text
//!   A ── 1000 CREATE_CHILD_SA a second ──► B      what it may have at once, then max_exchanges a second: TEMPORARY_FAILURE
//! ```

use testkit::measured::measured;

use super::*;
use crate::effort;

fn offer(spi: u32) -> Chain {
    let mut proposal = Proposal::esp_from_keywords("aes256gcm16-curve25519-noesn").unwrap();
    (proposal.spi, proposal.number) = (spi.to_be_bytes().to_vec(), 1);
    let mut chain = Chain::new();
    let value = x25519_base();
    chain.sa(&[proposal]).nonce(&[7; 32]).ke(crate::registry::KeMethod::CURVE25519, &value);
    chain.ts_i(&[subnet(A)]).ts_r(&[subnet(B)]);
    chain
}

/// The base point: a public value like any other.
fn x25519_base() -> [u8; 32] {
    let mut value = [0; 32];
    value[0] = 9;
    value
}

fn up() -> Pair {
    let mut pair = Pair::empty();
    for end in [B, A] {
        let mut config = config(end);
        config.children[0].proposals =
            vec![Proposal::esp_from_keywords("aes256gcm16-curve25519-noesn").unwrap()];
        pair.ends[end].add_peer(pair.now, config);
    }
    pair.drain();
    pair.settle();
    pair
}

/// Asks for a child and deletes it again, ten thousand times in ten seconds.
#[test]
fn children_without_end_cost_so_many_key_exchanges_a_second() {
    let mut pair = up();
    effort::forget();
    let (mut granted, mut put_off, mut most) = (0, 0, 0);
    for number in 0..10_000u32 {
        let spi = 0x1_0000 + number;
        let answer = pair.ask(A, ExchangeType::CREATE_CHILD_SA, 2 + 2 * number, &offer(spi));
        match answer.as_slice() {
            [] => granted += 1,
            [NotifyType::TEMPORARY_FAILURE] => put_off += 1,
            other => panic!("{other:?}"),
        }
        most = most.max(pair.ends[B].children.len());
        let mut delete = Chain::new();
        delete.delete_esp(&[spi]);
        pair.ask(A, ExchangeType::INFORMATIONAL, 3 + 2 * number, &delete);
        pair.now += Duration::from_millis(1);
    }
    let made = effort::done("key exchanges");
    measured("T42", "key exchanges for 10 000 CREATE_CHILD_SA in 10 s", made, "<= 500");
    measured("T42", "children at any time", most, "<= 8");
    assert_eq!(granted + put_off, 10_000);
    assert!((200..=500).contains(&granted) && made == granted, "{granted} granted, {made} made");
    assert!(most <= 8, "{most}");
    // It is not punished for longer than it lasts.
    pair.now += Duration::from_secs(1);
    assert_eq!(pair.ask(A, ExchangeType::CREATE_CHILD_SA, 20_002, &offer(7000)), []);
}

/// Ten thousand children that stay, and a thousand questions whether we live.
#[test]
fn no_more_children_than_configured_and_every_question_is_answered() {
    let mut pair = up();
    let mut refused = 0;
    for number in 0..10_000u32 {
        let answer =
            pair.ask(A, ExchangeType::CREATE_CHILD_SA, 2 + number, &offer(0x1_0000 + number));
        refused += usize::from(answer == [NotifyType::NO_ADDITIONAL_SAS]);
        pair.now += Duration::from_millis(50);
    }
    assert_eq!(pair.ends[B].children.len(), 8);
    assert!(refused > 9000, "{refused}");
    measured("T42", "children kept of 10 000 asked for", pair.ends[B].children.len(), "<= 8");
    for number in 10_000..11_000u32 {
        assert_eq!(pair.ask(A, ExchangeType::INFORMATIONAL, 2 + number, &Chain::new()), []);
    }
}

/// The allowance is the peer's: a new IKE SA brings no new one.
#[test]
fn rekeys_of_the_ike_sa_do_not_refill_the_allowance() {
    let mut pair = up();
    effort::forget();
    let mut made = 0;
    for _ in 0..2000 {
        if pair.ends[A].rekey_ike(pair.now, PeerId(0)).is_ok() {
            pair.drain();
            pair.settle();
            made += 1;
        }
        pair.run_for(Duration::from_millis(1));
    }
    let exchanges = effort::done("key exchanges");
    measured("T42", "key exchanges for rekeys of the IKE SA without end, 2 s", exchanges, "<= 300");
    assert!(made > 100 && exchanges <= 300, "{made} {exchanges}");
    pair.run_for(MINUTE);
    assert_eq!((pair.ends[A].children.len(), pair.ends[B].children.len()), (1, 1));
}
