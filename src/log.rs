//! The daemon's log: lines into the FIFO that containerd made in the bundle and copies to its own
//! standard error.
//!
//! Nobody reads the FIFO while containerd is down, so writing never blocks: what does not fit is
//! lost and counted, and the count goes out with the next line that fits. Opening for reading and
//! writing keeps the open from failing and writes from raising EPIPE when there is no reader.

use log::{Level, LevelFilter, Log, Metadata, Record};
use nix::fcntl::OFlag;
use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Name of the FIFO in the bundle.
const FIFO: &str = "log";

/// Longest line: what one write(2) to a pipe puts in whole or not at all
/// (`PIPE_BUF`, <https://man7.org/linux/man-pages/man7/pipe.7.html>).
const MAX_LINE: usize = 4096;

/// Writes records of every thread to one file.
struct FifoLog {
    file: File,
    /// containerd's namespace and the container the daemon was started for, formatted.
    origin: String,
    /// Lines that did not fit since the last one that did.
    lost: AtomicU64,
}

/// Opens the log of the bundle in `dir` and makes it the process's, panics included. Without the
/// FIFO there is no log.
///
/// # Errors
/// What open(2) says, except that the FIFO is not there.
pub(crate) fn init(dir: &Path, namespace: &str, id: &str, debug: bool) -> io::Result<()> {
    let file = match open(&dir.join(FIFO)) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let logger = Box::leak(Box::new(FifoLog::new(file, namespace, id)));
    log::set_logger(logger).map_err(io::Error::other)?;
    log::set_max_level(if debug {
        LevelFilter::Debug
    } else {
        LevelFilter::Info
    });
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    Ok(())
}

fn open(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    OpenOptions::new()
        .read(true)
        .append(true)
        .custom_flags(flags.bits())
        .open(path)
}

/// One line in the text format of logrus, which containerd's own log has.
fn line(now: SystemTime, record: &Record<'_>, origin: &str, lost: u64) -> String {
    let mut line = format!(
        "time=\"{}\" level={} msg={}{origin}",
        rfc3339(now),
        level(record.level()),
        quoted(&record.args().to_string())
    );
    if lost > 0 {
        // Writing to a String cannot fail.
        let _infallible = write!(line, " lost_lines={lost}");
    }
    line.push('\n');
    line
}

/// A string in quotes on one line, cut so that the whole line fits into one write.
fn quoted(text: &str) -> String {
    const KEEP: usize = MAX_LINE - 1024;
    let mut out = String::from("\"");
    for c in text.chars() {
        if out.len() > KEEP {
            out.push_str("[…]");
            break;
        }
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.extend(c.escape_default()),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn level(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warning",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

/// UTC as `2006-01-02T15:04:05.000000000Z`.
fn rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:09}Z",
        second / 3600,
        second / 60 % 60,
        second % 60,
        since.subsec_nanos()
    )
}

/// The date of a day counted from 1970-01-01.
fn civil(mut day: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    loop {
        let length = if leap(year) { 366 } else { 365 };
        if day < length {
            break;
        }
        day -= length;
        year += 1;
    }
    let february = if leap(year) { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year, month, day + 1)
}

// === impl FifoLog ===

impl FifoLog {
    fn new(file: File, namespace: &str, id: &str) -> Self {
        let origin = format!(
            " runtime=io.containerd.hull.v1 namespace={} id={}",
            quoted(namespace),
            quoted(id)
        );
        Self {
            file,
            origin,
            lost: AtomicU64::new(0),
        }
    }
}

impl Log for FifoLog {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        if !self.enabled(record.metadata()) {
            return;
        }
        let lost = self.lost.swap(0, Ordering::Relaxed);
        let line = line(SystemTime::now(), record, &self.origin, lost);
        if (&self.file).write_all(line.as_bytes()).is_err() {
            self.lost.fetch_add(lost + 1, Ordering::Relaxed);
        }
    }

    fn flush(&self) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use std::io::Read;
    use std::time::Duration;

    fn fifo() -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FIFO);
        nix::unistd::mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR).unwrap();
        (dir, path)
    }

    fn emit(log: &FifoLog, text: &str) {
        log::set_max_level(LevelFilter::Info);
        log.log(
            &Record::builder()
                .level(Level::Info)
                .args(format_args!("{text}"))
                .build(),
        );
    }

    fn drain(mut file: &File) -> String {
        let mut bytes = Vec::new();
        let mut chunk = [0; 65536];
        while let Ok(len @ 1..) = file.read(&mut chunk) {
            bytes.extend_from_slice(&chunk[..len]);
        }
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn times_are_those_of_date() {
        // date -u -d @N +%FT%TZ
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00"),
            (951_782_399, "2000-02-28T23:59:59"),
            (951_782_400, "2000-02-29T00:00:00"),
            (1_735_689_599, "2024-12-31T23:59:59"),
            (4_107_542_400, "2100-03-01T00:00:00"),
        ] {
            let time = UNIX_EPOCH + Duration::new(seconds, 7);
            assert_eq!(rfc3339(time), format!("{text}.000000007Z"));
        }
    }

    #[test]
    fn a_record_is_one_line_whatever_it_holds() {
        let (_dir, path) = fifo();
        let log = FifoLog::new(open(&path).unwrap(), "default", "c1");
        let reader = open(&path).unwrap();
        emit(&log, "mount \"a\nb\" failed: \u{1b}[31m\\");
        let text = drain(&reader);
        assert!(text.starts_with("time=\"20"), "{text}");
        assert!(
            text.contains(r#"level=info msg="mount \"a\nb\" failed: \u{1b}[31m\\" "#),
            "{text}"
        );
        assert!(text.ends_with("runtime=io.containerd.hull.v1 namespace=\"default\" id=\"c1\"\n"));
        assert_eq!(text.lines().count(), 1);
        emit(&log, &"é\n".repeat(MAX_LINE));
        assert!(drain(&reader).len() <= MAX_LINE);
    }

    #[test]
    fn without_a_reader_nothing_blocks_and_losses_are_counted() {
        let (_dir, path) = fifo();
        let log = FifoLog::new(open(&path).unwrap(), "default", "c1");
        // A pipe holds 64 KiB; these lines have more than 100 bytes each.
        for n in 0..2000 {
            emit(&log, &format!("line {n}"));
        }
        let lost = log.lost.load(Ordering::Relaxed);
        assert!(lost > 0);
        let reader = open(&path).unwrap();
        let kept = drain(&reader);
        assert_eq!(u64::try_from(kept.lines().count()).unwrap() + lost, 2000);
        emit(&log, "after");
        assert!(drain(&reader).ends_with(&format!(" lost_lines={lost}\n")));
        emit(&log, "again");
        assert!(!drain(&reader).contains("lost_lines"));
    }
}
