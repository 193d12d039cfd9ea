//! Post-quantum pre-shared keys (RFC 8784): every pair of attitudes, and what each side hears when they do not go together.

use ikev2::{CloseReason, Event, PeerConfig, Ppk, PpkId, PpkMix, PpkProblem, Psk};
use testkit::link::Link;
use testkit::world::{Host, LEFT, RIGHT, World, for_each_seed, pair_of, psk_pair};

use crate::{MINUTE, assert_healthy, up};

#[expect(clippy::unnecessary_wraps, reason = "what a configuration holds")]
fn ppk(id: PpkId, key: u8, required: bool) -> Option<Ppk> {
    Some(Ppk { mix: PpkMix::Auth, ..Ppk::new(id, Psk::new(vec![key; 32]), required) })
}

fn with(left: Option<Ppk>, right: Option<Ppk>) -> [PeerConfig; 2] {
    let mut pair = psk_pair();
    pair[LEFT].ppk = left;
    pair[RIGHT].ppk = right;
    pair
}

fn used(host: &Host) -> Option<PpkId> {
    host.up.values().next().unwrap().ppk.clone()
}

fn reason(host: &Host) -> Option<CloseReason> {
    host.events.iter().find_map(|(_, event)| match event {
        Event::Refused { reason, .. } | Event::PeerDown { reason, .. } => Some(reason.clone()),
        _ => None,
    })
}

/// Runs two that cannot agree; why each of them gave up.
fn apart(pair: [PeerConfig; 2]) -> (Option<CloseReason>, Option<CloseReason>) {
    let mut world = World::new(1).peers(pair);
    world.run_for(MINUTE);
    assert!(world.all_down(), "{}", world.report());
    let child_up = |event: &Event| matches!(event, Event::ChildUp { .. });
    assert_eq!(world.left().count(child_up) + world.right().count(child_up), 0);
    (reason(world.left()), reason(world.right()))
}

#[test]
fn it_is_used_where_both_have_it() {
    for (id, required) in [
        (PpkId::fixed("berlin"), [true, true]),
        (PpkId::fixed("berlin"), [false, true]),
        (PpkId::fixed("berlin"), [true, false]),
        (PpkId::opaque(vec![0, 255]), [false, false]),
    ] {
        let pair = with(ppk(id.clone(), 1, required[0]), ppk(id.clone(), 1, required[1]));
        let mut world = up(World::new(1).peers(pair));
        assert_healthy(&world, 1);
        assert_eq!((used(world.left()), used(world.right())), (Some(id.clone()), Some(id.clone())));
        // The key is in SK_d by descent (RFC 8784 §3), and the children of the next SA are the same on both sides.
        let peer = world.host(LEFT).peers[0];
        world.command(LEFT, |endpoint, now| endpoint.rekey_ike(now, peer)).unwrap();
        world.run_until_quiet(MINUTE);
        let child = world.right().children().next().unwrap().id;
        world.command(RIGHT, |endpoint, now| endpoint.rekey_child(now, child)).unwrap();
        world.run_until_quiet(MINUTE);
        assert_healthy(&world, 1);
        assert_eq!((used(world.left()), used(world.right())), (Some(id.clone()), Some(id)));
    }
}

/// RFC 8784 §4: nothing stops while keys are rolled out one by one.
#[test]
fn where_neither_insists_the_tunnel_comes_up_without() {
    let fixed = |name: &str| PpkId::fixed(name);
    for (left, right) in [
        (ppk(fixed("a"), 1, false), None),
        (None, ppk(fixed("a"), 1, false)),
        (ppk(fixed("a"), 1, false), ppk(fixed("b"), 1, false)),
        (ppk(fixed("a"), 1, false), ppk(PpkId::opaque("a"), 1, false)),
    ] {
        let world = up(World::new(1).peers(with(left, right)));
        assert_healthy(&world, 1);
        assert_eq!((used(world.left()), used(world.right())), (None, None));
    }
}

