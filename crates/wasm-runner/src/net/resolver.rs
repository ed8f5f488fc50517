//! Finding the addresses of names, as a C library would in the same container, but without one: in a
//! static binary that of glibc loads libraries from the file system that it is in, the image's.

use super::Network;
use super::answer::{self, Answer};
use super::files::{Config, Hosts, plain};
use super::query::{Kind, Name, question};
use hull_abi::NameFiles;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// The port of name servers.
const PORT: u16 = 53;
/// For all that is done for one name.
const DEADLINE: Duration = Duration::from_secs(30);
/// Names that are looked up at once; further ones wait.
const AT_ONCE: usize = 16;
/// Messages of a server that are looked at until the right one comes.
const MAX_MESSAGES: usize = 32;
/// Largest message by UDP. Servers send 512 bytes at most unless they are asked for more.
const MAX_DATAGRAM: usize = 4096;
/// Aliases that are followed from answer to answer.
const MAX_ALIASES: usize = 8;

/// Why there are no addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unresolved {
    /// It is no host name.
    Invalid,
    /// The guest may not ask for it.
    Denied,
    /// Nobody has that name, or it has no address.
    Unknown,
    /// Nobody answers, now.
    Temporary,
    /// There are rules, and no file that they may believe says whom to ask.
    NoFiles,
}

/// What the container's files say, as they were when the process began: a guest that may write to them
/// must not choose the addresses that it may talk to.
#[derive(Debug)]
pub(crate) struct Resolver {
    hosts: Hosts,
    config: Config,
    port: u16,
    network: Arc<Network>,
    turns: Semaphore,
}

impl Resolver {
    /// Reads both files, unless there is no network. Where there are rules those that are the image's do not
    /// count: it would choose what a rule for a name opens.
    pub(crate) fn load(network: Arc<Network>, callers: NameFiles) -> Self {
        let read = |callers| network.is_there() && (callers || !network.is_limited());
        let hosts = read(callers.hosts).then(Hosts::load);
        let config = read(callers.resolv_conf).then(Config::load);
        Self::new(
            hosts.unwrap_or_default(),
            config.unwrap_or_else(Config::nobody),
            network,
        )
    }

    fn new(hosts: Hosts, config: Config, network: Arc<Network>) -> Self {
        Self {
            hosts,
            config,
            port: PORT,
            network,
            turns: Semaphore::new(AT_ONCE),
        }
    }

    /// The rules that this obeys.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// The addresses of a name, the most useful first; an address is its own name. They are reachable
    /// from now on if the name is.
    ///
    /// # Errors
    /// Why there are none.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, Unresolved> {
        let bare = name
            .strip_prefix('[')
            .and_then(|name| name.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(name).parse::<IpAddr>() {
            return if self.network.is_there() {
                Ok(vec![address.to_canonical()])
            } else {
                Err(Unresolved::Denied)
            };
        }
        Name::parse(name).ok_or(Unresolved::Invalid)?;
        let candidates: Vec<String> = if self.network.resolves(&plain(name)) {
            self.config.candidates(name)
        } else {
            let mut candidates = self.config.candidates(name);
            candidates.retain(|candidate| self.network.resolves(candidate));
            candidates
        };
        if candidates.is_empty() {
            return Err(Unresolved::Denied);
        }
        let name = plain(name);
        let (found, mut addresses) = timeout(DEADLINE, self.find(&name, &candidates))
            .await
            .unwrap_or(Err(Unresolved::Temporary))?;
        addresses.sort_by_key(|address| (!has_route(*address), address.is_ipv6()));
        self.network.learn(&name, &addresses);
        if *found != name {
            self.network.learn(found, &addresses);
        }
        Ok(addresses)
    }

