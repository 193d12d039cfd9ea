//! What peers send in IKE, and the same things as people write them: read, written again, read again.
//!
//! ```text
//!   octets ─► parse ─► x ─► emit ─► octets' ─► parse ─► x', which is x
//! ```

use std::net::IpAddr;

use ikev2::keyword::Allow;
use ikev2::registry::PayloadType;
use ikev2::wire::header::Header;
use ikev2::wire::message::{Body, Chain, Payloads, message as whole};
use ikev2::wire::ppk::PpkId;
use ikev2::wire::redirect::Redirect;
use ikev2::wire::selector::narrow;
use ikev2::wire::traffic::Traffic;
use ikev2::{GatewayId, Identity, Proposal, TrafficSelector, Transform};

use crate::input::Input;

/// A datagram of IKE, unprotected.
pub(crate) fn message(data: &[u8]) {
    let mut octets = data.to_vec();
    // As it is, and with the length that belongs to it: few inputs would come behind the header otherwise.
    for corrected in [false, true] {
        let len = u32::try_from(octets.len()).unwrap_or(u32::MAX);
        if corrected && let Some(field) = octets.get_mut(24..28) {
            field.copy_from_slice(&len.to_be_bytes());
        }
        let Ok(header) = Header::parse(&octets) else { continue };
        assert_eq!(Header::parse_emitted(&header), header);
        let _known = (header.major(), header.exchange.to_string(), header.next_payload.to_string());
        let rest = octets.get(Header::LEN..).unwrap_or_default();
        if let Some((kind, chain)) = round(header.next_payload, rest) {
            let again = whole(header, &chain);
            let header = Header::parse(&again).expect("what we emit can be read");
            assert_eq!(header.next_payload, kind);
        }
    }
}

/// A header written and read, less the length, which is that of the datagram.
trait Emitted {
    fn parse_emitted(header: &Self) -> Self;
}

impl Emitted for Header {
    fn parse_emitted(header: &Self) -> Self {
        let mut octets = header.emit().to_vec();
        octets.resize(usize::try_from(header.len).unwrap_or(0), 0);
        Self::parse(&octets).expect("what we emit can be read")
    }
}

/// A chain of payloads as it comes out of an SK payload; the first octet is the type of the first of them.
pub(crate) fn payloads(data: &[u8]) {
    let mut input = Input(data);
    let first = PayloadType(input.octet());
    let mut octets = 0;
    for payload in Payloads::new(first, input.0).flatten() {
        octets += payload.body.len() + 4;
    }
    assert!(octets <= input.0.len(), "payloads do not overlap");
    let _chain = round(first, input.0);
}

/// Reads a chain, writes it, reads it again: the same. `None` if it is none, or says what we never write.
fn round(first: PayloadType, octets: &[u8]) -> Option<(PayloadType, Chain)> {
    let body = Body::parse(first, octets).ok()?;
    for notify in &body.notifies {
        let _read = (Redirect::parse(notify.data), PpkId::parse(notify.data), notify.esp_spi());
        if let Ok(redirect) = Redirect::parse(notify.data) {
            let again = redirect.to.emit(redirect.nonce);
            assert_eq!(Redirect::parse(&again).as_ref(), Ok(&redirect));
        }
        if let Some(id) = PpkId::parse(notify.data) {
            assert_eq!(PpkId::parse(&id.emit()), Some(id));
        }
    }
    // Of a transform that nobody knows not everything is kept: it is never chosen, so never sent.
    let unknown = |it: &Transform| matches!(it, Transform::Unknown { .. });
    let strange = |it: &Proposal| it.transforms.iter().any(unknown);
    let chain = emit(&body);
    if chain.error().is_some() || body.sa.iter().flatten().any(strange) {
        return None;
    }
    let again = Body::parse(chain.first(), chain.octets()).expect("what we emit can be read");
    assert_eq!(shown(&again), shown(&body));
    Some((chain.first(), chain))
}

fn emit(body: &Body<'_>) -> Chain {
    let mut chain = Chain::new();
    if let Some(sa) = &body.sa {
        chain.sa(sa);
    }
    if let Some(ke) = &body.ke {
        chain.ke(ke.method, ke.data);
    }
    if let Some(nonce) = body.nonce {
        chain.nonce(nonce);
    }
    if let Some(id) = &body.id_i {
        chain.id_i(&id.identity);
    }
    if let Some(id) = &body.id_r {
        chain.id_r(&id.identity);
    }
    for cert in &body.certs {
        chain.cert(cert.encoding, cert.data);
    }
    for request in &body.cert_requests {
        chain.cert_request(request.encoding, request.authorities.as_chunks().0);
    }
    if let Some(auth) = &body.auth {
        chain.auth(auth.method, auth.data);
    }
    if let Some(selectors) = &body.ts_i {
        chain.ts_i(selectors);
    }
    if let Some(selectors) = &body.ts_r {
        chain.ts_r(selectors);
    }
    for notify in &body.notifies {
        chain.notify_spi(notify.protocol, notify.spi, notify.kind, notify.data);
    }
    for delete in &body.deletes {
        if delete.is_ike() {
            chain.delete_ike();
        } else {
            chain.delete_esp(&delete.spis);
        }
    }
    chain
}

