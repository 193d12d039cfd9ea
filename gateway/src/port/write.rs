//! Writes the configuration: what was mended, as TOML with comments, and the keys for files of their own.
//!
//! ```text
//!   # NOTE ipsec.conf:12: ..          what concerns all
//!   [policy.berlin]                   one for each different set of algorithms, times and dead peer detection
//!   # NOTE ipsec.conf:14: ..          what concerns the connection below
//!   [connection.berlin]
//!   # [connection.paris]              what cannot be had as it is: complete, but a comment
//! ```

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ikev2::Identity;
use zeroize::Zeroizing;

use super::foreign::{Death, Foreign, Secret, Side};
use super::mend::{Mended, mend};
use super::note::{Note, one_line};
use super::proposal::{For, translate};
use super::{Kind, Options, Parsed};
use crate::config::shown_duration;

/// What an import makes.
#[derive(Debug)]
pub struct Written {
    /// The configuration.
    pub toml: String,
    /// Names of key files, and the text for each.
    pub keys: Vec<(String, Zeroizing<String>)>,
    /// Everything that was noted.
    pub notes: Vec<Note>,
    /// Connections that are in force.
    pub connections: usize,
    /// Connections that are comments only.
    pub left_out: usize,
}

pub(super) fn write(kind: Kind, parsed: Parsed, options: &Options) -> Written {
    let mended = mend(parsed.connections);
    let ours =
        mended.iter().filter_map(|one| one.foreign.sides.first()).flat_map(|side| &side.addresses);
    let mut listened: Vec<String> =
        ours.filter(|text| text.parse::<IpAddr>().is_ok()).cloned().collect();
    listened.sort_unstable();
    listened.dedup();
    let mut writer = Writer { options, policies: Vec::new(), keys: Vec::new() };
    let mut notes = parsed.notes;
    let (mut tables, mut connections, mut left_out) = (String::new(), 0, 0);
    let mut of_connections = Vec::new();
    for mut one in mended {
        let table = writer.connection(&mut one);
        let mut own = std::mem::take(&mut one.foreign.notes);
        if let Some(why) = &one.foreign.impossible {
            let what = format!("`{}` is a comment only: {why}", one.foreign.name);
            own.push(Note::new(one.foreign.place.as_ref(), what).grave());
        }
        tables.push('\n');
        for note in &own {
            comment(&mut tables, &format!("NOTE {note}"));
        }
        if one.foreign.impossible.is_some() {
            left_out += 1;
            for line in table.lines() {
                let _ = writeln!(tables, "# {line}");
            }
        } else {
            connections += 1;
            tables.push_str(&table);
        }
        of_connections.append(&mut own);
    }
    let mut toml = String::new();
    comment(
        &mut toml,
        &format!(
            "From {} by s2s-gw import. See docs/configuration.md for every key.",
            kind.words()
        ),
    );
    for note in &notes {
        comment(&mut toml, &format!("NOTE {note}"));
    }
    if !listened.is_empty() {
        comment(
            &mut toml,
            &format!(
                "The source binds to these addresses; to do so, write: [gateway] listen = {}",
                list(&listened)
            ),
        );
    }
    for (name, body) in &writer.policies {
        let _ = write!(toml, "\n[policy.{name}]\n{body}");
    }
    toml.push_str(&tables);
    notes.append(&mut of_connections);
    Written { toml, keys: writer.keys, notes, connections, left_out }
}

impl Kind {
    const fn words(self) -> &'static str {
        match self {
            Self::Swanctl => "swanctl.conf",
            Self::Ipsec => "ipsec.conf",
            Self::Vpnaas => "OpenStack VPNaaS",
            Self::Cloudstack => "CloudStack",
            Self::Aws => "AWS",
        }
    }
}

/// One comment, in one line.
fn comment(into: &mut String, text: &str) {
    let _ = writeln!(into, "# {}", one_line(text));
}

