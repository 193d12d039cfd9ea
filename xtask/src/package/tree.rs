//! What is installed, and where: the file system of the package before it is packed.
//!
//! ```text
//!   program ─► usr/bin/s2s-gw, usr/share/man, completions of three shells
//!   packaging/ ─► usr/lib/systemd/system, usr/lib/sysusers.d, usr/lib/sysctl.d, etc/s2s-gw/s2s-gw.toml
//!   docs/, README.md ─► usr/share/doc/s2s-gw, laid out as in the checkout, so that their links lead somewhere
//! ```

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use flate2::{Compression, GzBuilder};

use crate::step::workspace;

/// A directory that looks as the root of a system with nothing but the package.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: PathBuf,
}

impl Tree {
    /// Puts everything in place below `root`.
    pub(super) fn assemble(root: &Path, program: &Path) -> Result<Self> {
        let tree = Self { root: root.to_owned() };
        tree.program(program)?;
        for (from, to) in FILES {
            tree.copy(&workspace().join(from), to, 0o644)?;
        }
        let unit = fs::read_to_string(workspace().join("packaging/s2s-gw.service"))?;
        tree.write(
            "usr/lib/systemd/system/s2s-gw.service",
            for_any_systemd(&unit)?.as_bytes(),
            0o644,
        )?;
        tree.copy(&workspace().join("packaging/s2s-gw.toml"), CONFIGURATION, 0o640)?;
        for (from, to) in
            [("docs", "docs"), ("docs/peers", "docs/peers"), ("packaging/examples", "examples")]
        {
            for entry in fs::read_dir(workspace().join(from))? {
                let path = entry?.path();
                let name = path.file_name().context("a name")?.to_string_lossy().into_owned();
                if path.is_file() {
                    tree.copy(&path, &format!("{DOC}/{to}/{name}"), 0o644)?;
                }
            }
        }
        tree.zipped(&format!("{DOC}/changelog.gz"), &fs::read(workspace().join("CHANGELOG.md"))?)?;
        tree.generated(program)?;
        Ok(tree)
    }

    fn program(&self, program: &Path) -> Result<()> {
        self.copy(program, PROGRAM, 0o755)?;
        let strip = Command::new("strip")
            .args(["--strip-unneeded", "--remove-section=.comment", "--remove-section=.note"])
            .arg(self.root.join(PROGRAM))
            .status();
        let stripped = strip.context("cannot run strip; apt install binutils")?.success();
        ensure!(stripped, "strip does not take {}", program.display());
        Ok(())
    }

    /// Manual pages and completions.
    fn generated(&self, program: &Path) -> Result<()> {
        let ask = |args: &[&str]| -> Result<Vec<u8>> {
            let output = Command::new(program).args(args).output();
            let output = output.with_context(|| format!("cannot run {}", program.display()))?;
            ensure!(output.status.success(), "{} {args:?} failed", program.display());
            Ok(output.stdout)
        };
        self.zipped("usr/share/man/man8/s2s-gw.8.gz", &ask(&["man", "8"])?)?;
        self.zipped("usr/share/man/man5/s2s-gw.toml.5.gz", &ask(&["man", "5"])?)?;
        for (shell, to) in COMPLETIONS {
            self.write(to, &ask(&["completions", shell])?, 0o644)?;
        }
        Ok(())
    }

    /// As a later version of the package may have another example in it.
    pub(super) fn append_to_the_configuration(&self, text: &str) -> Result<()> {
        let shipped = fs::read_to_string(self.root.join(CONFIGURATION))?;
        self.write(CONFIGURATION, (shipped + text).as_bytes(), 0o640)
    }

    fn copy(&self, from: &Path, to: &str, mode: u32) -> Result<()> {
        let octets = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
        self.write(to, &octets, mode)
    }

    /// Compressed so that the same text is the same file (no name, no time in it).
    pub(super) fn zipped(&self, to: &str, text: &[u8]) -> Result<()> {
        let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
        encoder.write_all(text)?;
        self.write(to, &encoder.finish()?, 0o644)
    }