/// All that we write: neither Vendor IDs, nor unknown payloads, nor reserved octets, nor half a hash of a CA; and SPIs that we
/// delete are of ESP.
fn shown(body: &Body<'_>) -> String {
    let numbered = body.sa.as_ref().map(|sa| {
        let number = |(place, it): (usize, &Proposal)| {
            let own = usize::from(it.number);
            (
                if own == 0 { place + 1 } else { own },
                it.protocol,
                it.spi.clone(),
                it.transforms.clone(),
            )
        };
        sa.iter().enumerate().map(number).collect::<Vec<_>>()
    });
    let hashes =
        body.cert_requests.iter().map(|it| (it.encoding, it.authorities.as_chunks::<20>().0));
    let hashes: Vec<_> = hashes.collect();
    let names = [&body.id_i, &body.id_r]
        .map(|it| it.as_ref().map(|id| (id.identity.kind(), id.identity.emit())));
    let deletes: Vec<_> = body.deletes.iter().map(|it| (it.is_ike(), it.spis.clone())).collect();
    format!(
        "{numbered:?} {:?} {:?} {names:?} {:?} {hashes:?} {:?} {:?} {:?} {:?} {deletes:?}",
        body.ke, body.nonce, body.certs, body.auth, body.ts_i, body.ts_r, body.notifies
    )
}

/// An identity, as octets of a payload and as text.
pub(crate) fn identity(data: &[u8]) {
    if let Ok(identity) = Identity::parse(data) {
        let again = Identity::parse(&identity.emit()).expect("what we emit can be read");
        assert_eq!(again, identity);
        printed(&identity);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(identity) = text.parse::<Identity>() {
        printed(&identity);
        let again = Identity::parse(&identity.emit()).expect("what we emit can be read");
        assert_eq!(again, identity, "what can be configured can be received");
    }
    if let Ok(gateway) = GatewayId::parse(text) {
        let emitted = gateway.emit(&[7; 32]);
        assert_eq!(Redirect::parse(&emitted).map(|it| it.to), Ok(gateway));
    }
}

/// What is shown to people has nothing in it that a terminal obeys, and is read back as what it was.
fn printed(identity: &Identity) {
    let text = identity.to_string();
    assert!(!text.chars().any(char::is_control), "{text:?}");
    let again = text.parse::<Identity>();
    assert_eq!(again.as_ref(), Ok(identity), "{text:?}");
}

/// Proposals as people write them.
pub(crate) fn keywords(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for allow in [Allow::default(), Allow::ALL] {
        let ike = Proposal::ike_from_keywords_allowing(text, allow);
        let esp = Proposal::esp_from_keywords_allowing(text, allow);
        for result in [ike, esp] {
            match result {
                Ok(proposal) => {
                    let mut chain = Chain::new();
                    chain.sa(&[proposal]);
                    assert_eq!(chain.error(), None, "what can be configured can be sent");
                }
                Err(error) => {
                    let _sentence = error.to_string();
                    if let Some(span) = error.span() {
                        assert!(text.get(span.clone()).is_some(), "{span:?} of {text:?}");
                    }
                }
            }
        }
    }
}

/// Two lists of traffic selectors, and what is left of the one within the other (RFC 7296 §2.9).
pub(crate) fn selectors(data: &[u8]) {
    let mut input = Input(data);
    let [offer, ours] = [0, 0].map(|_: u8| {
        let count = usize::from(input.octet() % 12);
        (0..count).map(|_| selector(&mut input)).collect::<Vec<_>>()
    });
    let narrowed = narrow(&offer, &ours);
    let inside = |outer: &[TrafficSelector]| {
        let within = |one| outer.iter().any(|other: &TrafficSelector| other.contains(one));
        narrowed.iter().all(within)
    };
    assert!(inside(&offer) && inside(&ours), "{offer:?} {ours:?} {narrowed:?}");
    let all = |list: &[TrafficSelector]| Traffic::new(list.to_vec(), list.to_vec());
    assert!(narrowed.is_empty() || all(&offer).contains(&all(&narrowed)));
    for one in &narrowed {
        let _text = one.to_string();
    }
    for (one, other) in offer.iter().zip(&ours) {
        assert_eq!(one.intersect(other), other.intersect(one));
    }
}

fn selector(input: &mut Input<'_>) -> TrafficSelector {
    let how = input.octet();
    let address = |input: &mut Input<'_>| -> IpAddr {
        match how & 1 {
            0 => [10, input.octet() & 1, input.octet(), input.octet()].into(),
            _ => [0xfd00, input.short(), 0, 0, 0, 0, input.short(), input.short()].into(),
        }
    };
    let (one, other) = (address(input), address(input));
    let ports = match how >> 1 & 3 {
        0 => (0, u16::MAX),
        1 => (u16::MAX, 0),
        _ => {
            let (one, other) = (input.short(), input.short());
            (one.min(other), one.max(other))
        }
    };
    let protocol = if how & 8 == 0 { 0 } else { input.octet() };
    TrafficSelector { protocol, ports, start: one.min(other), end: one.max(other) }
}
