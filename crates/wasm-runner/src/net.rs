//! Whom a guest may talk to, as the annotation `net` says. It is the second wall: the first is the
//! container's network namespace.

mod answer;
mod files;
mod query;
mod resolver;

pub(crate) use resolver::{Resolver, Unresolved};

use hull_abi::{Net, NetRule, Peer};
use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use wasmtime_wasi::sockets::SocketAddrUse;

/// Addresses of names that are kept; the oldest ones are forgotten.
const MAX_KNOWN: usize = 1024;

/// The rules, and the addresses that the names in them were found to have.
#[derive(Debug)]
pub(crate) struct Network {
    net: Net,
    known: Mutex<VecDeque<(IpAddr, Option<u16>)>>,
}

impl Network {
    pub(crate) fn new(net: Net) -> Self {
        Self {
            net,
            known: Mutex::default(),
        }
    }

    /// Whether there is any network at all.
    pub(crate) fn is_there(&self) -> bool {
        self.net != Net::None
    }

    /// Whether there are rules.
    fn is_limited(&self) -> bool {
        matches!(self.net, Net::Only(_))
    }

    /// Whether an address may be one of a name's that a server tells. With rules none is taken to this machine
    /// or this link by whoever answers for a name, unless a rule has the address itself.
    fn may_have_a_name(&self, address: IpAddr) -> bool {
        !self.is_limited()
            || !is_local(address.to_canonical())
            || self.has_rule_of(address, |_| true)
    }

    /// Whether a socket may be used in this way. What comes in is judged by its address alone: the port
    /// of a client is chance.
    pub(crate) fn permits(&self, address: SocketAddr, purpose: SocketAddrUse) -> bool {
        match purpose {
            // The kernel only gives addresses of the container's own.
            SocketAddrUse::TcpBind | SocketAddrUse::TcpListen | SocketAddrUse::UdpBind => {
                self.is_there()
            }
            SocketAddrUse::TcpConnect | SocketAddrUse::UdpSend => self.reaches(address),
            SocketAddrUse::TcpAccept | SocketAddrUse::UdpReceive => {
                self.any_rule(address.ip(), |_| true)
            }
        }
    }

    /// Whether the guest may connect or send to an address.
    pub(crate) fn reaches(&self, address: SocketAddr) -> bool {
        self.any_rule(address.ip(), |port| {
            port.is_none_or(|port| port == address.port())
        })
    }

    /// Whether the guest may ask for the addresses of a name, in lower case and without a final dot.
    pub(crate) fn resolves(&self, name: &str) -> bool {
        match &self.net {
            Net::All => true,
            Net::None => false,
            Net::Only(rules) => rules.iter().any(|rule| is_called(rule, name)),
        }
    }

    /// Makes the addresses of a name reachable on the ports that the name's rules have.
    pub(crate) fn learn(&self, name: &str, addresses: &[IpAddr]) {
        let Net::Only(rules) = &self.net else {
            return;
        };
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for rule in rules.iter().filter(|rule| is_called(rule, name)) {
            for address in addresses {
                let entry = (address.to_canonical(), rule.port);
                known.retain(|other| *other != entry);
                if known.len() == MAX_KNOWN {
                    known.pop_front();
                }
                known.push_back(entry);
            }
        }
    }

    /// Whether a rule covers an address and is one for the right port.
    fn any_rule(&self, address: IpAddr, port: impl Fn(Option<u16>) -> bool) -> bool {
        match &self.net {
            Net::All => return true,
            Net::None => return false,
            Net::Only(_) => {}
        }
        if self.has_rule_of(address, &port) {
            return true;
        }
        let address = address.to_canonical();
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .iter()
            .any(|(known, allowed)| *known == address && port(*allowed))
    }

    /// Whether a rule has the address itself, and a port like this.
    fn has_rule_of(&self, address: IpAddr, port: impl Fn(Option<u16>) -> bool) -> bool {
        let Net::Only(rules) = &self.net else {
            return false;
        };
        let address = address.to_canonical();
        rules.iter().any(|rule| match rule.peer {
            Peer::Subnet(subnet, bits) => port(rule.port) && is_within(address, subnet, bits),
            Peer::Name(_) => false,
        })
    }
}

/// Whether it is this machine, or a neighbour that routers do not lead to (cloud metadata is such a one).
fn is_local(address: IpAddr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || match address {
            IpAddr::V4(address) => address.is_link_local() || address.octets()[0] == 0,
            IpAddr::V6(address) => address.is_unicast_link_local(),
        }
}

fn is_called(rule: &NetRule, name: &str) -> bool {
    match &rule.peer {
        Peer::Name(own) => own == name,
        Peer::Subnet(..) => false,
    }
}

/// Whether the first bits are equal.
fn is_within(address: IpAddr, subnet: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (address, subnet) {
        (IpAddr::V4(address), IpAddr::V4(subnet)) => {
            let differ = address.to_bits() ^ subnet.to_bits();
            differ.leading_zeros() >= bits.min(u32::BITS)
        }
        (IpAddr::V6(address), IpAddr::V6(subnet)) => {
            let differ = address.to_bits() ^ subnet.to_bits();
            differ.leading_zeros() >= bits.min(u128::BITS)
        }
        (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
    }
}

#[cfg(test)]
mod tests;
