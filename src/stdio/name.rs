//! What the name of a stream means: a path, or a URI as containerd's clients make them
//! ([url.Parse](https://pkg.go.dev/net/url#Parse) is what the runc shim reads them with).

use crate::error::Error;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;

/// Where a stream comes from or goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Name {
    /// What is there: a FIFO, a file, a device.
    Path(PathBuf),
    /// A log file, made if it is absent.
    File(PathBuf),
    /// A program that takes the output.
    Logger(LoggerName),
}

/// `binary:///path?key=value&…` or `binary-v2:///…`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoggerName {
    pub(super) path: String,
    /// Keys and their first values.
    pub(super) args: Vec<String>,
    /// It must write a byte when it is ready; the end of the ready pipe is not enough.
    pub(super) must_say_ready: bool,
}

impl Name {
    /// Reads the name of `stream` (`stdin`, `stdout`, `stderr`).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a scheme that there is not, or a URI that is none.
    pub(super) fn parse(stream: &str, name: &str) -> Result<Self, Error> {
        let Some((scheme, rest)) = split_scheme(name) else {
            return Ok(Self::Path(name.into()));
        };
        let bad = |why: &str| Error::Invalid(format!("{stream} {name:?}: {why}"));
        match scheme {
            // containerd's own name for a plain path.
            "fifo" => Ok(Self::Path(rest.strip_prefix("//").unwrap_or(rest).into())),
            "file" => {
                let path = decoded(uri_path(rest).0).ok_or_else(|| bad("a bad % escape"))?;
                if path.is_empty() {
                    return Err(bad("it has no path"));
                }
                Ok(Self::File(OsString::from_vec(path).into()))
            }
            "binary" | "binary-v2" if stream != "stdin" => {
                let (path, query) = uri_path(rest);
                let path = decoded(path)
                    .and_then(|path| String::from_utf8(path).ok())
                    .ok_or_else(|| bad("its path is no text, or has a bad % escape"))?;
                if !path.starts_with('/') {
                    return Err(bad("it has no absolute path of a program"));
                }
                Ok(Self::Logger(LoggerName {
                    path,
                    args: arguments(query),
                    must_say_ready: scheme == "binary-v2",
                }))
            }
            _ => Err(Error::Invalid(format!("unknown STDIO scheme {scheme}"))),
        }
    }
}

/// Letters, digits, `+`, `-` and `.` up to the first colon; a name that begins otherwise has no scheme.
fn split_scheme(name: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = name.split_once(':')?;
    let mut bytes = scheme.bytes();
    let begins = bytes.next()?.is_ascii_alphabetic();
    let goes_on = bytes.all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    (begins && goes_on).then_some((scheme, rest))
}

/// Path and query of what follows the scheme; the host is nobody's business.
fn uri_path(rest: &str) -> (&str, &str) {
    let rest = rest.split_once('#').map_or(rest, |(rest, _)| rest);
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    let path = match path.strip_prefix("//") {
        Some(at_host) => at_host.find('/').and_then(|at| at_host.get(at..)),
        None => Some(path),
    };
    (path.unwrap_or_default(), query)
}

/// Each key once, with its first value, in the order of the query. What cannot be read is left out, as
/// [URL.Query](https://pkg.go.dev/net/url#URL.Query) does.
fn arguments(query: &str) -> Vec<String> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    let parts = query.split('&');
    for part in parts.filter(|part| !part.is_empty() && !part.contains(';')) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let text = |text: &str| String::from_utf8(decoded(&text.replace('+', " "))?).ok();
        if let (Some(key), Some(value)) = (text(key), text(value))
            && !pairs.iter().any(|(known, _)| *known == key)
        {
            pairs.push((key, value));
        }
    }
    pairs.into_iter().flat_map(|(k, v)| [k, v]).collect()
}

/// Without percent encoding; `None` where that is malformed.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            hex_digit(bytes.next()?)? << 4 | hex_digit(bytes.next()?)?
        } else {
            byte
        });
    }
    Some(decoded)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(name: &str) -> Result<Name, String> {
        Name::parse("stdout", name).map_err(|e| e.to_string())
    }

    fn logger(name: &str) -> LoggerName {
        match parse(name) {
            Ok(Name::Logger(logger)) => logger,
            other => panic!("{name}: {other:?}"),
        }
    }

    #[test]
    fn paths_are_taken_as_they_are() {
        for name in ["/run/a?b", "/run/%41", "/a:b", "relative", "./c:d"] {
            assert_eq!(parse(name), Ok(Name::Path(name.into())));
        }
        assert_eq!(parse("fifo:///run/a"), Ok(Name::Path("/run/a".into())));
    }

    #[test]
    fn a_log_file_has_neither_host_nor_query() {
        for name in [
            "file:///l/a?max=1",
            "file://host/l/a#x",
            "file:/l/a",
            "file:///l/%61",
        ] {
            assert_eq!(parse(name), Ok(Name::File("/l/a".into())), "{name}");
        }
        for name in ["file://", "file:///a%zz", "file://host"] {
            let error = parse(name).unwrap_err();
            assert!(error.starts_with(&format!("stdout {name:?}: ")), "{error}");
        }
    }

    #[test]
    fn a_logger_gets_each_key_with_its_first_value() {
        let found =
            logger("binary:///bin/log%20ger?b=2&a=1&b=3&empty&=none&c=x%2By+z&bad=%zz&s;t=1");
        assert_eq!(found.path, "/bin/log ger");
        let expected = ["b", "2", "a", "1", "empty", "", "", "none", "c", "x+y z"];
        assert_eq!(found.args, expected);
        assert!(!found.must_say_ready);
        let found = logger("binary-v2:///p");
        assert!(found.must_say_ready && found.args.is_empty());
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        assert_eq!(parse("tcp://h").unwrap_err(), "unknown STDIO scheme tcp");
        assert_eq!(
            parse("ttrpc+unix:/s").unwrap_err(),
            "unknown STDIO scheme ttrpc+unix"
        );
        for name in ["binary://", "binary:relative", "binary:///a%0"] {
            assert!(parse(name).is_err(), "{name}");
        }
        let stdin = Name::parse("stdin", "binary:///p").unwrap_err();
        assert_eq!(stdin.to_string(), "unknown STDIO scheme binary");
    }
}
