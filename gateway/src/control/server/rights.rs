//! Who may do what: the file mode decides who may come in, the user at the other end what he may ask for.
//!
//! ```text
//!   root, and who started the daemon   everything
//!   members of the group s2s-gw        may look: status, show, events           mode 0660, if there is such a group
//!   everybody else                     cannot open the socket                   mode 0600 without
//! ```

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::Path;

use mio::net::UnixStream;
use nix::unistd::Group;

use crate::status::protocol::{GROUP, RefusalKind, Request, Response};

/// What one client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    All,
    Look,
}

impl Rights {
    /// Of the process that connected (SO_PEERCRED in unix(7)). Who cannot be told may look.
    /// `owner` is the user that started the daemon: where it has become another one, that one has no business here.
    pub(super) fn of(stream: &UnixStream, owner: u32) -> Self {
        let user = rustix::net::sockopt::socket_peercred(stream).map(|peer| peer.uid.as_raw());
        Self::of_user(user.ok(), owner)
    }

    fn of_user(user: Option<u32>, daemon: u32) -> Self {
        match user {
            Some(user) if user == ROOT || user == daemon => Self::All,
            Some(_) | None => Self::Look,
        }
    }

    /// Lets a request through.
    ///
    /// # Errors
    /// The refusal, which says who may.
    pub(super) fn check(self, request: Request) -> Result<Request, Response> {
        if self == Self::All || request.only_looks() {
            return Ok(request);
        }
        let message = format!(
            "only root and the user that started the daemon may do that; members of the group `{GROUP}` may look: \
             status, show, events, logs"
        );
        Err(Response::Refused { kind: RefusalKind::Permission, message })
    }
}

/// Lets the members of [`GROUP`] open the socket. Without such a group it stays as it was made: the owner's alone.
pub(super) fn open_to_group(path: &Path) {
    let group = match Group::from_name(GROUP) {
        Ok(Some(group)) => group.gid.as_raw(),
        Ok(None) => return,
        Err(error) => {
            tracing::debug!(target: "status", event = "no-group", group = GROUP, %error);
            return;
        }
    };
    if let Err(error) = open_to(path, group) {
        tracing::warn!(
            target: "status", event = "no-group", group = GROUP, %error,
            fix = "let the daemon's user be a member of the group, or members of it cannot see the status"
        );
    }
}

/// The group first: a file that is open to the wrong group is worse than one that is open to none.
fn open_to(path: &Path, group: u32) -> io::Result<()> {
    chown(path, None, Some(group))?;
    fs::set_permissions(path, Permissions::from_mode(0o660))
}

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;
    use crate::status::capture::{Filter, Side};

    #[test]
    fn root_and_the_daemon_may_everything_others_may_look() {
        assert_eq!(Rights::of_user(Some(0), 990), Rights::All);
        assert_eq!(Rights::of_user(Some(990), 990), Rights::All);
        assert_eq!(Rights::of_user(Some(1000), 990), Rights::Look);
        assert_eq!(Rights::of_user(Some(1000), 0), Rights::Look);
        assert_eq!(Rights::of_user(None, 0), Rights::Look);
    }

    #[test]
    fn looking_changes_nothing() {
        let name = || "berlin".to_owned();
        let looks = [
            Request::Status,
            Request::Show { what: crate::status::protocol::Topic::Sas },
            Request::Events { follow: true, connection: None },
        ];
        for request in looks {
            assert_eq!(Rights::Look.check(request.clone()), Ok(request));
        }
        let acts = [
            Request::Up { name: name() },
            Request::Down { name: name() },
            Request::Restart { name: name() },
            Request::Rekey { name: name(), ike: false },
            Request::Redirect { to: None, names: Vec::new() },
            Request::Reload { dry_run: false, now: false },
            Request::Failover { connection: name(), to: None, probe: false },
            Request::Reset { connection: None },
            Request::LogLevel { filter: "trace".into(), seconds: None },
            Request::Capture {
                sides: vec![Side::Wire],
                connection: None,
                filter: Filter::default(),
                snap: None,
            },
            Request::Keys { connection: name() },
        ];
        for request in acts {
            let Err(Response::Refused { kind, message }) = Rights::Look.check(request.clone())
            else {
                panic!("{request:?} got through")
            };
            assert_eq!(kind, RefusalKind::Permission);
            assert!(message.contains("`s2s-gw`"), "{message}");
            assert_eq!(Rights::All.check(request.clone()), Ok(request));
        }
    }

    #[test]
    fn a_group_may_open_it_and_nobody_else() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("control.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).expect("binds");
        // Everybody may give a file to a group of their own; root to any.
        let own = rustix::process::getegid().as_raw();
        let group = if rustix::process::geteuid().is_root() { 12_345 } else { own };
        open_to(&path, group).expect("opens it");
        let there = fs::metadata(&path).expect("there");
        assert_eq!((there.mode() & 0o777, there.gid()), (0o660, group));
    }
}
