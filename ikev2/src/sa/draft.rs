//! A child that both sides agreed on, as it is until its last key exchange is made (RFC 9370 §2.2.4).
//!
//! ```text
//!   SA, TSi, TSr, Ni, Nr, g^ir ─► Draft { Terms, Rounds } ─── finish(): SK(0) | Ni | Nr | SK(1) .. ───► Agreed { Child, keys }
//! ```

use zeroize::Zeroizing;

use super::Cx;
use super::child::{Agreed, Child, Phase, Remarks, child_config, longest};
use super::followup::Rounds;
use super::slot::Slot;
use crate::config::PeerConfig;
use crate::crypto::keymat::child_keys;
use crate::crypto::prf::Prf;
use crate::crypto::suite::ChildSuite;
use crate::event::{ChildId, EspSpi, Limits};
use crate::wire::traffic::Traffic;

/// An exchange of the peer for what we ask for, too.
#[derive(Debug, Clone)]
pub(super) struct Crossing {
    /// The child that it made; `None` while further key exchanges are to come.
    pub(super) made: Option<ChildId>,
    pub(super) lowest_nonce: Vec<u8>,
}

/// A child that both sides agreed on, but for the further key exchanges of its suite.
pub(super) struct Draft {
    pub(super) terms: Terms,
    /// Whether we began the exchange.
    ours: bool,
    nonces: (Vec<u8>, Vec<u8>),
    g_ir: Option<Zeroizing<Vec<u8>>>,
    pub(super) rounds: Rounds,
}

impl Draft {
    pub(super) fn new(
        terms: Terms,
        ours: bool,
        (ni, nr): (&[u8], &[u8]),
        g_ir: Option<Zeroizing<Vec<u8>>>,
    ) -> Self {
        let rounds = Rounds::of(&terms.suite.additional);
        Self { terms, ours, nonces: (ni.to_vec(), nr.to_vec()), g_ir, rounds }
    }

    pub(super) const fn spi_in(&self) -> EspSpi {
        self.terms.spi_in
    }

    pub(super) const fn spi_out(&self) -> EspSpi {
        self.terms.spi_out
    }

    /// The lower nonce of the exchange that makes it (RFC 7296 §2.8.1).
    pub(super) fn lowest_nonce(&self) -> &[u8] {
        self.nonces.0.as_slice().min(&self.nonces.1)
    }

    /// Derives the keys, when all key exchanges are made.
    pub(super) fn finish(
        self,
        prf: Prf,
        sk_d: &[u8],
        peer: &PeerConfig,
        cx: &mut Cx<'_>,
    ) -> Agreed {
        let (ni, nr) = (self.nonces.0.as_slice(), self.nonces.1.as_slice());
        let g_ir = self.g_ir.as_deref().map(Vec::as_slice);
        let suite = self.terms.suite;
        let keys = child_keys(prf, sk_d, g_ir, ni, nr, self.rounds.secrets(), &suite);
        let lowest_nonce = self.lowest_nonce().to_vec();
        let child = self.terms.child(lowest_nonce, peer, cx);
        let (keys_in, keys_out) = if self.ours { (keys.1, keys.0) } else { (keys.0, keys.1) };
        Agreed { child, keys_in, keys_out }
    }
}

/// What was agreed, before it gets a name and a lifetime.
pub(super) struct Terms {
    pub(super) slot: Slot,
    pub(super) resource: bool,
    pub(super) spi_in: EspSpi,
    pub(super) spi_out: EspSpi,
    pub(super) suite: ChildSuite,
    pub(super) traffic: Traffic,
    pub(super) remarks: Remarks,
    pub(super) confirmed: bool,
}

impl Terms {
    fn child(self, lowest_nonce: Vec<u8>, peer: &PeerConfig, cx: &mut Cx<'_>) -> Child {
        let lifetime = child_config(peer, self.slot.config).lifetime;
        let hard = Limits::of(&lifetime, self.suite.esn);
        let (soft, lifetime) = (hard.soft(cx), lifetime.time);
        Child {
            id: cx.fresh_child_id(),
            slot: self.slot,
            resource: self.resource,
            spi_in: self.spi_in,
            spi_out: self.spi_out,
            suite: self.suite,
            traffic: self.traffic,
            remarks: self.remarks,
            confirmed: self.confirmed,
            phase: Phase::Up,
            down: false,
            rekey_at: cx.rekey_time(lifetime),
            expires_at: cx.now + longest(lifetime),
            soft,
            hard,
            worn: false,
            replaces: None,
            lowest_nonce,
        }
    }
}
