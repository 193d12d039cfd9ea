//! The end of an authentication (RFC 4478), and the end of an SA whose place another took.
//!
//! ```text
//!   ◄── N(AUTH_LIFETIME: seconds)   in IKE_AUTH or later      we begin a new SA beside this one before they have passed,
//!                                                             and delete this one a moment after the new one is up
//!   ──► N(AUTH_LIFETIME: seconds)   if configured             the peer does; if it has not by then, its SAs are deleted
//! ```
//!
//! An IKE rekey does not authenticate anybody, so the time goes on through it (RFC 4478 §3).

use std::time::{Duration, Instant};

use super::established::Established;
use super::extensions::{Reauth, auth_lifetime};
use super::{Cx, Message, Origin};
use crate::shared::News;

/// How long to wait before the next attempt to authenticate anew.
const AGAIN: Duration = Duration::from_secs(25);
/// How long an SA stays after another took its place: its children may carry what is on its way.
const RETIREMENT: Duration = Duration::from_secs(5);

impl Established {
    /// The peer tells, or tells anew, how long our authentication is good for.
    pub(super) fn on_auth_lifetime(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) {
        let told = auth_lifetime(&message.body).filter(|_| self.first().origin == Origin::Local);
        if let Some(lifetime) = told {
            self.extensions.reauth = Some(Reauth::ours(lifetime, cx));
        }
    }

    /// Whether the peer's time is over.
    pub(super) fn is_auth_expired(&self, now: Instant) -> bool {
        self.retires_at.is_none()
            && matches!(self.extensions.reauth, Some(Reauth::Theirs(at)) if at <= now)
    }

    /// Asks for a new SA when it is time, again and again until one takes this one's place.
    pub(super) fn reauthenticate(&mut self, cx: &mut Cx<'_>) {
        let due = matches!(self.extensions.reauth, Some(Reauth::Ours(at)) if at <= cx.now);
        if due && self.retires_at.is_none() {
            self.extensions.reauth = Some(Reauth::Ours(cx.now + cx.jitter(AGAIN)));
            cx.news(News::Reauthenticate { spi: self.channel.ours, peer: self.peer });
        }
    }

    /// What cannot be replaced within this SA is replaced with it: a new one begins beside it, if it is ours to call.
    pub(super) fn begin_anew(&mut self, cx: &mut Cx<'_>) {
        let calls = self.first().origin == Origin::Local
            || cx.peer(self.peer).start == crate::config::Start::Always;
        if calls {
            cx.news(News::Reauthenticate { spi: self.channel.ours, peer: self.peer });
        }
    }

    /// When `reauthenticate` or `is_auth_expired` has to be asked.
    pub(super) fn reauth_at(&self) -> Option<Instant> {
        let reauth = self.extensions.reauth.filter(|_| self.retires_at.is_none());
        reauth.map(|(Reauth::Ours(at) | Reauth::Theirs(at))| at)
    }

    /// Another SA took its place.
    pub(super) fn retire(&mut self, cx: &Cx<'_>) {
        self.retires_at.get_or_insert(cx.now + RETIREMENT);
    }

    /// What took its place is gone already.
    pub(super) fn stay(&mut self) {
        self.retires_at = None;
    }
}
