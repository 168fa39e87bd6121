//! Giving memory back to the kernel, and how the C library's allocator goes about it.

use std::sync::atomic::{AtomicU64, Ordering};

/// Of the main thread's stack so much is looked at beyond the caller. Linux keeps a mebibyte below a stack free of other
/// mappings, so nothing of anybody else is there.
const MAIN_STACK_BYTES: usize = 64 * 1024;

/// Between the caller's frame and what is given back: the frames of this module and of the system call.
const MARGIN_BYTES: usize = 1024;

/// Gaps of up to this size are closed; larger ones than half of it by several blocks.
const GAP_LARGEST: usize = 64 * 1024;

/// Up to this size the allocator keeps free blocks by size, 16 bytes apart (malloc.c: tcache).
const GAP_CLASS: usize = 1024;

/// Blocks of a size: far more than a start leaves.
const GAPS_MOST: usize = 100_000;

/// By how much the heap grows at a time, and what it may keep at its end. Only what is used has pages.
const SPARE_BYTES: usize = 128 * 1024;

/// The heap is looked at once in this time at most, however many threads ask: a look walks everything that is free.
const TRIM_EVERY_NS: u64 = 20_000_000;

/// Gives whole free pages of the heap back, wherever they lie (malloc_trim(3)). At most 50 times a second; calls in between
/// do nothing.
pub fn trim_heap() {
    static LAST_NS: AtomicU64 = AtomicU64::new(0);
    let (now, last) = (crate::clock::monotonic_ns(), LAST_NS.load(Ordering::Relaxed));
    let due = last == 0 || now.saturating_sub(last) >= TRIM_EVERY_NS;
    if due && LAST_NS.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
        #[cfg(target_env = "gnu")]
        // SAFETY: only memory that is free is given back
        unsafe {
            libc::malloc_trim(0);
        }
    }
}

/// Has the allocator map blocks from 128 KiB on by themselves, so that they go when they are freed, and keep little at
/// the end of the heap. Without this it learns from each large block that such blocks are usual, and keeps the next.
pub fn keep_little() {
    #[cfg(target_env = "gnu")]
    // SAFETY: sets numbers of the allocator, which has its own lock
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, SPARE_BYTES as i32);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * SPARE_BYTES as i32);
    }
}

/// Takes all gaps in the heap out of use for good, so that what this process and its children allocate from now on lies
/// together at the heap's end.
///
/// For a process that has one thread and forks many children after a start that left much behind: a child that fills a
/// gap here and there gets a page of its own for each. The gaps cost what they cost before; what was given back to the
/// kernel in them stays there.
pub fn close_gaps() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: sets a number of the allocator
        unsafe { libc::mallopt(libc::M_TOP_PAD, 0) };
        for halving in 0..(GAP_LARGEST / GAP_CLASS).ilog2() {
            let end = end_of_heap();
            fill_gaps_of(GAP_LARGEST >> halving, |_| end_of_heap() != end);
        }
        // no gap is left for such a block, so it is where the heap's used part ends
        let end = allocate(GAP_LARGEST);
        free(end);
        for sixteens in (1..=GAP_CLASS / 16).rev() {
            // a small one that is freed would be the one gap of its size, and so it stays
            fill_gaps_of(sixteens * 16 - 8, |block| block.addr() >= end.addr());
        }
        // SAFETY: as above; this is the allocator's own value
        unsafe { libc::mallopt(libc::M_TOP_PAD, SPARE_BYTES as i32) };
    }
}

/// Allocates blocks of a size until one is not from a gap, which makes the heap no longer if it is a large one.
#[cfg(target_env = "gnu")]
fn fill_gaps_of(bytes: usize, is_at_end: impl Fn(*mut libc::c_void) -> bool) {
    for _ in 0..GAPS_MOST {
        let block = allocate(bytes);
        if block.is_null() || is_at_end(block) {
            if bytes > GAP_CLASS {
                free(block);
            }
            return;
        }
    }
}

#[cfg(target_env = "gnu")]
fn allocate(bytes: usize) -> *mut libc::c_void {
    // SAFETY: any size may be asked for. The box keeps the compiler from leaving out what nobody uses
    std::hint::black_box(unsafe { libc::malloc(bytes) })
}

/// Frees a block of [`allocate`] that nobody uses, and what that leaves at the end of the heap.
#[cfg(target_env = "gnu")]
fn free(block: *mut libc::c_void) {
    // SAFETY: allocated by this module, and freed once
    unsafe {
        libc::free(block);
        libc::malloc_trim(0);
    }
}

#[cfg(target_env = "gnu")]
fn end_of_heap() -> *mut libc::c_void {
    // SAFETY: asks for a number
    unsafe { libc::sbrk(0) }
}

/// Maps zeroed memory that is private to this process, for whoever asks to unmap.
pub(crate) fn map_private(bytes: usize) -> std::io::Result<*mut libc::c_void> {
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping at an address that the kernel chooses touches nothing that is there
    let address = unsafe { libc::mmap(std::ptr::null_mut(), bytes, protection, flags, -1, 0) };
    if address == libc::MAP_FAILED { Err(std::io::Error::last_os_error()) } else { Ok(address) }
}

