//! Who may do what: the file mode decides who may come in, the user at the other end what he may ask for.
//!
//! ```text
//!   root, and who started the daemon   everything
//!   members of the group s2s-gw        may look: status, show, events           mode 0660, if there is such a group
//!   everybody else                     cannot open the socket                   mode 0600 without
//! ```

use mio::net::UnixStream;

use crate::status::protocol::{GROUP, RefusalKind, Request, Response};

/// What one client may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rights {
    All,
    /// And who it is, for each has a share of the places and no more.
    Look {
        user: Option<u32>,
    },
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
            Some(_) | None => Self::Look { user },
        }
    }

    pub(super) const fn only_looks(self) -> bool {
        matches!(self, Self::Look { .. })
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

/// How many may be here at a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) all: usize,
    /// Of those who may only look.
    pub(super) looking: usize,
    /// Of one user who may only look.
    pub(super) of_one: usize,
}

impl Places {
    /// Whether one more may come beside those that are `here`.
    pub(super) fn has_room(
        self,
        rights: Rights,
        here: impl Iterator<Item = Rights> + Clone,
    ) -> bool {
        let looking = here.clone().filter(|one| one.only_looks());
        let alike = looking.clone().filter(|one| *one == rights);
        let shares = || looking.count() < self.looking && alike.count() < self.of_one;
        here.count() < self.all && (rights == Rights::All || shares())
    }
}

const ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::capture::{Filter, Side};

    const MEMBER: Rights = Rights::Look { user: Some(1000) };

    #[test]
    fn root_and_the_daemon_may_everything_others_may_look() {
        assert_eq!(Rights::of_user(Some(0), 990), Rights::All);
        assert_eq!(Rights::of_user(Some(990), 990), Rights::All);
        let look = |user| Rights::Look { user };
        for (user, daemon) in [(Some(1000), 990), (Some(1000), 0), (None, 0)] {
            assert_eq!(Rights::of_user(user, daemon), look(user));
        }
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
            assert_eq!(MEMBER.check(request.clone()), Ok(request));
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
            let Err(Response::Refused { kind, message }) = MEMBER.check(request.clone()) else {
                panic!("{request:?} got through")
            };
            assert_eq!(kind, RefusalKind::Permission);
            assert!(message.contains("`s2s-gw`"), "{message}");
            assert_eq!(Rights::All.check(request.clone()), Ok(request));
        }
    }
}
