//! The state that people see, from what happened.

use ikev2::{ChildId, Identity, Proposal, Traffic, TrafficSelector};

use super::child::*;
use super::*;
use crate::clock;
use crate::config::{
    Auth, Child as ConfiguredChild, Extensions, Host, HostName, MssClamp, Peer, Policy,
    PresharedKey, Routes,
};

fn configured(start: Start) -> config::Connection {
    let address = "192.0.2.2".parse().expect("an address");
    let networks = |text: &str| vec![text.parse().expect("a network")];
    config::Connection {
        name: "berlin".into(),
        description: None,
        enabled: true,
        peer: Peer::Hosts(vec![Host { name: HostName::Address(address), port: None }]),
        local_id: None,
        peer_id: None,
        auth: Auth::psk(PresharedKey::new(b"sixteen octets..".to_vec().into())),
        ppk: None,
        policy: Policy {
            name: "default".into(),
            ike: Vec::<Proposal>::new(),
            esp: Vec::new(),
            ike_lifetime: ikev2::Lifetime::of(Duration::from_hours(8)),
            esp_lifetime: ikev2::Lifetime::of(Duration::from_hours(1)),
            dpd: None,
            forbidden: Vec::new(),
            restart_peer: false,
            pfs_check: true,
            allow: ikev2::keyword::Allow::default(),
        },
        children: vec![ConfiguredChild {
            name: "lan-1".into(),
            local: networks("10.1.0.0/16"),
            remote: networks("10.2.0.0/16"),
        }],
        pairing: ikev2::Pairing::Auto,
        start,
        encap: ikev2::Encap::Force,
        replay_window: 4096,
        mtu: None,
        mss_clamp: MssClamp::Auto,
        routes: Routes::Auto,
        metric: 100,
        nat_keepalive: Duration::from_secs(20),
        extensions: Extensions::default(),
        relay: false,
        management_ip: None,
        log: None,
        failover: None,
        monitors: Vec::new(),
    }
}

pub(in crate::control) fn connection(start: Start, now: Instant) -> Connection {
    Connection::new(configured(start), std::iter::once(SlotId(0)), now, clock::wall())
}

fn path() -> Path {
    Path {
        local: "192.0.2.1:500".parse().expect("an address"),
        remote: "192.0.2.2:500".parse().expect("an address"),
    }
}

pub(in crate::control) fn info(now: Instant) -> Box<IkeSaInfo> {
    use ikev2::registry::{EncrId, KeMethod, PrfId};
    Box::new(IkeSaInfo {
        initiator: true,
        local_id: Identity::Ipv4("192.0.2.1".parse().expect("an address")),
        remote_id: Identity::Ipv4("192.0.2.2".parse().expect("an address")),
        local_auth: "PSK",
        remote_auth: "PSK",
        remote_certificate: None,
        suite: ikev2::IkeSuite {
            encr: EncrId::AES_GCM_16,
            key_bits: 256,
            prf: PrfId::HMAC_SHA2_384,
            integ: None,
            ke: KeMethod::ECP_384,
            additional: ikev2::AdditionalKe::NONE,
        },
        path: path(),
        nat_local: false,
        nat_remote: false,
        fragmentation: true,
        mobike: true,
        redirect: false,
        message_id_sync: true,
        ppk: None,
        ppk_early: false,
        spis: (1, 2),
        rekey_at: now,
    })
}

fn net(second: u8) -> TrafficSelector {
    TrafficSelector::subnet([10, second, 0, 0].into(), 16)
}

/// One of our networks with one of the peer's.
pub(in crate::control) fn traffic(local: u8, remote: u8) -> Traffic {
    Traffic::new(vec![net(local)], vec![net(remote)])
}

/// All that the child is configured for.
fn whole() -> Traffic {
    traffic(1, 2)
}

pub(in crate::control) fn mismatch() -> Reason {
    let why = CloseReason::SelectorMismatch { ours: Box::default(), theirs: Box::default() };
    reason::explain(&why, "berlin")
}

