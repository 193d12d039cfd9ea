//! The journal of systemd: each record with its fields, not as a line of text.
//!
//! ```text
//!   JOURNAL_STREAM=8:123 and stderr is file 123 of device 8 ──► /run/systemd/journal/socket, one datagram per record
//!
//!   MESSAGE=event=down conn=berlin ..\n PRIORITY=4\n EVENT=down\n CONNECTION=berlin\n ..    journalctl CONNECTION=berlin
//! ```
//!
//! The form is that of "Native Journal Protocol" in the documentation of systemd: `NAME=value`, or, if the value has line
//! ends, `NAME`, its length as 64 bits little-endian, and the value.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use super::{Record, Severity, line};

#[derive(Debug)]
pub(super) struct Journal {
    socket: UnixDatagram,
    /// Named with each record: a journal that was started again listens on another socket there.
    path: PathBuf,
}

impl Journal {
    /// If systemd says that stderr leads there, and it does.
    pub(super) fn of_stderr() -> Option<Self> {
        let stream = std::env::var("JOURNAL_STREAM").ok()?;
        let stderr = std::fs::metadata("/proc/self/fd/2").ok()?;
        if !is_there(&stream, stderr.dev(), stderr.ino()) {
            return None;
        }
        Self::connect(Path::new(SOCKET)).ok()
    }

    fn connect(path: &Path) -> io::Result<Self> {
        if !path.exists() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let socket = UnixDatagram::unbound()?;
        // A journal that is stuck must not stop the gateway.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// # Errors
    /// If the journal does not take it.
    pub(super) fn send(&self, record: &Record) -> io::Result<()> {
        self.socket.send_to(&datagram(record), &self.path).map(drop)
    }
}

/// Whether a file is the one that systemd calls the journal; a shell may have led stderr elsewhere.
fn is_there(stream: &str, device: u64, inode: u64) -> bool {
    stream == format!("{device}:{inode}")
}

fn datagram(record: &Record) -> Vec<u8> {
    let mut datagram = Vec::new();
    let mut push = |name: &str, value: &str| {
        datagram.extend(name.bytes());
        if value.contains('\n') {
            datagram.push(b'\n');
            datagram.extend(u64::try_from(value.len()).unwrap_or(0).to_le_bytes());
        } else {
            datagram.push(b'=');
        }
        datagram.extend(value.bytes());
        datagram.push(b'\n');
    };
    push("MESSAGE", &format!("{}{}", record.area, line::pairs(record)));
    push("PRIORITY", priority(record.level));
    push("SYSLOG_IDENTIFIER", "s2s-gw");
    push("AREA", &record.area);
    push("EVENT", &record.event);
    if let Some(connection) = &record.connection {
        push("CONNECTION", connection);
    }
    if let Some(code) = &record.code {
        push("CODE", code);
    }
    for (name, value) in &record.fields {
        let name = format!(
            "S2S_{}",
            name.to_ascii_uppercase().replace(|c: char| !c.is_ascii_alphanumeric(), "_")
        );
        match value.as_str() {
            Some(text) => push(&name, text),
            None => push(&name, &value.to_string()),
        }
    }
    datagram
}

/// As syslog counts them.
const fn priority(level: Severity) -> &'static str {
    match level {
        Severity::Error => "3",
        Severity::Warn => "4",
        Severity::Info => "6",
        Severity::Debug | Severity::Trace => "7",
    }
}

const SOCKET: &str = "/run/systemd/journal/socket";

#[cfg(test)]
mod tests {
    use super::super::record::tests::sample;
    use super::*;

    #[test]
    fn the_journal_gets_fields() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let fake = UnixDatagram::bind(&path).expect("binds");
        let journal = Journal::connect(&path).expect("connects");
        journal.send(&sample()).expect("sends");
        let mut buffer = [0; 4096];
        let len = fake.recv(&mut buffer).expect("receives");
        let mut expected = b"MESSAGE=ike event=down conn=berlin reason=dpd-timeout attempt=3 \
            msg=\"two\\nlines \\\"x\\\"\" code=E1005\nPRIORITY=4\nSYSLOG_IDENTIFIER=s2s-gw\nAREA=ike\nEVENT=down\n\
            CONNECTION=berlin\nCODE=E1005\nS2S_REASON=dpd-timeout\nS2S_ATTEMPT=3\nS2S_MSG\n"
            .to_vec();
        // Its length does not count the line end behind the value.
        expected.extend(13_u64.to_le_bytes());
        expected.extend(b"two\nlines \"x\"\n");
        let got = buffer.get(..len).expect("within");
        assert_eq!(String::from_utf8_lossy(got), String::from_utf8_lossy(&expected));
    }

    #[test]
    fn stderr_may_lead_elsewhere() {
        assert!(is_there("8:4711", 8, 4711));
        for other in ["", "8:4712", "9:4711", "84711", "8:4711:"] {
            assert!(!is_there(other, 8, 4711), "{other}");
        }
    }

    #[test]
    fn a_journal_that_is_stuck_stops_nobody() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let _nobody_reads = UnixDatagram::bind(&path).expect("binds");
        let journal = Journal::connect(&path).expect("connects");
        let taken = (0..10_000).filter(|_| journal.send(&sample()).is_ok()).count();
        assert!((1..10_000).contains(&taken), "{taken}: it goes on, and knows what was not taken");
    }

    #[test]
    fn one_that_is_gone_is_told() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("socket");
        let fake = UnixDatagram::bind(&path).expect("binds");
        let journal = Journal::connect(&path).expect("connects");
        drop(fake);
        assert!(journal.send(&sample()).is_err(), "so that the line goes to stderr");
    }
}
