//! The container that `packaging/Containerfile` describes, made by hand and run by an OCI runtime: two of them, and a tunnel.
//!
//! ```text
//!   image     the program with CAP_NET_ADMIN and its like as *permitted* file capabilities, its libraries, a user without a name
//!   runtime   crun: user 65532, bounding set CAP_NET_ADMIN, root read only, /dev/net/tun, a filter of system calls as engines have
//!
//!   namespace a: container a ══ veth ══ namespace b: container b          ping 10.1.0.1 ─► 10.2.0.1
//! ```
//!
//! No engine is run: what Docker or podman would hand to the runtime is written down here (OCI runtime specification 1.0.2).

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};

use super::deb::said;
use super::inside::{Check, mount};
use super::tree::PROGRAM;

pub(super) fn missing() -> Option<String> {
    let absent =
        ["/usr/bin/crun", "/usr/sbin/setcap"].into_iter().find(|tool| !Path::new(tool).exists());
    absent.map(|tool| format!("no {tool} here")).or_else(|| {
        (!Path::new("/dev/net/tun").exists()).then(|| "no /dev/net/tun here".to_owned())
    })
}

pub(super) fn checks(place: &Path) -> Vec<Check<'_>> {
    if missing().is_some() {
        Vec::new()
    } else {
        vec![("package/container", Box::new(|| tunnel(place)))]
    }
}

/// Two containers with a tunnel between them, each with nothing but CAP_NET_ADMIN.
fn tunnel(place: &Path) -> Result<()> {
    let place = place.join("containers");
    fs::create_dir(&place)?;
    mount(&["-t", "tmpfs", "-o", "mode=0755", "tmpfs"], &place)?;
    mount(&["-t", "tmpfs", "-o", "mode=0755", "tmpfs"], Path::new("/run"))?;
    // crun takes one kind of cgroups or the other; none is used here.
    let _ = said(Command::new("umount").args(["--recursive", "/sys/fs/cgroup"]));
    mount(&["-t", "cgroup2", "none"], Path::new("/sys/fs/cgroup"))?;
    network()?;
    let image = image(&place)?;
    let left = Container::start(&place, &image, Side { name: "a", number: 1 })?;
    let right = Container::start(&place, &image, Side { name: "b", number: 2 })?;
    left.wait_healthy()?;
    right.wait_healthy()?;
    let ping = [
        "netns", "exec", "a", "ping", "-c", "3", "-i", "0.2", "-W", "2", "-I", "10.1.0.1",
        "10.2.0.1",
    ];
    said(Command::new("ip").args(ping)).with_context(|| left.output())?;
    left.is_confined()?;
    left.stop()?;
    right.stop()
}

/// Two network namespaces with a cable between them and a network behind each, as an engine leaves them.
fn network() -> Result<()> {
    let lines = "set -e
        for n in a b; do ip netns add $n; ip -n $n link set lo up; done
        ip -n a link add eth0 type veth peer name eth0 netns b
        ip -n a addr add 192.0.2.1/24 dev eth0; ip -n b addr add 192.0.2.2/24 dev eth0
        ip -n a addr add 10.1.0.1/24 dev lo; ip -n b addr add 10.2.0.1/24 dev lo
        for n in a b; do
            ip -n $n link set eth0 up
            ip netns exec $n sysctl -qw net.ipv4.ip_forward=1 net.ipv4.ip_unprivileged_port_start=0
        done";
    said(Command::new("sh").args(["-c", lines])).map(drop)
}

