//! One row for every line of the matrix, and how children are matched.

use std::time::Duration;

use ikev2::{Dpd, Pairing, Proposal};

use super::*;
use crate::clock;
use crate::config::{
    Auth, Child, Failback, Failover, Host, HostName, Monitor, MonitorKind, MssClamp, PresharedKey,
    Routes,
};
use crate::status::reload::Loss;

fn connection() -> config::Connection {
    super::super::connection::tests::connection(Start::Always, clock::now()).config
}

pub(in crate::control) fn gateway() -> Gateway {
    Gateway {
        name: "fra1".into(),
        id: None,
        listen: Vec::new(),
        ike_port: 500,
        nat_port: 4500,
        tun: "s2s0".into(),
        mtu: None,
        control: "/run/s2s-gw/control.sock".into(),
        state: Some("/var/lib/s2s-gw/state.json".into()),
        user: None,
        sandbox: true,
        workers: 1,
        cookie_threshold: 64,
        max_half_open: 1000,
        leak_protection: config::LeakProtection::Running,
        allow_key_export: false,
        limits: config::Limits::default(),
        management_ip: None,
        public_addresses: Vec::new(),
        http: None,
    }
}

/// What differs between a configuration of `old` connections and one of `new`, `[gateway]` edited.
fn between(
    old: &[config::Connection],
    new: &[config::Connection],
    edit: impl FnOnce(&mut Gateway),
) -> Result<Plan, Vec<String>> {
    let (log, security, before) = (Log::default(), Security::default(), gateway());
    let mut after = gateway();
    edit(&mut after);
    let side = |gateway, connections: &'_ [config::Connection]| {
        // The borrow of each side is its own.
        (gateway, connections.to_vec())
    };
    let ((old_gateway, old), (new_gateway, new)) = (side(before, old), side(after, new));
    let of = |gateway, connections| Side {
        gateway,
        log: &log,
        log_is_pinned: false,
        security: &security,
        connections,
    };
    diff(&of(&old_gateway, old.iter().collect()), &of(&new_gateway, new.iter().collect()), false)
}

/// The actions that follow from an edit of one connection.
fn actions(edit: impl FnOnce(&mut config::Connection)) -> Vec<Action> {
    changed_by(edit).steps.iter().map(|step| step.action).collect()
}

fn changed_by(edit: impl FnOnce(&mut config::Connection)) -> Changed {
    let (old, mut new) = (connection(), connection());
    edit(&mut new);
    let mut plan = between(&[old], &[new], |_| {}).expect("no restart");
    match plan.differences.remove("berlin") {
        Some(Difference::Changed(changed)) => changed,
        other => panic!("{other:?}"),
    }
}

fn net(text: &str) -> IpNet {
    text.parse().expect("a network")
}

fn child(name: &str, local: &[&str], remote: &[&str]) -> Child {
    let list = |all: &[&str]| all.iter().map(|one| net(one)).collect();
    Child { name: name.into(), local: list(local), remote: list(remote) }
}

#[test]
fn every_line_of_the_matrix() {
    type Edit = fn(&mut config::Connection);
    let rows: [(&str, Edit, Action); 29] = [
        ("description", |c| c.description = Some("x".into()), Action::InPlace),
        ("monitors", |c| c.monitors.push(monitor()), Action::InPlace),
        ("failover", |c| c.failover = Some(failover()), Action::InPlace),
        ("dpd", |c| c.policy.dpd = Some(Dpd::default()), Action::InPlace),
        ("restart_peer", |c| c.policy.restart_peer = true, Action::InPlace),
        ("ike_lifetime", |c| c.policy.ike_lifetime.time *= 2, Action::InPlace),
        ("esp_lifetime", |c| c.policy.esp_lifetime.time *= 2, Action::InPlace),
        ("pfs_check", |c| c.policy.pfs_check = false, Action::InPlace),
        ("allow_legacy", |c| c.policy.allow.legacy = true, Action::InPlace),
        ("allow_unencrypted", |c| c.policy.allow.unencrypted = true, Action::InPlace),
        ("log", |c| c.log = Some(tracing::Level::DEBUG), Action::InPlace),
        ("mtu", |c| c.mtu = Some(1300), Action::InPlace),
        ("mss_clamp", |c| c.mss_clamp = MssClamp::Off, Action::InPlace),
        ("start", |c| c.start = Start::OnDemand, Action::InPlace),
        ("metric", |c| c.metric = 7, Action::Routes),
        ("routes", |c| c.routes = Routes::None, Action::Routes),
        (
            "pair added",
            |c| c.children.push(child("b", &["10.1.0.0/16"], &["10.3.0.0/16"])),
            Action::AddChild,
        ),
        ("list longer", |c| c.children[0].remote.push(net("10.3.0.0/16")), Action::ReplaceChild),
        ("esp", |c| c.policy.esp = esp(), Action::RekeyChildren),
        ("lifebytes", |c| c.policy.esp_lifetime.octets = Some(1), Action::RekeyChildren),
        ("replay_window", |c| c.replay_window = 64, Action::RekeyChildren),
        ("ike", |c| c.policy.ike = ike(), Action::NextIkeRekey),
        ("peer", |c| c.peer = Peer::Hosts(vec![host()]), Action::Supersede),
        ("local_id", |c| c.local_id = Some(ikev2::Identity::Fqdn("x".into())), Action::Supersede),
        ("peer_id", |c| c.peer_id = Some(ikev2::Identity::Fqdn("x".into())), Action::Supersede),
        (
            "psk",
            |c| c.auth = Auth::psk(PresharedKey::new(b"another key.....".to_vec().into())),
            Action::Supersede,
        ),
        (
            "ppk",
            |c| {
                let key = PresharedKey::new(b"another key.....".to_vec().into());
                let (mix, others) = (ikev2::PpkMix::Auto, Vec::new());
                c.ppk = Some(config::Ppk { id: "a".into(), key, required: true, mix, others });
            },
            Action::Supersede,
        ),
        ("pairing", |c| c.pairing = Pairing::Combined, Action::Supersede),
        ("mobike", |c| c.extensions.mobike = false, Action::Supersede),
    ];
    for (row, edit, action) in rows {
        assert_eq!(actions(edit), [action], "{row}");
        assert_eq!(action.loss(), Loss::None, "{row}: the change itself costs nothing");
    }
}

