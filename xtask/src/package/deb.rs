//! The Debian package: control files around a tree, packed by `dpkg-deb`.
//!
//! ```text
//!   DEBIAN/control     from packaging/debian/control, Depends by dpkg-shlibdeps
//!   DEBIAN/conffiles   what dpkg leaves alone when it was edited
//!   DEBIAN/postinst, prerm, postrm     packaging/debian
//!   DEBIAN/md5sums     of every file, for `dpkg --verify`
//! ```

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use super::tree::{CONFIGURATION, DOC, PROGRAM, Tree};
use crate::step::workspace;

/// What the caller decides.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Of the package, behind the version of the program.
    pub(super) revision: u32,
    /// `Name <mail>`
    pub(super) maintainer: String,
    /// Larger, and ready at once.
    pub(super) quick: bool,
}

/// Packs `tree` into a file in `out`, whose path is returned.
pub(super) fn build(tree: &Tree, wanted: &Wanted, out: &Path) -> Result<PathBuf> {
    let version = format!("{}-{}", env!("CARGO_PKG_VERSION"), wanted.revision);
    let time = last_change();
    let date = said(Command::new("date").args(["-R", "-u", "-d", &format!("@{time}")]))?;
    let changelog = format!(
        "s2s-gw ({version}) unstable; urgency=medium\n\n  * What changed is in changelog.gz.\n\n -- {}  {date}\n",
        wanted.maintainer
    );
    tree.zipped(&format!("{DOC}/changelog.Debian.gz"), changelog.as_bytes())?;
    let architecture = said(Command::new("dpkg").arg("--print-architecture"))?;
    let control = fs::read_to_string(debian("control"))?
        .replace("{version}", &version)
        .replace("{architecture}", &architecture)
        .replace("{maintainer}", &wanted.maintainer)
        .replace("{size}", &kibibytes(&tree.root)?.to_string())
        .replace("{depends}", &depends(&tree.root.join(PROGRAM))?);
    tree.write("DEBIAN/control", control.as_bytes(), 0o644)?;
    tree.write("DEBIAN/conffiles", format!("/{CONFIGURATION}\n").as_bytes(), 0o644)?;
    for script in ["postinst", "prerm", "postrm"] {
        tree.write(&format!("DEBIAN/{script}"), &fs::read(debian(script))?, 0o755)?;
    }
    let sums =
        r"find usr etc -type f ! -path etc/s2s-gw/s2s-gw.toml -print0 | sort -z | xargs -0 md5sum";
    let sums = said(Command::new("sh").args(["-c", sums]).current_dir(&tree.root))?;
    tree.write("DEBIAN/md5sums", format!("{sums}\n").as_bytes(), 0o644)?;

    fs::create_dir_all(out)?;
    let package = out.join(format!("s2s-gw_{version}_{architecture}.deb"));
    let mut pack = Command::new("dpkg-deb");
    pack.args(["--root-owner-group", "--build"]).args(if wanted.quick {
        ["-Zgzip", "-z1"]
    } else {
        ["-Zxz", "-z6"]
    });
    // The same sources make the same package.
    pack.arg(&tree.root).arg(&package).env("SOURCE_DATE_EPOCH", time);
    said(&mut pack)?;
    Ok(package)
}

/// As `dch` asks for it.
pub(super) fn maintainer() -> Result<String> {
    match (std::env::var("DEBFULLNAME"), std::env::var("DEBEMAIL")) {
        (Ok(name), Ok(mail)) => Ok(format!("{name} <{mail}>")),
        _ => bail!(
            "who answers for the package? Its control file has to say: --maintainer \"NAME <MAIL>\", or $DEBFULLNAME and $DEBEMAIL"
        ),
    }
}

/// The packages with the libraries that the program wants, and their versions.
fn depends(program: &Path) -> Result<String> {
    let place = tempfile::tempdir()?;
    fs::create_dir(place.path().join("debian"))?;
    fs::write(
        place.path().join("debian/control"),
        "Source: s2s-gw\n\nPackage: s2s-gw\nArchitecture: any\n",
    )?;
    let mut ask = Command::new("dpkg-shlibdeps");
    ask.current_dir(place.path()).arg("-O").arg("-e").arg(program);
    match ask.output() {
        Ok(output) if output.status.success() => {
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text.lines().find_map(|line| line.strip_prefix("shlibs:Depends="));
            line.map(str::to_owned).with_context(|| format!("dpkg-shlibdeps found nothing: {text}"))
        }
        Ok(output) => bail!("dpkg-shlibdeps: {}", String::from_utf8_lossy(&output.stderr)),
        // Without dpkg-dev: what it was built with is new enough.
        Err(_) => {
            let of =
                |package| said(Command::new("dpkg-query").args(["-Wf", "${Version}", package]));
            Ok(format!("libc6 (>= {}), libgcc-s1 (>= {})", of("libc6")?, of("libgcc-s1")?))
        }
    }
}

/// When the sources changed last, in seconds since 1970.
fn last_change() -> String {
    let told = std::env::var("SOURCE_DATE_EPOCH").ok();
    let log = || {
        said(Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(workspace())).ok()
    };
    told.or_else(log).filter(|time| !time.is_empty()).unwrap_or_else(|| "0".to_owned())
}

fn kibibytes(root: &Path) -> Result<u64> {
    let said =
        said(Command::new("du").args(["-sk", "--apparent-size", "--exclude=DEBIAN"]).arg(root))?;
    Ok(said.split_whitespace().next().unwrap_or_default().parse()?)
}

fn debian(name: &str) -> PathBuf {
    workspace().join("packaging/debian").join(name)
}

/// What a command prints, which has to succeed.
pub(super) fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("cannot run {command:?}"))?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).trim_end().to_owned();
    ensure!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    Ok(text(&output.stdout))
}