/// The root of the image.
fn image(place: &Path) -> Result<PathBuf> {
    let root = place.join("image");
    let packed = place.with_file_name("tree").join(PROGRAM);
    let libraries = said(Command::new("ldd").arg(&packed))?;
    let libraries = libraries.split_whitespace().filter(|word| word.starts_with('/'));
    for file in libraries {
        let to = root.join(file.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("a directory")?)?;
        fs::copy(file, to)?;
    }
    for dir in
        ["usr/bin", "etc/s2s-gw", "run/s2s-gw", "var/lib/s2s-gw", "proc", "dev", "sys", "tmp"]
    {
        fs::create_dir_all(root.join(dir))?;
    }
    fs::write(root.join("etc/passwd"), format!("nonroot:x:{USER}:{USER}::/:/sbin/nologin\n"))?;
    let program = root.join(PROGRAM);
    fs::copy(packed, &program)?;
    let containerfile =
        fs::read_to_string(crate::step::workspace().join("packaging/Containerfile"))?;
    ensure!(
        containerfile.contains(&format!("setcap {CAPABILITIES} ")),
        "the Containerfile gives other capabilities"
    );
    said(Command::new("setcap").arg(CAPABILITIES).arg(&program))?;
    Ok(root)
}

/// Which of the two.
#[derive(Debug, Clone, Copy)]
struct Side {
    name: &'static str,
    number: u8,
}

/// One that runs.
#[derive(Debug)]
struct Container {
    side: Side,
    runtime: PathBuf,
    log: PathBuf,
    child: Child,
}

impl Container {
    fn start(place: &Path, image: &Path, side: Side) -> Result<Self> {
        let bundle = place.join(side.name);
        let files = bundle.join("etc");
        fs::create_dir_all(&files)?;
        fs::write(files.join("s2s-gw.toml"), configuration(side))?;
        fs::write(files.join("site.psk"), "neither a nor b would guess this one: 0123456789\n")?;
        fs::set_permissions(files.join("site.psk"), fs::Permissions::from_mode(0o600))?;
        chown(files.join("site.psk"), Some(USER), Some(USER))?;
        fs::write(
            bundle.join("config.json"),
            serde_json::to_vec_pretty(&bundled(image, &files, side))?,
        )?;
        let (runtime, log) = (place.join("runtime"), bundle.join("log"));
        let output = File::create(&log)?;
        let mut crun = Command::new("crun");
        crun.arg("--root")
            .arg(&runtime)
            .args(["--cgroup-manager=disabled", "run", "--bundle"])
            .arg(&bundle);
        crun.arg(side.name).stdout(output.try_clone()?).stderr(output);
        let child = crun.spawn().context("cannot run crun")?;
        Ok(Self { side, runtime, log, child })
    }

    /// Until the health check of the image is content.
    fn wait_healthy(&self) -> Result<()> {
        let mut last = String::new();
        for _ in 0..100 {
            match self.exec(&["status", "--quiet", "--all"]) {
                Ok(_) => return Ok(()),
                Err(error) => last = format!("{error:#}"),
            }
            testkit::peer::pause(Duration::from_millis(200));
        }
        bail!("{} is not healthy: {last}\n{}", self.side.name, self.output())
    }

    /// What the gateway is in there: nobody's user, one capability at most, behind its own filter and Landlock.
    fn is_confined(&self) -> Result<()> {
        let state: Value = serde_json::from_str(&self.crun(&["state", self.side.name])?)?;
        let pid = state.get("pid").and_then(Value::as_u64).context("no pid")?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let user = format!("Uid:\t{USER}\t{USER}\t{USER}\t{USER}");
        for line in [
            user.as_str(),
            "CapBnd:\t0000000000001000",
            "CapEff:\t0000000000001000",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            ensure!(status.lines().any(|there| there == line), "no {line:?} in\n{status}");
        }
        let filters = status.lines().find_map(|line| line.strip_prefix("Seccomp_filters:\t"));
        ensure!(
            filters.is_some_and(|number| number != "1"),
            "no filter of its own beside the runtime's:\n{status}"
        );
        let socket = format!("/proc/{pid}/root/run/s2s-gw/http.sock");
        let curl = ["--silent", "--fail", "--unix-socket", &socket, "http://localhost/healthz"];
        ensure!(said(Command::new("curl").args(curl))? == "ok", "its page is not there");
        let log = self.output();
        let confined = log
            .lines()
            .find(|line| line.contains("event=confined"))
            .with_context(|| log.clone())?;
        ensure!(!confined.contains("files=off") && !confined.contains("calls=off"), "{confined}");
        let root = Path::new("/proc").join(pid.to_string()).join("mounts");
        let mounts = fs::read_to_string(root)?;
        ensure!(
            mounts.lines().any(|line| line.contains(" / ") && line.contains(" ro")),
            "its root can be written:\n{mounts}"
        );
        Ok(())
    }