/// A text in quotes.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn list<T: ToString>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<String> = items.into_iter().map(|item| quoted(&item.to_string())).collect();
    format!("[{}]", items.join(", "))
}

/// How both prove who they are, where it is not by a key that both have. What the source leaves to a search is guessed: a
/// private key is called like its certificate, and the authority is the only one.
fn proofs([ours, theirs]: &[Side; 2]) -> Vec<(&'static str, String)> {
    let mut lines = Vec::new();
    if let Some(proof) = &ours.proof {
        let certificate = proof.certificates.first();
        let file = certificate.or(proof.keys.first()).map_or("gateway.pem", String::as_str);
        let name = file.rsplit('/').next().unwrap_or(file);
        if proof.keys.is_empty() || certificate.is_some() {
            lines.push(("cert", quoted(&proof.store.certificate(file))));
        }
        lines.push(("key", quoted(&proof.store.private_key(name))));
    }
    if let Some(proof) = &theirs.proof {
        lines.push(match (&*proof.authorities, &*proof.certificates, &*proof.keys) {
            ([], [], []) => ("ca", quoted(&proof.store.authority("ca.pem"))),
            ([], [], [key, ..]) => ("peer_key", quoted(key)),
            ([], certificates, _) => ("peer_cert", one_or_list(certificates)),
            (authorities, ..) => ("ca", one_or_list(authorities)),
        });
    }
    lines
}

fn one_or_list(items: &[String]) -> String {
    match items {
        [one] => quoted(one),
        several => list(several),
    }
}

/// An identity as a configuration reads it.
fn identity(id: &Identity) -> String {
    quoted(&id.to_string())
}

struct Writer<'w> {
    options: &'w Options,
    /// Names and bodies.
    policies: Vec<(String, String)>,
    keys: Vec<(String, Zeroizing<String>)>,
}