fn auth_failure() -> CloseReason {
    let sent = Identity::Fqdn("fra1.example.com".into());
    CloseReason::AuthRefusedByPeer { sent, expected: None }
}

#[test]
fn a_connection_that_nobody_wants_is_disabled_and_needs_no_reason() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    connection.on_down(&CloseReason::NoAnswer, None, now);
    connection.wanted = false;
    assert_eq!(connection.state(now), State::Disabled);
    assert_eq!(connection.reason(now), None);
    assert!(!connection.desired_up());
}

#[test]
fn one_that_only_answers_waits() {
    let now = clock::now();
    for start in [Start::RespondOnly, Start::OnDemand, Start::Manual] {
        let connection = connection(start, now);
        assert_eq!(connection.state(now), State::Waiting, "{start:?}");
        assert!(!connection.desired_up(), "{start:?}");
    }
    assert_eq!(connection(Start::Always, now).state(now), State::Connecting);
}

#[test]
fn it_is_up_when_every_child_is() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    connection.on_connecting(path(), 1);
    assert_eq!(connection.state(now), State::Connecting);
    connection.on_up(info(now), now);
    assert_eq!(connection.state(now), State::Connecting, "no packet passes yet");
    connection.children[0].on_up(ChildId(1), whole(), false, now);
    assert_eq!(connection.state(now), State::Up);
    connection.children[0].on_up(ChildId(2), whole(), true, now);
    connection.children[0].on_down(ChildId(1), now);
    assert_eq!(connection.state(now), State::Up, "a rekey changes nothing");
    assert_eq!(connection.children[0].rekeys, 1);
    let reason = mismatch();
    connection.children[0].on_failed(Failed { traffic: whole(), reason, retry_at: Some(now) });
    assert_eq!(
        connection.state(now),
        State::Degraded,
        "one that fails leaves the old SA, for a while"
    );
    assert_eq!(connection.children[0].state(now), State::Degraded);
    assert!(connection.reason(now).is_some());
    connection.children[0].on_up(ChildId(3), whole(), true, now);
    assert_eq!(connection.state(now), State::Up, "the next one works");
    connection.children[0].on_down(ChildId(3), now);
    let reason = mismatch();
    connection.children[0].on_failed(Failed { traffic: whole(), reason, retry_at: Some(now) });
    connection.children[0].on_down(ChildId(2), now);
    assert_eq!(connection.state(now), State::Down, "the IKE SA alone carries nothing");
    assert_eq!(connection.retry_at(), Some(now));
}

/// A peer that keeps one pair of networks in each child: one that comes up hides nothing of another that does not.
#[test]
fn each_pair_of_a_child_has_its_own_failure() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    let retry_at = |seconds| Some(now + Duration::from_secs(seconds));
    connection.on_up(info(now), now);
    let fail = |connection: &mut Connection, traffic: Traffic, retry_at| {
        connection.on_child_failed(0, Failed { traffic, reason: mismatch(), retry_at });
    };
    let [pair, other, third] = [traffic(1, 2), traffic(3, 2), traffic(4, 2)];
    let networks = |nets: [u8; 3]| nets.map(net).to_vec();
    fail(&mut connection, Traffic::new(networks([1, 3, 4]), vec![net(2)]), retry_at(9));
    fail(&mut connection, other.clone(), retry_at(4));
    assert_eq!(connection.children[0].failures.len(), 1, "in place of that of the whole");
    connection.children[0].on_up(ChildId(1), pair.clone(), false, now);
    fail(&mut connection, third.clone(), retry_at(8));
    assert_eq!(connection.state(now), State::Degraded);
    assert_eq!(connection.reason(now).map(|reason| reason.code).as_deref(), Some("E1005"));
    assert_eq!(connection.retry_at(), retry_at(4));
    let missing = |connection: &Connection| -> Vec<Traffic> {
        connection.children[0].missing().map(|failed| failed.traffic.clone()).collect()
    };
    assert_eq!(missing(&connection), [other.clone(), third.clone()]);
    connection.children[0].on_up(ChildId(2), other, false, now);
    assert_eq!(missing(&connection), std::slice::from_ref(&third));
    // The peer takes a part of it.
    let narrowed =
        Traffic::new(vec![TrafficSelector::subnet([10, 4, 7, 0].into(), 24)], vec![net(2)]);
    connection.children[0].on_up(ChildId(3), narrowed, false, now);
    assert_eq!((missing(&connection), connection.state(now)), (Vec::new(), State::Up));
    assert_eq!(connection.children[0].rekeys, 0);
}