    /// As an engine stops it.
    fn stop(mut self) -> Result<()> {
        self.crun(&["kill", self.side.name, "TERM"])?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}\n{}", self.output());
        Ok(())
    }

    /// Our program in it, as the engine runs a health check: with the user of the image.
    fn exec(&self, args: &[&str]) -> Result<String> {
        let user = format!("{USER}:{USER}");
        let head = ["exec", "--user", &user, self.side.name, "/usr/bin/s2s-gw"];
        self.crun(&[&head, args].concat())
    }

    fn crun(&self, args: &[&str]) -> Result<String> {
        said(
            Command::new("crun")
                .arg("--root")
                .arg(&self.runtime)
                .arg("--cgroup-manager=disabled")
                .args(args),
        )
    }

    fn output(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Container {
    /// The namespace of processes ends with the checks; this is for what waits for the runtime.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn configuration(Side { name, number }: Side) -> String {
    let other = 3 - number;
    format!(
        "[gateway]\nname = \"{name}\"\nid = \"192.0.2.{number}\"\n\n[http]\nlisten = \"unix:/run/s2s-gw/http.sock\"\n\n[connection.site]\npeer = \"192.0.2.{other}\"\n\
         psk = {{ file = \"site.psk\" }}\nlocal_subnets = [\"10.{number}.0.0/24\"]\nremote_subnets = [\"10.{other}.0.0/24\"]\n"
    )
}

/// `docker run --read-only --cap-drop ALL --cap-add NET_ADMIN --device /dev/net/tun --tmpfs /run/s2s-gw -v ..:/etc/s2s-gw:ro`
fn bundled(image: &Path, files: &Path, side: Side) -> Value {
    let tmpfs = |at: &str| json!({"destination": at, "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", "noexec", "mode=1777"]});
    json!({
        "ociVersion": "1.0.2",
        "process": {
            "user": {"uid": USER, "gid": USER},
            "args": ["/usr/bin/s2s-gw", "run", "-c", "/etc/s2s-gw/s2s-gw.toml"],
            "env": ["PATH=/usr/bin"],
            "cwd": "/",
            "capabilities": {"bounding": ["CAP_NET_ADMIN"]},
        },
        "root": {"path": image, "readonly": true},
        "hostname": side.name,
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "strictatime", "mode=755"]},
            {"destination": "/etc/s2s-gw", "type": "bind", "source": files, "options": ["bind", "ro"]},
            tmpfs("/run/s2s-gw"),
            tmpfs("/var/lib/s2s-gw"),
        ],
        "linux": {
            "namespaces": [
                {"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"},
                {"type": "network", "path": format!("/run/netns/{}", side.name)},
            ],
            "devices": [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o666, "uid": 0, "gid": 0}],
            "maskedPaths": ["/proc/kcore", "/proc/keys", "/proc/timer_list"],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": FORBIDDEN, "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
            },
        },
    })
}

/// The user of the image.
const USER: u32 = 65_532;

/// As `setcap` has them: permitted, so that the program starts with less, too, and takes what there is.
const CAPABILITIES: &str = "cap_net_admin,cap_net_bind_service,cap_net_raw=p";

/// What the filters of engines refuse a container without CAP_SYS_ADMIN.
const FORBIDDEN: &[&str] = &[
    "mount",
    "umount2",
    "pivot_root",
    "setns",
    "unshare",
    "bpf",
    "perf_event_open",
    "keyctl",
    "add_key",
    "request_key",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "open_by_handle_at",
    "userfaultfd",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
    "swapon",
    "swapoff",
    "reboot",
    "settimeofday",
    "clock_settime",
    "acct",
    "quotactl",
];
