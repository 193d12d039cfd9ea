//! The client's end of the control socket: one request, one answer, then the connection is closed.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{Request, Response};

/// A daemon that answers within a millisecond is given this long before we call it stuck.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer larger than this is not ours: about 20 000 connections.
const MAX_RESPONSE_LEN: u64 = 64 << 20;

/// Why a daemon could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens there.
    #[error("s2s-gw is not running (nobody listens on {0}); start it with `s2s-gw run`", .path.display())]
    NotRunning {
        /// The control socket.
        path: PathBuf,
    },
    /// We may not talk to it.
    #[error("no permission to use the control socket {0}; run this as root or as the user of the daemon", .path.display())]
    Permission {
        /// The control socket.
        path: PathBuf,
    },
    /// It listens, but the conversation failed.
    #[error("the daemon at {0} does not answer: {source}", .path.display())]
    Conversation {
        /// The control socket.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// Sends one request to the daemon at `path` and waits for the answer, at most five seconds.
///
/// # Errors
/// `NotRunning` if nobody listens there, `Permission` if we may not, `Conversation` for the rest.
pub fn ask(path: &Path, request: &Request) -> Result<Response, ClientError> {
    let stream = UnixStream::connect(path).map_err(|source| refused(path, source))?;
    converse(stream, request)
        .map_err(|source| ClientError::Conversation { path: path.to_owned(), source })
}

/// The conversation itself, over any connected stream.
pub(crate) fn converse(mut stream: UnixStream, request: &Request) -> io::Result<Response> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream.take(MAX_RESPONSE_LEN)).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(serde_json::from_str(&answer)?)
}

fn refused(path: &Path, source: io::Error) -> ClientError {
    let path = path.to_owned();
    let kind = source.kind();
    if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
        ClientError::NotRunning { path }
    } else if kind == io::ErrorKind::PermissionDenied {
        ClientError::Permission { path }
    } else {
        ClientError::Conversation { path, source }
    }
}

#[cfg(test)]
mod tests {
    use super::super::protocol::RefusalKind;
    use super::*;

    #[test]
    fn a_request_and_its_answer_cross_a_socket_pair() {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        let answer =
            Response::Refused { kind: RefusalKind::UnknownName, message: "no `x` here".into() };
        let sent = answer.clone();
        let server = std::thread::spawn(move || {
            let mut line = String::new();
            BufReader::new(&theirs).read_line(&mut line).expect("a request");
            (&theirs).write_all(&sent.to_line()).expect("an answer");
            serde_json::from_str::<Request>(&line).expect("a known request")
        });
        let request = Request::Down { name: "x".into() };
        assert_eq!(converse(ours, &request).expect("an answer"), answer);
        assert_eq!(server.join().expect("no panic"), request);
    }

    #[test]
    fn a_missing_or_dead_socket_means_not_running() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        assert!(matches!(ask(&path, &Request::Status), Err(ClientError::NotRunning { .. })));
        drop(std::os::unix::net::UnixListener::bind(&path).expect("binds"));
        assert!(matches!(ask(&path, &Request::Status), Err(ClientError::NotRunning { .. })));
    }
}
