//! Memory that is given back is overwritten first, so that no key stays behind in it.
//!
//! ```text
//!   a key that wipes itself     zeroize, where it is ours
//!   what it grew out of, key schedules of `ring`, texts of files, buffers of serde ──► this allocator: zeros, then free()
//!   what was on a stack         zeroize_stack, after each round of the control thread and each command to a pump
//! ```
//!
//! Packets do not pass here: the data plane has its buffers from its start.

use std::alloc::{GlobalAlloc, Layout, System};

/// The allocator of the system, with clean hands.
#[derive(Debug)]
pub struct Wiping;

// SAFETY: every block is one of `System`, obtained and given back with the layout that the caller vouches for.
unsafe impl GlobalAlloc for Wiping {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is the one that `System` asks for.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller says that the block has `layout.size()` octets and that nobody uses it any more.
        unsafe {
            wipe(block, layout.size());
            System.dealloc(block, layout);
        }
    }

    // Not that of `System`: what it moves it leaves behind as it was.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if layout.size() >= LARGE && size >= LARGE {
            // The kernel moves whole pages, and there is nothing behind. Copying them would cost more than it is worth.
            // SAFETY: the caller's promise is the one that `System` asks for.
            return unsafe { System.realloc(block, layout, size) };
        }
        // SAFETY: the caller says that `size`, rounded up to the alignment, fits an `isize` and is not 0.
        let layout_of_new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        // SAFETY: `size` is not 0.
        let new = unsafe { System.alloc(layout_of_new) };
        if !new.is_null() {
            // SAFETY: both blocks have at least the smaller number of octets, and a new one overlaps none; the old one is
            // the caller's to give up.
            unsafe {
                std::ptr::copy_nonoverlapping(block, new, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        new
    }
}

/// Overwrites what returned functions have left on the stack of this thread.
///
/// Call it from a loop that a thread returns to: it reaches [`DEEP`] octets below its caller. A few microseconds.
#[inline(never)]
pub(crate) fn stack() {
    zeroize::zeroize_stack::<DEEP>();
}

/// Octets; the deepest that key exchanges of this program were seen to go.
const DEEP: usize = 128 << 10;

/// Octets from which on glibc maps a block for itself at first, and no key is.
const LARGE: usize = 1 << 20;

/// # Safety
/// `block` must be valid for writes of `size` octets.
unsafe fn wipe(block: *mut u8, size: usize) {
    // SAFETY: as the caller says.
    unsafe { std::ptr::write_bytes(block, 0, size) };
    // Who frees it next must find it written: without this the compiler may leave out a write before a free.
    std::sync::atomic::compiler_fence(std::sync::atomic::Ordering::SeqCst);
    // SAFETY: an empty instruction that might read all memory; it has no effect.
    unsafe { std::arch::asm!("/* {0} */", in(reg) block, options(nostack, preserves_flags)) };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By the same calls, on a block of its own: looking at freed memory is not allowed.
    #[test]
    fn what_grows_keeps_its_content() {
        let small = Layout::from_size_align(40, 8).expect("a layout");
        // SAFETY: the sizes are not 0, each block is used within its size and given back once with its layout.
        unsafe {
            let block = Wiping.alloc(small);
            block.write_bytes(7, 40);
            let grown = Wiping.realloc(block, small, 4000);
            assert!((0..40).all(|at| grown.add(at).read() == 7));
            let large = Layout::from_size_align(4000, 8).expect("a layout");
            wipe(grown, 4000);
            assert!((0..4000).all(|at| grown.add(at).read() == 0));
            Wiping.dealloc(grown, large);
        }
    }
}
