//! Network namespaces that a test makes for itself: two or three sites, a NAT, and what runs inside them.
//!
//! ```text
//!  left.host ────── left.gateway ═══════ [nat] ═══════ right.gateway ────── right.host
//!  10.1.0.2   10.1.0.1        192.0.2.1   192.0.2.2           10.2.0.1      10.2.0.2
//!                        "lan"  "out"       "out"  "lan"
//! ```
//!
//! Site `n` has the subnets `10.n.0.0/24` and `10.(n+10).0.0/24` (IPv6: `2001:db8:n::/64`, `2001:db8:(n+10)::/64`); its
//! gateway is `.1`, its host `.2`. Outer addresses are `192.0.2.n` and `2001:db8:ff::n`. A third site hangs on a link of
//! its own to the left gateway (`198.51.100.1` and `.3`). Behind the NAT the left gateway is `192.168.77.2`.
//! Every address is from a documentation or private range, and none of it leaves the namespaces.
//!
//! Names are `s2st<pid>x<n>-<role>`: two tests never share one, and what a killed test run left is found by its dead pid.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::IpAddr;
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::ping::ping;

/// Two sites with their hosts and gateways, wired up; gone when dropped.
#[derive(Debug)]
pub struct Sites {
    /// Site 1, the initiator by convention.
    pub left: Site,
    /// Site 2.
    pub right: Site,
    /// Site 3, if asked for: reached by the left gateway alone.
    pub third: Option<Site>,
    /// The masquerading router between left and right, if asked for.
    pub nat: Option<Netns>,
    /// The plain router between left and right, if asked for: "inside" to the left, "outside" to the right.
    pub router: Option<Netns>,
}

/// What stands between the two gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Between {
    /// A cable.
    Wire,
    /// A router that masquerades the left gateway (IPv4 only).
    Nat,
    /// A router that changes nothing.
    Router,
    /// A cable, and a third site on another cable to the left gateway.
    WireAndThird,
}

impl Sites {
    /// Builds the namespaces, addresses, routes and counters.
    ///
    /// # Errors
    /// Whatever `ip` or `nft` say; the namespaces made so far are removed again.
    pub fn new(between: Between) -> Result<Self> {
        let sites = Self::uncounted(between)?;
        for site in [Some(&sites.left), Some(&sites.right), sites.third.as_ref()] {
            site.map_or(Ok(()), Site::count)?;
        }
        Ok(sites)
    }

    /// The same without counters, which would cost time for each packet.
    ///
    /// # Errors
    /// Whatever `ip` says.
    pub fn uncounted(between: Between) -> Result<Self> {
        let prefix = unique_prefix();
        let left = Site::new(&prefix, 1)?;
        let right = Site::new(&prefix, 2)?;
        let mut sites = Self { left, right, third: None, nat: None, router: None };
        match between {
            Between::Wire => sites.wire()?,
            Between::Nat => sites.nat(&prefix)?,
            Between::Router => sites.router(&prefix)?,
            Between::WireAndThird => {
                sites.wire()?;
                sites.third(&prefix)?;
            }
        }
        Ok(sites)
    }

    fn wire(&self) -> Result<()> {
        let (left, right) = (&self.left.gateway, &self.right.gateway);
        veth(left, "out", right, "out")?;
        left.ip("addr add 192.0.2.1/24 dev out\naddr add 2001:db8:ff::1/64 dev out nodad\n")?;
        right.ip("addr add 192.0.2.2/24 dev out\naddr add 2001:db8:ff::2/64 dev out nodad\n")?;
        left.ip("link set out up\n")?;
        right.ip("link set out up\n")
    }

    fn nat(&mut self, prefix: &str) -> Result<()> {
        let nat = Netns::new(format!("{prefix}-nat"))?;
        let (left, right) = (&self.left.gateway, &self.right.gateway);
        veth(left, "out", &nat, "inside")?;
        veth(&nat, "outside", right, "out")?;
        left.ip("addr add 192.168.77.2/24 dev out\nlink set out up\n")?;
        nat.ip("addr add 192.168.77.1/24 dev inside\nlink set inside up\n")?;
        nat.ip("addr add 192.0.2.1/24 dev outside\nlink set outside up\n")?;
        right.ip("addr add 192.0.2.2/24 dev out\nlink set out up\n")?;
        left.ip("route add default via 192.168.77.1\n")?;
        forward(&nat)?;
        nat.nft(
            "table ip nat { chain post { type nat hook postrouting priority 100; \
             oifname \"outside\" masquerade; }; }\n",
        )?;
        self.nat = Some(nat);
        Ok(())
    }

