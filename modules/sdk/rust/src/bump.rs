//! The arithmetic of a bump allocator: where a block starts, where it ends and
//! how many pages must be added. Refuses to know memory itself: no pointer is
//! followed here, so that the arithmetic is tested on any machine.

/// Size of a WebAssembly page in bytes.
pub(crate) const PAGE_BYTES: usize = 65_536;

/// A block of addresses, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// First address, a multiple of the alignment asked for.
    pub(crate) start: usize,
    /// First address after the block; the next block is sought from here.
    pub(crate) end: usize,
}

/// The first block of `size` bytes at or after `next`, aligned to `align` (a
/// power of two). `None` if it would pass the end of the address space.
pub(crate) fn block(next: usize, size: usize, align: usize) -> Option<Block> {
    let mask = align.wrapping_sub(1);
    let start = next.checked_add(mask)? & !mask;
    let end = start.checked_add(size)?;
    Some(Block { start, end })
}

/// Pages to add so that addresses below `end` exist, given `pages` of them now.
pub(crate) fn pages_missing(end: usize, pages: usize) -> usize {
    end.div_ceil(PAGE_BYTES).saturating_sub(pages)
}
