//! This host, as far as tunnels need it. Everything is read, nothing is changed.
//!
//! ```text
//!   rights  device  forwarding  rp_filter  xfrm  ports  buffers  cpu  clock
//! ```

use std::fs;
use std::time::SystemTime;

use crate::config::Config;
use crate::io::holder;
use crate::status::diagnosis::Finding;
use crate::status::{Code, Snapshot};
use crate::sys::netlink::Netlink;
use crate::sys::xfrm;

/// All of it. With a daemon it is about that one, without about what it would find.
pub(super) fn look(running: Option<&Snapshot>, config: Option<&Config>) -> Vec<Finding> {
    let (v4, v6) = families(running, config);
    let tun = running.map(|snapshot| snapshot.tun.name.as_str());
    let tun = tun.or_else(|| config.map(|config| config.gateway.tun.as_str())).unwrap_or("s2s0");
    let ports =
        config.map_or([500, 4500], |config| [config.gateway.ike_port, config.gateway.nat_port]);
    let mut all =
        vec![rights(running.map(|snapshot| snapshot.pid)), device(tun, running.is_some())];
    if v4 {
        all.push(forwarding("forward v4", "/proc/sys/net/ipv4/ip_forward"));
        all.push(rp_filter(tun));
    }
    if v6 {
        all.push(forwarding("forward v6", "/proc/sys/net/ipv6/conf/all/forwarding"));
    }
    all.push(policies());
    all.extend(ports.map(|port| others(port, running.map(|snapshot| snapshot.pid))));
    all.push(buffers(running));
    all.push(cpu());
    all.push(clock());
    all
}

/// Which IP versions are in the tunnels.
fn families(running: Option<&Snapshot>, config: Option<&Config>) -> (bool, bool) {
    let mut families = (false, false);
    let children = running.iter().flat_map(|all| &all.connections).flat_map(|one| &one.children);
    for network in children.flat_map(|child| &child.local) {
        let is_v6 = network.contains(':');
        families = (families.0 || !is_v6, families.1 || is_v6);
    }
    let children = config.iter().flat_map(|all| &all.connections).flat_map(|one| &one.children);
    for network in children.flat_map(|child| &child.local) {
        let is_v6 = network.addr().is_ipv6();
        families = (families.0 || !is_v6, families.1 || is_v6);
    }
    families
}

/// Of the daemon, or of whoever asks.
fn rights(pid: Option<u32>) -> Finding {
    let stage = "rights";
    let process = pid.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let whose = pid.map_or_else(|| "you".to_owned(), |pid| format!("the daemon (pid {pid})"));
    let Some(mask) = effective(&process) else {
        return Finding::skipped(stage, format!("the rights of {whose} cannot be seen"));
    };
    let all = [("CAP_NET_ADMIN", 12), ("CAP_NET_RAW", 13), ("CAP_NET_BIND_SERVICE", 10)];
    let (has, lacks): (Vec<_>, Vec<_>) = all.iter().partition(|(_, bit)| mask >> bit & 1 == 1);
    let names =
        |some: &[&(&str, u32)]| some.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    match (has.is_empty(), pid) {
        // It has started, and so had what it needed, or was given it by its starter.
        (_, Some(_)) if has.is_empty() => {
            Finding::passed(stage, format!("{whose} has given all of them up"))
        }
        (_, Some(_)) => Finding::passed(stage, format!("{whose} has {}", names(&has))),
        (_, None) if lacks.is_empty() => {
            Finding::passed(stage, format!("you have {}", names(&has)))
        }
        (_, None) => Finding::warned(
            stage,
            format!("you lack {}, so that you could not start it", names(&lacks)),
        )
        .fix("run it as root, or by the service"),
    }
}

/// CapEff of proc(5).
fn effective(process: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn device(tun: &str, running: bool) -> Finding {
    let stage = "tun";
    if !running {
        return if fs::exists("/dev/net/tun").unwrap_or(false) {
            Finding::passed(stage, "/dev/net/tun is there")
        } else {
            Finding::failed(stage, "/dev/net/tun does not exist")
                .fix("modprobe tun; in a container pass it in (--device /dev/net/tun)")
        };
    }
    let links = Netlink::open().ok().and_then(|mut netlink| netlink.links().ok());
    let Some(links) = links else {
        return Finding::skipped(stage, "the kernel does not list its devices");
    };
    match links.into_iter().find(|link| link.name == tun) {
        Some(link) if link.operational => {
            Finding::passed(stage, format!("{tun} is up, MTU {}", link.mtu))
        }
        Some(_) => Finding::failed(stage, format!("{tun} is down"))
            .fix(format!("ip link set dev {tun} up")),
        None => Finding::failed(stage, format!("this network namespace has no device {tun}"))
            .fix("run this where the daemon runs (ip netns exec, docker exec)"),
    }
}

fn forwarding(stage: &str, path: &str) -> Finding {
    let code = Code::NotForwarding;
    match read(path).as_deref() {
        Some("0") => Finding::failed(stage, code.title()).code(code.id()).fix(code.fix()),
        Some(_) => Finding::passed(stage, "this host forwards packets"),
        None => Finding::skipped(stage, format!("{path} cannot be read")),
    }
}

/// Strict reverse path filtering lets pass what our own routes lead back to.
fn rp_filter(tun: &str) -> Finding {
    let stage = "rp_filter";
    let of = |device: &str| {
        read(&format!("/proc/sys/net/ipv4/conf/{device}/rp_filter"))
            .and_then(|text| text.parse().ok())
    };
    let value: u8 = of("all").into_iter().chain(of(tun)).max().unwrap_or(0);
    let message = match value {
        1 => "strict: packets out of a tunnel pass where a route leads back into it",
        2 => "loose",
        _ => "off",
    };
    Finding::passed(stage, message)
}

/// What another IPsec program left in the kernel takes packets away from us.
fn policies() -> Finding {
    let stage = "xfrm";
    match xfrm::count_policies() {
        Ok(0) => Finding::passed(stage, "the kernel has no IPsec policies of its own"),
        Ok(count) => {
            let code = Code::Foreign;
            let message = format!("{}: {count}", code.title());
            Finding::warned(stage, message).code(code.id()).fix(code.fix())
        }
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            Finding::skipped(stage, "needs CAP_NET_ADMIN")
        }
        Err(_) => Finding::passed(stage, "the kernel has no IPsec of its own"),
    }
}

