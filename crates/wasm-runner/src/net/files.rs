//! `/etc/hosts` ([hosts(5)](https://man7.org/linux/man-pages/man5/hosts.5.html)) and `/etc/resolv.conf`
//! ([resolv.conf(5)](https://man7.org/linux/man-pages/man5/resolv.conf.5.html)) of the container.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

/// Bytes of a file that is read; a longer one counts as absent.
const MAX_FILE: u64 = 1 << 20;
/// As in the C library.
const MAX_SERVERS: usize = 3;
const MAX_DOTS: usize = 15;
const MAX_ATTEMPTS: u32 = 5;
const MAX_TIMEOUT: u64 = 30;
/// As in Kubernetes.
const MAX_SEARCH: usize = 32;

/// The names in `/etc/hosts`.
#[derive(Debug, Default)]
pub(super) struct Hosts(Vec<(String, IpAddr)>);

impl Hosts {
    pub(super) fn load() -> Self {
        Self::parse(&read("/etc/hosts"))
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut hosts = Vec::new();
        for line in text.lines().map(without_comment) {
            let mut words = line.split_ascii_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            hosts.extend(words.map(|name| (plain(name), address.to_canonical())));
        }
        Self(hosts)
    }

    /// The addresses of a name in lower case without a final dot; `localhost` always has some
    /// ([RFC 6761](https://www.rfc-editor.org/rfc/rfc6761#section-6.3)).
    pub(super) fn find(&self, name: &str) -> Vec<IpAddr> {
        let named = self.0.iter().filter(|(own, _)| own == name);
        let found: Vec<IpAddr> = named.map(|(_, address)| *address).collect();
        if found.is_empty() && (name == "localhost" || name.ends_with(".localhost")) {
            return vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        }
        found
    }
}

/// Whom to ask, and for what.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Config {
    pub(super) servers: Vec<IpAddr>,
    pub(super) search: Vec<String>,
    /// Names with so many dots are tried as they are first.
    pub(super) dots: usize,
    pub(super) attempts: u32,
    /// For one server's answer.
    pub(super) timeout: Duration,
}

impl Config {
    pub(super) fn load() -> Self {
        Self::parse(&read("/etc/resolv.conf"))
    }

    /// Nobody is asked.
    pub(super) fn nobody() -> Self {
        Self {
            servers: Vec::new(),
            search: Vec::new(),
            dots: 1,
            attempts: 2,
            timeout: Duration::from_secs(5),
        }
    }

    pub(super) fn parse(text: &str) -> Self {
        let mut config = Self::nobody();
        for line in text.lines().map(without_comment) {
            let mut words = line.split_ascii_whitespace();
            match words.next() {
                Some("nameserver") if config.servers.len() < MAX_SERVERS => {
                    config
                        .servers
                        .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok()));
                }
                // The last line of them counts; `domain` is the old word for a list of one.
                Some("search" | "domain") => {
                    config.search = words.map(plain).take(MAX_SEARCH).collect();
                }
                Some("options") => words.for_each(|word| config.option(word)),
                Some(_) | None => {}
            }
        }
        if config.servers.is_empty() {
            config.servers.push(Ipv4Addr::LOCALHOST.into());
        }
        config
    }

    fn option(&mut self, word: &str) {
        let Some((name, Ok(number))) = word
            .split_once(':')
            .map(|(name, number)| (name, number.parse::<u32>()))
        else {
            return;
        };
        match name {
            "ndots" => self.dots = usize::try_from(number).map_or(MAX_DOTS, |n| n.min(MAX_DOTS)),
            "attempts" => self.attempts = number.clamp(1, MAX_ATTEMPTS),
            "timeout" => {
                self.timeout = Duration::from_secs(u64::from(number).clamp(1, MAX_TIMEOUT));
            }
            _ => {}
        }
    }

    /// The names to look for, in this order.
    pub(super) fn candidates(&self, name: &str) -> Vec<String> {
        let absolute = plain(name);
        if name.ends_with('.') {
            return vec![absolute];
        }
        let searched = self.search.iter().filter(|domain| !domain.is_empty());
        let mut all: Vec<String> = searched
            .map(|domain| format!("{absolute}.{domain}"))
            .collect();
        let place = if absolute.matches('.').count() >= self.dots {
            0
        } else {
            all.len()
        };
        all.insert(place, absolute);
        all
    }
}

/// What cannot be read is empty: many images have neither file.
fn read(path: &str) -> String {
    let bytes = hull_sys::fs::read_regular(path, MAX_FILE).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

fn without_comment(line: &str) -> &str {
    line.split(['#', ';']).next().unwrap_or_default()
}

/// Lower case, no final dot.
pub(super) fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_found_by_each_of_their_names() {
        let hosts = Hosts::parse(
            "# comment\n127.0.0.1 localhost\n10.0.0.1\tDB db.local. # the one\nfd00::1 db\nbad name\n\n1.2.3.4\n",
        );
        let [v4, v6] = ["10.0.0.1", "fd00::1"].map(|text| text.parse::<IpAddr>().unwrap());
        assert_eq!(hosts.find("db"), [v4, v6]);
        assert_eq!(hosts.find("db.local"), [v4]);
        assert_eq!(hosts.find("name"), Vec::<IpAddr>::new());
        assert_eq!(hosts.find("localhost"), [IpAddr::from(Ipv4Addr::LOCALHOST)]);
        assert_eq!(hosts.find("x.localhost").len(), 2);
        assert_eq!(Hosts::default().find("localhost").len(), 2);
    }

    #[test]
    fn a_config_is_read_like_by_the_c_library() {
        let config = Config::parse(
            "nameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver ::1\nsearch a b\ndomain Ns.Svc. c\n\
             options ndots:5 timeout:1 attempts:9 rotate edns0 ndots:x\nnameserver 1.1.1.1\nnameserver 2.2.2.2\n",
        );
        let servers: [IpAddr; 3] = ["10.0.0.1", "::1", "1.1.1.1"].map(|text| text.parse().unwrap());
        assert_eq!(config.servers, servers);
        assert_eq!(config.search, ["ns.svc", "c"]);
        assert_eq!((config.dots, config.attempts), (5, 5));
        assert_eq!(config.timeout, Duration::from_secs(1));
        assert_eq!(
            Config::parse("").servers,
            [IpAddr::from(Ipv4Addr::LOCALHOST)]
        );
    }

    #[test]
    fn search_goes_by_the_number_of_dots() {
        let config = Config::parse("search x y\noptions ndots:2");
        assert_eq!(config.candidates("A"), ["a.x", "a.y", "a"]);
        assert_eq!(config.candidates("a.b.c"), ["a.b.c", "a.b.c.x", "a.b.c.y"]);
        assert_eq!(config.candidates("a."), ["a"]);
        assert_eq!(Config::parse("search .").candidates("a"), ["a"]);
    }
}