#[test]
fn packets_ask_for_what_nobody_is_asking_for() {
    let now = clock::now();
    let mut connection = connection(Start::OnDemand, now);
    assert!(connection.may_acquire(SlotId(0), now));
    connection.on_connecting(path(), 1);
    assert!(!connection.may_acquire(SlotId(0), now), "an attempt runs");
    connection.on_up(info(now), now);
    assert!(
        connection.may_acquire(SlotId(0), now),
        "the peer began the IKE SA and asks for no child"
    );
    assert!(!connection.may_acquire(SlotId(0), now + ASK_PAUSE / 2));
    assert!(!connection.may_acquire(SlotId(9), now + ASK_PAUSE), "not its slot");
    assert!(connection.may_acquire(SlotId(0), now + ASK_PAUSE));
    let failed = |retry_at| Failed { traffic: whole(), reason: mismatch(), retry_at };
    connection.on_child_failed(0, failed(Some(now)));
    assert!(!connection.may_acquire(SlotId(0), now + 3 * ASK_PAUSE), "it is asked for anyway");
    connection.on_child_failed(0, failed(None));
    assert!(connection.may_acquire(SlotId(0), now + 3 * ASK_PAUSE));
    connection.children[0].on_up(ChildId(1), whole(), false, now);
    assert!(!connection.may_acquire(SlotId(0), now + 9 * ASK_PAUSE), "it is there");
    connection.on_down(&CloseReason::NoAnswer, Some(now), now);
    assert!(!connection.may_acquire(SlotId(0), now));
    connection.on_down(&CloseReason::DpdTimeout, None, now);
    assert!(connection.may_acquire(SlotId(0), now));
}

#[test]
fn a_redirect_is_told_while_it_is_why_we_are_there() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    connection.paths = vec![path()];
    let elsewhere = Path { remote: "192.0.2.9:500".parse().expect("an address"), ..path() };
    let at = |path: Path| Box::new(IkeSaInfo { path, ..*info(now) });
    connection.on_up(at(path()), now);
    let to = GatewayId::Name("gw-b.test".to_owned());
    connection.redirect = Some(Redirect { to: to.clone(), unresolved: true });
    assert_eq!(connection.unresolved(), Some("gw-b.test"));
    assert_eq!(connection.redirected_to(), None, "we are not there yet");
    connection.redirect = Some(Redirect { to: to.clone(), unresolved: false });
    assert_eq!(connection.unresolved(), None);
    connection.on_up(at(elsewhere), now);
    assert_eq!(connection.redirected_to(), Some(&to));
    connection.on_rekeyed(at(elsewhere));
    assert_eq!(connection.redirected_to(), Some(&to), "a rekey changes nothing");
    connection.on_down(&CloseReason::NoAnswer, Some(now), now);
    assert_eq!(connection.redirected_to(), None);
    connection.on_up(at(path()), now);
    assert!(connection.redirect.is_none(), "back where the configuration says");
}

#[test]
fn what_we_saw_ourselves_outweighs_what_the_peer_says() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    let wrong_key = CloseReason::WrongKey { claimed: Identity::Fqdn("b".into()) };
    let code = |connection: &Connection| connection.reason(now).map(|reason| reason.code);
    connection.on_down(&auth_failure(), Some(now), now);
    assert_eq!(code(&connection).as_deref(), Some("E1007"));
    connection.on_refused(&wrong_key, now);
    connection.on_down(&auth_failure(), Some(now), now);
    assert_eq!(code(&connection).as_deref(), Some("E1008"));
    assert_eq!(connection.state(now), State::Error, "it is one trouble, three times");
    connection.on_down(&auth_failure(), Some(now), now + RECENT);
    assert_eq!(code(&connection).as_deref(), Some("E1007"), "that was long ago");
}