/// Words in memory of their own. A forked child finds them all zero and has no page of them (MADV_WIPEONFORK), so that
/// a parent may write them between forks at no cost to its children.
pub struct WipedOnFork {
    words: std::ptr::NonNull<u64>,
    len: usize,
}

impl WipedOnFork {
    pub fn zeroed(len: usize) -> std::io::Result<WipedOnFork> {
        let bytes = len * size_of::<u64>();
        let address = map_private(bytes)?;
        let words = std::ptr::NonNull::new(address.cast()).ok_or_else(std::io::Error::last_os_error)?;
        let slice = WipedOnFork { words, len };
        // SAFETY: the mapping is ours; zero is a valid word, so a child may find it
        if unsafe { libc::madvise(address, bytes, libc::MADV_WIPEONFORK) } != 0 {
            return Err(std::io::Error::last_os_error());
        }
        Ok(slice)
    }
}

impl std::ops::Deref for WipedOnFork {
    type Target = [u64];

    fn deref(&self) -> &[u64] {
        // SAFETY: mapped for so many words, zeroed by the kernel, and nobody else has the address
        unsafe { std::slice::from_raw_parts(self.words.as_ptr(), self.len) }
    }
}

impl std::ops::DerefMut for WipedOnFork {
    fn deref_mut(&mut self) -> &mut [u64] {
        // SAFETY: as above, and borrowed mutably
        unsafe { std::slice::from_raw_parts_mut(self.words.as_ptr(), self.len) }
    }
}

impl Drop for WipedOnFork {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and goes with us
        unsafe { libc::munmap(self.words.as_ptr().cast(), self.len * size_of::<u64>()) };
    }
}

/// Gives the pages of this thread's stack back that deeper calls have used and left.
#[inline(never)]
pub fn trim_stack() {
    let here = 0u8;
    let here = std::hint::black_box(&raw const here).addr();
    let Some(low) = stack_low(here) else { return };
    let page = page_bytes();
    let (low, high) = (low.next_multiple_of(page), here.saturating_sub(MARGIN_BYTES) & !(page - 1));
    if low < high {
        // SAFETY: these pages belong to this thread's stack, or to no mapping at all, and lie below every live frame
        // (the stack grows down); what is in them is read by nobody before it is written again
        unsafe { libc::madvise(std::ptr::without_provenance_mut(low), high - low, libc::MADV_DONTNEED) };
    }
}

fn page_bytes() -> usize {
    // SAFETY: asks for a number
    let bytes = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(bytes).ok().filter(|bytes| bytes.is_power_of_two()).unwrap_or(4096)
}

/// The lowest address of this thread's stack that may be given back; `None`: it can't be told.
fn stack_low(here: usize) -> Option<usize> {
    if rustix::thread::gettid() == rustix::process::getpid() {
        // asking would read /proc, and memory is what this is about
        return here.checked_sub(MAIN_STACK_BYTES);
    }
    let mut attributes = std::mem::MaybeUninit::<libc::pthread_attr_t>::uninit();
    let (mut address, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: the attributes are initialised by the first call, read by the second and destroyed by the third
    unsafe {
        if libc::pthread_getattr_np(libc::pthread_self(), attributes.as_mut_ptr()) != 0 {
            return None;
        }
        let told = libc::pthread_attr_getstack(attributes.as_ptr(), &mut address, &mut size);
        libc::pthread_attr_destroy(attributes.as_mut_ptr());
        (told == 0).then_some(address.addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Private pages of this process, in bytes.
    fn private_bytes() -> u64 {
        let text = std::fs::read_to_string("/proc/self/smaps_rollup").expect("smaps_rollup");
        let kib = |name: &str| {
            let line = text.lines().find(|line| line.starts_with(name)).expect(name);
            line.split_whitespace().nth(1).and_then(|word| word.parse::<u64>().ok()).expect("a number")
        };
        kib("Private_Dirty:") * 1024
    }

    #[inline(never)]
    fn use_stack() -> usize {
        let mut deep = [0u8; 48 * 1024];
        deep.fill(7);
        std::hint::black_box(&deep).iter().map(|byte| usize::from(*byte)).sum()
    }

    #[test]
    fn what_deeper_calls_left_goes_and_what_lives_stays() {
        let look = || {
            let living = [5u8; 3000];
            std::hint::black_box(use_stack());
            let before = private_bytes();
            trim_stack();
            let after = private_bytes();
            assert!(std::hint::black_box(&living).iter().all(|byte| *byte == 5));
            assert_eq!(use_stack(), 7 * 48 * 1024, "the stack can be used again");
            before.saturating_sub(after)
        };
        // the threads of other tests change little; the 48 KiB must show
        let gained = std::thread::Builder::new().stack_size(128 * 1024).spawn(look).expect("a thread").join();
        assert!(gained.expect("no panic") >= 32 * 1024);
    }
}
