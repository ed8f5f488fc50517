//! The formats of statistics files. Pure.

/// Defines a struct of counters and how its fields are called in a "flat keyed" file, one
/// `key value` a line. A field with several keys is their sum: kernels have split some.
macro_rules! counters {
    (
        $(#[$doc:meta])*
        pub struct $name:ident { $($(#[$field_doc:meta])* $field:ident: $($key:literal)|+,)+ }
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct $name { $($(#[$field_doc])* pub $field: u64,)+ }

        impl $name {
            /// Reads the file's content; unknown keys are skipped, missing ones are 0.
            pub(crate) fn parse(content: &str) -> Self {
                let mut counters = Self::default();
                for (key, value) in $crate::stats::parse::flat(content) {
                    match key {
                        $($($key)|+ => {
                            counters.$field = counters.$field.saturating_add(value);
                        })+
                        _ => {}
                    }
                }
                counters
            }
        }
    };
}
pub(crate) use counters;

/// The lines `key value` of a file.
pub(crate) fn flat(content: &str) -> impl Iterator<Item = (&str, u64)> {
    content.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, number(value)?))
    })
}

/// The value of one key.
pub(crate) fn flat_value(content: &str, key: &str) -> Option<u64> {
    flat(content)
        .find(|(found, _)| *found == key)
        .map(|(_, value)| value)
}

/// A number, or `max` for no limit.
pub(crate) fn number(text: &str) -> Option<u64> {
    match text.trim() {
        "max" => Some(u64::MAX),
        text => text.parse().ok(),
    }
}

/// `major:minor`.
pub(crate) fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The value of `key=value` in a line.
pub(crate) fn keyed<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    line.split(' ')
        .find_map(|field| field.strip_prefix(key)?.strip_prefix('='))
}

/// A page size in kB as the hugetlb controller writes it.
pub(crate) fn page_size(kilobytes: u64) -> String {
    const GIGABYTE: u64 = 1 << 20;
    const MEGABYTE: u64 = 1 << 10;
    match kilobytes {
        GIGABYTE.. => format!("{}GB", kilobytes / GIGABYTE),
        MEGABYTE.. => format!("{}MB", kilobytes / MEGABYTE),
        kilobytes => format!("{kilobytes}KB"),
    }
}

#[cfg(test)]
#[expect(unreachable_pub, reason = "the macro makes public structs")]
mod tests {
    use super::*;

    counters! {
        /// For the test.
        pub struct Sample {
            /// One key.
            one: "one",
            /// Two keys.
            both: "left" | "right",
        }
    }

    #[test]
    fn counters_are_found_by_their_keys() {
        let sample = Sample::parse("left 3\nunknown 9\none 1\nright 4\nbad x\n");
        assert_eq!(sample, Sample { one: 1, both: 7 });
        assert_eq!(flat_value("oom 2\noom_kill 5\n", "oom_kill"), Some(5));
        assert_eq!(flat_value("oom 2\n", "oom_kill"), None);
    }

    #[test]
    fn small_formats_are_read() {
        assert_eq!(number("max\n"), Some(u64::MAX));
        assert_eq!(number("12\n"), Some(12));
        assert_eq!(device("8:16"), Some((8, 16)));
        assert_eq!(keyed("8:0 rbytes=5 wbytes=6", "wbytes"), Some("6"));
        let sizes = [64, 2048, 1 << 20, 16 << 20].map(page_size);
        assert_eq!(sizes, ["64KB", "2MB", "1GB", "16GB"]);
    }
}