#[test]
fn the_reason_stays_while_the_next_attempt_runs_and_goes_when_it_succeeds() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    connection.on_down(&CloseReason::NoAnswer, Some(now), now);
    assert_eq!(connection.state(now), State::Down);
    connection.on_connecting(path(), 2);
    assert_eq!(connection.state(now), State::Connecting);
    let code = connection.reason(now).map(|reason| reason.code);
    assert_eq!(code.as_deref(), Some("E1001"));
    connection.on_up(info(now), now);
    connection.children[0].on_up(ChildId(1), whole(), false, now);
    assert_eq!(connection.reason(now), None);
}

#[test]
fn a_peer_that_never_answers_is_down_and_does_not_flicker() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    for attempt in 1..=2 {
        connection.on_connecting(path(), attempt);
        assert_eq!(connection.state(now), State::Connecting, "attempt {attempt}");
        connection.on_down(&CloseReason::NoAnswer, Some(now), now);
        assert_eq!(connection.state(now), State::Down);
    }
    for attempt in 3..6 {
        connection.on_connecting(path(), attempt);
        assert_eq!(connection.state(now), State::Down, "attempt {attempt}");
        connection.on_down(&CloseReason::NoAnswer, Some(now), now);
    }
    connection.on_up(info(now), now);
    assert_eq!(connection.state(now), State::Connecting, "until its children are there");
}

#[test]
fn the_third_refusal_of_one_kind_is_an_error_that_lasts() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    for times in 1..=3 {
        connection.on_down(&auth_failure(), Some(now), now);
        let expected = if times < 3 { State::Down } else { State::Error };
        assert_eq!(connection.state(now), expected, "{times}");
    }
    connection.on_connecting(path(), 4);
    assert_eq!(connection.state(now), State::Error, "while it is tried again, too");
    connection.on_down(&CloseReason::NoAnswer, Some(now), now);
    assert_eq!(connection.state(now), State::Down, "something else is wrong now");
}

#[test]
fn an_offer_that_we_refused_tells_more_than_a_refusal_of_ours() {
    let now = clock::now();
    let offer = Proposal {
        number: 1,
        protocol: ikev2::registry::ProtocolId::ESP,
        spi: Vec::new(),
        transforms: vec![ikev2::Transform::Encr(ikev2::registry::EncrId::AES_GCM_16, Some(128))],
    };
    let refusal = CloseReason::ChildProposalMismatch { ours: Vec::new(), theirs: Vec::new() };
    let ours = CloseReason::ChildProposalMismatch { ours: Vec::new(), theirs: vec![offer] };
    for offer_first in [true, false] {
        let mut connection = connection(Start::Always, now);
        connection.on_up(info(now), now);
        if offer_first {
            connection.on_refused(&ours, now);
        }
        let reason = reason::explain(&refusal, "berlin");
        connection.on_child_failed(0, Failed { traffic: whole(), reason, retry_at: Some(now) });
        if !offer_first {
            connection.on_refused(&ours, now);
        }
        assert_eq!(connection.state(now), State::Down);
        let reason = connection.reason(now).expect("a reason");
        assert!(reason.message.ends_with("the peer offered aes128gcm16"), "{reason:?}");
        let reason = mismatch();
        connection.on_child_failed(0, Failed { traffic: whole(), reason, retry_at: None });
        let code = connection.reason(now).map(|reason| reason.code);
        assert_eq!(code.as_deref(), Some("E1005"), "another trouble is told as it is");
    }
}

#[test]
fn one_that_waits_says_for_what() {
    let now = clock::now();
    for (start, expected) in [
        (Start::RespondOnly, Some("the peer to call")),
        (Start::OnDemand, Some("a packet that needs it")),
        (Start::Manual, Some("`s2s-gw up berlin`")),
        (Start::Always, None),
    ] {
        assert_eq!(connection(start, now).awaits(now).as_deref(), expected, "{start:?}");
    }
}

