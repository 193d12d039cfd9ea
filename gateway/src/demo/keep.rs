//! `--keep DIR`: what is left of a demo to look at, and how.
//!
//! ```text
//!   DIR/gw-a.toml gw-b.toml demo.psk      what the gateways were told
//!   DIR/gw-a.log gw-b.log                 what they said
//!   DIR/internet.pcap host-a.pcap         what crossed the wire, sealed, and what host-a has sent
//!   DIR/README.txt                        how to look at them
//! ```

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use super::{DemoArgs, DemoError, During as _};

/// Makes the directory, for our eyes only, since a key will be in it.
pub(super) fn prepare(into: &Path) -> Result<(), DemoError> {
    let what = || format!("look into {}", into.display());
    match fs::read_dir(into) {
        Ok(mut entries) => match entries.next() {
            Some(_) => Err(DemoError::NotEmpty(into.to_owned())),
            None => Ok(()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(into)
            .during(format!("make {}", into.display())),
        Err(error) => Err(error).during(what()),
    }
}

/// Copies what is worth it, with its permissions, and says how to look at it.
pub(super) fn keep(from: &Path, into: &Path, args: &DemoArgs) -> Result<(), DemoError> {
    let what = format!("copy the files of the demo to {}", into.display());
    let mut kept = Vec::new();
    for entry in fs::read_dir(from).during(&*what)? {
        let entry = entry.during(&*what)?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let extension = Path::new(&name).extension().and_then(|extension| extension.to_str());
        if KEPT.iter().any(|(known, _)| Some(*known) == extension) {
            fs::copy(entry.path(), into.join(&name)).during(&*what)?;
            kept.push(name);
        }
    }
    if kept.is_empty() {
        // It did not come so far. Whoever made the directory, there is nothing in it.
        let _ = fs::remove_dir(into);
        return Ok(());
    }
    kept.sort();
    fs::write(into.join("README.txt"), readme(&kept, args)).during(what)?;
    if !args.json {
        super::stage::Stage::new(false).say(&format!(
            "  Kept in {}: README.txt and {}.\n",
            into.display(),
            kept.join(", ")
        ));
    }
    Ok(())
}

fn readme(kept: &[String], args: &DemoArgs) -> String {
    let mut text = String::from(
        "What `s2s-gw demo --keep` has left\n\
         ==================================\n\n",
    );
    for (extension, what) in KEPT {
        let mut names =
            kept.iter().filter(|name| name.ends_with(&format!(".{extension}"))).peekable();
        if names.peek().is_some() {
            let names: Vec<&str> = names.map(String::as_str).collect();
            let _ = writeln!(text, "{}\n    {what}\n", names.join(", "));
        }
    }
    text.push_str(LOOK_FOR);
    if args.fault.is_none() && !args.failover {
        text.push_str(BEFORE);
    }
    text.push_str(HOW);
    text
}

/// What is kept, by its extension, and what it is.
const KEPT: [(&str, &str); 5] = [
    (
        "toml",
        "The configuration of each gateway, at the end of the demo.\n    Try: s2s-gw check gw-a.toml",
    ),
    ("psk", "The pre-shared key of that demo, which nothing uses any more."),
    ("conf", "Those of strongSwan; swanctl.conf is what `s2s-gw export` made of gw-a.toml."),
    ("log", "What each gateway has said, a line for each event.\n    Try: grep -v INFO gw-a.log"),
    (
        "pcap",
        "What crossed the internet (IKE and ESP) and the cable of host-a (in clear), the first 4 MiB.\n    \
         Try: tcpdump -nr internet.pcap | head -20\n         tcpdump -Anr host-a.pcap icmp | head -20\n         \
         wireshark internet.pcap",
    ),
];

const LOOK_FOR: &str = "\
What to look for
----------------

";

const BEFORE: &str = "\
internet.pcap begins with a ping that is not encrypted: before the tunnel was
there, anybody could read \"Dear host-b\".

";

const HOW: &str = "\
internet.pcap has IKE on UDP 500 and 4500 (IKE_SA_INIT can be read, what follows
is encrypted), and ESP, mostly in UDP 4500: an SPI, a counter, and octets that
say nothing. host-a.pcap has the same packets before they were sealed. If both
have 4 MiB, the measurement of speed has filled them.

The keys of the SAs were in the memory of the gateways alone and are gone, so
that nobody, you included, can read these ESP packets.
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let new = directory.path().join("a/b");
        prepare(&new).unwrap();
        prepare(&new).unwrap();
        fs::write(new.join("mine"), "").unwrap();
        assert!(matches!(prepare(&new), Err(DemoError::NotEmpty(_))));
        assert!(prepare(&new.join("mine")).is_err(), "a file");
    }

    #[test]
    fn what_is_there_is_explained() {
        let text = readme(
            &["gw-a.log".into(), "gw-a.toml".into(), "gw-b.toml".into()],
            &DemoArgs::default(),
        );
        assert!(text.contains("gw-a.toml, gw-b.toml\n    The configuration"), "{text}");
        assert!(!text.contains("tcpdump -nr"), "{text}");
        assert!(text.lines().all(|line| line.len() <= 100), "{text}");
    }
}
