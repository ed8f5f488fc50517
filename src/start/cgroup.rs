//! Moving this process, and with it everything that it starts, into a cgroup that the client chose
//! (`Options.shim_cgroup`). The client makes and removes that cgroup; we make none.

use crate::error::Error;
use hull_cgroup::Layout;
use std::fs;
use std::io;
use std::path::Path;

/// Enters the cgroup at `path`, counted from the mount point of each hierarchy, wherever it exists.
/// A client that wants to limit the memory of a shim makes it in the memory hierarchy only.
///
/// # Errors
/// [`Error::Invalid`] when it exists in no hierarchy, [`Error::Host`] when the kernel refuses.
pub(crate) fn enter(path: &str) -> Result<(), Error> {
    let layout = Layout::detect()?;
    let paths = layout.resolve(&format!("/{path}"))?;
    let mut entered = false;
    for dir in paths
        .unified
        .iter()
        .chain(paths.v1.iter().map(|v1| &v1.path))
    {
        if !Path::new(dir).is_dir() {
            continue;
        }
        let file = format!("{dir}/cgroup.procs");
        // 0 is whoever writes.
        fs::write(&file, "0")
            .map_err(|e: io::Error| Error::host(format!("write 0 to {file}"), e))?;
        entered = true;
    }
    if entered {
        Ok(())
    } else {
        Err(Error::Invalid(format!(
            "option shim_cgroup {path:?}: there is no such cgroup"
        )))
    }
}