#[test]
fn closing_on_purpose_is_no_failure() {
    let now = clock::now();
    let mut connection = connection(Start::OnDemand, now);
    connection.on_up(info(now), now);
    connection.on_down(&CloseReason::Local, None, now);
    assert_eq!(connection.state(now), State::Waiting);
    assert_eq!(connection.reason(now), None);
}

#[test]
fn packets_without_any_answer_degrade_it() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    connection.on_up(info(now), now);
    connection.children[0].on_up(ChildId(1), whole(), false, now);
    for _ in 0..ONE_WAY_PACKETS {
        connection.children[0].counters.sent(1, 100);
    }
    let later = now + ONE_WAY_AFTER;
    assert_eq!(connection.state(now), State::Up);
    assert_eq!(connection.state(later), State::Degraded);
    let alert = connection.reason(later).map(|reason| reason.alert);
    assert_eq!(alert.as_deref(), Some("no-return-traffic"));
    connection.children[0].counters.alive(later);
    assert_eq!(connection.state(later), State::Up);
}

#[test]
fn answers_that_stop_coming_degrade_it_and_the_first_one_mends_it() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    connection.on_up(info(now), now);
    connection.children[0].on_up(ChildId(1), whole(), false, now);
    let at = |seconds| now + Duration::from_secs(seconds);
    let child = &mut connection.children[0];
    child.counters.sent(500, 100);
    child.counters.alive(at(20));
    child.measure(at(20));
    child.counters.sent(usize::try_from(ONE_WAY_PACKETS).expect("few") - 1, 100);
    child.measure(at(21));
    assert_eq!(connection.state(at(300)), State::Up, "a few packets are no stream");
    connection.children[0].counters.sent(1, 100);
    assert_eq!(connection.state(at(79)), State::Up);
    assert_eq!(connection.state(at(80)), State::Degraded);
    let message = connection.reason(at(80)).map(|reason| reason.message).unwrap_or_default();
    assert!(message.starts_with("10 packets sent, none received for 1m"), "{message}");
    connection.children[0].counters.alive(at(81));
    assert_eq!(connection.state(at(81)), State::Up);
}

#[test]
fn a_refused_route_degrades_it() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    connection.on_up(info(now), now);
    connection.children[0].on_up(ChildId(1), whole(), false, now);
    connection.lacks_route = true;
    assert_eq!(connection.state(now), State::Degraded);
    let code = connection.reason(now).map(|reason| reason.code);
    assert_eq!(code.as_deref(), Some("W0503"));
}

#[test]
fn a_child_has_the_time_of_its_own_state() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    let child = &mut connection.children[0];
    let later = now + Duration::from_secs(7);
    child.on_up(ChildId(1), whole(), false, later);
    child.refresh(later, clock::wall());
    child.refresh(later + Duration::from_secs(1), clock::wall());
    assert_eq!((child.shown, child.since), (State::Up, later));
}

mod pfs {
    use super::*;
    use crate::control::pfs::{Fresh, Pfs, is_checked};

    const FIRST: Fresh = Fresh { own_keys: false, first: true, replaces: false, spi: 1_000_007 };

    fn policy(esp: &str) -> Policy {
        let esp = vec![Proposal::esp_from_keywords(esp).expect("a proposal")];
        Policy { esp, ..configured(Start::Always).policy }
    }

    fn no_proposal(theirs: &[&str]) -> CloseReason {
        let parse = |text: &str| Proposal::esp_from_keywords(text).expect("a proposal");
        let theirs = theirs.iter().map(|text| parse(text)).collect();
        CloseReason::ChildProposalMismatch { ours: vec![parse("aes256gcm16-ecp384")], theirs }
    }

