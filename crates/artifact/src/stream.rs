//! Reading files in pieces, by offset, so that nobody's file position matters.

use nix::errno::Errno;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

/// Large enough to make the calls cheap, small enough for the second-level cache.
const CHUNK: usize = 128 << 10;

/// The size of a file in bytes, if it is a regular one; `EINVAL` for anything else.
pub(crate) fn regular_size(file: &File) -> io::Result<u64> {
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok(metadata.len())
    } else {
        Err(Errno::EINVAL.into())
    }
}

/// Passes a file on from its first byte to its end; `EFBIG` as soon as there is more than `limit`
/// bytes. Returns their number.
pub(crate) fn whole(
    file: &File,
    limit: u64,
    take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let length = prefix(file, limit.saturating_add(1), take)?;
    if length > limit {
        return Err(Errno::EFBIG.into());
    }
    Ok(length)
}

/// Passes the first `length` bytes of a file on. Returns their number, less than `length` where the
/// file is shorter.
pub(crate) fn prefix(
    file: &File,
    length: u64,
    mut take: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let mut buffer = vec![0; CHUNK.min(usize::try_from(length).unwrap_or(CHUNK))];
    let mut offset = 0;
    while offset < length {
        let left = usize::try_from(length - offset).unwrap_or(usize::MAX);
        let room = left.min(buffer.len());
        let piece = buffer.get_mut(..room).unwrap_or_default();
        match file.read_at(piece, offset) {
            Ok(0) => break,
            Ok(n) => {
                take(piece.get(..n).unwrap_or_default())?;
                offset += n as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(offset)
}
