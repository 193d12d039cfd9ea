//! What `s2s-gw pki` says: which file is what, where it belongs, and the lines of the configuration of each gateway.

use std::fmt::Write as _;

use ikev2::Identity;

use super::make::{CA_PEM, Made, Site};

pub(super) fn text(made: &Made) -> String {
    let mut text = String::new();
    let width = made.files.iter().map(|(path, _)| path.chars().count()).max().unwrap_or(0);
    for (path, what) in &made.files {
        let _ = writeln!(text, "{path:<width$}  {what}");
    }
    if made.renewed {
        text += "\nCopy each new certificate over the old one on its gateway, then let it be read:\n\n  s2s-gw reload\n";
        return text;
    }
    for site in &made.sites {
        text += &of_site(site, made);
    }
    text
}

/// The files and the lines of one gateway. Where there is but one new site its peers are those that are there already.
fn of_site(site: &Site, made: &Made) -> String {
    let stem = site.stem();
    let mut text = format!(
        "\nOn {}: put {CA_PEM}, {stem}.pem and {stem}.key (mode 0600) into /etc/s2s-gw, and this into /etc/s2s-gw/s2s-gw.toml\n\n",
        site.name
    );
    let _ = write!(
        text,
        "[gateway]\nid   = {:?}\ncert = \"{stem}.pem\"\nkey  = \"{stem}.key\"\nca   = \"{CA_PEM}\"\n",
        site.name
    );
    let others: Vec<&Site> = made.sites.iter().filter(|other| other.name != site.name).collect();
    let unknown = Site { name: "PEER".to_owned(), identity: Identity::Fqdn("PEER".to_owned()) };
    let others = if others.is_empty() { vec![&unknown] } else { others };
    // Each site has a network of its own in the lines of all, so that two of them fit together as they are.
    let number = |site: &Site| made.sites.iter().position(|one| one.name == site.name);
    let here = number(site).map_or(1, |at| at + 1);
    for other in others {
        let there = number(other).map_or(here + 1, |at| at + 1);
        let is_mail = matches!(other.identity, Identity::Email(_));
        let peer = if is_mail { "ADDRESS" } else { other.name.as_str() };
        let _ = write!(
            text,
            "\n[connection.{}]\npeer           = {peer:?}   # its address, or a name that leads there\npeer_id        = {:?}\n\
             local_subnets  = [\"10.{here}.0.0/16\"]   # the networks behind this gateway\n\
             remote_subnets = [\"10.{there}.0.0/16\"]   # those behind {}\n",
            connection_name(&other.name),
            other.name,
            other.name,
        );
    }
    text
}

/// What a connection to it may be called: its first label, of the letters that there may be.
fn connection_name(site: &str) -> String {
    let whole = site.parse::<std::net::IpAddr>().is_ok();
    let label = if whole { site } else { site.split(['.', '@']).next().unwrap_or(site) };
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let name: String = label.chars().map(plain).take(32).collect();
    let name = name.trim_matches('-');
    if name.is_empty() { "peer".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::super::make::make;
    use super::super::make::tests::{now, site, wanted};
    use super::*;
    use crate::config::{Config, Surroundings};

    #[test]
    fn what_it_says_is_a_configuration_as_it_stands() {
        let dir = tempfile::tempdir().expect("a directory");
        let sites = [site("fra1.example.com"), site("192.0.2.7")];
        let made = make(dir.path(), &sites, &wanted(), now()).expect("made");
        let said = text(&made);
        assert!(said.contains("keep it away from the gateways"), "{said}");
        let parts: Vec<&str> = said.split("\nOn ").skip(1).collect();
        assert_eq!(parts.len(), 2, "{said}");
        let unix = super::super::make::unix(now());
        let surroundings = Surroundings { now: Some(unix), ..Surroundings::default() };
        let mut networks = Vec::new();
        for (part, peer) in parts.iter().zip(["192-0-2-7", "fra1"]) {
            let (_, toml) = part.split_once("\n\n").expect("lines of a configuration");
            let file = dir.path().join("s2s-gw.toml");
            std::fs::write(&file, toml).expect("writes");
            let config =
                Config::load_in(&file, &surroundings).unwrap_or_else(|r| panic!("{r}\n{toml}"));
            assert_eq!(config.render_warnings(false), "");
            assert_eq!(config.connections[0].name, peer);
            assert_eq!(config.connections[0].auth.our_word(), "certificate");
            assert_eq!(config.connections[0].auth.their_word(), "certificate");
            let child = &config.connections[0].children[0];
            networks.push((child.local.clone(), child.remote.clone()));
        }
        let [(here, there), (of_other, behind_other)] = networks.as_slice() else { panic!() };
        assert_eq!(
            (here, there),
            (behind_other, of_other),
            "what is local to one is remote to the other"
        );
    }

    #[test]
    fn connections_have_names_that_they_may_have() {
        for (site, name) in [
            ("berlin.example.com", "berlin"),
            ("Ops@example.com", "ops"),
            ("2001:db8::1", "2001-db8--1"),
            ("...", "peer"),
        ] {
            assert_eq!(connection_name(site), name);
        }
    }
}