    fn router(&mut self, prefix: &str) -> Result<()> {
        let router = Netns::new(format!("{prefix}-router"))?;
        forward(&router)?;
        for (site, device) in [(&self.left, "inside"), (&self.right, "outside")] {
            let number = site.number;
            veth(&site.gateway, "out", &router, device)?;
            site.gateway.ip(&format!(
                "addr add 192.0.2.{number}/32 dev out\naddr add 2001:db8:ff::{number}/128 dev out nodad\n\
                 link set out up\nroute add 192.0.2.254 dev out\nroute add 2001:db8:ff::fe dev out\n\
                 route add 192.0.2.0/24 via 192.0.2.254\nroute add 2001:db8:ff::/64 via 2001:db8:ff::fe\n"
            ))?;
            router.ip(&format!(
                "addr add 192.0.2.254/32 dev {device}\naddr add 2001:db8:ff::fe/128 dev {device} nodad\n\
                 link set {device} up\nroute add 192.0.2.{number} dev {device}\n\
                 route add 2001:db8:ff::{number} dev {device}\n"
            ))?;
        }
        self.router = Some(router);
        Ok(())
    }

    fn third(&mut self, prefix: &str) -> Result<()> {
        let third = Site::new(prefix, 3)?;
        veth(&self.left.gateway, "out3", &third.gateway, "out")?;
        self.left.gateway.ip("addr add 198.51.100.1/24 dev out3\nlink set out3 up\n")?;
        third.gateway.ip("addr add 198.51.100.3/24 dev out\nlink set out up\n")?;
        self.third = Some(third);
        Ok(())
    }

    /// The address under which a gateway has itself configured: where it listens.
    #[must_use]
    pub fn own_outer(&self, site: &Site, family: Family) -> String {
        if self.nat.is_some() && site.number == 1 {
            "192.168.77.2".into()
        } else {
            site.outer(family)
        }
    }
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// A host in its LAN and the gateway of that LAN.
#[derive(Debug)]
pub struct Site {
    /// Where the tunnel ends.
    pub gateway: Netns,
    /// Where the traffic comes from; knows only its gateway.
    pub host: Netns,
    number: u8,
}

impl Site {
    fn new(prefix: &str, number: u8) -> Result<Self> {
        let gateway = Netns::new(format!("{prefix}-gw{number}"))?;
        let host = Netns::new(format!("{prefix}-host{number}"))?;
        veth(&gateway, "lan", &host, "lan")?;
        let site = Self { gateway, host, number };
        forward(&site.gateway)?;
        let (mut gateway, mut host) = (String::new(), String::new());
        for index in 0..2 {
            let (v4, v6) = (site.prefix4(index), site.prefix6(index));
            write!(gateway, "addr add {v4}.1/24 dev lan\naddr add {v6}::1/64 dev lan nodad\n")?;
            write!(host, "addr add {v4}.2/24 dev lan\naddr add {v6}::2/64 dev lan nodad\n")?;
        }
        site.gateway.ip(&(gateway + "link set lan up\n"))?;
        site.host.ip(&(host + "link set lan up\n"))?;
        site.host.ip(&format!("route add default via {}.1\n", site.prefix4(0)))?;
        site.host.ip(&format!("route add default via {}::1\n", site.prefix6(0)))?;
        Ok(site)
    }

    /// Counters that a failed test prints: what crossed the wire, and whether any of it was readable.
    fn count(&self) -> Result<()> {
        self.gateway.nft(
            "table inet watch {
               counter esp_in_udp {}
               counter raw_esp {}
               counter ike {}
               counter readable {}
               chain in { type filter hook prerouting priority -300;
                 iifname \"out*\" udp dport 4500 @th,64,32 != 0 counter name esp_in_udp
                 iifname \"out*\" meta l4proto esp counter name raw_esp
                 iifname \"out*\" udp dport 500 counter name ike
                 iifname \"out*\" ip saddr 10.0.0.0/8 counter name readable
                 iifname \"out*\" ip6 saddr 2001:db8:1::-2001:db8:20:: counter name readable
               }
             }\n",
        )
    }

