//! The global allocator and the panic handler of a function: the only unsafe
//! code a Rust author takes in besides the generated bindings.
//! Refuses to know how to free memory or how to print a message.

use core::alloc::{GlobalAlloc, Layout};
use core::arch::wasm32;
use core::cell::Cell;
use core::ptr;

use crate::bump;

/// Hands out memory from `__heap_base` upwards and never takes it back.
struct Bump {
    /// First free address; 0 before the first allocation.
    next: Cell<usize>,
}

// SAFETY: `Sync` is asked of every static. A function's instance has one thread
// (the host refuses the threads proposal), so the cell is never shared.
unsafe impl Sync for Bump {}

// SAFETY: every block starts at or after the end of the one before it and after
// `__heap_base`, above the stack and the data, and lies within memory that
// exists, so that blocks never overlap. A failure is a null pointer, as
// `GlobalAlloc` asks. Never freeing is sound (a leak is), and it is bounded: the
// host makes a fresh instance for every evaluation and drops its memory whole.
unsafe impl GlobalAlloc for Bump {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let next = match self.next.get() {
            0 => heap_base(),
            next => next,
        };
        let Some(block) = bump::block(next, layout.size(), layout.align()) else {
            return ptr::null_mut();
        };
        let missing = bump::pages_missing(block.end, wasm32::memory_size(0));
        if missing > 0 && wasm32::memory_grow(0, missing) == usize::MAX {
            return ptr::null_mut();
        }
        self.next.set(block.end);
        ptr::with_exposed_provenance_mut(block.start)
    }

    unsafe fn dealloc(&self, _ptr: *mut u8, _layout: Layout) {}
}

#[global_allocator]
static HEAP: Bump = Bump { next: Cell::new(0) };

/// The linker's first address after the stack and the data.
fn heap_base() -> usize {
    // SAFETY: wasm-ld defines the symbol. Only its address is taken; the byte behind
    // it is never read.
    unsafe extern "C" {
        static __heap_base: u8;
    }
    (&raw const __heap_base).expose_provenance()
}

/// A panic is a trap: the host sees it, charges it to the function and keeps the
/// last good output. There is nobody to read a message.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    wasm32::unreachable()
}
