//! What becomes of the package on a system: installed, used, upgraded over an edited configuration, removed, purged.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::deb::said;
use super::inside::{Check, System};
use super::tree::CONFIGURATION;

/// In their order: each begins where the one before ended.
pub(super) fn checks<'a>(place: &'a Path, system: &'a System) -> Vec<Check<'a>> {
    vec![
        ("package/lintian", Box::new(|| lintian(place))),
        ("package/install", Box::new(|| install(system))),
        ("package/use", Box::new(|| usable(system))),
        ("package/unit", Box::new(|| unit(system))),
        ("package/upgrade", Box::new(|| upgrade(system))),
        ("package/remove", Box::new(|| remove(system))),
        ("package/purge", Box::new(|| purge(system))),
    ]
}

/// Nothing that Debian's own checker calls an error or a warning; where it is not installed, nobody is asked.
fn lintian(place: &Path) -> Result<()> {
    if !Path::new("/usr/bin/lintian").exists() {
        return Ok(());
    }
    let package = package(place, 1)?;
    let mut command = Command::new("lintian");
    command
        .args(["--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0"])
        .arg(package);
    said(&mut command).map(drop)
}

fn package(place: &Path, revision: u32) -> Result<std::path::PathBuf> {
    let revision = format!("-{revision}_");
    let mut packages = fs::read_dir(place)?.filter_map(Result::ok).map(|entry| entry.path());
    let found = packages.find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        path.extension().is_some_and(|end| end == "deb") && name.contains(&revision)
    });
    found.context("no such package")
}

/// All files are there as they should be, and nothing is enabled or started.
fn install(system: &System) -> Result<()> {
    let _ = system.sh("userdel s2s-gw");
    system.asked_of_systemd()?;
    system.sh("dpkg --force-unsafe-io -i /tmp/s2s-gw_*-1_*.deb")?;
    ensure!(system.sh("dpkg --verify s2s-gw")?.is_empty(), "files differ from those packed");
    let state = system.sh("dpkg-query -Wf '${db:Status-Abbrev}' s2s-gw")?;
    ensure!(state.trim() == "ii", "dpkg says {state}");
    for file in [
        "usr/bin/s2s-gw",
        "usr/lib/systemd/system/s2s-gw.service",
        "usr/lib/systemd/system/s2s-gw-ike.socket",
        "usr/lib/sysusers.d/s2s-gw.conf",
        "usr/lib/sysctl.d/60-s2s-gw.conf",
        "usr/share/man/man8/s2s-gw.8.gz",
        "usr/share/man/man5/s2s-gw.toml.5.gz",
        "usr/share/bash-completion/completions/s2s-gw",
        "usr/share/doc/s2s-gw/copyright",
        "usr/share/doc/s2s-gw/changelog.Debian.gz",
        "usr/share/doc/s2s-gw/docs/start.md",
        "usr/share/doc/s2s-gw/examples/two-sites.toml",
    ] {
        ensure!(system.root.join(file).is_file(), "no /{file}");
    }
    let user = system.sh("getent passwd s2s-gw")?;
    ensure!(user.ends_with("nologin"), "the user may log in: {user}");
    let group = system.sh("getent group s2s-gw | cut -d: -f3")?;
    let configuration = fs::metadata(system.root.join(CONFIGURATION))?;
    let seen =
        (configuration.uid(), configuration.gid().to_string(), configuration.mode() & 0o7777);
    ensure!(seen == (0, group, 0o640), "/{CONFIGURATION} is {seen:?}");
    let asked = system.asked_of_systemd()?;
    ensure!(asked.trim() == "--system daemon-reload", "of systemd it wanted: {asked}");
    Ok(())
}