    /// Packets that reached this gateway from outside: (ESP, in UDP or not; inner addresses readable). What begins with
    /// four zero octets on port 4500 is IKE (RFC 3948 §2.2).
    ///
    /// # Errors
    /// If `nft` fails.
    pub fn counted(&self) -> Result<(u64, u64)> {
        let list = self.gateway.run("nft", &["list", "counters"])?;
        let packets = |name: &str| {
            let after = list.split_once(&format!("counter {name} ")).map_or("", |(_, after)| after);
            let words: Vec<&str> = after.split_whitespace().take(4).collect();
            words.get(2).and_then(|word| word.parse().ok()).unwrap_or(0)
        };
        Ok((packets("esp_in_udp") + packets("raw_esp"), packets("readable")))
    }

    /// The outer address of the gateway as its peer sees it.
    #[must_use]
    pub fn outer(&self, family: Family) -> String {
        match (family, self.number) {
            (Family::V4, 3) => "198.51.100.3".into(),
            (Family::V4, number) => format!("192.0.2.{number}"),
            (Family::V6, number) => format!("2001:db8:ff::{number}"),
        }
    }

    /// Subnet `index` (0 or 1) in CIDR notation.
    #[must_use]
    pub fn subnet(&self, family: Family, index: u8) -> String {
        match family {
            Family::V4 => format!("{}.0/24", self.prefix4(index)),
            Family::V6 => format!("{}::/64", self.prefix6(index)),
        }
    }

    /// The host's address in subnet `index` (0 or 1).
    #[must_use]
    pub fn host_address(&self, family: Family, index: u8) -> IpAddr {
        let net = self.number + 10 * index;
        match family {
            Family::V4 => IpAddr::from([10, net, 0, 2]),
            // The prefixes are read as hexadecimal: site 2, subnet 1 is 2001:db8:12::/64.
            Family::V6 => {
                let net = u16::from(net / 10 * 16 + net % 10);
                IpAddr::from([0x2001, 0xdb8, net, 0, 0, 0, 0, 2])
            }
        }
    }

    fn prefix4(&self, index: u8) -> String {
        format!("10.{}.0", self.number + 10 * index)
    }

    fn prefix6(&self, index: u8) -> String {
        format!("2001:db8:{}", self.number + 10 * index)
    }
}

/// One network namespace; deleted when dropped.
#[derive(Debug)]
pub struct Netns {
    name: String,
}

