//! How much memory something asks for: what parses must not trust the lengths that it reads.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// Bytes that parsing may ask for beside those for each byte of its input: tables, first guesses.
const ANYWAY: u64 = 1 << 20;
/// Bytes that it may ask for, all in all, for each byte of its input.
const EACH: u64 = 512;

thread_local! {
    static ALLOCATED: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

fn count(bytes: usize) {
    // A thread that ends has nothing to count any more.
    let _ = ALLOCATED.try_with(|all| {
        all.set(all.get().saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX)));
    });
}

#[expect(unsafe_code, reason = "an allocator that counts is an allocator")]
// SAFETY: everything is the system's; what is counted touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        // SAFETY: as the caller promises.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// What something answers, and how many bytes this thread asked for meanwhile.
fn allocated<T>(work: impl FnOnce() -> T) -> (T, u64) {
    let before = ALLOCATED.get();
    let answer = work();
    (answer, ALLOCATED.get() - before)
}

/// Does something with an input, in memory that is bounded by the input's length.
pub(crate) fn is_bounded<T>(input: &[u8], work: impl FnOnce() -> T) -> T {
    is_bounded_beyond(ANYWAY, input, work)
}

/// The same for who asks for some memory, whatever the input is.
pub(crate) fn is_bounded_beyond<T>(anyway: u64, input: &[u8], work: impl FnOnce() -> T) -> T {
    let (answer, bytes) = allocated(work);
    let most = anyway + EACH * u64::try_from(input.len()).unwrap_or(u64::MAX);
    assert!(bytes <= most, "{bytes} bytes were asked for, for {} of input", input.len());
    answer
}

#[test]
fn what_is_asked_for_is_counted() {
    let (kept, bytes) = allocated(|| vec![0_u8; 1 << 20]);
    assert!(bytes >= 1 << 20 && kept.len() == 1 << 20);
    let greedy = || is_bounded(b"few", || Vec::<u8>::with_capacity(2 << 20));
    assert!(std::panic::catch_unwind(greedy).is_err());
}
