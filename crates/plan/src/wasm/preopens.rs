//! Which directories a guest may open.

use super::MAX_PATH;
use crate::paths::clean;
use hull_abi::Preopen;

/// Each is a descriptor of the runner, open as long as the guest runs.
const MAX_PREOPENS: usize = 64;

/// `none`, or directories with semicolons between them: `PATH[=NAME][:ro|:rw]`. NAME is what the guest
/// calls the directory.
pub(super) fn parse(value: &str) -> Result<Vec<Preopen>, String> {
    if value == "none" {
        return Ok(Vec::new());
    }
    let mut all: Vec<Preopen> = Vec::new();
    for entry in value.split(';') {
        let preopen = one(entry)?;
        if all.iter().any(|other| other.guest == preopen.guest) {
            return Err(format!("two directories are called {:?}", preopen.guest));
        }
        all.push(preopen);
        if all.len() > MAX_PREOPENS {
            return Err(format!("there are more than {MAX_PREOPENS} directories"));
        }
    }
    Ok(all)
}

fn one(entry: &str) -> Result<Preopen, String> {
    let (names, readonly) = if let Some(names) = entry.strip_suffix(":ro") {
        (names, true)
    } else {
        (entry.strip_suffix(":rw").unwrap_or(entry), false)
    };
    let (path, guest) = match names.split_once('=') {
        Some((path, guest)) => (path, guest.to_owned()),
        None => (names, clean(names)),
    };
    if !path.starts_with('/') {
        return Err(format!(
            "{entry:?} is not PATH, PATH=NAME or one of them with :ro or :rw, where PATH is absolute in the container, \
             as in \"/data=/guest:ro\""
        ));
    }
    if guest.is_empty() {
        return Err(format!("{entry:?} names nothing behind the ="));
    }
    if names.len() >= MAX_PATH {
        return Err(format!("a directory is longer than {MAX_PATH} bytes"));
    }
    Ok(Preopen {
        path: clean(path),
        guest,
        readonly,
    })
}
