//! Whom a guest may talk to, and where a server listens.

use hull_abi::{Net, NetRule, Peer};
use std::net::{IpAddr, SocketAddr};

/// Every address that a guest talks to is compared with all of them.
const MAX_RULES: usize = 256;
/// Longest name of a host ([RFC 1035](https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4)) and of
/// one label of it.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// `all`, `none`, or groups of peers with commas between them.
pub(super) fn parse(value: &str) -> Result<Net, String> {
    match value {
        "all" => return Ok(Net::All),
        "none" => return Ok(Net::None),
        _ => {}
    }
    let rules: Vec<NetRule> = value.split(',').map(one).collect::<Result<_, _>>()?;
    if rules.len() > MAX_RULES {
        return Err(format!("there are more than {MAX_RULES} peers"));
    }
    Ok(Net::Only(rules))
}

/// Where a server listens.
pub(super) fn listener(value: &str) -> Result<SocketAddr, String> {
    value
        .parse()
        .ok()
        .filter(|address: &SocketAddr| address.port() != 0)
        .ok_or_else(|| {
            format!("{value:?} is not ADDRESS:PORT, as in \"0.0.0.0:8080\" or \"[::]:8080\"")
        })
}

fn one(text: &str) -> Result<NetRule, String> {
    if matches!(text, "all" | "none") {
        return Err(format!("{text:?} stands alone or not at all"));
    }
    let (peer, port) = split(text).ok_or_else(|| unclear(text))?;
    let port = match port {
        None => None,
        Some(digits) => Some(self::port(digits).ok_or_else(|| {
            format!("{text:?}: {digits:?} is not a port, a whole number from 1 to 65535")
        })?),
    };
    let peer = if peer.contains(['/', ':']) || peer.parse::<IpAddr>().is_ok() {
        subnet(peer).map_err(|why| format!("{text:?}: {why}"))?
    } else {
        Peer::Name(name(peer).ok_or_else(|| unclear(text))?)
    };
    Ok(NetRule { peer, port })
}

fn unclear(text: &str) -> String {
    format!(
        "{text:?} is not an address, a subnet or a host name, with or without a port, \
         as in \"10.0.0.0/8:443\", \"[fd00::/8]:443\" or \"example.com:443\""
    )
}

/// Peer and port. Without brackets two colons or more belong to an IPv6 address.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (peer, rest) = rest.split_once(']')?;
        if !peer.contains(':') {
            return None;
        }
        return match rest {
            "" => Some((peer, None)),
            rest => Some((peer, Some(rest.strip_prefix(':')?))),
        };
    }
    Some(match text.split_once(':') {
        Some((peer, port)) if !port.contains(':') => (peer, Some(port)),
        Some(_) | None => (text, None),
    })
}

fn port(digits: &str) -> Option<u16> {
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|port| is_number && *port != 0)
}

fn subnet(text: &str) -> Result<Peer, String> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("{address:?} is not an IP address"))?;
    if address.to_canonical() != address {
        return Err(format!(
            "{address} is an IPv4 address as IPv6; a guest connects to {}",
            address.to_canonical()
        ));
    }
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = match bits {
        None => most,
        Some(bits) => bits
            .parse()
            .ok()
            .filter(|count| *count <= most && bits.bytes().all(|byte| byte.is_ascii_digit()))
            .ok_or_else(|| format!("{bits:?} is not a number of bits from 0 to {most}"))?,
    };
    Ok(Peer::Subnet(address, bits))
}

/// A host name as it is compared: lower case, no final dot. One whose last label is a number is
/// no name but an address with a mistake in it.
fn name(text: &str) -> Option<String> {
    let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= MAX_LABEL
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    let last = name.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    (name.len() <= MAX_NAME && name.split('.').all(is_label) && !is_number).then_some(name)
}
