//! No library but RustCrypto: nothing in C or assembler is linked.
//!
//! ```text
//! Key::new    always None, so that rust.rs serves
//! ```

use super::InPlace;
use crate::{reason::DropReason, suite::Aead};

/// There is none.
pub(in crate::cipher) enum Key {}

impl Key {
    /// `None`.
    pub(in crate::cipher) fn new(_: Aead, _: &[u8]) -> Option<Self> {
        None
    }
}

impl InPlace for Key {
    fn seal(&self, _: &[u8], _: &[u8], _: &mut [u8], _: &mut [u8]) -> Result<(), DropReason> {
        match *self {}
    }

    fn open(&self, _: &[u8], _: &[u8], _: &mut [u8], _: &[u8]) -> Result<(), DropReason> {
        match *self {}
    }
}
