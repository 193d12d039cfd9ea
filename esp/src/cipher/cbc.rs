//! CBC with AES (RFC 3602) or 3DES (RFC 2451).
//!
//! ```text
//! IV     = cipher(key, 0 .. | sequence number (8 octets))        one block
//!
//! decrypt   every block by itself: the crate takes many at a time
//! encrypt   a block waits for the one before it, so that several packets go side by side:
//!
//!           packet 0   IV -> 0 -> 1 -> 2 ..
//!           packet 1   IV -> 0 -> 1 -> 2 ..      one row of blocks for each step
//!           packet 2   IV -> 0 -> 1              the shorter last one ends before the others
//! ```
//!
//! The IV of CBC must not be predictable (RFC 3602 §3). Enciphering a nonce under the same key is the first method
//! of NIST SP 800-38A App. C; the nonce is the sequence number, so that no packet needs a random number.

use std::array;

use aes::cipher::{
    Array, Block, BlockCipherDecrypt, BlockCipherEncBackend, BlockCipherEncClosure,
    BlockCipherEncrypt, BlockModeDecrypt, BlockModeEncrypt, BlockSizeUser, InnerIvInit,
    array::ArraySize,
};
use cbc::{Decryptor, Encryptor};

use super::{RUN, Run};
use crate::{
    header::{Layout, Parts},
    reason::DropReason,
};

/// Fills `iv`, one block, for the packet with this number.
pub(super) fn write_iv<C: BlockCipherEncrypt>(cipher: &C, iv: &mut [u8], sequence: u64) {
    let mut block = Block::<C>::default();
    if let Some(number) = block.last_chunk_mut() {
        *number = sequence.to_be_bytes();
    }
    cipher.encrypt_block(&mut block);
    iv.copy_from_slice(&block);
}

/// Encrypts the bodies of all packets.
pub(super) fn encrypt<C>(cipher: &C, run: &mut Run<'_>, layout: Layout) -> Result<(), DropReason>
where
    C: BlockCipherEncrypt,
{
    for group in run.groups() {
        // The block before, and the rest of its packet.
        let mut chains: [Block<C>; RUN] = array::from_fn(|_| Block::<C>::default());
        let mut bodies: [&mut [Block<C>]; RUN] = array::from_fn(|_| Default::default());
        let mut count = 0;
        for ((packet, chain), body) in group.zip(&mut chains).zip(&mut bodies) {
            let parts = Parts::split(packet, layout).ok_or(DropReason::TooShort)?;
            let (iv, blocks) = blocks::<C>(parts.iv, parts.body)?;
            (*chain, *body) = (iv.clone(), blocks);
            count += 1;
        }
        match &mut bodies[..] {
            [body, ..] if count == 1 => {
                let [chain, ..] = &chains;
                Encryptor::inner_iv_init(cipher, chain).encrypt_blocks(body);
            }
            bodies => cipher.encrypt_with_backend(Rows { chains: &mut chains, bodies }),
        }
    }
    Ok(())
}

/// Packets side by side; no body is longer than the one before it.
struct Rows<'r, 'p, Size: ArraySize> {
    /// Of each, the block before.
    chains: &'r mut [Array<u8, Size>],
    bodies: &'r mut [&'p mut [Array<u8, Size>]],
}

impl<Size: ArraySize> BlockSizeUser for Rows<'_, '_, Size> {
    type BlockSize = Size;
}

/// Row by row, with the CPU's best instructions looked up once for all of them.
impl<Size: ArraySize> BlockCipherEncClosure for Rows<'_, '_, Size> {
    #[expect(clippy::inline_always, reason = "the caller is compiled for the CPU's instructions")]
    #[inline(always)]
    fn call<B: BlockCipherEncBackend<BlockSize = Size>>(self, backend: &B) {
        let Self { chains, bodies } = self;
        let rows = bodies.first().map_or(0, |body| body.len());
        for row in 0..rows {
            let mut width = 0;
            let plain = bodies.iter().map_while(|body| body.get(row));
            for (chain, plain) in chains.iter_mut().zip(plain) {
                // In a block of its own, which overlaps nothing: else the compiler goes octet by octet.
                let mut block = plain.clone();
                for (octet, before) in block.iter_mut().zip(&*chain) {
                    *octet ^= before;
                }
                *chain = block;
                width += 1;
            }
            let (chains, _) = chains.split_at_mut(width);
            let (many, few) = Array::<_, B::ParBlocksSize>::slice_as_chunks_mut(chains);
            for blocks in many {
                backend.encrypt_par_blocks_inplace(blocks);
            }
            for block in few {
                backend.encrypt_block_inplace(block);
            }
            for (body, chain) in bodies.iter_mut().zip(chains) {
                if let Some(place) = body.get_mut(row) {
                    place.clone_from(chain);
                }
            }
        }
    }
}

/// Decrypts the body of one packet.
pub(super) fn decrypt<C>(cipher: &C, parts: &mut Parts<'_>) -> Result<(), DropReason>
where
    C: BlockCipherDecrypt,
{
    let (iv, blocks) = blocks::<C>(parts.iv, parts.body)?;
    Decryptor::inner_iv_init(cipher, iv).decrypt_blocks(blocks);
    Ok(())
}

/// IV and body as blocks; refuses a body that is not a whole number of them.
fn blocks<'a, C: BlockSizeUser>(
    iv: &'a [u8],
    body: &'a mut [u8],
) -> Result<(&'a Block<C>, &'a mut [Block<C>]), DropReason> {
    let iv = iv.try_into().map_err(|_| DropReason::TooShort)?;
    match Array::slice_as_chunks_mut(body) {
        (blocks, []) => Ok((iv, blocks)),
        _ => Err(DropReason::BadLength),
    }
}
