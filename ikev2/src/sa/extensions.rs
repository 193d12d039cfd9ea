//! What both sides can do beyond RFC 7296: announced in the initial exchanges, kept through every rekey.
//!
//! ```text
//!                 initiator says in           responder says in
//!   RFC 5685      IKE_SA_INIT                 -                        it follows redirects
//!   RFC 6023      -                           IKE_SA_INIT              the first child may be left out
//!   RFC 7427      IKE_SA_INIT                 IKE_SA_INIT              hashes for signatures                    proof.rs
//!   RFC 8784      IKE_SA_INIT                 IKE_SA_INIT, if asked    a post-quantum pre-shared key               ppk.rs
//!   RFC 9867      IKE_SA_INIT                 IKE_SA_INIT, instead     the same, before IKE_AUTH                 early.rs
//!   RFC 9242      IKE_SA_INIT                 IKE_SA_INIT, if asked    exchanges between the first and IKE_AUTH    intermediate.rs
//!   RFC 4555      IKE_AUTH                    IKE_AUTH, if asked       the SAs can move                          mobike.rs
//!   RFC 6311      IKE_AUTH                    IKE_AUTH, if asked       message IDs can be set anew               sync.rs
//!   RFC 4478      -                           IKE_AUTH                 how long the authentication is good for   reauth.rs
//! ```

use std::time::{Duration, Instant};

use super::early::{self, Use};
use super::mobike::Mobility;
use super::{Cx, Origin, negotiate, proof};
use crate::config::{Childless, PeerConfig, Ppk};
use crate::crypto::signature::Hashes;
use crate::event::Path;
use crate::registry::NotifyType;
use crate::wire::message::{Body, Chain};
use crate::wire::ppk::PpkId;

/// What the peer announced in IKE_SA_INIT.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(super) struct Announced {
    /// It follows redirects.
    pub(super) redirect: bool,
    /// It allows an IKE SA without a child.
    pub(super) childless: bool,
    /// The hashes with which it verifies signatures (RFC 7427); `None`: it does not know method 14.
    pub(super) hashes: Option<Hashes>,
    /// It asks for a bare key (RFC 7670).
    pub(super) wants_raw_key: bool,
    /// It can do IKE_INTERMEDIATE.
    pub(super) intermediate: bool,
    /// It has post-quantum pre-shared keys, for IKE_AUTH.
    pub(super) ppk: bool,
    /// The same, for IKE_INTERMEDIATE.
    pub(super) ppk_early: bool,
}

impl Announced {
    /// Reads what a first message says.
    pub(super) fn in_init(body: &Body<'_>) -> Self {
        let says = |kind| body.notify(kind).is_some();
        Self {
            redirect: says(NotifyType::REDIRECT_SUPPORTED) || says(NotifyType::REDIRECTED_FROM),
            childless: says(NotifyType::CHILDLESS_IKEV2_SUPPORTED),
            hashes: body
                .notify(NotifyType::SIGNATURE_HASH_ALGORITHMS)
                .map(|notify| Hashes::parse(notify.data)),
            wants_raw_key: proof::wants_raw_key(body),
            intermediate: says(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED),
            ppk: says(NotifyType::USE_PPK),
            ppk_early: says(NotifyType::USE_PPK_INT),
        }
    }
}

/// Adds what we say in IKE_SA_INIT.
pub(super) fn announce_in_init(chain: &mut Chain, origin: Origin, config: &PeerConfig) {
    if origin == Origin::Remote && config.childless != Childless::Never {
        chain.notify(NotifyType::CHILDLESS_IKEV2_SUPPORTED, &[]);
    }
    if origin == Origin::Local && config.follow_redirects {
        chain.notify(NotifyType::REDIRECT_SUPPORTED, &[]);
    }
    let offers =
        |by: fn(&Ppk) -> bool| origin == Origin::Local && config.ppk.as_ref().is_some_and(by);
    let early = offers(early::is_early);
    if early || (origin == Origin::Local && negotiate::has_additional(&config.proposals)) {
        chain.notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, &[]);
    }
    if early {
        chain.notify(NotifyType::USE_PPK_INT, &[]);
    }
    if offers(early::is_in_auth) {
        chain.notify(NotifyType::USE_PPK, &[]);
    }
    chain.notify(NotifyType::SIGNATURE_HASH_ALGORITHMS, &Hashes::OURS);
}

