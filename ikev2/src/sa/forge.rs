//! What a peer that has the keys may send, and a look at what an SA holds: for tests and fuzzing.
//!
//! ```text
//!   exchange, message ID, any payloads ─► sealed with the keys of the SA ─► datagram
//! ```

use std::sync::Arc;

use super::IkeSa;
use crate::crypto::sk::{Authentic, Fragment};
use crate::registry::{ExchangeType, PayloadType};
use crate::shared::Cx;
use crate::wire::header::MessageId;
use crate::wire::message::Chain;

impl IkeSa {
    /// Any message at all, sealed with our keys: what a peer that has them may send.
    pub(crate) fn forge(
        &mut self,
        exchange: ExchangeType,
        id: MessageId,
        response: bool,
        chain: &Chain,
        cx: &mut Cx<'_>,
    ) -> Arc<[u8]> {
        let channel = self.state.channel().expect("an SA that has keys");
        channel.seal(exchange, id, response, chain, cx)
    }

    /// A fragment of any message at all.
    pub(crate) fn forge_fragment(
        &mut self,
        what: (ExchangeType, MessageId, bool),
        fragment: Fragment,
        first: PayloadType,
        piece: &[u8],
        cx: &mut Cx<'_>,
    ) -> Vec<u8> {
        let channel = self.state.channel().expect("an SA that has keys");
        channel.seal_fragment(what, fragment, first, piece, cx)
    }

    /// Whether it has keys to protect messages with.
    pub(crate) fn has_keys(&mut self) -> bool {
        self.state.channel().is_some()
    }

    /// Opens a message to us without taking it, if it is one.
    pub(crate) fn glance<'m>(&mut self, datagram: &'m mut [u8]) -> Option<Authentic<'m>> {
        self.state.channel()?.peek(datagram).ok()
    }

    /// Octets of incomplete messages that it holds.
    pub(crate) fn held(&mut self) -> usize {
        self.state.channel().map_or(0, |channel| channel.fragments.held())
    }

    /// Forgets its children, as if they had got lost.
    #[cfg(test)]
    pub(crate) fn lose_children(&mut self, cx: &mut Cx<'_>) {
        if let Ok(state) = self.established() {
            state.take_children_down(&crate::error::CloseReason::Local, cx);
        }
    }

    /// Opens a message to us without taking it.
    #[cfg(test)]
    pub(crate) fn peek<'m>(&mut self, datagram: &'m mut [u8]) -> Authentic<'m> {
        let channel = self.state.channel().expect("an SA that has keys");
        channel.peek(datagram).expect("an authentic message")
    }
}
