//! Network devices and their addresses, by
//! [rtnetlink(7)](https://man7.org/linux/man-pages/man7/rtnetlink.7.html).
//!
//! The kernel does what a request says before sendmsg(2) returns, so that no answer has to be waited
//! for.

mod message;

use crate::{Errno, Result};
use message::{Message, Request, attributes, messages, u32_at};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recvmsg, send, socket,
};
use std::cell::Cell;
use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

/// Larger than any datagram that the kernel sends: it fills 32 KiB at most of a list.
const BUFFER: usize = 64 << 10;
/// How often a list is asked for that changes while it is read.
const ATTEMPTS: usize = 16;

/// Bytes of `struct ifinfomsg` and `struct ifaddrmsg`.
const LINK: usize = 16;
const ADDRESS: usize = 8;

const REQUEST: u16 = flag(libc::NLM_F_REQUEST);
const ACK: u16 = REQUEST | flag(libc::NLM_F_ACK);
const DUMP: u16 = REQUEST | flag(libc::NLM_F_DUMP);
const NEW: u16 = ACK | flag(libc::NLM_F_CREATE) | flag(libc::NLM_F_EXCL);
const INTERRUPTED: u16 = flag(libc::NLM_F_DUMP_INTR);

const DONE: u16 = flag(libc::NLMSG_DONE);
const ERROR: u16 = flag(libc::NLMSG_ERROR);

// linux/if_link.h
const IFLA_IFNAME: u16 = 3;
const IFLA_NET_NS_FD: u16 = 28;

/// Flags of an address that it keeps on its way: no search for duplicates, no route to its network.
const KEPT: u32 = libc::IFA_F_NODAD | libc::IFA_F_NOPREFIXROUTE;

/// A message type or flag; all of them have 16 bits.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "constants of linux/netlink.h, none above 0x700"
)]
const fn flag(value: libc::c_int) -> u16 {
    value as u16
}

/// A network device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Its number in its network namespace.
    pub index: i32,
    /// Whether it is up.
    pub up: bool,
}

/// An address of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    family: u8,
    prefix_len: u8,
    scope: u8,
    flags: u32,
    /// Address, peer, broadcast address: as the kernel has them.
    parts: Vec<(u16, Vec<u8>)>,
}

impl Address {
    /// Whether somebody gave the device this address for ever and for everywhere: not one with a
    /// lifetime, nor one that the device made for its own link.
    #[must_use]
    pub fn is_permanent_and_global(&self) -> bool {
        self.flags & libc::IFA_F_PERMANENT != 0 && self.scope == libc::RT_SCOPE_UNIVERSE
    }
}

/// A socket to the part of the kernel that knows one network namespace: that in which it was opened,
/// wherever its owner goes.
#[derive(Debug)]
pub struct Netlink {
    socket: OwnedFd,
    sequence: Cell<u32>,
}

impl Netlink {
    /// Opens one for the present network namespace.
    ///
    /// # Errors
    /// As socket(2).
    pub fn open() -> Result<Self> {
        let socket = socket(
            AddressFamily::Netlink,
            SockType::Raw,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkRoute,
        )?;
        let sequence = Cell::new(0);
        Ok(Self { socket, sequence })
    }

    /// Finds a device by its name or by another name that it has.
    ///
    /// # Errors
    /// `ENODEV` when there is none.
    pub fn device(&self, name: &str) -> Result<Device> {
        let mut request = Request::new(libc::RTM_GETLINK, ACK, &[&[0; LINK]]);
        request.text(IFLA_IFNAME, name)?;
        let mut found = None;
        self.ask(request, |message| {
            let index = i32_at(message.body, 4);
            let flags = u32_at(message.body, 8);
            if let (libc::RTM_NEWLINK, Some(index), Some(flags)) = (message.kind, index, flags) {
                let up = flags & libc::IFF_UP.unsigned_abs() != 0;
                found = Some(Device { index, up });
            }
        })?;
        found.ok_or(Errno::ENODEV)
    }

