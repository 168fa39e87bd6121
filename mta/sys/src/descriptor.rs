//! Descriptors that travel over UNIX sockets, and closing those that a child must not have.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

/// Sends bytes and, beside their first one, a descriptor (SCM_RIGHTS). Returns how many bytes went.
pub fn send(socket: BorrowedFd<'_>, bytes: &[u8], descriptor: Option<BorrowedFd<'_>>) -> io::Result<usize> {
    let rights;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if let Some(descriptor) = descriptor {
        rights = [descriptor];
        control.push(SendAncillaryMessage::ScmRights(&rights));
    }
    loop {
        match rustix::net::sendmsg(socket, &[IoSlice::new(bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => continue,
            result => return Ok(result?),
        }
    }
}

/// Receives bytes and the descriptor that came with them, if any. Zero bytes = the peer closed.
///
/// More than one descriptor in a message: the last one counts, the others are closed.
pub fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match rustix::net::recvmsg(
            socket,
            &mut [IoSliceMut::new(buffer)],
            &mut control,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => continue,
            result => break result?,
        }
    };
    let mut descriptor = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            descriptor = rights.last().or(descriptor);
        }
    }
    Ok((received.bytes, descriptor))
}

/// Closes every descriptor of this process but standard input, output, error and those in `keep`.
///
/// For a freshly forked child only, which from then on touches nothing but what is in `keep` and leaves by
/// [`crate::process::exit_now`]: values inherited from the parent must not be dropped, as they would close
/// numbers that by then name something else.
pub fn close_all_but(keep: &[BorrowedFd<'_>]) {
    let mut numbers: Vec<u32> = keep.iter().map(|descriptor| descriptor.as_raw_fd() as u32).collect();
    numbers.sort_unstable();
    let mut first = 3;
    for number in numbers {
        if number > first {
            close_range(first, number - 1);
        }
        first = first.max(number + 1);
    }
    close_range(first, u32::MAX);
}

fn close_range(first: u32, last: u32) {
    // SAFETY: takes numbers only; the caller's contract (see close_all_but) is that nobody owns these any more
    unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
}
