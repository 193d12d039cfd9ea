//! What good files mean: defaults, references, children, keys.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use gateway::config::{
    Child, Code, Config, Connected, Connection, Failback, Failover, HostName, LogFormat, Monitor,
    MonitorKind, MssClamp, Peer, Routes, Surroundings, TheirProof,
};
use ikev2::{
    Childless, Dpd, DpdAction, Encap, FragmentSizes, Fragmentation, Identity, Pairing, PpkMix,
    Start,
};

use super::fixture::Fixture;

/// The good files: examples of the documentation, and one with every key.
pub(super) const GOOD: [(&str, &str); 6] = [
    ("two-sites", include_str!("good/two-sites.toml")),
    ("vpnaas", include_str!("good/vpnaas.toml")),
    ("aws", include_str!("good/aws.toml")),
    ("full", include_str!("good/full.toml")),
    ("hub", HUB),
    ("certificates", include_str!("good/certificates.toml")),
];

/// With keys that are checked but not served yet.
const HUB: &str = include_str!("good/hub.toml");

fn load(name: &str) -> Config {
    let (_, text) = GOOD.iter().find(|(other, _)| *other == name).unwrap();
    let config = Fixture::new().load(text).unwrap_or_else(|report| panic!("{report}"));
    assert_eq!(config.render_warnings(false), "", "{name}");
    config
}

fn networks(connection: &Connection) -> Vec<String> {
    let join =
        |list: &[ipnet::IpNet]| list.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let text =
        |child: &Child| format!("{} {} {}", child.name, join(&child.local), join(&child.remote));
    connection.children.iter().map(text).collect()
}

#[test]
fn five_lines_are_enough_for_two_sites() {
    let config = load("two-sites");
    let gateway = &config.gateway;
    assert_eq!((gateway.name.as_str(), gateway.tun.as_str()), ("host", "s2s0"));
    assert_eq!((gateway.ike_port, gateway.nat_port, gateway.mtu), (500, 4500, None));
    assert_eq!(gateway.control, Path::new("/run/s2s-gw/control.sock"));
    assert!(gateway.listen.is_empty() && gateway.id.is_none());
    let berlin = config.connection("berlin").unwrap();
    assert_eq!(config.connections.len(), 1);
    let Peer::Hosts(hosts) = &berlin.peer else { panic!("{:?}", berlin.peer) };
    assert_eq!(hosts[0].name, HostName::Address(IpAddr::from([198, 51, 100, 20])));
    assert_eq!(hosts[0].port, None);
    assert_eq!(networks(berlin), ["lan-1 10.1.0.0/16 10.2.0.0/16"]);
    assert_eq!((berlin.start, berlin.encap, berlin.enabled), (Start::Always, Encap::Force, true));
    assert_eq!((berlin.metric, berlin.replay_window, berlin.mtu), (100, 4096, None));
    assert_eq!((&berlin.routes, berlin.nat_keepalive), (&Routes::Auto, Duration::from_secs(20)));
    assert_eq!(berlin.policy.name, "default");
    assert_eq!(berlin.policy.dpd, Some(Dpd::default()));
    assert_eq!(berlin.policy.ike_lifetime.time, Duration::from_hours(8));
    assert_eq!(berlin.policy.esp_lifetime.time, Duration::from_hours(1));
}

#[test]
fn families_are_split_into_children() {
    let left = &load("vpnaas").connections[0];
    assert_eq!(
        networks(left),
        ["lan-1 10.7.0.0/24 10.8.0.0/24", "lan-2 2001:db8:1:33bc::/64 2001:db8:1:33bd::/64"]
    );
    assert_eq!(left.mtu, Some(1400));
    assert_eq!(left.peer_id, Some(Identity::Ipv6("2001:db8::4:703".parse().unwrap())));
    assert_eq!(left.policy.dpd.map(|dpd| dpd.action), Some(DpdAction::Trap));
    assert_eq!(left.policy.ike.len(), 1);
}

