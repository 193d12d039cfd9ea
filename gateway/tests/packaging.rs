//! What is shipped beside the program: the examples are right, the service is one that systemd takes.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging")
}

fn program() -> &'static str {
    env!("CARGO_BIN_EXE_s2s-gw")
}

#[test]
fn check_accepts_every_example_without_a_warning() {
    let mut checked = 0;
    for entry in fs::read_dir(packaging().join("examples")).expect("examples") {
        let path = entry.expect("an entry").path();
        let place = tempfile::tempdir().expect("a directory");
        let copy = place.path().join("s2s-gw.toml");
        fs::copy(&path, &copy).expect("copies");
        let text = fs::read_to_string(&path).expect("reads");
        if text.contains("cert = ") {
            make_certificates(place.path());
        }
        for (number, key) in text.split("file = \"").skip(1).enumerate() {
            let key = place.path().join(key.split('"').next().expect("a name"));
            fs::write(
                &key,
                format!("a key of its own, longer than anybody would guess, for number {number}"),
            )
            .expect("writes");
            fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("chmod");
        }
        let checked_it = Command::new(program()).args(["check", "--strict"]).arg(&copy).output();
        let output = checked_it.expect("the program runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{}: {said}", path.display());
        checked += 1;
    }
    assert!(checked >= 5, "{checked} examples");
}

/// As the example says that they are made.
fn make_certificates(place: &Path) {
    let sites = ["--site", "fra1.example.com", "--site", "berlin.example.com"];
    let output = Command::new(program()).arg("pki").arg(place).args(sites).output();
    let output = output.expect("the program runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn systemd_takes_the_service() {
    let version = match Command::new("systemd-analyze").arg("--version").output() {
        Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        Err(error) => {
            eprintln!("SKIPPED: no systemd-analyze here: {error}");
            return;
        }
    };
    let version = version.split_whitespace().nth(1).and_then(|number| number.parse().ok());
    let version: u32 = version.expect("a version");
    let place = tempfile::tempdir().expect("a directory");
    let unit = fs::read_to_string(packaging().join("s2s-gw.service")).expect("the service");
    assert!(unit.contains("/usr/bin/s2s-gw run"), "where the program is looked for");
    let mut unit = unit.replace("/usr/bin/s2s-gw", program());
    if version < 253 {
        let drop_in = packaging().join("s2s-gw.service.d/before-253.conf");
        let drop_in = fs::read_to_string(drop_in).expect("the drop-in");
        let older = drop_in.split_once("[Service]\n").expect("a section").1;
        unit = unit.replace("Type=notify-reload\n", older);
    }
    // There is no manual page on this machine.
    let unit: String = unit
        .lines()
        .filter(|line| !line.starts_with("Documentation="))
        .fold(String::new(), |text, line| text + line + "\n");
    let path = place.path().join("s2s-gw.service");
    fs::write(&path, unit).expect("writes");
    let verified = Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&path).output();
    let output = verified.expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("s2s-gw")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
}

/// systemd takes the units of the sockets, and the gateway knows the names that they give.
#[test]
fn systemd_takes_the_sockets() {
    let place = tempfile::tempdir().expect("a directory");
    let mut units = Vec::new();
    for (name, port) in [
        ("ike", ":500\n"),
        ("nat", ":4500\n"),
        ("control", "/control.sock\n"),
        ("http", "/http.sock\n"),
    ] {
        let file = format!("s2s-gw-{name}.socket");
        let unit = fs::read_to_string(packaging().join(&file)).expect("a unit");
        assert!(unit.lines().any(|line| line == format!("FileDescriptorName={name}")), "{file}");
        assert!(unit.contains(port) && unit.contains("Service=s2s-gw.service\n"), "{file}");
        let path = place.path().join(&file);
        // There is no such user on this machine.
        fs::write(&path, unit.replace("=s2s-gw\n", "=root\n")).expect("writes");
        units.push(path);
    }
    let service = format!("[Service]\nExecStart={} run\n", program());
    fs::write(place.path().join("s2s-gw.service"), service).expect("writes");
    let verified =
        Command::new("systemd-analyze").args(["verify", "--man=no"]).args(&units).output();
    let output = match verified {
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED: no systemd-analyze here: {error}");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("s2s-gw")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
}

/// The daemon may do with the capabilities of the service all that it wants, and no more is given.
#[test]
fn the_service_is_closed() {
    let unit = fs::read_to_string(packaging().join("s2s-gw.service")).expect("the service");
    for line in [
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "MemoryDenyWriteExecute=yes",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK AF_UNIX",
        "CapabilityBoundingSet=CAP_NET_ADMIN CAP_NET_BIND_SERVICE CAP_NET_RAW",
        "DeviceAllow=/dev/net/tun rw",
        "Restart=always",
    ] {
        assert!(unit.lines().any(|there| there == line), "{line}");
    }
}
