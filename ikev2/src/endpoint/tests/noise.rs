//! Anything at all, in every state: octets in the clear, and octets that are sealed with the right keys so that they reach
//! the last gate (RFC 7296 §2.21). Nothing panics, nothing grows, and deadlines move.
//!
//! ```text
//!   state (golden::CASES) × [ random octets | a real message, mutated | a sealed chain of random or mutated payloads ]
//! ```

use proptest::prelude::*;

use super::golden::CASES;
use super::*;
use crate::wire::redirect::GatewayId;

/// What a chain of real payloads looks like, for mutation.
fn real_chain(kind: u8) -> Chain {
    let mut chain = Chain::new();
    let mut esp = Proposal::esp_from_keywords(ESP).unwrap();
    (esp.spi, esp.number) = (vec![0, 0, 0x12, 0x34], 1);
    let mut ike = Proposal::ike_from_keywords(IKE).unwrap();
    (ike.spi, ike.number) = (vec![9; 8], 1);
    let method = crate::registry::KeMethod::CURVE25519;
    match kind % 6 {
        0 => chain.sa(&[esp]).nonce(&[7; 32]).ts_i(&[subnet(A)]).ts_r(&[subnet(B)]),
        1 => chain.sa(&[ike]).nonce(&[7; 32]).ke(method, &[9; 32]),
        2 => chain.delete_esp(&[0x1234, 0x5678, 0x9abc]).delete_ike(),
        3 => chain
            .notify(NotifyType::UPDATE_SA_ADDRESSES, &[])
            .notify(NotifyType::NAT_DETECTION_SOURCE_IP, &[7; 20])
            .notify(NotifyType::NAT_DETECTION_DESTINATION_IP, &[7; 20])
            .notify(NotifyType::ADDITIONAL_IP4_ADDRESS, &[192, 0, 2, 7])
            .notify(NotifyType::COOKIE2, &[7; 16]),
        4 => chain
            .notify(NotifyType::REDIRECT, &GatewayId::Address([192, 0, 2, 9].into()).emit(&[]))
            .notify(NotifyType::AUTH_LIFETIME, &[0, 0, 0, 9])
            .notify(NotifyType::IKEV2_MESSAGE_ID_SYNC, &[9; 12]),
        _ => chain
            .id_i(&name(A))
            .id_r(&name(B))
            .auth(crate::registry::AuthMethod::SHARED_KEY, &[7; 32])
            .sa(&[esp])
            .ts_i(&[subnet(A)])
            .ts_r(&[subnet(B)]),
    };
    chain
}

/// What is done to octets.
#[derive(Debug, Clone)]
enum Change {
    Set(usize, u8),
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    let at = || any::<u16>().prop_map(usize::from);
    let extreme = prop_oneof![Just(0), Just(0xff), Just(1), any::<u8>()];
    prop_oneof![
        4 => (at(), extreme).prop_map(|(at, octet)| Change::Set(at, octet)),
        3 => (at(), 0..8u8).prop_map(|(at, bit)| Change::Flip(at, bit)),
        1 => at().prop_map(Change::Cut),
        1 => (at(), proptest::collection::vec(any::<u8>(), 0..20))
            .prop_map(|(at, more)| Change::Insert(at, more)),
    ]
}

fn changed(octets: &[u8], changes: &[Change]) -> Vec<u8> {
    let mut octets = octets.to_vec();
    for change in changes {
        let len = octets.len();
        match change {
            Change::Set(at, octet) if len > 0 => octets[at % len] = *octet,
            Change::Flip(at, bit) if len > 0 => octets[at % len] ^= 1 << bit,
            Change::Cut(at) => octets.truncate(at % (len + 1)),
            Change::Insert(at, more) => {
                let at = at % (len + 1);
                octets.splice(at..at, more.iter().copied());
            }
            Change::Set(..) | Change::Flip(..) => {}
        }
    }
    octets
}