    /// A file with this mode, and the directories above it.
    pub(super) fn write(&self, to: &str, octets: &[u8], mode: u32) -> Result<()> {
        let path = self.root.join(to);
        let mut missing = Vec::new();
        let above = path.ancestors().skip(1).take_while(|dir| !dir.exists());
        missing.extend(above.map(Path::to_owned));
        for dir in missing.iter().rev() {
            fs::create_dir(dir)?;
            fs::set_permissions(dir, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(&path, octets).with_context(|| format!("cannot write {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        Ok(())
    }
}

/// Debian 12 has systemd 252, which does not know `notify-reload`; what replaces it is right for later ones, too.
fn for_any_systemd(unit: &str) -> Result<String> {
    let drop_in =
        fs::read_to_string(workspace().join("packaging/s2s-gw.service.d/before-253.conf"))?;
    let (_, older) =
        drop_in.split_once("[Service]\n").context("no [Service] in before-253.conf")?;
    let (before, after) =
        unit.split_once("Type=notify-reload\n").context("no Type=notify-reload in the unit")?;
    let (_, before) = before.split_once('\n').context("no first line in the unit")?;
    Ok(format!("# s2s-gw as a service of systemd.\n{before}{older}{after}"))
}

pub(super) const PROGRAM: &str = "usr/bin/s2s-gw";
pub(super) const CONFIGURATION: &str = "etc/s2s-gw/s2s-gw.toml";
pub(super) const DOC: &str = "usr/share/doc/s2s-gw";

const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/s2s-gw"),
    ("zsh", "usr/share/zsh/vendor-completions/_s2s-gw"),
    ("fish", "usr/share/fish/vendor_completions.d/s2s-gw.fish"),
];

const FILES: &[(&str, &str)] = &[
    ("packaging/s2s-gw-ike.socket", "usr/lib/systemd/system/s2s-gw-ike.socket"),
    ("packaging/s2s-gw-nat.socket", "usr/lib/systemd/system/s2s-gw-nat.socket"),
    ("packaging/s2s-gw-control.socket", "usr/lib/systemd/system/s2s-gw-control.socket"),
    ("packaging/s2s-gw-http.socket", "usr/lib/systemd/system/s2s-gw-http.socket"),
    ("packaging/s2s-gw.sysusers", "usr/lib/sysusers.d/s2s-gw.conf"),
    ("packaging/s2s-gw.sysctl", "usr/lib/sysctl.d/60-s2s-gw.conf"),
    ("packaging/debian/lintian-overrides", "usr/share/lintian/overrides/s2s-gw"),
    ("packaging/debian/copyright", "usr/share/doc/s2s-gw/copyright"),
    ("README.md", "usr/share/doc/s2s-gw/README.md"),
    ("SECURITY.md", "usr/share/doc/s2s-gw/SECURITY.md"),
    ("packaging/README.md", "usr/share/doc/s2s-gw/packaging/README.md"),
    ("packaging/s2s-gw.service.d/sockets.conf", "usr/share/doc/s2s-gw/packaging/sockets.conf"),
    ("packaging/alerts.yml", "usr/share/doc/s2s-gw/packaging/alerts.yml"),
    ("packaging/grafana.json", "usr/share/doc/s2s-gw/packaging/grafana.json"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_is_one_that_debian_12_reads() {
        let unit =
            fs::read_to_string(workspace().join("packaging/s2s-gw.service")).expect("a unit");
        let changed = for_any_systemd(&unit).expect("can be changed");
        assert!(
            changed.contains("\nType=notify\nExecReload=/bin/kill -HUP $MAINPID\n"),
            "{changed}"
        );
        assert!(!changed.contains("notify-reload"), "{changed}");
        assert!(changed.lines().count() > unit.lines().count(), "nothing is lost");
    }
}