/// The program runs, and its own user reads the configuration, in which there is nothing to complain about.
fn usable(system: &System) -> Result<()> {
    let version = system.sh("s2s-gw --version")?;
    ensure!(version.contains(env!("CARGO_PKG_VERSION")), "{version}");
    let as_user = "setpriv --reuid s2s-gw --regid s2s-gw --clear-groups";
    let checked = system.sh(&format!("{as_user} s2s-gw check --strict /{CONFIGURATION}"))?;
    ensure!(checked.contains(": ok, ") && checked.contains("0 connections"), "{checked}");
    let stranger = "setpriv --reuid nobody --regid nogroup --clear-groups";
    let refused = system.sh(&format!("{stranger} cat /{CONFIGURATION}"));
    ensure!(refused.is_err(), "everybody reads the configuration");
    system.sh("bash -n /usr/share/bash-completion/completions/s2s-gw")?;
    if system.root.join("usr/bin/man").exists() {
        let page = system.sh(
            "man --warnings -E UTF-8 -l -Tutf8 /usr/share/man/man8/s2s-gw.8.gz 2>&1 | head -3",
        )?;
        ensure!(page.contains("S2S-GW(8)"), "{page}");
    }
    Ok(())
}

/// systemd takes the service as it is installed.
fn unit(system: &System) -> Result<()> {
    if !system.root.join("usr/bin/systemd-analyze").exists() {
        return Ok(());
    }
    let units = "/usr/lib/systemd/system/s2s-gw.service /usr/lib/systemd/system/s2s-gw-*.socket";
    let said = system.sh(&format!("systemd-analyze verify {units} 2>&1"))?;
    let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("s2s-gw")).collect();
    ensure!(about_ours.is_empty(), "{about_ours:?}");
    Ok(())
}

/// What the operator wrote stays, even where the new package brings another text, and a gateway that runs is restarted.
fn upgrade(system: &System) -> Result<()> {
    let path = system.root.join(CONFIGURATION);
    let edited = fs::read_to_string(&path)? + "# edited\n";
    fs::write(&path, &edited)?;
    fs::write(system.root.join("etc/s2s-gw/berlin.psk"), "a key\n")?;
    system.asked_of_systemd()?;
    system.sh("dpkg --force-unsafe-io --force-confdef -i /tmp/s2s-gw_*-2_*.deb </dev/null")?;
    ensure!(system.sh("dpkg-query -Wf '${Version}' s2s-gw")?.ends_with("-2"), "not upgraded");
    ensure!(fs::read_to_string(&path)? == edited, "the edited configuration is gone");
    let theirs = fs::read_to_string(system.root.join(format!("{CONFIGURATION}.dpkg-dist")))?;
    ensure!(theirs.ends_with("# new\n"), "the new text is not beside it");
    ensure!(fs::metadata(&path)?.mode() & 0o7777 == 0o640, "its mode changed");
    ensure!(fs::metadata(&path)?.gid() != 0, "its group changed");
    let asked = system.asked_of_systemd()?;
    ensure!(asked.contains("try-restart s2s-gw.service"), "of systemd it wanted: {asked}");
    let starts = |line: &str| {
        line.split(' ').any(|word| matches!(word, "start" | "restart" | "enable" | "preset"))
    };
    ensure!(!asked.lines().any(starts), "of systemd it wanted: {asked}");
    Ok(())
}

/// The program goes, the configuration and the keys stay.
fn remove(system: &System) -> Result<()> {
    system.asked_of_systemd()?;
    system.sh("mkdir -p /var/lib/s2s-gw && touch /var/lib/s2s-gw/state.json")?;
    system.sh("dpkg --force-unsafe-io -r s2s-gw")?;
    ensure!(!system.root.join("usr/bin/s2s-gw").exists(), "the program is still there");
    for kept in [CONFIGURATION, "etc/s2s-gw/berlin.psk", "var/lib/s2s-gw/state.json"] {
        ensure!(system.root.join(kept).exists(), "/{kept} is gone");
    }
    let asked = system.asked_of_systemd()?;
    ensure!(asked.contains("stop s2s-gw.service"), "of systemd it wanted: {asked}");
    Ok(())
}

/// Then all of it goes.
fn purge(system: &System) -> Result<()> {
    system.sh("dpkg --force-unsafe-io -P s2s-gw")?;
    for gone in ["etc/s2s-gw", "var/lib/s2s-gw", "usr/share/doc/s2s-gw"] {
        ensure!(!system.root.join(gone).exists(), "/{gone} is still there");
    }
    ensure!(system.sh("dpkg-query -W s2s-gw").is_err(), "dpkg still knows it");
    Ok(())
}