#[test]
fn the_pair_of_tunnels_differs_by_metric_and_lists_its_routes() {
    let config = load("aws");
    let metrics: Vec<_> = config.connections.iter().map(|connection| connection.metric).collect();
    assert_eq!(metrics, [100, 200]);
    for connection in &config.connections {
        assert_eq!(connection.routes, Routes::List(vec!["10.20.0.0/16".parse().unwrap()]));
        assert_eq!(connection.policy.dpd.map(|dpd| dpd.timeout), Some(Duration::from_secs(30)));
        assert_eq!(connection.policy.ike.len(), 2);
    }
}

#[test]
fn every_key_arrives_in_the_model() {
    let config = load("full");
    let gateway = &config.gateway;
    assert_eq!((gateway.name.as_str(), gateway.tun.as_str()), ("fra1", "vpn0"));
    assert_eq!((gateway.ike_port, gateway.nat_port, gateway.mtu), (1500, 14500, Some(1400)));
    assert_eq!((gateway.cookie_threshold, gateway.max_half_open), (0, 500));
    let limits = &gateway.limits;
    assert_eq!(limits.half_open_time, Duration::from_secs(45));
    assert_eq!((limits.max_init_octets, limits.max_half_open_octets), (4096, 8192));
    assert_eq!((limits.max_message_octets, limits.max_refusals), (32_768, 60));
    assert_eq!((limits.max_children, limits.max_ike_sas, limits.max_exchanges), (9, 17, 21));
    assert_eq!(gateway.workers, 3);
    assert_eq!((gateway.user.as_deref(), gateway.sandbox), (Some("vpn"), false));
    assert_eq!(gateway.listen.len(), 2);
    assert_eq!(gateway.control, Path::new("/run/fra1.sock"));
    let names: Vec<_> =
        config.connections.iter().map(|connection| connection.name.as_str()).collect();
    assert_eq!(names, ["berlin", "paris", "rome"], "the order of the file");
    let [berlin, paris, rome] = config.connections.as_slice() else { panic!() };

    assert_eq!(berlin.description.as_deref(), Some("Berlin office"));
    let Peer::Hosts(hosts) = &berlin.peer else { panic!() };
    let hosts: Vec<_> = hosts.iter().map(ToString::to_string).collect();
    assert_eq!(hosts, ["ber-a.example.com", "198.51.100.20:4500", "[2001:db8::20]:4500"]);
    assert_eq!(berlin.local_id, Some(Identity::Email("fra1@example.com".into())));
    assert_eq!(berlin.peer_id, Some(Identity::Fqdn("berlin.example.com".into())));
    assert_eq!(
        networks(berlin),
        [
            "lan-1 10.1.0.0/16 10.2.0.0/16",
            "lan-2 10.9.0.0/24 10.2.0.0/16",
            "lan-3 10.64.0.0/24 10.2.0.0/16"
        ]
    );
    assert_eq!((berlin.start, berlin.encap), (Start::OnDemand, Encap::Auto));
    assert_eq!((berlin.metric, berlin.replay_window, berlin.mtu), (50, 1024, None));
    assert_eq!(berlin.nat_keepalive, Duration::from_secs(15));
    assert_eq!((berlin.extensions.mobike, berlin.extensions.follow_redirects), (false, false));
    assert_eq!((paris.extensions.mobike, paris.extensions.follow_redirects), (true, true));
    assert_eq!(berlin.extensions.auth_lifetime, Some(Duration::from_hours(1)));
    assert_eq!(paris.extensions.auth_lifetime, None);
    let sizes = FragmentSizes { v4: 1400, v6: 1400 };
    let fragmentation = |c: &Connection| c.extensions.fragmentation;
    assert_eq!(fragmentation(berlin), Fragmentation::On(sizes));
    assert_eq!(fragmentation(paris), Fragmentation::Off);
    assert_eq!(fragmentation(rome), Fragmentation::default());
    let childless = [berlin, paris, rome].map(|connection| connection.extensions.childless);
    assert_eq!(childless, [Childless::Prefer, Childless::Never, Childless::Allow]);
    let pairing = [berlin, paris, rome].map(|connection| connection.pairing);
    assert_eq!(pairing, [Pairing::Combined, Pairing::Combined, Pairing::Auto]);
    let policy = &berlin.policy;
    assert_eq!((policy.name.as_str(), policy.ike.len(), policy.esp.len()), ("strong", 2, 1));
    assert_eq!(policy.ike_lifetime.time, Duration::from_hours(8));
    assert_eq!(policy.esp_lifetime.time, Duration::from_mins(90));
    assert_eq!(policy.esp_lifetime.octets, Some(500 << 30));
    assert_eq!(policy.esp_lifetime.packets, Some(1_000_000_000));
    let (interval, timeout) = (Duration::from_secs(5), Duration::from_secs(30));
    assert_eq!(policy.dpd, Some(Dpd { interval, timeout, action: DpdAction::Restart }));

    assert_eq!((&paris.peer, paris.start), (&Peer::Any, Start::RespondOnly));
    assert_eq!(paris.local_id, Some(Identity::Fqdn("fra1.example.com".into())), "of the gateway");
    assert_eq!(networks(paris), ["lan-1 10.1.0.0/16,10.9.0.0/24 10.3.0.0/16"]);
    assert_eq!((&paris.routes, paris.mtu, paris.policy.dpd), (&Routes::None, Some(1300), None));
    assert_eq!(paris.policy.esp_lifetime.octets, Some(500 << 30), "inherited");
    assert_eq!(paris.policy.ike.len(), 1);

    assert_eq!(config.log.level, "warn,ike=info");
    assert_eq!(config.security.warn, ["sha1"]);
    assert_eq!(config.security.forbid, ["3des", "modp1024", "curve448"], "as it is printed");
    let clamp = [berlin, paris, rome].map(|connection| connection.mss_clamp);
    assert_eq!(clamp, [MssClamp::Off, MssClamp::AtMost(1200), MssClamp::Auto]);

    assert!(!rome.enabled);
    assert_eq!(rome.policy.dpd, None);
    assert_eq!(rome.policy.name, "default");
}