impl Writer<'_> {
    /// The table of a connection; its key and its policy are put where they belong.
    fn connection(&mut self, one: &mut Mended) -> String {
        let policy = self.policy(&one.name, &mut one.foreign);
        let mut lines = vec![format!("[connection.{}]", one.name)];
        let mut line = |key: &str, value: String| lines.push(format!("{key} = {value}"));
        if !one.foreign.description.is_empty() {
            line("description", quoted(&one.foreign.description));
        }
        if one.foreign.disabled {
            line("enabled", "false".into());
        }
        match one.peers.as_slice() {
            [] => line("peer", quoted("any")),
            [peer] => line("peer", quoted(peer)),
            several => line("peer", list(several)),
        }
        if let Some(id) = &one.peer_id {
            line("peer_id", identity(id));
        }
        if let Some(id) = &one.local_id {
            line("local_id", identity(id));
        }
        if let Some(key) = one.key.take() {
            let text = key_text(&key);
            if self.options.inline {
                line("psk", format!("{{ inline = {} }}", quoted(&text)));
            } else {
                let file = format!("{}.psk", one.name);
                line("psk", format!("{{ file = {} }}", quoted(&self.path(&file))));
                if one.foreign.impossible.is_none() {
                    self.keys.push((file, text));
                }
            }
        }
        for (key, value) in proofs(&one.foreign.sides) {
            line(key, value);
        }
        if !policy.is_empty() {
            line("policy", quoted(&policy));
        }
        line("local_subnets", list(&one.local));
        line("remote_subnets", list(&one.remote));
        if one.split {
            line("selectors", quoted("split"));
        }
        match &one.routes {
            None => {}
            Some(routes) if routes.is_empty() => line("routes", quoted("none")),
            Some(routes) => line("routes", list(routes)),
        }
        if one.metric != 100 {
            line("metric", one.metric.to_string());
        }
        if !["", "always"].contains(&one.foreign.start) {
            line("start", quoted(one.foreign.start));
        }
        for (key, value) in &one.foreign.extra {
            line(key, value.clone());
        }
        lines.join("\n") + "\n"
    }

    fn path(&self, file: &str) -> String {
        match self.options.key_directory.as_str() {
            "" => file.to_owned(),
            directory => format!("{}/{file}", directory.trim_end_matches('/')),
        }
    }

    /// The name of the policy for a connection; empty: the default.
    fn policy(&mut self, name: &str, one: &mut Foreign) -> String {
        let legacy = self.options.allow_legacy;
        let ike = translate(For::Ike, &one.ike, legacy);
        let esp = translate(For::Esp, &one.esp, legacy);
        one.notes.extend(ike.notes);
        one.notes.extend(esp.notes);
        let mut lines = Vec::new();
        let mut line = |key: &str, value: String| lines.push(format!("{key} = {value}"));
        if !ike.proposals.is_empty() {
            line("ike", list(&ike.proposals));
        }
        if !esp.proposals.is_empty() {
            line("esp", list(&esp.proposals));
        }
        if ike.legacy || esp.legacy {
            line("allow_legacy", "true".into());
        }
        for (key, time) in [("ike_lifetime", one.ike_lifetime), ("esp_lifetime", one.esp_lifetime)]
        {
            if let Some(time) = time {
                line(key, quoted(&shown_duration(clamped(time))));
            }
        }
        if let Some(octets) = one.esp_lifebytes {
            // The configuration takes no less.
            line("esp_lifebytes", quoted(&format!("{}B", octets.max(1 << 16))));
        }
        if let Some(dpd) = dpd(one.dpd) {
            line("dpd", dpd);
        }
        if lines.is_empty() {
            return one.policy.to_owned();
        }
        if !one.policy.is_empty() {
            lines.insert(0, format!("extends = {}", quoted(one.policy)));
        }
        let body = lines.join("\n") + "\n";
        if let Some((known, _)) = self.policies.iter().find(|(_, other)| *other == body) {
            return known.clone();
        }
        let taken = crate::config::built_in_policy(name).is_some();
        let name = if taken {
            format!("{}-own", name.chars().take(28).collect::<String>())
        } else {
            name.to_owned()
        };
        self.policies.push((name.clone(), body));
        name
    }
}

/// What the configuration takes: a minute, and thirty days.
fn clamped(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs().clamp(60, 30 * 86_400))
}

fn dpd(death: Death) -> Option<String> {
    if death.interval.is_none() && death.timeout.is_none() && death.action.is_empty() {
        return None;
    }
    let day = Duration::from_hours(1);
    let interval = death.interval.map(|time| time.clamp(Duration::from_secs(1), day));
    let mut parts = Vec::new();
    if let Some(interval) = interval {
        parts.push(format!("interval = {}", quoted(&shown_duration(interval))));
    }
    // The default of `interval` is half a minute.
    let asked = interval.unwrap_or(Duration::from_secs(30));
    let timeout = death.timeout.filter(|timeout| *timeout > asked);
    let timeout = timeout.or_else(|| interval.map(|interval| interval * 4));
    if let Some(timeout) = timeout {
        parts.push(format!("timeout = {}", quoted(&shown_duration(timeout.min(day * 2)))));
    }
    if !["", "restart"].contains(&death.action) {
        parts.push(format!("action = {}", quoted(death.action)));
    }
    Some(format!("{{ {} }}", parts.join(", ")))
}

/// The text of a key file: the key itself where that is plain text, else base64.
pub(super) fn key_text(key: &Secret) -> Zeroizing<String> {
    let plain = std::str::from_utf8(&key.0).ok().filter(|text| {
        let encoded = text.starts_with("0x") || text.starts_with("0s");
        !encoded && text.trim() == *text && text.chars().all(|c| c.is_ascii_graphic() || c == ' ')
    });
    Zeroizing::new(match plain {
        Some(text) => text.to_owned(),
        None => format!("0s{}", STANDARD.encode(&*key.0)),
    })
}