    /// The first of the candidates that has addresses, and these.
    async fn find<'a>(
        &self,
        name: &str,
        candidates: &'a [String],
    ) -> Result<(&'a str, Vec<IpAddr>), Unresolved> {
        // The name as it is comes first in this file, wherever the search list has it.
        let (bare, others): (Vec<&String>, Vec<&String>) =
            candidates.iter().partition(|candidate| *candidate == name);
        for candidate in bare.into_iter().chain(others) {
            let found = self.hosts.find(candidate);
            if !found.is_empty() {
                return Ok((candidate, found));
            }
        }
        if self.config.servers.is_empty() {
            return Err(Unresolved::NoFiles);
        }
        let _turn = self.turns.acquire().await;
        for candidate in candidates {
            // One that a search domain makes too long is none.
            let Some(parsed) = Name::parse(candidate) else {
                continue;
            };
            match self.look_up(parsed).await {
                Err(Unresolved::Unknown) => {}
                Err(other) => return Err(other),
                Ok(mut addresses) => {
                    addresses.retain(|address| self.network.may_have_a_name(*address));
                    return if addresses.is_empty() {
                        Err(Unresolved::Denied)
                    } else {
                        Ok((candidate, addresses))
                    };
                }
            }
        }
        Err(Unresolved::Unknown)
    }

    /// Both kinds of addresses at once.
    async fn look_up(&self, name: Name) -> Result<Vec<IpAddr>, Unresolved> {
        let (v4, v6) = tokio::join!(
            self.follow(name.clone(), Kind::A),
            self.follow(name.clone(), Kind::Aaaa)
        );
        let mut all = Vec::new();
        let mut why = Unresolved::Unknown;
        for outcome in [v4, v6] {
            match outcome {
                Ok(addresses) => all.extend(addresses),
                Err(Unresolved::Unknown) => {}
                Err(other) => why = other,
            }
        }
        if all.is_empty() { Err(why) } else { Ok(all) }
    }

    /// Asks until the name is no alias any more.
    async fn follow(&self, mut name: Name, kind: Kind) -> Result<Vec<IpAddr>, Unresolved> {
        for _ in 0..MAX_ALIASES {
            match self.ask(&name, kind).await {
                Some(Answer::Addresses(addresses)) => return Ok(addresses),
                Some(Answer::Nonexistent) => return Err(Unresolved::Unknown),
                Some(Answer::Alias(target)) => name = target,
                Some(Answer::Failed | Answer::Foreign | Answer::Truncated) | None => {
                    return Err(Unresolved::Temporary);
                }
            }
        }
        Err(Unresolved::Temporary)
    }

    /// The first answer of any server.
    async fn ask(&self, name: &Name, kind: Kind) -> Option<Answer> {
        for _ in 0..self.config.attempts {
            for server in &self.config.servers {
                let server = SocketAddr::new(*server, self.port);
                let answer = timeout(self.config.timeout, exchange(server, name, kind)).await;
                if let Ok(Ok(answer)) = answer
                    && !matches!(answer, Answer::Failed | Answer::Foreign)
                {
                    return Some(answer);
                }
            }
        }
        None
    }
}

/// Asks one server, by TCP if the answer is long. The kernel chooses a port by chance and takes nothing
/// from anybody else.
async fn exchange(server: SocketAddr, name: &Name, kind: Kind) -> io::Result<Answer> {
    let id = random();
    let socket = UdpSocket::bind(any(server)).await?;
    socket.connect(server).await?;
    socket.send(&question(id, name, kind)).await?;
    let mut buffer = vec![0; MAX_DATAGRAM];
    for _ in 0..MAX_MESSAGES {
        let length = socket.recv(&mut buffer).await?;
        let answer = answer::read(buffer.get(..length).unwrap_or_default(), id, name, kind);
        if answer == Answer::Truncated {
            return by_tcp(server, name, kind).await;
        }
        if answer != Answer::Foreign {
            return Ok(answer);
        }
    }
    Ok(Answer::Foreign)
}

/// One message each way, after its length
/// ([RFC 7766](https://www.rfc-editor.org/rfc/rfc7766#section-8)).
async fn by_tcp(server: SocketAddr, name: &Name, kind: Kind) -> io::Result<Answer> {
    let id = random();
    let question = question(id, name, kind);
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let stream = TcpStream::connect(server).await?;
    let mut message = length.to_be_bytes().to_vec();
    message.extend(question);
    let mut rest = message.as_slice();
    while !rest.is_empty() {
        stream.writable().await?;
        let count = stream
            .async_io(Interest::WRITABLE, || stream.try_write(rest))
            .await?;
        rest = rest.get(count..).unwrap_or_default();
    }
    let mut length = [0; 2];
    read_exact(&stream, &mut length).await?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    read_exact(&stream, &mut message).await?;
    Ok(answer::read(&message, id, name, kind))
}

async fn read_exact(stream: &TcpStream, mut buffer: &mut [u8]) -> io::Result<()> {
    while !buffer.is_empty() {
        let count = stream
            .async_io(Interest::READABLE, || stream.try_read(buffer))
            .await?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        buffer = buffer.get_mut(count..).unwrap_or_default();
    }
    Ok(())
}

/// A number that nobody else can guess: of a hash whose key comes from the kernel.
fn random() -> u16 {
    let [low, high, ..] = RandomState::new().hash_one(0).to_le_bytes();
    u16::from_le_bytes([low, high])
}

fn any(server: SocketAddr) -> SocketAddr {
    let address: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    SocketAddr::new(address, 0)
}

/// Whether the kernel knows a way to an address. Nothing is sent.
fn has_route(address: IpAddr) -> bool {
    let server = SocketAddr::new(address, PORT);
    std::net::UdpSocket::bind(any(server)).is_ok_and(|socket| socket.connect(server).is_ok())
}

#[cfg(test)]
mod tests;
