//! Where a server listens.

use crate::failure::Failure;
use hull_abi::RunnerConfig;
use std::io::{Error, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use tokio::net::{TcpListener, TcpSocket};

/// Where nothing else is asked for.
const PORT: u16 = 8080;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// What is asked for.
#[derive(Debug, PartialEq, Eq)]
enum Place {
    /// This address and no other.
    Exactly(SocketAddr),
    /// This port of every address.
    Everywhere(u16),
}

/// Listens where the annotation says, else on the port that `PORT` in the guest's environment names, else on
/// port 8080.
pub(crate) fn listen(config: &RunnerConfig) -> Result<Vec<TcpListener>, Failure> {
    let place = place(config)?;
    let refused = |at: SocketAddr, error: &Error| {
        let kind = error.kind();
        let why = if kind == ErrorKind::AddrInUse {
            "the port is in use".to_owned()
        } else if kind == ErrorKind::PermissionDenied {
            format!(
                "it is not permitted: ports below net.ipv4.ip_unprivileged_port_start \
                 take a right that Wasm containers do not have (port {})",
                at.port()
            )
        } else if kind == ErrorKind::AddrNotAvailable {
            "the container does not have that address".to_owned()
        } else {
            error.to_string()
        };
        Failure::not_runnable(&format!("cannot listen on {at}"), why)
    };
    match place {
        Place::Exactly(addr) => bind(addr)
            .map(|listener| vec![listener])
            .map_err(|error| refused(addr, &error)),
        Place::Everywhere(port) => {
            let v6 = SocketAddr::new(IpAddr::V6(Ipv6Addr::UNSPECIFIED), port);
            let v4 = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
            match bind(v6) {
                // Mostly it takes IPv4 as well, and the second one finds the port in use.
                Ok(both) => {
                    let port = both.local_addr().map_or(port, |addr| addr.port());
                    let v4 = bind(SocketAddr::new(v4.ip(), port)).ok();
                    Ok([Some(both), v4].into_iter().flatten().collect())
                }
                Err(error) if in_vain_for_ipv4_too(&error) => Err(refused(v4, &error)),
                Err(_) => bind(v4)
                    .map(|listener| vec![listener])
                    .map_err(|error| refused(v4, &error)),
            }
        }
    }
}

fn in_vain_for_ipv4_too(error: &Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::AddrInUse | ErrorKind::PermissionDenied
    )
}

fn place(config: &RunnerConfig) -> Result<Place, Failure> {
    if let Some(addr) = config.settings.http.addr {
        return Ok(Place::Exactly(addr));
    }
    let port = config
        .env
        .iter()
        .find_map(|entry| entry.strip_prefix("PORT="));
    match port {
        None | Some("") => Ok(Place::Everywhere(PORT)),
        Some(text) => text.parse().map(Place::Everywhere).map_err(|_| {
            let wrong =
                format_args!("{text:?} in the environment is no port (0 to 65535)").to_string();
            Failure::not_runnable("cannot listen on PORT", wrong)
        }),
    }
}

fn bind(addr: SocketAddr) -> Result<TcpListener, Error> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restarted container finds connections of its predecessor that are not quite over.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// The address to say: of both families, that of IPv4.
pub(crate) fn shown(listeners: &[TcpListener]) -> String {
    let addr = listeners.first().and_then(|first| first.local_addr().ok());
    match addr {
        Some(SocketAddr::V6(v6)) if v6.ip().is_unspecified() => {
            format!("http://0.0.0.0:{} and [::]", v6.port())
        }
        Some(addr) => format!("http://{addr}"),
        None => "http".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place_with(env: &[&str], addr: Option<&str>) -> Result<Place, Failure> {
        let mut config = RunnerConfig {
            env: env.iter().map(|&entry| entry.to_owned()).collect(),
            ..RunnerConfig::default()
        };
        config.settings.http.addr = addr.map(|addr| addr.parse().unwrap());
        place(&config)
    }

    #[test]
    fn the_annotation_comes_before_the_environment() {
        assert_eq!(place_with(&[], None).unwrap(), Place::Everywhere(8080));
        assert_eq!(
            place_with(&["PORT=80"], None).unwrap(),
            Place::Everywhere(80)
        );
        let addr = "127.0.0.1:81";
        let exactly = Place::Exactly(addr.parse().unwrap());
        assert_eq!(place_with(&["PORT=80"], Some(addr)).unwrap(), exactly);
    }

    #[test]
    fn what_is_no_port_is_said() {
        for wrong in ["http", "70000", "-1", "80 "] {
            assert!(
                place_with(&[&format!("PORT={wrong}")], None).is_err(),
                "{wrong}"
            );
        }
    }
}