impl Netns {
    /// Makes a namespace with its loopback up.
    ///
    /// # Errors
    /// If `ip netns add` fails.
    pub fn new(name: String) -> Result<Self> {
        // The first `ip netns add` on a machine remounts /run/netns; two at once may trip over each other.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        {
            let _guard = ONE_AT_A_TIME.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            succeed(Command::new("ip").args(["netns", "add", &name]))?;
        }
        let netns = Self { name };
        netns.sysctl(&[
            // Forwarding finds no IPv6 neighbour while the link-local address is still being checked for duplicates.
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv4/ping_group_range", "0 0"),
        ])?;
        netns.ip("link set lo up\n")?;
        Ok(netns)
    }

    /// Its name, as `ip netns exec NAME` wants it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A command that will run inside; its pid is the program's own.
    #[must_use]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program.as_ref());
        command
    }

    /// Runs a program inside to its end and returns what it printed.
    ///
    /// # Errors
    /// If it cannot start or does not exit with 0; the message has its stderr.
    pub fn run(&self, program: &str, args: &[&str]) -> Result<String> {
        let output = succeed(self.command(program).args(args))?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Feeds lines to `ip -batch` inside.
    ///
    /// # Errors
    /// If a line fails.
    pub fn ip(&self, lines: &str) -> Result<()> {
        feed(Command::new("ip").args(["-n", &self.name, "-batch", "-"]), lines)
    }

    /// Feeds a ruleset to `nft -f` inside.
    ///
    /// # Errors
    /// If it is refused.
    pub fn nft(&self, rules: &str) -> Result<()> {
        feed(self.command("nft").args(["-f", "-"]), rules)
    }

    /// Packets that a named counter of its rulesets has seen.
    ///
    /// # Errors
    /// If there is no such counter.
    pub fn counted(&self, name: &str) -> Result<u64> {
        let list = self.run("nft", &["list", "counters"])?;
        let after = list.split_once(&format!("counter {name} ")).map(|(_, after)| after);
        let word = after.and_then(|after| after.split_whitespace().nth(2));
        let packets = word.and_then(|word| word.parse().ok());
        packets.with_context(|| format!("no counter {name} in {list}"))
    }

    /// Writes settings below `/proc/sys/net`.
    ///
    /// # Errors
    /// If one is not there.
    pub fn sysctl(&self, settings: &[(&str, &str)]) -> Result<()> {
        self.inside(|| {
            for (file, value) in settings {
                // /proc/sys/net shows the namespace of the thread that looks.
                std::fs::write(Path::new("/proc/sys/net").join(file), value)
                    .with_context(|| format!("cannot set {file}"))?;
            }
            Ok(())
        })
    }

    /// Runs `body` on a thread of its own that lives inside: the sockets that it makes belong to this namespace and may
    /// be used anywhere.
    ///
    /// # Errors
    /// If the namespace cannot be entered, or what `body` returns.
    pub fn inside<T: Send>(&self, body: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                body()
            });
            thread.join().unwrap_or_else(|_| bail!("a thread in {} panicked", self.name))
        })
    }

    /// Moves the calling thread into the namespace, for good.
    ///
    /// # Errors
    /// If the kernel refuses.
    pub fn enter(&self) -> Result<()> {
        enter(&self.name)
    }

    /// Sends `count` pings, `gap` apart, and returns how many were answered within a second of the last.
    ///
    /// # Errors
    /// If no ping can be sent at all.
    pub fn ping(&self, to: IpAddr, count: u16, gap: Duration) -> Result<u16> {
        self.inside(|| ping(to, count, gap, Duration::from_secs(1)))
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        // Nothing sensible can be done about a failure here; the next run sweeps.
        let _ =
            Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status();
    }
}

/// Moves the calling thread into the namespace of that name, for good.
///
/// # Errors
/// If there is none or the kernel refuses.
pub fn enter(name: &str) -> Result<()> {
    let file = std::fs::File::open(Path::new("/run/netns").join(name))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {name}"))
}

/// Deletes the namespaces of test runs that are no more, and returns how many.
///
/// # Errors
/// If `/run/netns` exists but cannot be read.
pub fn sweep() -> Result<usize> {
    let Ok(entries) = std::fs::read_dir("/run/netns") else { return Ok(0) };
    let mut swept = 0;
    for entry in entries {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let pid =
            name.strip_prefix(PREFIX).and_then(|rest| rest.split_once('x')).map(|(pid, _)| pid);
        if pid.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            drop(Netns { name });
            swept += 1;
        }
    }
    Ok(swept)
}

/// A prefix that no other test of this or another process uses.
#[must_use]
pub fn unique_prefix() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{PREFIX}{}x{number}", std::process::id())
}

/// Runs a command to its end.
///
/// # Errors
/// If it cannot start or does not exit with 0; the message has the command and its stderr.
pub fn succeed(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(output)
}

fn feed(command: &mut Command, lines: &str) -> Result<()> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {command:?}"))?;
    child.stdin.take().context("no stdin")?.write_all(lines.as_bytes())?;
    let output = child.wait_with_output()?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{lines}{stderr}", output.status);
    Ok(())
}

fn veth(a: &Netns, a_name: &str, b: &Netns, b_name: &str) -> Result<()> {
    let (a, b) = (a.name(), b.name());
    feed(
        Command::new("ip").args(["-batch", "-"]),
        &format!("link add {a_name} netns {a} type veth peer name {b_name} netns {b}\n"),
    )
}

/// Makes a router of a namespace.
fn forward(netns: &Netns) -> Result<()> {
    netns.sysctl(&[
        ("ipv4/ip_forward", "1"),
        ("ipv4/conf/all/rp_filter", "0"),
        ("ipv4/conf/default/rp_filter", "0"),
        ("ipv6/conf/all/forwarding", "1"),
    ])
}

const PREFIX: &str = "s2st";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_unique_and_name_the_process() {
        let (first, second) = (unique_prefix(), unique_prefix());
        assert_ne!(first, second);
        assert!(first.starts_with(&format!("s2st{}x", std::process::id())), "{first}");
    }
}
