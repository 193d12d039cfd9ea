//! Redirect (RFC 5685): a gateway sends its peer to another one.
//!
//! ```text
//!   in IKE_SA_INIT    ◄── HDR, N(REDIRECT: gateway, Ni)             not authenticated: a hint, like an error (initiate.rs)
//!   in IKE_AUTH       ◄── HDR, SK { IDr, AUTH, N(REDIRECT: gateway) }     instead of a child, once AUTH is verified
//!   later             ◄── HDR, SK { N(REDIRECT: gateway) }                answered; the SA stays until the new one is up
//! ```
//!
//! Whoever follows uses the same identities and keys (§3): the other gateway has to be one that could have been the first.
//! How often it may happen before it is a loop is the peer's business: peer.rs.

use super::established::Established;
use super::tasks::Pending;
use super::{Cx, Message};
use crate::config::PeerConfig;
use crate::error::Unknown;
use crate::registry::{ExchangeType, NotifyType};
use crate::shared::News;
use crate::wire::message::{Body, Chain};
use crate::wire::redirect::{GatewayId, Redirect};

/// Where an authentic message sends us, if it does and we may go.
pub(super) fn target(body: &Body<'_>, config: &PeerConfig) -> Option<GatewayId> {
    let notify = body.notify(NotifyType::REDIRECT).filter(|_| config.follow_redirects)?;
    let redirect = Redirect::parse(notify.data).ok()?;
    redirect.nonce.is_empty().then_some(redirect.to)
}

/// Where an IKE_SA_INIT answer sends us. It has to repeat our nonce: so its sender saw the request, no more.
pub(super) fn hinted(body: &Body<'_>, nonce: &[u8], config: &PeerConfig) -> Option<GatewayId> {
    let notify = body.notify(NotifyType::REDIRECT).filter(|_| config.follow_redirects)?;
    let redirect = Redirect::parse(notify.data).ok()?;
    (redirect.nonce == nonce).then_some(redirect.to)
}

impl Established {
    /// The peer sends us elsewhere. It is answered like any request; the endpoint begins an SA with the other gateway.
    pub(super) fn on_redirect(&mut self, message: &Message<'_>, cx: &mut Cx<'_>) {
        // Only the gateway that was called redirects (RFC 5685 §5).
        if self.first().origin != super::Origin::Local {
            return;
        }
        if let Some(to) = target(&message.body, &cx.peer(self.peer)) {
            cx.news(News::Redirected { spi: self.channel.ours, peer: self.peer, to });
        }
    }

    /// Whether the peer can be sent elsewhere: it called us, and said that it follows.
    pub(super) fn check_redirectable(&self) -> Result<(), Unknown> {
        let follows = self.extensions.redirect && self.first().origin == super::Origin::Remote;
        if follows { Ok(()) } else { Err(Unknown) }
    }

    pub(super) fn ask_redirect(&mut self, cx: &mut Cx<'_>) {
        let Some(to) = cx.peer(self.peer).redirect_to.clone() else { return };
        let mut chain = Chain::new();
        chain.notify(NotifyType::REDIRECT, &to.emit(&[]));
        self.pending = Some(Pending::Redirect);
        self.channel.request(ExchangeType::INFORMATIONAL, &chain, cx);
    }
}