#[test]
fn whoever_insists_hears_what_is_wrong() {
    let fixed = |name: &str| PpkId::fixed(name);
    let problem = |problem| Some(CloseReason::Ppk(problem));
    let refused = |reason: &Option<CloseReason>| {
        matches!(reason, Some(CloseReason::AuthRefusedByPeer { .. }))
    };
    // The initiator insists, and the responder has none: IKE_SA_INIT says it, the responder hears nothing more.
    let (left, right) = apart(with(ppk(fixed("a"), 1, true), None));
    assert_eq!((left, right), (problem(PpkProblem::Absent), None));
    // The responder insists, and the initiator has none.
    let (left, right) = apart(with(None, ppk(fixed("a"), 1, true)));
    assert!(refused(&left), "{left:?}");
    assert_eq!(right, problem(PpkProblem::Absent));
    // Other names.
    for (ours, theirs) in [(true, true), (true, false), (false, true)] {
        let (left, right) = apart(with(ppk(fixed("a"), 1, ours), ppk(fixed("b"), 1, theirs)));
        assert!(refused(&left), "{left:?}");
        assert_eq!(right, problem(PpkProblem::Unknown(Some(fixed("a")))));
    }
    // Other keys under one name: with NO_PPK_AUTH the responder knows that the other key is right.
    let (left, right) = apart(with(ppk(fixed("a"), 1, false), ppk(fixed("a"), 2, false)));
    assert!(refused(&left), "{left:?}");
    assert_eq!(right, problem(PpkProblem::Differs(fixed("a"))));
    let (_, right) = apart(with(ppk(fixed("a"), 1, true), ppk(fixed("a"), 2, true)));
    assert_eq!(right, problem(PpkProblem::DiffersOrOther(fixed("a"))));
    // And that it is not.
    let mut pair = with(ppk(fixed("a"), 1, false), ppk(fixed("a"), 1, false));
    pair[RIGHT].set_psk(Psk::new(b"another key".to_vec()));
    let (_, right) = apart(pair);
    assert!(matches!(right, Some(CloseReason::WrongKey { .. })), "{right:?}");
}

#[test]
fn it_goes_with_further_key_exchanges_and_losses() {
    for_each_seed(50, |seed| {
        let mut pair = pair_of("aes256-sha256-x25519-ke1_mlkem512", "aes256gcm16-noesn");
        for peer in &mut pair {
            peer.ppk = ppk(PpkId::fixed("a"), 7, seed % 2 == 0);
        }
        let link = Link::default().delay_ms(5..60).loss(200).reorder(100);
        let mut world = World::new(seed).link(link).peers(pair);
        world.run_until(World::both_up, 5 * MINUTE);
        world.set_link(Link::default());
        world.run_until_quiet(10 * MINUTE);
        assert_healthy(&world, 1);
        assert_eq!(used(world.left()), Some(PpkId::fixed("a")));
    });
}

/// An answer without USE_PPK may be somebody's who wants to keep us from connecting (RFC 8784 §6): a better one still counts.
#[test]
fn a_forged_answer_without_the_announcement_does_not_end_the_attempt() {
    let pair = with(ppk(PpkId::fixed("a"), 1, true), ppk(PpkId::fixed("a"), 1, true));
    let mut world = World::new(1).peers(pair);
    let mut first = true;
    let right = world.host(RIGHT).address;
    world.attack(move |datagram, _| {
        let is_answer = datagram.source.ip() == right && datagram.payload.get(18) == Some(&34);
        if !(is_answer && std::mem::take(&mut first)) {
            return vec![datagram];
        }
        // The same answer with an unknown notification in the place of USE_PPK comes before it.
        let mut forged = datagram.clone();
        let use_ppk = [0x00, 0x00, 0x40, 0x33];
        let at = forged.payload.windows(4).position(|four| four == use_ppk).unwrap();
        forged.payload[at + 2] = 0x60;
        vec![forged, datagram]
    });
    world.run_until(World::both_up, MINUTE);
    assert_eq!(world.left().count(|event| matches!(event, Event::Connecting { .. })), 1);
    assert_eq!(used(world.left()), Some(PpkId::fixed("a")));
}
