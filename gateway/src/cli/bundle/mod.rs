//! `bundle`: everything that somebody who helps asks for, in one file, without secrets, and if wanted without names.
//!
//! ```text
//!   contents.rs   daemon, configuration, doctor   host.rs   kernel, devices, routes, sysctls     ─► Entry, Entry, ..
//!   secrets.rs    whatever of them has a key in it, has it no more
//!   masks.rs      --anonymize: addresses (addresses.rs) and names (names.rs) ─► others, the same in each file
//!   archive.rs    ─► FILE, as a whole or not at all; mode 0600
//! ```
//!
//! What cannot be had is said in the README of the bundle instead: it works without a daemon, and without root.

mod addresses;
mod archive;
mod contents;
mod host;
mod masks;
mod names;
mod secrets;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _};
use std::path::PathBuf;

use super::client::Daemon;
use super::output::{is_dumb, print, say};
use super::{Code, DEFAULT_CONFIG, Failure, Outcome};
use crate::clock;
use masks::Masks;

/// Pack what is needed to help you into one file, without secrets
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  s2s-gw bundle\n  s2s-gw bundle --anonymize -o case-4711.tar.gz\n\nLook into it before you send it: tar -xzf FILE. Takes some seconds, since it\nasks peers as `s2s-gw doctor` does. Works without a daemon, too, and says what\nis missing then."
)]
pub(super) struct Bundle {
    /// Other names, addresses and identities, alike everywhere
    #[arg(long)]
    anonymize: bool,
    /// Where to, by default s2s-gw-bundle-TIME.tar.gz here
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Also over a file that is there
    #[arg(long)]
    force: bool,
    /// Configuration file
    #[arg(short, long, value_name = "F", default_value = DEFAULT_CONFIG)]
    config: PathBuf,
    #[command(flatten)]
    daemon: Daemon,
}

/// One file of the bundle.
#[derive(Debug)]
struct Entry {
    /// Its path there.
    path: String,
    /// What it is, for the README.
    about: &'static str,
    /// Its text, or why there is none.
    text: Result<String, String>,
}

impl Entry {
    fn new(path: &str, about: &'static str, text: Result<String, String>) -> Self {
        Self { path: path.to_owned(), about, text }
    }
}

impl Bundle {
    pub(super) fn run(self) -> Outcome {
        let now = clock::wall();
        let file = self.output.clone().unwrap_or_else(|| {
            format!("s2s-gw-bundle-{}.tar.gz", now.strftime("%Y%m%d-%H%M%S")).into()
        });
        let failed = |sentence: String| Failure::new(Code::Failed, sentence);
        // Before anything takes time.
        let place = archive::Place::new(&file, self.force).map_err(failed)?;
        let mut collected = contents::collect(&self.config, &self.daemon, &mut progress);
        secrets::remove(&mut collected.entries, &collected.secrets);
        if self.anonymize {
            progress("names");
            let masks = Masks::of(&collected).map_err(failed)?;
            masks.put_on(&mut collected.entries).map_err(failed)?;
        }
        contents::derive(&mut collected.entries);
        let missing = collected.entries.iter().filter(|entry| entry.text.is_err()).count();
        let readme = readme(&collected.entries, self.anonymize, now);
        collected.entries.insert(0, Entry::new("README.txt", "this file", Ok(readme)));
        progress("");
        let written = place.write(&collected.entries, now).map_err(failed)?;
        let count = collected.entries.len() - missing;
        let size = crate::status::words::octets(written);
        let mut said = format!("{}: {count} files, {size}", file.display());
        if missing > 0 {
            let _ = write!(said, "; {missing} could not be had, README.txt in it says why");
        }
        if !self.anonymize {
            said.push_str("; addresses and names are in it, without them: --anonymize");
        }
        print(&(said + "\n"))
    }
}

/// Says what is being done, where somebody sees it; with nothing to say the line is empty again.
fn progress(what: &str) {
    if io::stderr().is_terminal() && !is_dumb() {
        let dots = if what.is_empty() { "" } else { " .." };
        say(&format!("\r\x1b[K{what}{dots}"));
    }
}

/// What is in the bundle, and what is not.
fn readme(entries: &[Entry], is_anonymous: bool, now: jiff::Timestamp) -> String {
    let names = if is_anonymous {
        "Addresses, names and identities are not the real ones. The same one is the same in all files, and networks that lie in\n\
         each other do so here, too. Comments of the configuration are left out. Which became which is written down nowhere."
    } else {
        "Addresses, names and identities are the real ones; `s2s-gw bundle --anonymize` makes a bundle without them."
    };
    let mut text = format!(
        "s2s-gw {}, bundle of {}\n\nPre-shared keys, private keys and tokens are not in it.\n{names}\n\n",
        env!("CARGO_PKG_VERSION"),
        now.strftime("%Y-%m-%dT%H:%M:%SZ"),
    );
    for Entry { path, about, text: content, .. } in entries {
        let _ = match content {
            Ok(_) => writeln!(text, "{path:<28} {about}"),
            Err(why) => writeln!(text, "{path:<28} {about}: missing, {why}"),
        };
    }
    text
}
