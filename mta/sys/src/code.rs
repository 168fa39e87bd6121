//! Where the code of this program lies in memory.

use crate::memory::map_private;
use std::io::{self, Error, ErrorKind};
use std::ptr;

/// A large page on x86-64, and on 64-bit ARM with pages of 4 KiB.
const LARGE_PAGE_BYTES: usize = 2 << 20;

/// Puts a copy of the 2 MiB of code that `function` lies in into one large page, in the place of the file's pages. Children
/// that are forked afterwards share it: they find all of it in place, without a fault, and the processor remembers it as
/// one page instead of hundreds.
///
/// # Errors
/// The code does not fill such a stretch, the kernel has no large page, or forbids code that is in no file. Then all is as
/// before. (A kernel that has no memory left for its own tables at the last step would end the process.)
pub fn into_large_page(function: *const ()) -> io::Result<()> {
    let start = function.addr() & !(LARGE_PAGE_BYTES - 1);
    let maps = std::fs::read_to_string("/proc/self/maps")?;
    if !maps.lines().any(|line| is_code(line, start)) {
        return Err(Error::new(ErrorKind::Unsupported, "the code does not fill a large page"));
    }
    let page = Page::new()?;
    // SAFETY: `page` is writable and nobody else's; what it takes the place of is code that is mapped as a whole (looked at
    // above), which nobody writes, and the same bytes as before, so that whoever runs there, this function too, runs on in
    // the copy
    unsafe {
        // a hint only: collapsing says whether it came true
        libc::madvise(page.0, LARGE_PAGE_BYTES, libc::MADV_HUGEPAGE);
        ptr::copy_nonoverlapping(ptr::with_exposed_provenance::<u8>(start), page.0.cast(), LARGE_PAGE_BYTES);
        done(libc::madvise(page.0, LARGE_PAGE_BYTES, libc::MADV_COLLAPSE))?;
        done(libc::mprotect(page.0, LARGE_PAGE_BYTES, libc::PROT_READ | libc::PROT_EXEC))?;
        let how = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        let place = ptr::with_exposed_provenance_mut::<libc::c_void>(start);
        let there = libc::mremap(page.0, LARGE_PAGE_BYTES, LARGE_PAGE_BYTES, how, place);
        if there == libc::MAP_FAILED {
            return Err(Error::last_os_error());
        }
    }
    // it is no longer where it was
    std::mem::forget(page);
    Ok(())
}

/// Whether a line of proc_pid_maps(5) is of code and has the whole large page from `start`.
fn is_code(line: &str, start: usize) -> bool {
    let number = |text| usize::from_str_radix(text, 16).ok();
    let Some((range, rest)) = line.split_once(' ') else { return false };
    let Some((Some(first), Some(end))) = range.split_once('-').map(|(a, b)| (number(a), number(b))) else {
        return false;
    };
    rest.starts_with("r-xp") && first <= start && end >= start + LARGE_PAGE_BYTES
}

fn done(result: libc::c_int) -> io::Result<()> {
    if result == -1 { Err(Error::last_os_error()) } else { Ok(()) }
}

/// As much private memory as a large page, where one can be.
struct Page(*mut libc::c_void);

impl Page {
    fn new() -> io::Result<Page> {
        let room = map_private(2 * LARGE_PAGE_BYTES)?;
        let page = room.map_addr(|address| address.next_multiple_of(LARGE_PAGE_BYTES));
        let before = page.addr() - room.addr();
        // SAFETY: the two ends of what was mapped just now; an empty one is an error without effect
        unsafe {
            libc::munmap(room, before);
            libc::munmap(page.byte_add(LARGE_PAGE_BYTES), LARGE_PAGE_BYTES - before);
        }
        Ok(Page(page))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: this was mapped here and is pointed to from nowhere else
        unsafe { libc::munmap(self.0, LARGE_PAGE_BYTES) };
    }
}