    /// All addresses of a device, IPv4 and IPv6.
    ///
    /// # Errors
    /// `EAGAIN` when they change faster than they can be read.
    pub fn addresses(&self, index: i32) -> Result<Vec<Address>> {
        for _ in 0..ATTEMPTS {
            let mut found = Vec::new();
            let request = Request::new(libc::RTM_GETADDR, DUMP, &[&[0; ADDRESS]]);
            let asked = self.ask(request, |message| {
                if message.kind == libc::RTM_NEWADDR && i32_at(message.body, 4) == Some(index) {
                    found.extend(address(message.body));
                }
            });
            match asked {
                Err(Errno::EINTR) => {}
                other => return other.map(|()| found),
            }
        }
        Err(Errno::EAGAIN)
    }

    /// Moves a device into another network namespace and gives it a name there, both at once. The
    /// kernel takes it down for that, and it loses its addresses.
    ///
    /// # Errors
    /// `EEXIST` when the name is taken there, `EINVAL` for a device that is bound to its namespace.
    pub fn move_to(&self, index: i32, namespace: impl AsFd, name: &str) -> Result<()> {
        let mut request = Request::new(libc::RTM_NEWLINK, ACK, &[&link(index, 0)]);
        let namespace = namespace.as_fd().as_raw_fd();
        request.attribute(IFLA_NET_NS_FD, &namespace.to_ne_bytes())?;
        request.text(IFLA_IFNAME, name)?;
        self.ask(request, |_| {})
    }

    /// Gives a device an address.
    ///
    /// # Errors
    /// `EEXIST` when it has it, `EACCES` for an IPv6 address where IPv6 is switched off.
    pub fn add_address(&self, index: i32, address: &Address) -> Result<()> {
        let fixed = [
            &[address.family, address.prefix_len, 0, address.scope][..],
            &index.to_ne_bytes(),
        ];
        let mut request = Request::new(libc::RTM_NEWADDR, NEW, &fixed);
        let flags = address.flags & KEPT;
        request.attribute(libc::IFA_FLAGS, &flags.to_ne_bytes())?;
        for (kind, value) in &address.parts {
            request.attribute(*kind, value)?;
        }
        self.ask(request, |_| {})
    }

    /// Brings a device up.
    ///
    /// # Errors
    /// What its driver says.
    pub fn set_up(&self, index: i32) -> Result<()> {
        let up = libc::IFF_UP.unsigned_abs();
        let request = Request::new(libc::RTM_NEWLINK, ACK, &[&link(index, up)]);
        self.ask(request, |_| {})
    }

