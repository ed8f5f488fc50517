//! The capabilities of a container: Docker's default set, plus and minus what was asked for.

use crate::error::Error;

pub(super) use hull_client::CAPABILITIES as DEFAULT;

/// Every capability of [capabilities(7)](https://man7.org/linux/man-pages/man7/capabilities.7.html)
/// that is not in the default set.
const OTHERS: [&str; 27] = [
    "CAP_AUDIT_CONTROL",
    "CAP_AUDIT_READ",
    "CAP_BLOCK_SUSPEND",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
    "CAP_DAC_READ_SEARCH",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_LEASE",
    "CAP_LINUX_IMMUTABLE",
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_NET_ADMIN",
    "CAP_NET_BROADCAST",
    "CAP_PERFMON",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_MODULE",
    "CAP_SYS_NICE",
    "CAP_SYS_PACCT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
];

/// The set: first all of `drop` go, then all of `add` come. `ALL` in `drop` takes every one.
///
/// # Errors
/// A name that no capability has.
pub(super) fn set(add: &[String], drop: &[String]) -> Result<Vec<String>, Error> {
    let mut set: Vec<&str> = DEFAULT.to_vec();
    for name in drop {
        if name.eq_ignore_ascii_case("all") {
            set.clear();
        } else {
            let name = known("--cap-drop", name)?;
            set.retain(|capability| *capability != name);
        }
    }
    for name in add {
        let name = known("--cap-add", name)?;
        if !set.contains(&name) {
            set.push(name);
        }
    }
    Ok(set.into_iter().map(str::to_owned).collect())
}

/// A capability by its name, with or without `CAP_`, in any case.
fn known(flag: &str, name: &str) -> Result<&'static str, Error> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    DEFAULT
        .into_iter()
        .chain(OTHERS)
        .find(|known| known.strip_prefix("CAP_") == Some(bare))
        .ok_or_else(|| {
            Error::usage(
                format!("run: {flag} {name}"),
                "no such capability; capabilities(7) lists them",
            )
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|&word| word.to_owned()).collect()
    }

    #[test]
    fn drop_comes_before_add() {
        let set = set(&words(&["net_admin", "CAP_CHOWN"]), &words(&["ALL"])).unwrap();
        assert_eq!(set, ["CAP_NET_ADMIN", "CAP_CHOWN"]);
    }

    #[test]
    fn an_unknown_name_is_refused() {
        let error = set(&[], &words(&["CAP_FLY"])).unwrap_err();
        assert!(error.to_string().contains("CAP_FLY"));
    }
}