/// After any input: queues drain, deadlines move, and an hour passes without trouble.
fn live_on(pair: &mut Pair) {
    pair.drain();
    pair.run_for(5 * MINUTE);
    for end in [A, B] {
        let endpoint = &pair.ends[end];
        assert!(endpoint.shared.esp_spis.len() <= 16 && endpoint.sas.len() <= 32);
        let past = endpoint.poll_timeout().is_some_and(|deadline| deadline.at < pair.now);
        assert!(!past, "a deadline is left behind");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    /// Sealed with the right keys, of the right number: only the payloads are wrong.
    #[test]
    fn sealed_messages_with_any_payloads(
        case in 0..CASES.len(),
        kind in any::<u8>(),
        first in prop_oneof![1 => any::<u8>(), 6 => 33..=48u8],
        random in proptest::collection::vec(any::<u8>(), 0..120),
        changes in proptest::collection::vec(change(), 0..4),
        is_random in proptest::bool::weighted(0.3),
        exchange in prop_oneof![8 => 34..=37u8, 1 => any::<u8>()],
        response in any::<bool>(),
    ) {
        let case = &CASES[case];
        let mut pair = (case.reach)();
        let other = B - case.end;
        let chain = if is_random {
            Chain::of_octets(PayloadType(first), &changed(&random, &changes))
        } else {
            let real = real_chain(kind);
            Chain::of_octets(real.first(), &changed(real.octets(), &changes))
        };
        let id = if response { case.ids.1 } else { case.ids.0 };
        let sealed = pair.sealed(other, ExchangeType(exchange), (id, response), &chain);
        if let Some(sealed) = sealed {
            let _taken_or_not = pair.deliver(other, &sealed);
        }
        live_on(&mut pair);
    }

    /// In the clear: random octets, and mutations of whatever is on the wire in that state.
    #[test]
    fn unsealed_octets(
        case in 0..CASES.len(),
        random in proptest::collection::vec(any::<u8>(), 0..200),
        changes in proptest::collection::vec(change(), 1..6),
        correct_len in any::<bool>(),
        to in 0..2usize,
    ) {
        let mut pair = (CASES[case].reach)();
        let mut said: Vec<Vec<u8>> = pair.wire.iter().map(|(_, t)| t.payload.to_vec()).collect();
        said.push(random);
        for octets in said {
            let mut octets = changed(&octets, &changes);
            let len = u32::try_from(octets.len()).unwrap();
            if correct_len && let Some(field) = octets.get_mut(24..28) {
                field.copy_from_slice(&len.to_be_bytes());
            }
            let _taken_or_not = pair.deliver(B - to, &octets);
        }
        live_on(&mut pair);
    }
}

/// What is on the wire in each state: every truncation, every octet of the header 0x00 and 0xff, every bit of it flipped;
/// of what is in the clear, every bit. With the length as it was and corrected.
#[test]
fn every_small_change_of_every_message_in_every_state() {
    for case in &CASES {
        let mut pair = (case.reach)();
        let said: Vec<_> = pair.wire.iter().map(|(end, t)| (*end, t.payload.clone())).collect();
        for (from, payload) in said {
            let is_clear = payload[18] == ExchangeType::IKE_SA_INIT.0;
            let mut forms: Vec<Vec<u8>> =
                (0..payload.len()).map(|n| payload[..n].to_vec()).collect();
            let bits = if is_clear { payload.len() } else { Header::LEN + 8 };
            for at in 0..bits {
                for octet in (0..8).map(|bit| payload[at] ^ (1 << bit)).chain([0, 0xff]) {
                    let mut form = payload.to_vec();
                    form[at] = octet;
                    forms.push(form);
                }
            }
            for form in forms.into_iter().filter(|form| *form != payload[..]) {
                let mut corrected = form.clone();
                let len = u32::try_from(form.len()).unwrap();
                if let Some(field) = corrected.get_mut(24..28) {
                    field.copy_from_slice(&len.to_be_bytes());
                }
                for octets in [form, corrected] {
                    for sender in [from, B - from] {
                        let disposition = pair.deliver(sender, &octets);
                        pair.wire.clear();
                        let dropped = matches!(disposition, Disposition::Dropped(_));
                        // What is not sealed may be as good as the real one, until AUTH says what was meant.
                        assert!(is_clear || dropped || octets[..] == payload[..], "{}", case.name);
                    }
                }
            }
        }
        live_on(&mut pair);
    }
}

impl Pair {
    /// Sealed with the keys of the oldest SA of `from`; `None` if it has none.
    fn sealed(
        &mut self,
        from: usize,
        exchange: ExchangeType,
        (id, response): (u32, bool),
        chain: &Chain,
    ) -> Option<Vec<u8>> {
        let spi = golden::oldest(&self.ends[from])?;
        let Endpoint { sas, shared, .. } = &mut self.ends[from];
        let sa = sas.get_mut(&spi).filter(|sa| sa.stage() != Stage::Knocking)?;
        let mut cx = Cx { now: self.now, shared };
        Some(sa.forge(exchange, MessageId(id), response, chain, &mut cx).to_vec())
    }
}