    #[test]
    fn only_the_child_of_ike_auth_is_checked_and_only_where_a_group_is_wanted() {
        let now = clock::now();
        let wants = policy("aes256gcm16-ecp384");
        let half_a_minute = now + Duration::from_secs(30);
        assert!(is_checked(&wants));
        let Pfs::Due(at) = Pfs::Unknown.after(FIRST, now) else { panic!("not checked") };
        assert!(at >= half_a_minute && at < half_a_minute + Duration::from_secs(5));
        for policy in [policy("aes256gcm16"), Policy { pfs_check: false, ..wants }] {
            assert!(!is_checked(&policy), "{policy:?}");
        }
        for sa in [Fresh { first: false, ..FIRST }, Fresh { replaces: true, ..FIRST }] {
            assert_eq!(Pfs::Unknown.after(sa, now), Pfs::Unknown, "{sa:?}");
        }
        let own = Fresh { own_keys: true, first: false, ..FIRST };
        assert_eq!(Pfs::Asked.after(own, now), Pfs::Verified);
        assert_eq!(Pfs::Differs.after(own, now), Pfs::Verified, "somebody mended it");
        let without = Fresh { replaces: true, ..FIRST };
        assert_eq!(Pfs::Asked.after(without, now), Pfs::Unknown, "agreed without one");
        assert_eq!(Pfs::Verified.after(without, now), Pfs::Verified, "another pair");
    }

    #[test]
    fn a_refused_check_is_told_while_packets_pass_and_after() {
        let now = clock::now();
        let policy = policy("aes256gcm16-ecp384");
        let mut connection = connection(Start::Always, now);
        connection.on_up(info(now), now);
        connection.children[0].on_up(ChildId(1), whole(), false, now);
        connection.children[0].pfs = Pfs::Asked;
        let reason = connection.children[0].explained(&no_proposal(&[]), &policy, "berlin");
        assert_eq!(reason.code, "E1011");
        assert!(reason.message.contains("with PFS by ecp384"), "{reason:?}");
        connection.on_child_failed(0, Failed { traffic: whole(), reason, retry_at: Some(now) });
        assert_eq!(connection.state(now), State::Degraded);
        assert_eq!(connection.children[0].pfs.word(), Some("mismatch"));
        // The peer tries, too: now both sides are known.
        connection.on_refused(&no_proposal(&["aes256gcm16-modp3072"]), now);
        let reason = connection.reason(now).expect("a reason");
        assert_eq!(reason.code, "E1011");
        let difference = "closest their #1 differs only in key exchange group: modp3072 vs ecp384";
        assert!(reason.detail.iter().any(|line| line == difference), "{reason:?}");
        let mut gone = connection.children.remove(0);
        gone.live.clear();
        let reason = gone.explained(&no_proposal(&[]), &policy, "berlin");
        assert_eq!(reason.code, "E1011", "when its time is over that is still why");
    }

    #[test]
    fn another_trouble_is_told_as_it_is() {
        let now = clock::now();
        let policy = policy("aes256gcm16-ecp384");
        let mut connection = connection(Start::Always, now);
        let child = &mut connection.children[0];
        let code = |child: &mut Child, why: &CloseReason| child.explained(why, &policy, "b").code;
        assert_eq!(code(child, &no_proposal(&[])), "E1004", "it never was up");
        child.on_up(ChildId(1), whole(), false, now);
        child.pfs = Pfs::Verified;
        assert_eq!(code(child, &no_proposal(&[])), "E1004", "the group is none of it");
        child.pfs = Pfs::Asked;
        assert_eq!(code(child, &CloseReason::PeerDeleted), "E1012");
    }
}

#[test]
fn a_refused_peer_leaves_its_reason_with_a_connection_that_waits() {
    let now = clock::now();
    let mut connection = connection(Start::RespondOnly, now);
    connection.on_refused(&CloseReason::WrongKey { claimed: Identity::Fqdn("b".into()) }, now);
    assert_eq!(connection.state(now), State::Down);
    let code = connection.reason(now).map(|reason| reason.code);
    assert_eq!(code.as_deref(), Some("E1008"));
}

#[test]
fn rates_are_per_second() {
    let now = clock::now();
    let mut connection = connection(Start::Always, now);
    let child = &mut connection.children[0];
    child.measure(now);
    child.counters.sent(2, 3000);
    child.counters.delivered(1, 500);
    child.measure(now + Duration::from_secs(2));
    assert_eq!((child.rate.rx, child.rate.tx), (250, 1500));
}