#[test]
fn what_is_logged_changes_in_place_unless_the_command_line_has_said_it() {
    let (gateway, security) = (gateway(), Security::default());
    let level = Log { level: "debug".into(), ..Log::default() };
    let both = Log { format: config::LogFormat::Json, ..level.clone() };
    let steps = |new: &Log, pinned: bool| {
        let of = |log| Side {
            gateway: &gateway,
            log,
            log_is_pinned: pinned,
            security: &security,
            connections: Vec::new(),
        };
        let plan = diff(&of(&Log::default()), &of(new), false).expect("no restart");
        let told = plan.gateway.into_iter().map(|step| (step.action, step.keys.join(", ")));
        told.collect::<Vec<_>>()
    };
    let (word, form) = ("[log] level".to_owned(), "[log] format".to_owned());
    assert_eq!(steps(&both, false), [(Action::InPlace, format!("{word}, {form}"))]);
    assert_eq!(steps(&level, true), [(Action::Overridden, word.clone())]);
    assert_eq!(steps(&both, true), [(Action::Overridden, word), (Action::InPlace, form)]);
    assert_eq!(steps(&Log::default(), false), []);
}

fn monitor() -> Monitor {
    Monitor {
        kind: MonitorKind::Icmp,
        target: [10, 2, 0, 1].into(),
        interval: Duration::from_secs(5),
        fail_after: 3,
        max_latency: Duration::from_secs(1),
    }
}

fn failover() -> Failover {
    Failover { failback: Failback::Manual, probe: Duration::from_secs(10) }
}

fn host() -> Host {
    Host { name: HostName::Address([192, 0, 2, 99].into()), port: None }
}

fn esp() -> Vec<Proposal> {
    vec![Proposal::esp_from_keywords("aes256gcm16").expect("keywords")]
}

fn ike() -> Vec<Proposal> {
    vec![Proposal::ike_from_keywords("aes256gcm16-prfsha256-curve25519").expect("keywords")]
}

type GatewayEdit = fn(&mut Gateway);

#[test]
fn what_needs_a_restart_is_named_and_nothing_else_is_planned() {
    let listen = |gateway: &mut Gateway| {
        gateway.listen.push([192, 0, 2, 1].into());
        gateway.workers = 2;
        gateway.name = "fra2".into();
    };
    let needs = between(&[connection()], &[], listen).expect_err("a restart");
    assert_eq!(needs, ["[gateway] listen", "[gateway] workers"]);
    let rows: [(&str, GatewayEdit); 9] = [
        ("listen", |g| g.listen.push([192, 0, 2, 1].into())),
        ("ike_port", |g| g.ike_port = 501),
        ("nat_port", |g| g.nat_port = 4501),
        ("tun", |g| g.tun = "x".into()),
        ("mtu", |g| g.mtu = Some(1400)),
        ("control", |g| g.control = "/x".into()),
        ("workers", |g| g.workers = 2),
        ("cookie_threshold", |g| g.cookie_threshold = 0),
        ("max_half_open", |g| g.max_half_open = 1),
    ];
    for (key, edit) in rows {
        let needs = between(&[], &[], edit).expect_err(key);
        assert_eq!(needs, [format!("[gateway] {key}")]);
    }
    let limits = |g: &mut Gateway| (g.limits.max_children, g.limits.max_refusals) = (9, 51);
    let needs = between(&[], &[], limits).expect_err("limits");
    assert_eq!(needs, ["[limits] max_refusals", "[limits] max_children"]);
    // Raw ESP has no socket unless a connection wanted one from the beginning.
    let auto = config::Connection { encap: Encap::Auto, ..connection() };
    let needs =
        between(&[connection()], std::slice::from_ref(&auto), |_| {}).expect_err("a restart");
    assert_eq!(needs, ["[connection.berlin] encap"]);
    let other = config::Connection { name: "paris".into(), ..auto.clone() };
    assert!(between(std::slice::from_ref(&auto), &[auto.clone(), other], |_| {}).is_ok());
}

