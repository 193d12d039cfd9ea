//! Changes to a chain of payloads that keep it a chain: the lengths come out right, so that what is behind a change is read.
//!
//! ```text
//!   SA, KE, Nonce ─► [ (SA, body), (KE, body), (Nonce, body) ] ─► one to four changes ─► chain
//! ```

use crate::fuzz::Input;
use crate::registry::{NotifyType, PayloadType, ProtocolId};
use crate::wire::message::Payloads;

struct Payload {
    kind: PayloadType,
    flags: u8,
    body: Vec<u8>,
}

/// The chain that begins with one of type `first`, changed as the input says. `spis` are of live children.
pub(super) fn edited(
    first: PayloadType,
    octets: &[u8],
    spis: &[u32],
    input: &mut Input<'_>,
) -> (PayloadType, Vec<u8>) {
    let read = Payloads::new(first, octets).map_while(Result::ok);
    let own = |it: crate::wire::message::RawPayload<'_>| Payload {
        kind: it.kind,
        flags: 0,
        body: it.body.to_vec(),
    };
    let mut payloads: Vec<_> = read.map(own).collect();
    for _ in 0..=input.octet() % 4 {
        change(&mut payloads, spis, input);
    }
    emit(&payloads)
}

fn change(payloads: &mut Vec<Payload>, spis: &[u32], input: &mut Input<'_>) {
    let what = input.octet() % 12;
    let at = usize::from(input.octet()) % payloads.len().max(1);
    if what >= 8 {
        let made = make(what, spis, input);
        return payloads.insert(at.min(payloads.len()), made);
    }
    let Some(payload) = payloads.get_mut(at) else { return };
    match what {
        0 => {
            let place = usize::from(input.short()) % payload.body.len().max(1);
            let value = input.octet();
            if let Some(octet) = payload.body.get_mut(place) {
                *octet = value;
            }
        }
        1 => payload.body.truncate(input.octet().into()),
        2 => payload.body.extend_from_slice(input.few()),
        3 => drop(payloads.remove(at)),
        4 => {
            let Payload { kind, flags, ref body } = *payload;
            let again = Payload { kind, flags, body: body.clone() };
            payloads.push(again);
        }
        5 => {
            let first = payloads.remove(at);
            payloads.push(first);
        }
        6 => payload.kind = PayloadType(input.octet()),
        _ => payload.flags = input.octet(),
    }
}

/// One that was not there.
fn make(what: u8, spis: &[u32], input: &mut Input<'_>) -> Payload {
    let spi = spis.get(usize::from(input.octet()) % spis.len().max(1)).copied().unwrap_or(0x100);
    let (kind, body) = match what {
        8 => (PayloadType(input.octet()), input.few().to_vec()),
        9 => {
            let known = NotifyType::ALL.get(usize::from(input.octet()) % NotifyType::ALL.len());
            let kind = known.map_or(NotifyType(input.short()), |(kind, _)| *kind);
            (PayloadType::NOTIFY, notify(kind, &[], input.few()))
        }
        10 => (PayloadType::NOTIFY, notify(NotifyType::REKEY_SA, &spi.to_be_bytes(), &[])),
        _ => {
            let protocol = if input.octet() & 1 == 0 { ProtocolId::ESP } else { ProtocolId::IKE };
            let mut body = vec![protocol.0, 4, 0, 1];
            body.extend(spi.to_be_bytes());
            if protocol == ProtocolId::IKE {
                body = vec![protocol.0, 0, 0, 0];
            }
            (PayloadType::DELETE, body)
        }
    };
    Payload { kind, flags: 0, body }
}

fn notify(kind: NotifyType, spi: &[u8], data: &[u8]) -> Vec<u8> {
    let protocol = if spi.is_empty() { ProtocolId::NONE } else { ProtocolId::ESP };
    let mut body = vec![protocol.0, if spi.is_empty() { 0 } else { 4 }];
    body.extend(kind.0.to_be_bytes());
    body.extend_from_slice(spi);
    body.extend_from_slice(data);
    body
}

fn emit(payloads: &[Payload]) -> (PayloadType, Vec<u8>) {
    let mut octets = Vec::new();
    for (index, payload) in payloads.iter().enumerate() {
        let next = payloads.get(index + 1).map_or(PayloadType::NONE, |next| next.kind);
        let len = u16::try_from(payload.body.len() + 4).unwrap_or(4);
        octets.extend([next.0, payload.flags]);
        octets.extend(len.to_be_bytes());
        octets.extend_from_slice(&payload.body);
    }
    (payloads.first().map_or(PayloadType::NONE, |first| first.kind), octets)
}
