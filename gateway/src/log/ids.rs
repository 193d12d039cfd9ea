//! The names of all events. They are an interface: people search for them, programs wait for them.
//!
//! ```text
//!   source: event = "up" ──┐
//!                          ├── a test holds these three together
//!   this table ────────────┤
//!   docs/events.md ────────┘
//! ```

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id {
    /// The part of the program.
    pub area: &'static str,
    /// Its name, the same for ever.
    pub event: &'static str,
    /// The gravest level at which it is told.
    pub level: &'static str,
    /// What happened, and with which fields.
    pub meaning: &'static str,
}

const fn id(
    area: &'static str,
    event: &'static str,
    level: &'static str,
    meaning: &'static str,
) -> Id {
    Id { area, event, level, meaning }
}

/// Every event, by area.
pub const ALL: &[Id] = &[
    id(
        "gateway",
        "starting",
        "info",
        "the program starts; `version`, `name`, number of `connections`",
    ),
    id("gateway", "started", "info", "everything is open; `tun`, `mtu`, `control`"),
    id(
        "gateway",
        "capture-began",
        "info",
        "somebody looks at packets (`s2s-gw capture`); `side`, the connection if it is one",
    ),
    id("gateway", "capture-ended", "info", "and no more; how many `captures`"),
    id(
        "gateway",
        "keys-exported",
        "warn",
        "`s2s-gw keys` gave keys away; of how many SAs, `ike` and `esp`",
    ),
    id("gateway", "stopping", "info", "a signal ended it; peers are told"),
    id("gateway", "stopped", "info", "routes, devices and sockets are gone"),
    id("gateway", "listening", "info", "a UDP socket is open; `local`"),
    id(
        "gateway",
        "offloads",
        "info",
        "what the TUN device does for us, and how many workers read it",
    ),
    id(
        "gateway",
        "include-left-out",
        "error",
        "an included `file` is broken and nothing of it is in force",
    ),
    id(
        "gateway",
        "reloaded",
        "info",
        "a new configuration is in force; how many connections `changed`",
    ),
    id("gateway", "reload-step", "info", "what that does, line by line; `keys`, `action`"),
    id("gateway", "reload-failed", "error", "the files were refused and nothing changed (W0603)"),
    id(
        "gateway",
        "config-error",
        "error",
        "an error in a `file` that was to be loaded; `line`, `code`",
    ),
    id(
        "gateway",
        "privileges-kept",
        "warn",
        "a thread could not drop the privileges that it does not need",
    ),
    id(
        "gateway",
        "confined",
        "info",
        "root and what no thread needs are given up; `user`, `files` and `calls` that are left",
    ),
    id(
        "gateway",
        "shared-user",
        "info",
        "there is no user `s2s-gw`, so the gateway became one that other programs may be too; `user`, `fix`",
    ),
    id("gateway", "stays-root", "warn", "it could not become another user; `fix`"),
    id(
        "gateway",
        "no-landlock",
        "warn",
        "the kernel cannot keep it from files that it does not need; `fix`",
    ),
    id(
        "gateway",
        "no-seccomp",
        "warn",
        "there is no list of system calls for this processor; `arch`",
    ),
    id(
        "gateway",
        "not-given",
        "debug",
        "a `file` or directory could not be given to the user that the gateway becomes",
    ),
    id("gateway", "swappable", "debug", "its memory may get into the swap"),
    id(
        "gateway",
        "log-lost",
        "warn",
        "so many `lines` of the log were not written, because nobody took them",
    ),
    id(
        "gateway",
        "fault",
        "error",
        "a test had a `thread` do what it must not (`act`), with this `outcome`; not in released programs",
    ),
    id("gateway", "notify-failed", "debug", "systemd could not be told how we are"),
    id(
        "gateway",
        "recalled",
        "info",
        "what a command decided about a connection before this start; `decision`, `endpoint`",
    ),
    id(
        "gateway",
        "state-ignored",
        "warn",
        "the `file` of what outlives a restart is broken (W0604)",
    ),
    id(
        "gateway",
        "state-unwritten",
        "warn",
        "the `file` of what outlives a restart cannot be written (W0604)",
    ),
    id("gateway", "log-level", "info", "another `filter` is in force for the log, for so long"),
    id(
        "gateway",
        "forwarding-off",
        "warn",
        "the kernel forwards no packets between the networks (W0501)",
    ),
    id(
        "gateway",
        "forwarding-on",
        "info",
        "it forwards them again, or nothing needs that any more",
    ),
    id(
        "gateway",
        "foreign-ipsec",
        "warn",
        "the kernel has IPsec policies of another program (W0502)",
    ),
    id(
        "gateway",
        "counters-reset",
        "info",
        "`s2s-gw reset counters` was asked; `conns` whose counters begin anew for people",
    ),
    id("gateway", "mtu-too-large", "warn", "the `mtu` of a connection is more than fits (W0504)"),
    id(
        "gateway",
        "tun-too-large",
        "warn",
        "a TUN device that was handed over takes larger packets (`have`) than the tunnels (`fits`)",
    ),
    id("gateway", "resolved", "info", "the addresses of a `name` are others than before"),
    id("gateway", "resolve-failed", "warn", "a `name` has no address now; the last ones stay"),
    id(
        "gateway",
        "former-address",
        "warn",
        "a `name` has no address at this start; the last one at which the peer was is used",
    ),
    id("gateway", "route-added", "info", "a network of a connection is routed into the tunnel"),
    id("gateway", "route-removed", "info", "no connection needs this route any more"),
    id("gateway", "route-failed", "error", "a route could not be set"),
    id("gateway", "route-mtu", "debug", "a route got another MTU"),
    id("gateway", "leftover-removed", "info", "a route that an earlier run left is gone"),
    id(
        "gateway",
        "guarded",
        "info",
        "the gateway stops, and packets for so many `networks` go nowhere until it runs again",
    ),
    id(
        "gateway",
        "guard-failed",
        "warn",
        "a network cannot be guarded against leaks while the gateway is not there",
    ),
    id(
        "gateway",
        "inbound-unfiltered",
        "info",
        "packets in clear from remote networks cannot be kept out by us (W0507)",
    ),
    id("gateway", "device-off", "warn", "somebody switched the TUN device off; it is on again"),
    id("gateway", "device-gone", "warn", "somebody removed the TUN device; it is made anew"),
    id("gateway", "device-mended", "info", "the TUN device is as it should be, with its routes"),
    id(
        "gateway",
        "device-lost",
        "error",
        "the TUN device is gone and cannot be made again (W0505); it is tried every second",
    ),
    id(
        "gateway",
        "slept",
        "info",
        "the process or the machine slept for so many `seconds`; so many peers are `called` anew",
    ),
    id(
        "gateway",
        "path-mtu",
        "info",
        "packets on the path of a connection may be so large; `mtu` of it and of what fits into the tunnel",
    ),
    id(
        "gateway",
        "path-mtu-off",
        "error",
        "nothing is learnt of the path: the sockets for ICMP cannot be used",
    ),
    id(
        "gateway",
        "no-steering",
        "info",
        "the kernel does not let us choose which worker gets a packet",
    ),
    id("gateway", "no-priority", "debug", "a thread runs without the priority that it should have"),
    id(
        "gateway",
        "no-queue-length",
        "debug",
        "the queue of the device keeps the length that the kernel gave it",
    ),
    id("gateway", "no-raw-ipv6", "debug", "there is no socket for ESP over IPv6"),
    id(
        "gateway",
        "no-monitors",
        "error",
        "the thread that asks for monitors could not be started, so none is asked",
    ),
    id(
        "gateway",
        "no-redirects",
        "debug",
        "the kernel could not be kept from sending ICMP redirects on the device",
    ),
    id(
        "gateway",
        "redirects-on",
        "info",
        "the kernel may send ICMP redirects for relayed packets; `fix`",
    ),
    id("ike", "connecting", "info", "an attempt to call a peer; its number is `attempt`"),
    id("ike", "up", "info", "an IKE SA is there; identities, `suite`, who began, NAT"),
    id("ike", "rekeyed", "info", "an IKE SA was replaced by the next"),
    id(
        "ike",
        "certificate",
        "warn",
        "a certificate or list of a connection comes to its end, ended or has not begun (W0320 to W0324); once for each step",
    ),
    id("ike", "superseding", "info", "a new IKE SA is begun beside the old one, after a reload"),
    id(
        "ike",
        "not-superseded",
        "warn",
        "that IKE SA could not be had and the old one stays (W0601); `reason`, `retry_in`",
    ),
    id("ike", "moved", "info", "a peer is at another address (MOBIKE, or its NAT changed)"),
    id(
        "ike",
        "down",
        "warn",
        "an IKE SA or an attempt ended; `reason`, and when it is tried again",
    ),
    id("ike", "detail", "debug", "a line more about `down`: what differs in two proposals"),
    id("ike", "refused", "warn", "somebody was turned away before or in authentication"),
    id("ike", "refused-last-second", "debug", "how many more were turned away than were told"),
    id("ike", "redirected", "info", "a peer sends us to another gateway"),
    id("ike", "redirect-failed", "warn", "where a peer sends us cannot be reached"),
    id("ike", "redirect-requested", "info", "`s2s-gw redirect` was asked"),
    id(
        "ike",
        "probed",
        "debug",
        "an endpoint was asked; `millis` until its answer, none without one",
    ),
    id(
        "ike",
        "failover",
        "warn",
        "a connection runs over a standby endpoint (W0702); `from`, `to`",
    ),
    id("ike", "failback", "info", "a connection is back at a preferred endpoint; `from`, `to`"),
    id(
        "ike",
        "failing-back",
        "info",
        "the preferred endpoint answers again and a new IKE SA with it begins",
    ),
    id("ike", "failover-requested", "info", "`s2s-gw failover` was asked"),
    id(
        "ike",
        "switch-failed",
        "warn",
        "the other endpoint gave no IKE SA and the old one stays; `reason`, `stays`",
    ),
    id(
        "ike",
        "monitor-failed",
        "warn",
        "a host behind the peer does not answer (E1020); `monitor`",
    ),
    id("ike", "monitor-ok", "info", "it answers again; `millis`"),
    id("ike", "monitor-cannot-ask", "debug", "this host could not send the question of a monitor"),
    id("ike", "up-requested", "info", "`s2s-gw up` was asked"),
    id("ike", "down-requested", "info", "`s2s-gw down` was asked"),
    id("ike", "state", "info", "a connection is in another `state`; see `s2s-gw status`"),
    id("ike", "paths", "info", "the ways to a peer are others than before"),
    id("ike", "acquire", "debug", "a packet wants a tunnel that is not up"),
    id("ike", "send-failed", "debug", "a datagram could not be sent; it is repeated in time"),
    id("ike", "receive-failed", "debug", "a socket told of a failure of the past"),
    id("ike", "keepalive-failed", "debug", "a NAT keepalive could not be sent"),
    id("ike", "unknown", "debug", "something that this version does not log better"),
    id("child", "up", "info", "a child SA is there; `suite`, SPIs, networks"),
    id("child", "rekeyed", "info", "a child SA was replaced by the next"),
    id("child", "replaced", "debug", "the old one of the two is gone"),
    id(
        "child",
        "pfs-check",
        "debug",
        "a first child SA is replaced early, to see whether both sides agree on PFS",
    ),
    id("child", "down", "info", "a child SA ended; `reason`"),
    id(
        "child",
        "failed",
        "warn",
        "a peer did not agree to a child SA; `reason`, and when it is tried again",
    ),
    id("child", "narrowed", "warn", "the peer left less of a child than was asked for (E1006)"),
    id("child", "whole", "info", "a child carries again all that it was configured for"),
    id("child", "enough", "info", "the peer takes no more SAs for the workers; they share one"),
    id("child", "install-failed", "error", "a child SA could not be put to use"),
    id(
        "child",
        "worn",
        "warn",
        "an SA carried all that its lifetime allows before it was replaced",
    ),
    id("dataplane", "broken", "error", "packets cannot be carried any more: the gateway stops"),
    id("dataplane", "stuck", "error", "a data-plane thread does not do in time what it is told"),
    id("status", "accept-failed", "warn", "a client of the control socket could not be let in"),
    id("status", "too-many-clients", "debug", "a client of the control socket was turned away"),
    id(
        "status",
        "follower-slow",
        "debug",
        "a client that follows events did not read them in time; so many are `lost` for it",
    ),
    id("status", "no-group", "warn", "the group `s2s-gw` could not be let in"),
    id("web", "serving", "info", "the status page and the metrics are served; `local`"),
    id("web", "command", "info", "somebody with the token pressed a button; `command`, `what`"),
    id("web", "accept-failed", "debug", "a client of the page could not be let in"),
    id("web", "broken", "error", "the page cannot be served any more; tunnels are not affected"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The (area, event) of every event in the sources under a directory.
    fn told(directory: &Path, found: &mut BTreeSet<(String, String)>) {
        for entry in fs::read_dir(directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                told(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                events(&code.collect::<Vec<_>>().join("\n"), found);
            }
        }
    }

    fn events(code: &str, found: &mut BTreeSet<(String, String)>) {
        for (at, _) in code.match_indices(concat!("event", " = ")) {
            let (before, from) = code.split_at(at);
            let Some((_, area)) = before.rsplit_once("target: \"") else { continue };
            let area = area.split('"').next().expect("a first part");
            // Up to the next field: one name, or one for either case.
            let expression = from.split_once(",\n").map_or(from, |(this, _)| this);
            let expression = expression.split_once(", ").map_or(expression, |(this, _)| this);
            let expression = expression.split_once(");").map_or(expression, |(this, _)| this);
            for name in expression.split('"').skip(1).step_by(2) {
                found.insert((area.to_owned(), name.to_owned()));
            }
        }
    }

    #[test]
    fn every_event_in_the_sources_is_registered_and_the_reverse() {
        let mut found = BTreeSet::new();
        told(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut found);
        let known = ALL.iter().map(|id| (id.area.to_owned(), id.event.to_owned()));
        let known: BTreeSet<_> = known.collect();
        assert_eq!(known.len(), ALL.len(), "one is there twice");
        let unknown: Vec<_> = found.difference(&known).collect();
        assert!(unknown.is_empty(), "not in log/ids.rs and docs/events.md: {unknown:?}");
        let unused: Vec<_> = known.difference(&found).collect();
        assert!(unused.is_empty(), "no source tells of these any more: {unused:?}");
    }

    #[test]
    fn the_documentation_has_the_same_events() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/events.md");
        let text = fs::read_to_string(path).expect("docs/events.md");
        let table = text.lines().skip_while(|line| !line.starts_with("| area | event |"));
        let rows: Vec<&str> = table.filter(|line| line.starts_with("| `")).collect();
        let expected: Vec<String> = ALL
            .iter()
            .map(|id| format!("| `{}` | `{}` | {} | {} |", id.area, id.event, id.level, id.meaning))
            .collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn names_are_words() {
        for Id { area, event, level, meaning } in ALL {
            assert!(super::super::filter::AREAS.contains(area), "{area}");
            assert!(
                event.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-'),
                "{event}"
            );
            assert!(["error", "warn", "info", "debug"].contains(level), "{event}");
            assert!(meaning.len() > 20 && !meaning.ends_with('.'), "{event}");
        }
    }
}