#[test]
fn connections_come_go_and_are_switched() {
    let off = config::Connection { enabled: false, ..connection() };
    let told = |old: &[config::Connection], new: &[config::Connection]| {
        let plan = between(old, new, |_| {}).expect("no restart");
        plan.connections(new).into_iter().map(|one| one.change).collect::<Vec<_>>()
    };
    assert_eq!(told(&[], &[connection()]), [Change::Added]);
    assert_eq!(told(&[connection()], &[]), [Change::Removed]);
    assert_eq!(told(&[connection()], std::slice::from_ref(&off)), [Change::Disabled]);
    assert_eq!(told(&[off], &[connection()]), [Change::Enabled]);
    assert_eq!(told(&[connection()], &[connection()]), []);
    let other = config::Connection { name: "amsterdam".into(), ..connection() };
    let plan = between(std::slice::from_ref(&other), &[connection()], |_| {}).expect("no restart");
    let names: Vec<_> = plan.connections(&[connection()]).into_iter().map(|c| c.name).collect();
    assert_eq!(names, ["berlin", "amsterdam"], "those that are gone come last");
    assert_eq!(Action::TakeDown.loss(), Loss::Intended);
}

#[test]
fn children_are_matched_by_networks_and_not_by_name() {
    let old = [
        child("lan-1", &["10.1.0.0/16"], &["10.2.0.0/16"]),
        child("lan-2", &["10.1.0.0/16"], &["10.3.0.0/16"]),
        child("lan-3", &["10.1.0.0/16"], &["10.4.0.0/16", "10.5.0.0/16"]),
    ];
    let of = |new: &[Child]| {
        let mut steps = Steps::default();
        let (kept, gone) = of_children(&old, new, &mut steps);
        let steps = steps.0.into_iter().map(|step| (step.action, step.keys.join(", ")));
        (kept, gone, steps.collect::<Vec<_>>())
    };
    // The first is gone, and the others are called otherwise.
    let lan = |name: &str, of: usize| Child { name: name.into(), ..old[of].clone() };
    let turned = child("lan-2", &["10.1.0.0/16"], &["10.5.0.0/16", "10.4.0.0/16"]);
    let (kept, gone, steps) = of(&[lan("lan-1", 1), turned]);
    assert_eq!((kept, gone), (vec![Some(1), Some(2)], vec![0]));
    assert_eq!(steps, [(Action::RemoveChild, "-10.1.0.0/16 ⇄ 10.2.0.0/16".to_owned())]);
    // A list that grew and shrank is another child, which takes the place of the old one.
    let other = child("lan-3", &["10.1.0.0/16"], &["10.4.0.0/16", "10.6.0.0/16"]);
    let (kept, gone, steps) = of(&[lan("lan-1", 0), lan("lan-2", 1), other]);
    assert_eq!((kept, gone), (vec![Some(0), Some(1), None], vec![2]));
    let words = "remote_subnets +10.6.0.0/16 -10.5.0.0/16".to_owned();
    assert_eq!(steps, [(Action::ReplaceChild, words)]);
    // Two that are alike are two.
    let (kept, gone, _) = of(&[lan("lan-1", 0), lan("lan-2", 0)]);
    assert_eq!((kept, gone), (vec![Some(0), None], vec![1, 2]));
    // The order alone is said and changes nothing.
    let (kept, gone, steps) = of(&[lan("lan-1", 1), lan("lan-2", 0), lan("lan-3", 2)]);
    assert_eq!((kept, gone), (vec![Some(1), Some(0), Some(2)], Vec::new()));
    assert_eq!(steps, [(Action::InPlace, "order of subnets".to_owned())]);
}

#[test]
fn whoever_does_not_call_waits_for_the_peer() {
    let mut old = connection();
    old.start = Start::RespondOnly;
    let auth = Auth::psk(PresharedKey::new(b"another key.....".to_vec().into()));
    let new = config::Connection { auth, ..old.clone() };
    let plan = between(&[old], std::slice::from_ref(&new), |_| {}).expect("no restart");
    let steps = &plan.connections(&[new])[0].steps;
    assert_eq!(steps[0].action, Action::NextAuthentication);
    let told = format!("{plan:?}");
    assert!(steps[0].keys == ["psk"] && !told.contains("another"), "a key is named, never shown");
}