#[test]
fn included_files_are_read_in_the_order_of_their_names() {
    let fixture = Fixture::new();
    let connection = |name: &str, third: u8| {
        format!(
            "[connection.{name}]\npeer = '198.51.100.{third}'\npsk = {{ file = '../good.psk' }}\n\
             local_subnets = ['lan']\nremote_subnets = ['10.{third}.0.0/16']\n"
        )
    };
    fixture.write("conf.d/b.toml", &connection("b", 2), 0o600);
    fixture.write("conf.d/a.toml", &connection("a", 3), 0o600);
    fixture.write("conf.d/.hidden.toml", "nonsense", 0o600);
    let main = "include = ['conf.d/*.toml', 'conf.d/a.toml', 'nowhere/*.toml']\n[networks]\nlan = '10.1.0.0/16'\n";
    let config = fixture.load(main).unwrap_or_else(|report| panic!("{report}"));
    let names: Vec<_> =
        config.connections.iter().map(|connection| connection.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let files: Vec<_> =
        config.files.iter().map(|file| file.file_name().unwrap().to_owned()).collect();
    assert_eq!(files, ["s2s-gw.toml", "a.toml", "b.toml"]);
}

#[test]
fn keys_that_are_not_served_yet_arrive_in_the_model_all_the_same() {
    let fixture = Fixture::new();
    let config = fixture.load_unserved(HUB).unwrap_or_else(|report| panic!("{report}"));
    let warnings: Vec<_> = config.warnings.iter().map(|one| one.code).collect();
    assert_eq!(warnings, [Code::WeakAlgorithm; 2], "modp2048 in `ike` and `esp` of legacy");
    let gateway = &config.gateway;
    assert_eq!(gateway.management_ip, Some(IpAddr::from([10, 1, 255, 1])));
    assert_eq!(gateway.public_addresses, [IpAddr::from([203, 0, 113, 10])]);
    assert_eq!(config.log.format, LogFormat::Json);
    let [berlin, paris] = config.connections.as_slice() else { panic!() };
    assert_eq!((berlin.relay, paris.relay), (true, false));
    assert_eq!((berlin.log, paris.log), (Some(tracing::Level::DEBUG), None));
    assert_eq!((berlin.policy.pfs_check, paris.policy.pfs_check), (true, true));
    assert_eq!((berlin.policy.restart_peer, paris.policy.restart_peer), (true, false));
    assert_eq!(berlin.policy.dpd.map(|dpd| dpd.action), Some(DpdAction::Restart));
    assert_eq!(paris.policy.dpd.map(|dpd| dpd.action), Some(DpdAction::Clear));
    assert_eq!(berlin.management_ip, gateway.management_ip, "inside its local subnets");
    assert_eq!(paris.management_ip, Some(IpAddr::from([10, 9, 0, 1])));
    let (after, probe) = (Duration::from_mins(10), Duration::from_secs(5));
    assert_eq!(berlin.failover, Some(Failover { failback: Failback::After(after), probe }));
    let probe = Duration::from_secs(10);
    assert_eq!(paris.failover, Some(Failover { failback: Failback::Manual, probe }));
    let icmp = Monitor {
        kind: MonitorKind::Icmp,
        target: [10, 2, 0, 1].into(),
        interval: Duration::from_secs(2),
        fail_after: 5,
        max_latency: Duration::from_millis(500),
    };
    let tcp = Monitor {
        kind: MonitorKind::Tcp(443),
        target: [10, 2, 0, 2].into(),
        interval: Duration::from_secs(5),
        fail_after: 3,
        max_latency: Duration::from_secs(1),
    };
    assert_eq!(berlin.monitors, [icmp, tcp]);
}

#[test]
fn of_a_file_with_unserved_keys_nothing_else_is_wrong() {
    let report = Fixture::new().load(HUB).expect_err("some keys are not served yet");
    for one in report.diagnostics {
        let expected = matches!(one.code, Code::NotSupported | Code::WeakAlgorithm);
        assert!(expected, "{}", one.render(false));
    }
}

#[test]
fn equal_configurations_are_equal_and_others_are_not() {
    let fixture = Fixture::new();
    let load = |text: &str| fixture.load_unserved(text).unwrap_or_else(|report| panic!("{report}"));
    let config = load(HUB);
    assert_eq!(config, load(HUB));
    for (old, new) in [
        ("failback = \"10m\"", "failback = \"11m\""),
        ("fail_after = 5", "fail_after = 6"),
        ("relay = true", "relay = false"),
        ("berlin.psk", "paris.psk"),
        ("10.3.0.0/16\"]\nstart", "10.4.0.0/16\"]\nstart"),
        ("warn = [\"modp2048\"]", "warn = []"),
    ] {
        let changed = HUB.replacen(old, new, 1);
        assert_ne!(changed, HUB, "{old}");
        if new != "warn = []" {
            assert_ne!(config.connections, load(&changed).connections, "{new}");
        }
    }
    let inline = |key: &str| {
        let psk = format!("psk = {{ inline = \"{key}\" }}");
        load(&HUB.replacen("psk = { file = \"/etc/s2s-gw/paris.psk\" }", &psk, 1))
    };
    let one = inline("hunter2 hunter2 hunter2 hunter2 hunter2 a");
    assert_eq!(one, inline("hunter2 hunter2 hunter2 hunter2 hunter2 a"));
    assert_ne!(one.connections, inline("hunter2 hunter2 hunter2 hunter2 hunter2 b").connections);
}

#[test]
fn each_side_proves_itself_as_its_keys_say() {
    let config = load("certificates");
    let words = |name: &str| {
        let auth = &config.connection(name).unwrap().auth;
        (auth.our_word(), auth.their_word())
    };
    for (name, ours, theirs) in [
        ("berlin", "certificate", "certificate"),
        ("paris", "certificate", "certificate"),
        ("rome", "certificate", "certificate"),
        ("oslo", "public-key", "public-key"),
        ("bern", "certificate", "psk"),
        ("kyiv", "psk", "psk"),
    ] {
        assert_eq!(words(name), (ours, theirs), "{name}");
    }
    let identity = |name: &str| config.connection(name).unwrap().local_id.clone();
    // What our certificate is for, but for whom it says nothing.
    assert_eq!(identity("berlin"), Some(Identity::Fqdn("fra1.example.com".into())));
    assert_eq!(identity("kyiv"), None);
    let TheirProof::Certificate(trust) = &config.connection("paris").unwrap().auth.theirs else {
        panic!("{:?}", config.connection("paris"))
    };
    let trust = trust.trust();
    assert_eq!((trust.anchors.len(), trust.pinned.len(), trust.crls.len()), (2, 0, 1));
    assert_eq!(trust.crl_policy, ikev2::pki::CrlPolicy::IfPresent);
    let dated = &config.connection("berlin").unwrap().auth.dated;
    assert_eq!(dated.len(), 3, "ours, the authority, the list: {dated:?}");
    let names: Vec<_> = config.material.iter().filter_map(|file| file.file_name()).collect();
    for name in ["ca.pem", "crl.pem", "fra1.key", "good.psk", "berlin.pub", "other.pem"] {
        assert!(names.iter().any(|file| *file == name), "{name} in {names:?}");
    }
}

#[test]
fn a_new_certificate_under_the_old_name_is_another_configuration() {
    let fixture = Fixture::new();
    let text = include_str!("good/certificates.toml");
    let load = || fixture.load(text).unwrap_or_else(|report| panic!("{report}"));
    let before = load();
    assert_eq!(before, load());
    let copy = |from: &str, to: &str| {
        let (octets, mode) = &super::material::all()[from];
        fixture.write(to, octets, *mode);
    };
    let differences = |name: &str| {
        let after = load();
        let auth = |config: &Config| config.connection(name).unwrap().auth.clone();
        auth(&before).differences(&auth(&after))
    };
    assert_eq!(differences("berlin"), [""; 0]);
    copy("old-crl.pem", "crl.pem");
    assert_eq!(differences("berlin"), ["crl"]);
    copy("crl.pem", "crl.pem");
    copy("berlin.key", "fra1.key");
    let report = fixture.load(text).expect_err("the key does not fit");
    assert!(report.diagnostics.iter().all(|one| one.code == Code::KeyMismatch), "{report}");
    copy("berlin.pem", "fra1.pem");
    copy("berlin.key", "credentials/fra1.key");
    assert_eq!(differences("berlin"), ["cert", "key"]);
    assert_eq!(differences("kyiv"), [""; 0]);
    copy("fra1.pem", "fra1.pem");
    copy("fra1.key", "fra1.key");
    copy("fra1.key", "credentials/fra1.key");
    copy("other-ca.pem", "ca.pem");
    assert_eq!(differences("berlin"), ["ca"]);
    assert_eq!(differences("rome"), [""; 0]);
    copy("berlin.pem", "other.pem");
    let report = fixture.load(text).expect_err("it is pinned for another identity");
    assert!(report.diagnostics.iter().any(|one| one.code == Code::NotInCertificate), "{report}");
}

#[test]
fn every_built_in_policy_can_be_used() {
    let fixture = Fixture::new();
    for name in ["default", "aws", "azure", "cnsa", "cnsa2", "compat"] {
        let text = include_str!("good/two-sites.toml").to_owned() + &format!("policy = '{name}'\n");
        let config = fixture.load(&text).unwrap_or_else(|report| panic!("{report}"));
        let policy = &config.connections[0].policy;
        assert_eq!(policy.name, name);
        let kinds = |proposal: &ikev2::Proposal| {
            proposal.transforms.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        match name {
            // One of each kind: Azure refuses everything else than exactly what it was set to.
            "azure" => {
                assert_eq!(kinds(&policy.ike[0]), ["aes256", "prfsha384", "sha384", "ecp384"]);
                assert_eq!((policy.ike.len(), policy.esp.len()), (1, 1));
            }
            // RFC 9206 §4: no smaller keys, no other hash.
            "cnsa" => {
                let words: Vec<_> = policy.ike.iter().chain(&policy.esp).flat_map(kinds).collect();
                let weak = |word: &&String| word.contains("128") || word.contains("256");
                assert_eq!(words.iter().filter(weak).collect::<Vec<_>>(), ["aes256gcm16"; 2]);
            }
            "cnsa2" => {
                let ike = ["aes256gcm16", "prfsha384", "ecp384", "ke1_mlkem1024"];
                assert_eq!(kinds(&policy.ike[0]), ike);
                assert!(kinds(&policy.esp[0]).contains(&"ke1_mlkem1024".into()));
                assert_eq!((policy.ike.len(), policy.esp.len()), (1, 1));
            }
            // What resists quantum computers first, and for peers that do not know of that the same without.
            "default" => {
                let further = |proposal: &ikev2::Proposal| proposal.to_string().contains("ke1_");
                assert!(further(&policy.ike[0]) && !policy.ike[1..].iter().any(further));
                assert!(policy.ike[0].to_string().contains("-curve25519-"));
                assert!(!policy.esp.iter().any(further));
            }
            _ => {}
        }
    }
}

#[test]
fn a_post_quantum_key_has_a_name_and_is_required_unless_said_otherwise() {
    let fixture = Fixture::new();
    let ppk = |ppk: &str| {
        let text = include_str!("good/two-sites.toml").to_owned() + &format!("ppk = {{ {ppk} }}\n");
        let config = fixture.load(&text).unwrap_or_else(|report| panic!("{report}"));
        config.connections[0].ppk.clone().unwrap()
    };
    let one = ppk("file = 'good.psk', id = 'site.ppk'");
    assert_eq!((one.id.as_str(), one.required), ("site.ppk", true));
    assert!(!ppk("file = 'good.psk', id = 'site.ppk', required = false").required);
    assert_ne!(ppk("file = 'other.psk', id = 'site.ppk'").key, one.key);
    assert!(!format!("{one:?}").contains("hunter"), "a key is never shown");
    assert_eq!((one.mix, one.others.len()), (PpkMix::Auto, 0));
    for (word, mix) in [("before-auth", PpkMix::Intermediate), ("in-auth", PpkMix::Auth)] {
        let one = ppk(&format!("file = 'good.psk', id = 'site.ppk', mix = '{word}'"));
        assert_eq!(one.mix, mix);
    }
    let two = "file = 'good.psk', id = 'new', others = [{ file = 'other.psk', id = 'old' }]";
    let two = ppk(two);
    assert_eq!((two.id.as_str(), two.others[0].0.as_str()), ("new", "old"));
    assert_ne!(two.key, two.others[0].1);
}

#[test]
fn a_broken_included_file_disables_only_itself_on_start() {
    let fixture = Fixture::new();
    let connection = |name: &str, third: u8, local: &str| {
        format!(
            "[connection.{name}]\npeer = '198.51.100.{third}'\npsk = {{ file = '../good.psk' }}\n\
             local_subnets = ['{local}']\nremote_subnets = ['10.{third}.0.0/16']\n"
        )
    };
    let main = "include = ['conf.d/*.toml']\n[networks]\nlan = '10.1.0.0/16'\n";
    fixture.write("conf.d/a.toml", &connection("a", 2, "lan"), 0o600);
    fixture.write("conf.d/b.toml", &(connection("b", 3, "lan") + "colour = 'red'\n"), 0o600);
    fixture.write("conf.d/c.toml", "this is [ no TOML", 0o600);
    fixture.write("conf.d/d.toml", "[networks]\ndmz = '10.9.0.0/33'\n", 0o600);
    // It is good, but for what it needs of the file before it.
    fixture.write("conf.d/e.toml", &connection("e", 5, "dmz"), 0o600);
    std::os::unix::fs::symlink("nowhere", fixture.path("conf.d/f.toml")).unwrap();
    let config = fixture.load_to_run(main).unwrap_or_else(|report| panic!("{report}"));
    let names: Vec<_> = config.connections.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, ["a"]);
    let mut files: Vec<_> =
        config.left_out_files.iter().filter_map(|file| file.file_stem()).collect();
    files.sort_unstable();
    assert_eq!(files, ["b", "c", "d", "e", "f"]);
    assert_eq!(config.warnings.iter().filter(|one| one.code == Code::FileLeftOut).count(), 5);
    let said = config.render_left_out(false);
    assert!(said.contains("unknown key `colour`"), "{said}");
    assert!(said.ends_with("LEFT OUT: the gateway runs without what is in there\n\n"), "{said}");
    let strict = fixture.load(main).expect_err("check does not overlook it");
    assert!(strict.diagnostics.iter().any(|one| one.message.contains("colour")), "{strict}");

    // The main file is never left out, neither for its own errors nor for what it needs.
    let report = fixture.load_to_run(&format!("lam = 3\n{main}")).expect_err("broken");
    assert!(report.render(false).contains("`lam`"), "{report}");
    let needs = format!("{main}{}", connection("z", 7, "dmz").replace("../", ""));
    let report = fixture.load_to_run(&needs).expect_err("it needs what is left out");
    assert!(report.render(false).contains("unknown network `dmz`"), "{report}");
    assert!(report.render(false).contains("10.9.0.0/33"), "the cause is shown, too: {report}");
}

#[test]
fn a_network_of_this_host_cannot_be_behind_the_peer() {
    let fixture = Fixture::new();
    let text = include_str!("good/two-sites.toml");
    let load = |text: &str, device: &str, network: &str| {
        fixture.write("s2s-gw.toml", text, 0o600);
        let connected = Connected { device: device.into(), network: network.parse().unwrap() };
        let surroundings = Surroundings { connected: vec![connected], ..fixture.surroundings() };
        Config::load_in(&fixture.path("s2s-gw.toml"), &surroundings)
    };
    let report = load(text, "eth0", "10.2.0.0/16").expect_err("E0310");
    let found: Vec<_> = report.diagnostics.iter().map(|one| one.code).collect();
    assert_eq!(found, [Code::LocalOverlap]);
    assert!(report.render(false).contains("on `eth0` of this host"), "{report}");
    for (text, device, network) in [
        (text.to_owned(), "eth0", "10.1.0.0/16"),
        (text.to_owned(), "eth0", "10.2.1.0/24"),
        (text.to_owned(), "s2s0", "10.2.0.0/16"),
        (format!("{text}routes = 'none'\n"), "eth0", "10.2.0.0/16"),
        (format!("{text}enabled = false\n"), "eth0", "10.2.0.0/16"),
    ] {
        assert!(load(&text, device, network).is_ok(), "{device} {network}");
    }
}

#[test]
fn what_is_behind_one_relaying_connection_is_local_to_the_others() {
    let fixture = Fixture::new();
    let connection = |name: &str, third: u8, extra: &str| {
        format!(
            "[connection.{name}]\npeer = \"198.51.100.{third}\"\npsk = {{ file = \"good.psk\" }}\n\
             local_subnets = [\"10.1.0.0/16\", \"2001:db8:1::/48\"]\n\
             remote_subnets = [\"10.{third}.0.0/16\", \"2001:db8:{third}::/48\"]\n{extra}\n"
        )
    };
    let text = [
        connection("berlin", 2, "relay = true"),
        connection("paris", 3, "relay = true\nselectors = \"split\""),
        connection("rome", 4, ""),
        connection("oslo", 5, "relay = true\nenabled = false"),
    ];
    let config = fixture.load(&text.concat()).unwrap_or_else(|report| panic!("{report}"));
    let sides = |name: &str| -> Vec<String> {
        let side = |networks: &[ipnet::IpNet]| {
            networks.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        let children = &config.connection(name).expect("a connection").children;
        let each = children.iter();
        each.map(|one| format!("{} {} - {}", one.name, side(&one.local), side(&one.remote)))
            .collect()
    };
    assert_eq!(
        sides("berlin"),
        [
            "lan-1 10.1.0.0/16,10.3.0.0/16 - 10.2.0.0/16",
            "lan-2 2001:db8:1::/48,2001:db8:3::/48 - 2001:db8:2::/48",
        ]
    );
    assert_eq!(
        sides("paris"),
        [
            "lan-1 10.1.0.0/16 - 10.3.0.0/16",
            "lan-2 2001:db8:1::/48 - 2001:db8:3::/48",
            "lan-3 10.2.0.0/16 - 10.3.0.0/16",
            "lan-4 2001:db8:2::/48 - 2001:db8:3::/48",
        ]
    );
    assert_eq!(sides("rome").len(), 2);
    assert!(sides("rome").iter().all(|side| !side.contains(',')));
    // It may be switched on by command, and knows the others then; they do not know it.
    assert!(sides("oslo")[0].contains("10.1.0.0/16,10.2.0.0/16,10.3.0.0/16"));
    assert!(config.warnings.iter().all(|one| one.code != Code::LocalRemoteNested));
}
