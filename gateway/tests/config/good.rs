//! What good files mean: defaults, references, children, keys.

use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use gateway::config::{Child, Config, Connection, HostName, Peer, Routes};
use ikev2::{
    Childless, Dpd, DpdAction, Encap, FragmentSizes, Fragmentation, Identity, Pairing, Start,
};

use super::fixture::Fixture;

/// The good files: examples of the documentation, and one with every key.
pub(super) const GOOD: [(&str, &str); 4] = [
    ("two-sites", include_str!("good/two-sites.toml")),
    ("vpnaas", include_str!("good/vpnaas.toml")),
    ("aws", include_str!("good/aws.toml")),
    ("full", include_str!("good/full.toml")),
];

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
    assert_eq!(gateway.workers, 3);
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
