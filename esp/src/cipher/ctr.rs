//! AES-CTR (RFC 3686 §4).
//!
//! ```text
//! counter block   | salt 4 | IV 8 | 1, 2, 3 .. 4 |       body = body xor AES(block), AES(block + 1) ..
//! ```

use aes::cipher::{
    Array, BlockCipherEncrypt, BlockSizeUser, InnerIvInit, StreamCipherCore, consts::U16,
};
use ctr::{CtrCore, flavors::Ctr32BE};

use crate::reason::DropReason;

/// Encrypts or decrypts `body`. `nonce` is salt and IV.
///
/// # Errors
/// `TooShort` if the nonce has not 12 octets.
pub(super) fn apply<C>(aes: &C, nonce: &[u8], body: &mut [u8]) -> Result<(), DropReason>
where
    C: BlockCipherEncrypt + BlockSizeUser<BlockSize = U16>,
{
    let nonce: [u8; 12] = nonce.try_into().map_err(|_| DropReason::TooShort)?;
    let mut block = Array::<u8, U16>::default();
    let (front, counter) = block.split_at_mut(nonce.len());
    front.copy_from_slice(&nonce);
    counter.copy_from_slice(&1_u32.to_be_bytes());
    CtrCore::<_, Ctr32BE>::inner_iv_init(aes, &block).apply_keystream_partial(body.into());
    Ok(())
}
