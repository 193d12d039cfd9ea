//! The client's end of the control socket: one request, one answer, then the connection is closed.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::ops::ControlFlow;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::protocol::{GROUP, NO_REQUEST, OLDER, RefusalKind, Request, Response};

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
    #[error("no permission to use the control socket {0}; run this as root or as the user of the daemon, or join the group `{GROUP}` to look at it", .path.display())]
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
    /// It answers, in words that this version does not know.
    #[error("the daemon at {0} is of another version and its answer is not understood; restart it with this program, or use the program that it runs", .path.display())]
    OtherVersion {
        /// The control socket.
        path: PathBuf,
    },
}

/// Sends one request to the daemon at `path` and waits for the answer, at most five seconds.
///
/// # Errors
/// `NotRunning` if nobody listens there, `Permission` if we may not, `OtherVersion` if the answer is none that we know,
/// `Conversation` for the rest.
pub fn ask(path: &Path, request: &Request) -> Result<Response, ClientError> {
    let stream = UnixStream::connect(path).map_err(|source| refused(path, source))?;
    let answer = converse(stream, request)
        .map_err(|source| ClientError::Conversation { path: path.to_owned(), source })?;
    understood(&answer, path)
}

/// Sends one request whose answers have no end, and hands each to `take` until that breaks off.
///
/// # Errors
/// As [`ask`]; `Conversation` also when the daemon ends.
pub fn follow<B>(
    path: &Path,
    request: &Request,
    mut take: impl FnMut(Response) -> ControlFlow<B>,
) -> Result<B, ClientError> {
    let failed = |source| ClientError::Conversation { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(|source| refused(path, source))?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    send(&mut stream, request).map_err(failed)?;
    let mut reader = BufReader::new(stream);
    loop {
        let answer = receive(&mut reader).map_err(failed)?;
        if let ControlFlow::Break(end) = take(understood(&answer, path)?) {
            return Ok(end);
        }
    }
}

/// [`follow`], but `take` is also called, with `None`, whenever nothing came for as long as `tick`.
///
/// # Errors
/// As [`follow`].
pub fn follow_or_tick<B>(
    path: &Path,
    request: &Request,
    tick: Duration,
    mut take: impl FnMut(Option<Response>) -> ControlFlow<B>,
) -> Result<B, ClientError> {
    let failed = |source| ClientError::Conversation { path: path.to_owned(), source };
    let mut stream = UnixStream::connect(path).map_err(|source| refused(path, source))?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    stream.set_read_timeout(Some(tick)).map_err(failed)?;
    send(&mut stream, request).map_err(failed)?;
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        // What was read before the time is over stays in `line`.
        let answer = match reader.read_until(b'\n', &mut line) {
            Ok(_) if line.ends_with(b"\n") => {
                let text = String::from_utf8_lossy(&line);
                let answer = understood(&text, path)?;
                line.clear();
                Some(answer)
            }
            Ok(_) => {
                let gone = io::ErrorKind::UnexpectedEof;
                return Err(failed(io::Error::new(gone, "it closed the connection")));
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => None,
            Err(error) => return Err(failed(error)),
        };
        if let ControlFlow::Break(end) = take(answer) {
            return Ok(end);
        }
    }
}

/// What the line of an answer means.
fn understood(answer: &str, path: &Path) -> Result<Response, ClientError> {
    let path = || path.to_owned();
    match serde_json::from_str(answer) {
        // We send no rubbish: a daemon that calls it so is from the time before `UnknownRequest`.
        Ok(Response::Refused { kind: RefusalKind::BadRequest, message })
            if message.starts_with(NO_REQUEST) =>
        {
            let message = format!("{OLDER} ({message})");
            Ok(Response::Refused { kind: RefusalKind::UnknownRequest, message })
        }
        Ok(response) => Ok(response),
        Err(_) if serde_json::from_str::<serde_json::Value>(answer).is_ok() => {
            Err(ClientError::OtherVersion { path: path() })
        }
        Err(error) => Err(ClientError::Conversation { path: path(), source: error.into() }),
    }
}

/// The conversation itself, over any connected stream: the line of the answer.
fn converse(mut stream: UnixStream, request: &Request) -> io::Result<String> {
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    send(&mut stream, request)?;
    receive(&mut BufReader::new(stream))
}

fn send(stream: &mut UnixStream, request: &Request) -> io::Result<()> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    match stream.write_all(&line) {
        // Whoever is turned away at the door is told why: that can still be read.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        sent => sent,
    }
}

fn receive(reader: &mut BufReader<UnixStream>) -> io::Result<String> {
    let mut answer = String::new();
    reader.take(MAX_RESPONSE_LEN).read_line(&mut answer)?;
    if answer.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection"));
    }
    Ok(answer)
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
        let line = converse(ours, &request).expect("an answer");
        assert_eq!(understood(&line, Path::new("x")).expect("a known answer"), answer);
        assert_eq!(server.join().expect("no panic"), request);
    }

    #[test]
    fn who_is_turned_away_before_it_asks_hears_why() {
        let (ours, mut theirs) = UnixStream::pair().expect("a pair");
        theirs.write_all(b"{\"result\":\"refused\"}\n").expect("an answer");
        drop(theirs);
        let line = converse(ours, &Request::Status).expect("an answer");
        assert_eq!(line, "{\"result\":\"refused\"}\n");
    }

    #[test]
    fn an_answer_of_another_version_is_called_so() {
        let path = Path::new("/run/x.sock");
        let answer = |line| understood(line, path);
        let newer = answer(r#"{"result":"poem","verses":3}"#).expect_err("not known");
        assert!(matches!(newer, ClientError::OtherVersion { .. }), "{newer}");
        for broken in ["", "{\"result\":\"do", "hello"] {
            let broken = answer(broken).expect_err("no JSON");
            assert!(matches!(broken, ClientError::Conversation { .. }), "{broken}");
        }
        let old = r#"{"result":"refused","kind":"bad-request","message":"not a request: unknown variant `reload`"}"#;
        let Ok(Response::Refused { kind, message }) = answer(old) else { panic!("{old}") };
        assert_eq!(kind, RefusalKind::UnknownRequest);
        assert!(
            message.starts_with("this daemon is older than the client: restart it"),
            "{message}"
        );
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