    /// Sends a request and hands over what comes back, up to the acknowledgement or the end of the list.
    fn ask(&self, request: Request, mut each: impl FnMut(&Message<'_>)) -> Result<()> {
        let sequence = self.sequence.get().wrapping_add(1);
        self.sequence.set(sequence);
        let bytes = request.finish(sequence)?;
        send(self.socket.as_raw_fd(), &bytes, MsgFlags::empty())?;
        let mut buffer = vec![0; BUFFER];
        let mut interrupted = false;
        loop {
            let Some(len) = self.receive(&mut buffer)? else {
                continue;
            };
            let datagram = buffer.get(..len).unwrap_or_default();
            for message in messages(datagram)?
                .iter()
                .filter(|m| m.sequence == sequence)
            {
                interrupted |= message.flags & INTERRUPTED != 0;
                match message.kind {
                    // Both begin with zero or a negative error number.
                    ERROR | DONE => {
                        return match i32_at(message.body, 0).ok_or(Errno::EBADMSG)? {
                            0 if interrupted => Err(Errno::EINTR),
                            code if code < 0 => Err(Errno::from_raw(code.saturating_neg())),
                            _ => Ok(()),
                        };
                    }
                    _ => each(message),
                }
            }
        }
    }

    /// The length of the next datagram; `None` for one that is not the kernel's: whoever rules over
    /// the network namespace may send us some.
    fn receive(&self, buffer: &mut [u8]) -> Result<Option<usize>> {
        let mut parts = [IoSliceMut::new(buffer)];
        let raw = self.socket.as_raw_fd();
        let message = loop {
            match recvmsg::<NetlinkAddr>(raw, &mut parts, None, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => break other?,
            }
        };
        if message.address.is_none_or(|from| from.pid() != 0) {
            return Ok(None);
        }
        if message.flags.contains(MsgFlags::MSG_TRUNC) {
            return Err(Errno::EMSGSIZE);
        }
        Ok(Some(message.bytes))
    }
}

/// A `struct ifinfomsg` that names a device by its index and switches these flags on.
fn link(index: i32, flags: u32) -> Vec<u8> {
    [
        &[0; 4][..],
        &index.to_ne_bytes(),
        &flags.to_ne_bytes(),
        &flags.to_ne_bytes(),
    ]
    .concat()
}

fn i32_at(bytes: &[u8], at: usize) -> Option<i32> {
    u32_at(bytes, at).map(u32::cast_signed)
}

/// A `struct ifaddrmsg` with its attributes.
fn address(body: &[u8]) -> Option<Address> {
    let &[family, prefix_len, short_flags, scope] = body.first_chunk()?;
    let mut flags = u32::from(short_flags);
    let mut parts = Vec::new();
    for (kind, value) in attributes(body.get(ADDRESS..)?) {
        match kind {
            libc::IFA_FLAGS => flags = u32_at(value, 0)?,
            libc::IFA_ADDRESS | libc::IFA_LOCAL | libc::IFA_BROADCAST => {
                parts.push((kind, value.to_vec()));
            }
            _ => {}
        }
    }
    Some(Address {
        family,
        prefix_len,
        scope,
        flags,
        parts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In whatever namespace the tests run there is a loopback device.
    #[test]
    fn loopback_is_found_and_nothing_else_by_a_name_that_nobody_has() {
        let netlink = Netlink::open().unwrap();
        let lo = netlink.device("lo").unwrap();
        assert_eq!(lo.index, 1);
        assert_eq!(netlink.device("no such one"), Err(Errno::ENODEV));
        assert_eq!(netlink.device(""), Err(Errno::ENODEV));
        // Answers are told apart by their numbers: the same once more.
        assert_eq!(netlink.device("lo"), Ok(lo));
    }

    #[test]
    fn addresses_are_those_of_the_device() {
        let netlink = Netlink::open().unwrap();
        let index = netlink.device("lo").unwrap().index;
        for address in netlink.addresses(index).unwrap() {
            // 127.0.0.1 and ::1 are of the host alone, or somebody has given it more.
            assert!(address.prefix_len > 0, "{address:?}");
        }
        assert_eq!(netlink.addresses(i32::MAX).unwrap(), []);
    }

    #[test]
    fn refusals_are_error_numbers() {
        let netlink = Netlink::open().unwrap();
        assert_eq!(netlink.set_up(i32::MAX), Err(Errno::ENODEV));
    }

    #[test]
    fn long_flags_beat_the_short_ones() {
        let mut request = Request::new(
            libc::RTM_NEWADDR,
            0,
            &[&[2, 24, 0x80, 0], &7i32.to_ne_bytes()],
        );
        request.attribute(libc::IFA_LOCAL, &[10, 0, 0, 1]).unwrap();
        request
            .attribute(libc::IFA_FLAGS, &0x280u32.to_ne_bytes())
            .unwrap();
        request.attribute(libc::IFA_LABEL, b"eth0\0").unwrap();
        let bytes = request.finish(1).unwrap();
        let found = messages(&bytes).unwrap();
        let address = address(found.first().unwrap().body).unwrap();
        assert_eq!((address.family, address.prefix_len), (2, 24));
        assert_eq!(address.flags, 0x280);
        assert!(address.is_permanent_and_global());
        assert_eq!(address.parts, [(libc::IFA_LOCAL, vec![10, 0, 0, 1])]);
    }

    #[test]
    fn addresses_for_a_while_or_for_the_link_are_not_for_ever() {
        let of = |flags, scope| Address {
            family: 10,
            prefix_len: 64,
            scope,
            flags,
            parts: Vec::new(),
        };
        assert!(of(0x80, 0).is_permanent_and_global());
        assert!(!of(0, 0).is_permanent_and_global());
        assert!(!of(0x80, 253).is_permanent_and_global());
    }
}
