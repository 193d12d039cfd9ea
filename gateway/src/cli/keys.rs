//! `keys`: the keys of a connection in the two tables from which Wireshark decrypts IKE and ESP.
//!
//! ```text
//!   Request::Keys ──► DIR/ikev2_decryption_table, DIR/esp_sa        mode 0600; lines that are there stay, so that what was
//!                                                                  captured before a rekey can be read, too
//! ```

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::client::{Daemon, refused, strange};
use super::output::{DONE, say};
use super::{Code, Failure, Outcome};
use crate::status::client;
use crate::status::protocol::{Request, Response};

/// Write the keys of a connection for Wireshark, if allowed
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example:\n  s2s-gw keys berlin -o keys\n  WIRESHARK_CONFIG_DIR=keys tshark -o esp.enable_encryption_decode:TRUE \\\n    -r berlin.pcapng\n\nWants `allow_key_export = true` in [gateway]. Keys are of the SAs that are\nthere now; run it once more after a rekey, into the same directory."
)]
pub(super) struct Keys {
    /// The connection
    name: String,
    /// Directory for the tables; made if it is not there
    #[arg(short, long, value_name = "DIR")]
    output: PathBuf,
    #[command(flatten)]
    daemon: Daemon,
}

impl Keys {
    pub(super) fn run(self) -> Outcome {
        let request = Request::Keys { connection: self.name };
        let keys = match client::ask(&self.daemon.control, &request)? {
            Response::Keys { keys } => keys,
            Response::Refused { kind, message } => return Err(refused(kind, message)),
            Response::Status { .. }
            | Response::Shown { .. }
            | Response::Explained { .. }
            | Response::Reload { .. }
            | Response::Events { .. }
            | Response::Capturing { .. }
            | Response::Packets { .. }
            | Response::Done { .. } => return Err(strange()),
        };
        let failed = |error: io::Error| {
            let directory = self.output.display();
            Failure::new(Code::Failed, format!("cannot write into {directory}: {error}"))
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&self.output).map_err(failed)?;
        for (file, lines) in [("ikev2_decryption_table", &keys.ike), ("esp_sa", &keys.esp)] {
            add(&self.output.join(file), lines).map_err(failed)?;
        }
        for sentence in &keys.missing {
            say(&format!("left out: {sentence}\n"));
        }
        let (ike, esp, place) = (keys.ike.len(), keys.esp.len(), self.output.display());
        say(&format!(
            "{ike} keys of IKE and {esp} of ESP in {place}; delete them when you are done: whoever has them reads what \
             these SAs carry\n"
        ));
        DONE
    }
}

/// Adds the lines that a file has not yet.
fn add(path: &Path, lines: &[String]) -> io::Result<()> {
    let there = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    let known: BTreeSet<&str> = there.lines().collect();
    let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
    for line in lines.iter().filter(|line| !known.contains(line.as_str())) {
        writeln!(file, "{line}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn lines_are_added_once_and_are_for_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("esp_sa");
        let lines = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        add(&path, &lines(&["a", "b"])).expect("writes");
        add(&path, &lines(&["b", "c"])).expect("adds");
        assert_eq!(fs::read_to_string(&path).expect("reads"), "a\nb\nc\n");
        assert_eq!(fs::metadata(&path).expect("is there").mode() & 0o777, 0o600);
    }
}