/// Adds what the responder says in IKE_SA_INIT because the initiator said it.
pub(super) fn answer_in_init(chain: &mut Chain, announced: Announced, ppk: &Use) {
    if announced.intermediate {
        chain.notify(NotifyType::INTERMEDIATE_EXCHANGE_SUPPORTED, &[]);
    }
    match ppk {
        Use::Never => {}
        Use::InAuth => drop(chain.notify(NotifyType::USE_PPK, &[])),
        Use::Early(_) => drop(chain.notify(NotifyType::USE_PPK_INT, &[])),
    }
}

/// What an established SA can do beyond RFC 7296.
#[derive(Debug, Clone, Default)]
pub(super) struct Extensions {
    /// The SAs can move (RFC 4555).
    pub(super) mobility: Option<Mobility>,
    /// The peer follows redirects (RFC 5685).
    pub(super) redirect: bool,
    /// Message IDs can be set anew (RFC 6311).
    pub(super) message_id_sync: bool,
    /// When we have to authenticate anew (RFC 4478), or, as responder, when the peer has to have done so.
    pub(super) reauth: Option<Reauth>,
    /// The post-quantum pre-shared key in use (RFC 8784, RFC 9867).
    pub(super) ppk: Option<PpkId>,
    /// It was mixed in before IKE_AUTH (RFC 9867), or this SA was rekeyed from such a one.
    pub(super) ppk_early: bool,
}

/// The end of an authentication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reauth {
    /// At this moment we begin a new SA beside this one.
    Ours(Instant),
    /// At this moment the peer's time is over.
    Theirs(Instant),
}

/// Adds what the initiator says in IKE_AUTH.
pub(super) fn ask_in_auth(chain: &mut Chain, path: Path, config: &PeerConfig) {
    if config.mobike {
        chain.notify(NotifyType::MOBIKE_SUPPORTED, &[]);
        super::mobike::announce(chain, path, &config.paths, false);
    }
    chain.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED, &[]);
}

/// Adds what the responder says in IKE_AUTH: nothing that was not asked for.
pub(super) fn answer_in_auth(chain: &mut Chain, body: &Body<'_>, path: Path, config: &PeerConfig) {
    if config.mobike && body.notify(NotifyType::MOBIKE_SUPPORTED).is_some() {
        chain.notify(NotifyType::MOBIKE_SUPPORTED, &[]);
        super::mobike::announce(chain, path, &config.paths, false);
    }
    if body.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED).is_some() {
        chain.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED, &[]);
    }
    if let Some(lifetime) = config.auth_lifetime {
        let seconds = u32::try_from(lifetime.as_secs()).unwrap_or(u32::MAX);
        chain.notify(NotifyType::AUTH_LIFETIME, &seconds.to_be_bytes());
    }
}

impl Extensions {
    /// What the peer's IKE_AUTH message, request or answer, leaves us with.
    pub(super) fn agreed(
        origin: Origin,
        announced: Announced,
        body: &Body<'_>,
        path: Path,
        config: &PeerConfig,
        cx: &mut Cx<'_>,
    ) -> Self {
        let mobile = config.mobike && body.notify(NotifyType::MOBIKE_SUPPORTED).is_some();
        let reauth = match origin {
            Origin::Local => auth_lifetime(body).map(|lifetime| Reauth::ours(lifetime, cx)),
            Origin::Remote => config.auth_lifetime.map(|time| Reauth::Theirs(cx.now + time)),
        };
        Self {
            mobility: mobile.then(|| Mobility::new(body, path, config, cx)),
            redirect: announced.redirect,
            message_id_sync: body.notify(NotifyType::IKEV2_MESSAGE_ID_SYNC_SUPPORTED).is_some(),
            reauth,
            ppk: None,
            ppk_early: false,
        }
    }
}

impl Reauth {
    /// Early enough for three attempts, or halfway if that is later.
    pub(super) fn ours(lifetime: Duration, cx: &mut Cx<'_>) -> Self {
        let early = lifetime.saturating_sub(BEFORE_EXPIRY).max(lifetime / 2).max(LEAST);
        Self::Ours(cx.rekey_time(early))
    }
}

/// What AUTH_LIFETIME says (RFC 4478 §3): seconds in four octets.
pub(super) fn auth_lifetime(body: &Body<'_>) -> Option<Duration> {
    let data = body.notify(NotifyType::AUTH_LIFETIME)?.data;
    let seconds = u32::from_be_bytes(data.try_into().ok()?);
    Some(Duration::from_secs(seconds.into()))
}

/// We authenticate no faster, whatever a peer says.
const LEAST: Duration = Duration::from_secs(30);

/// How long before the end of an authentication we begin a new one.
const BEFORE_EXPIRY: Duration = Duration::from_secs(90);
