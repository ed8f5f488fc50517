//! Files that are opened by their name in /proc. One test in a process of its own: it counts descriptors and
//! changes the working directory.

use hull_sys::procfs::{Error, open_by_name};
use std::fs::File;
use std::os::unix::fs::MetadataExt as _;

#[test]
fn only_the_file_itself_counts_as_opened() {
    let own = std::env::current_exe().unwrap();
    let file = File::open(&own).unwrap();
    let inode = file.metadata().unwrap().ino();
    let before = std::env::current_dir().unwrap();

    let opened = open_by_name(&file, |name| File::open(name).unwrap()).unwrap();
    assert_eq!(opened.metadata().unwrap().ino(), inode);
    assert_eq!(std::env::current_dir().unwrap(), before);

    let other = open_by_name(&file, |_| File::open("/dev/null").unwrap());
    assert_eq!(other.unwrap_err(), Error::Unopened);
    let closed = open_by_name(&file, |name| drop(File::open(name).unwrap()));
    assert_eq!(closed, Err(Error::Unopened));
    assert_eq!(open_by_name(&file, |_| ()), Err(Error::Unopened));
    assert_eq!(std::env::current_dir().unwrap(), before);
}
