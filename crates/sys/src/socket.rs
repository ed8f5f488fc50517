//! `SOCK_SEQPACKET` pairs that carry datagrams with descriptors
//! ([unix(7)](https://man7.org/linux/man-pages/man7/unix.7.html)).

use crate::{Errno, Result};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Largest datagram that we send or accept: below the default size of a socket's send buffer.
pub const MAX_DATAGRAM: usize = 192 * 1024;
/// Largest datagram for [`read_datagram`].
pub const MAX_PLAIN_DATAGRAM: usize = 4096;
/// Most descriptors in one datagram.
pub const MAX_FDS: usize = 16;
/// Room for them and their header, in words.
const CONTROL: usize = 2 + (MAX_FDS * size_of::<RawFd>()) / size_of::<u64>();

/// A connected pair, both ends close-on-exec and blocking.
///
/// # Errors
/// `EMFILE`, `ENFILE`.
pub fn pair() -> Result<(OwnedFd, OwnedFd)> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// Sends bytes and a descriptor on a stream with one sendmsg(2); gives how many bytes went. The
/// descriptor goes with the first of them.
///
/// # Errors
/// `EPIPE` when the other end is gone (no signal is raised), `EAGAIN` on a full non-blocking socket.
pub fn send_on_stream(socket: impl AsFd, bytes: &[u8], fd: impl AsFd) -> Result<usize> {
    let raw = [fd.as_fd().as_raw_fd()];
    let socket = socket.as_fd().as_raw_fd();
    let (iov, rights) = ([IoSlice::new(bytes)], [ControlMessage::ScmRights(&raw)]);
    loop {
        match sendmsg::<()>(socket, &iov, &rights, MsgFlags::MSG_NOSIGNAL, None) {
            Err(Errno::EINTR) => {}
            sent => return sent,
        }
    }
}

/// Sends one datagram with descriptors.
///
/// # Errors
/// `EPIPE` when the other end is gone (no signal is raised), `EAGAIN` on a full non-blocking socket,
/// `EMSGSIZE` beyond [`MAX_DATAGRAM`].
pub fn send(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<()> {
    if bytes.len() > MAX_DATAGRAM {
        return Err(Errno::EMSGSIZE);
    }
    let raw: Vec<RawFd> = fds.iter().map(AsRawFd::as_raw_fd).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control: &[ControlMessage<'_>] = if raw.is_empty() { &[] } else { &rights };
    let socket = socket.as_fd().as_raw_fd();
    loop {
        match sendmsg::<()>(
            socket,
            &[IoSlice::new(bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(e) => return Err(e),
        }
    }
}

/// Receives one datagram and its descriptors (close-on-exec). An empty datagram is the end: the
/// other side is gone.
///
/// # Errors
/// `EAGAIN` on an empty non-blocking socket, `EMSGSIZE` when something was cut off, `EMFILE` when this process
/// may not have all its descriptors (it has none of them then), `ECONNRESET` when the other side left without
/// reading everything.
pub fn receive(socket: impl AsFd) -> Result<(Vec<u8>, Vec<OwnedFd>)> {
    let raw = socket.as_fd().as_raw_fd();
    let mut bytes = vec![0u8; next_len(raw)?.min(MAX_DATAGRAM)];
    let mut control = [0_u64; CONTROL];
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: a header of zeros is one without an address, data and control data.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = &raw mut part;
    header.msg_iovlen = 1;
    header.msg_control = control.as_mut_ptr().cast();
    let len = loop {
        header.msg_controllen = size_of_val(&control);
        // SAFETY: the header names two buffers, with their lengths, that outlive the call.
        let ret = unsafe { libc::recvmsg(raw, &raw mut header, libc::MSG_CMSG_CLOEXEC) };
        match crate::check(ret.try_into().unwrap_or(-1)) {
            Err(Errno::EINTR) => {}
            len => break usize::try_from(len?).unwrap_or(0),
        }
    };
    // First of all: what has come is ours, whatever else has happened.
    let fds = take_rights(&header);
    // There is room for all that we send: what does not fit is more than this process may have open.
    if header.msg_flags & libc::MSG_CTRUNC != 0 {
        return Err(Errno::EMFILE);
    }
    let cut = header.msg_flags & libc::MSG_TRUNC != 0;
    if cut {
        return Err(Errno::EMSGSIZE);
    }
    bytes.truncate(len);
    Ok((bytes, fds))
}

/// The descriptors that came with a message
/// ([cmsg(3)](https://man7.org/linux/man-pages/man3/cmsg.3.html)). Those of one that was cut off, too, which `nix`
/// does not give.
fn take_rights(header: &libc::msghdr) -> Vec<OwnedFd> {
    let mut fds = Vec::new();
    // SAFETY: recvmsg(2) has filled the header's control buffer, which is aligned for a `cmsghdr`, and set its
    // length.
    let mut part = unsafe { libc::CMSG_FIRSTHDR(header) };
    // SAFETY: what CMSG_FIRSTHDR and CMSG_NXTHDR give is null or a whole header in that buffer.
    while let Some(control) = unsafe { part.as_ref() } {
        if (control.cmsg_level, control.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: computes from an integer.
            let around = unsafe { libc::CMSG_LEN(0) } as usize;
            let count = (control.cmsg_len - around) / size_of::<RawFd>();
            // SAFETY: the data begins behind the header.
            let data = unsafe { libc::CMSG_DATA(part) }.cast::<RawFd>();
            for at in 0..count {
                // SAFETY: `cmsg_len` covers so many numbers, in the buffer.
                let raw = unsafe { data.wrapping_add(at).read_unaligned() };
                // SAFETY: the kernel has just installed this descriptor for us alone.
                fds.push(unsafe { OwnedFd::from_raw_fd(raw) });
            }
        }
        // SAFETY: as for CMSG_FIRSTHDR; `part` is a header of this buffer.
        part = unsafe { libc::CMSG_NXTHDR(header, part) };
    }
    fds
}

/// The length of the datagram that is received next; waits for one. 0 at the end.
fn next_len(socket: RawFd) -> Result<usize> {
    loop {
        // Not recv(2): a seccomp filter of the container may be in force, which must allow recvmsg(2) only.
        let flags = MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
        match recvmsg::<()>(socket, &mut [], None, flags) {
            Err(Errno::EINTR) => {}
            other => return other.map(|message| message.bytes),
        }
    }
}

/// Sends one datagram with plain write(2), for a process whose seccomp filter may forbid sendmsg.
///
/// # Errors
/// `EPIPE` when the other end is gone.
pub fn write_datagram(socket: impl AsFd, bytes: &[u8]) -> Result<()> {
    nix::unistd::write(socket, bytes).map(drop)
}

/// Receives one datagram of up to [`MAX_PLAIN_DATAGRAM`] bytes with plain read(2), which cuts a longer one
/// off; empty at the end.
///
/// # Errors
/// As read(2).
pub fn read_datagram(socket: impl AsFd) -> Result<Vec<u8>> {
    let mut bytes = vec![0u8; MAX_PLAIN_DATAGRAM];
    let len = loop {
        match nix::unistd::read(socket.as_fd(), &mut bytes) {
            Err(Errno::EINTR) => {}
            other => break other?,
        }
    };
    bytes.truncate(len);
    Ok(bytes)
}