/// Another IKE daemon on our ports.
fn others(port: u16, pid: Option<u32>) -> Finding {
    let stage = format!("udp {port}");
    let mut holders: Vec<_> = holder::all_of_port(port).collect();
    let ours = holders.iter().any(|holder| Some(holder.pid) == pid);
    holders.retain(|holder| Some(holder.pid) != pid);
    match (holders.first(), pid.is_some()) {
        (Some(other), false) => {
            let message = format!("{other} has the port, so that s2s-gw cannot start");
            Finding::failed(&stage, message).fix(format!(
                "stop it, or give both other addresses to `listen` on (pid {})",
                other.pid
            ))
        }
        (Some(other), true) => {
            Finding::warned(&stage, format!("{other} has the port, too, on another address"))
                .fix("make sure that peers call the address that s2s-gw listens on")
        }
        (None, true) if ours => Finding::passed(&stage, "the daemon has it"),
        (None, true) => Finding::passed(&stage, "nobody else has it"),
        (None, false) => Finding::passed(&stage, "free"),
    }
}

fn buffers(running: Option<&Snapshot>) -> Finding {
    let stage = "buffers";
    let lost = running.and_then(|snapshot| snapshot.drops.esp.get("overflow")).copied();
    let limit = read("/proc/sys/net/core/rmem_max").unwrap_or_default();
    match lost.unwrap_or(0) {
        0 => Finding::passed(
            stage,
            format!("no packet was lost in a full receive buffer (rmem_max {limit})"),
        ),
        lost => Finding::warned(stage, format!("{lost} packets came faster than they were taken"))
            .fix("sysctl -w net.core.rmem_max=8388608, more processors, or `workers` in [gateway]"),
    }
}

/// AES-GCM without these instructions is some twenty times as slow.
fn cpu() -> Finding {
    let stage = "cpu";
    #[cfg(target_arch = "x86_64")]
    let has = std::arch::is_x86_feature_detected!("aes")
        && std::arch::is_x86_feature_detected!("pclmulqdq");
    #[cfg(target_arch = "aarch64")]
    let has = std::arch::is_aarch64_feature_detected!("aes")
        && std::arch::is_aarch64_feature_detected!("pmull");
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let has = false;
    if has {
        Finding::passed(stage, "has instructions for AES-GCM")
    } else {
        Finding::warned(stage, "has no instructions for AES-GCM, which is slow here")
            .fix("use chacha20poly1305 where the peer can")
    }
}

/// A clock that is behind makes certificates invalid, and logs hard to compare.
fn clock() -> Finding {
    let stage = "clock";
    let program = std::env::current_exe().and_then(fs::metadata).and_then(|file| file.modified());
    let now = SystemTime::from(crate::clock::wall());
    match program {
        Ok(written) if now < written => {
            Finding::failed(stage, "the clock is behind: this program was made later than now")
                .fix("timedatectl set-ntp true, or `date -s`")
        }
        Ok(_) | Err(_) => Finding::passed(stage, format!("{:.0}", crate::clock::wall())),
    }
}

/// A sysctl.
fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::diagnosis::Level;

    #[test]
    fn this_host_is_looked_at_without_a_daemon() {
        let all = look(None, None);
        let of = |stage: &str| all.iter().find(|one| one.stage == stage);
        assert!(of("clock").is_some_and(|one| one.level == Level::Passed), "{all:?}");
        assert!(of("udp 500").is_some() && of("cpu").is_some());
        assert!(of("forward v4").is_none(), "nobody needs it");
    }

    #[test]
    fn what_is_off_has_a_code_and_a_remedy() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("ip_forward");
        fs::write(&path, "0\n").expect("writes");
        let found = forwarding("forward v4", path.to_str().expect("text"));
        assert_eq!((found.level, found.code.as_deref()), (Level::Failed, Some("W0501")));
        assert!(found.fix.is_some());
        fs::write(&path, "1\n").expect("writes");
        assert_eq!(forwarding("forward v4", path.to_str().expect("text")).level, Level::Passed);
    }
}
