//! Descriptors that travel over UNIX sockets, and closing those that a child must not have.

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

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
    receive_at(socket, IoSliceMut::new(buffer))
}

/// As [`receive`], up to `room` bytes at the end of `buffer`, whose memory is not zeroed for it.
pub fn receive_more(
    socket: BorrowedFd<'_>,
    buffer: &mut Vec<u8>,
    room: usize,
) -> io::Result<(usize, Option<OwnedFd>)> {
    buffer.reserve(room);
    let spare = buffer.spare_capacity_mut();
    let place = libc::iovec { iov_base: spare.as_mut_ptr().cast(), iov_len: room.min(spare.len()) };
    // SAFETY: the two are the same to the kernel, says std, and this one is writable for as long as `buffer` is borrowed;
    // what is there is written and not read
    let place = unsafe { std::mem::transmute::<libc::iovec, IoSliceMut<'_>>(place) };
    let (count, descriptor) = receive_at(socket, place)?;
    // SAFETY: so many bytes the kernel has written
    unsafe { buffer.set_len(buffer.len() + count) };
    Ok((count, descriptor))
}

fn receive_at(socket: BorrowedFd<'_>, place: IoSliceMut<'_>) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut places = [place];
    let received = loop {
        match rustix::net::recvmsg(socket, &mut places, &mut control, RecvFlags::CMSG_CLOEXEC) {
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

/// Puts a descriptor on a number that a program started by exec will know it by.
///
/// For a freshly forked child that is about to execute: whatever was on that number is closed.
pub fn hand_down(descriptor: OwnedFd, number: RawFd) -> io::Result<()> {
    if descriptor.as_raw_fd() == number {
        // already there; dup2 would leave it to be closed by exec
        rustix::io::fcntl_setfd(&descriptor, rustix::io::FdFlags::empty())?;
        std::mem::forget(descriptor);
        return Ok(());
    }
    // SAFETY: takes numbers only; the caller's contract is that nobody owns `number` any more
    if unsafe { libc::dup2(descriptor.as_raw_fd(), number) } == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Takes over a descriptor that was [handed down](hand_down), once, before the process opens anything.
pub fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: takes numbers only, and fails when there is no such descriptor
    if unsafe { libc::fcntl(number, libc::F_GETFD) } == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is open, and owned by nobody in a process that has just begun (the caller's contract)
    let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(descriptor.as_fd(), rustix::io::FdFlags::CLOEXEC)?;
    Ok(descriptor)
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
