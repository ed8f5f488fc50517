//! What is judged: one number for each line of the table in docs/performance.md.

use super::report::{DEBIAN, FLOOR, HULL, NEWEST, NULL, Table};

/// How the number comes from the figures of one column.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    /// The figure of a line.
    Of(&'static str),
    /// One line's ÷ another's.
    Ratio(&'static str, &'static str),
    /// (hull − null) ÷ (rival − null): without the share of containerd and ctr.
    Share(&'static str),
    /// One line's − another's.
    Difference(&'static str, &'static str),
}

/// A line of the table.
#[derive(Debug)]
pub(super) struct Measure {
    /// The first cell of the line, word for word.
    pub(super) name: &'static str,
    /// The row that measures it.
    pub(super) row: &'static str,
    /// Where its figures are.
    pub(super) table: &'static str,
    /// The column of that table.
    pub(super) column: &'static str,
    /// What is made of them.
    pub(super) value: Value,
    /// The unit of the column's figures.
    pub(super) unit: &'static str,
}

impl Measure {
    /// The number; nothing if the tables lack a figure that it needs.
    pub(super) fn value(&self, tables: &[Table]) -> Option<f64> {
        let figure = |line| self.figure(tables, line);
        let value = match self.value {
            Value::Of(line) => figure(line)?,
            Value::Ratio(one, other) => figure(one)? / figure(other)?,
            Value::Share(rival) => {
                let null = figure(NULL)?;
                (figure(HULL)? - null) / (figure(rival)? - null)
            }
            Value::Difference(one, other) => figure(one)? - figure(other)?,
        };
        value.is_finite().then_some(value)
    }

    /// The figure of a line.
    pub(super) fn figure(&self, tables: &[Table], line: &str) -> Option<f64> {
        let table = tables.iter().find(|table| table.id == self.table)?;
        table.figure(line, self.column)
    }

    /// The line whose own figure belongs to ours: a Wasm program, or hull.
    pub(super) fn ours(&self) -> &'static str {
        match self.value {
            Value::Of(line) | Value::Ratio(line, _) | Value::Difference(line, _) => line,
            Value::Share(_) => HULL,
        }
    }

    /// The unit of the number itself: a ratio has none.
    pub(super) fn value_unit(&self) -> &'static str {
        match self.value {
            Value::Of(_) | Value::Difference(..) => self.unit,
            Value::Ratio(..) | Value::Share(_) => "",
        }
    }
}

const fn measure(
    name: &'static str,
    [row, table, column, unit]: [&'static str; 4],
    value: Value,
) -> Measure {
    Measure {
        name,
        row,
        table,
        column,
        value,
        unit,
    }
}

const CTR: [&str; 4] = ["ctr", "ctr", "wall", "ms"];
const CTR_NEWEST: [&str; 4] = ["ctr-newest", "ctr-newest", "wall", "ms"];
const TASK: [&str; 4] = ["task", "task-pod", "sum", "ms"];
const TASK_CPU: [&str; 4] = ["task", "task-pod", "CPU", "ms"];
const START: [&str; 4] = ["task", "task-alone", "`start`", "ms"];
const EXEC: [&str; 4] = ["exec", "exec", "sum", "ms"];
const EXEC_CPU: [&str; 4] = ["exec", "exec", "CPU", "ms"];
const LONE: [&str; 4] = ["parallel", "parallel", "lone, per second", "/s"];
const SHARED: [&str; 4] = ["parallel", "parallel", "in one shim, per second", "/s"];
const MANY: [&str; 4] = ["memory", "memory-many", "PSS of a shim", "KiB"];
const FALL: [&str; 4] = ["memory", "memory-many", "fall of MemAvailable", "KiB"];
const STDOUT: [&str; 4] = ["stdout", "stdout", "MB/s", "MB/s"];

/// All of them, in the order of the table.
pub(super) const MEASURES: [Measure; 49] = [
    measure(
        "`ctr run --rm busybox true`: hull ÷ Debian's runc",
        CTR,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "the same without containerd's share: (hull − null) ÷ (Debian's runc − null)",
        CTR,
        Value::Share(DEBIAN),
    ),
    measure(
        "`ctr run` with containerd 2.x: hull ÷ newest runc",
        CTR_NEWEST,
        Value::Ratio(HULL, NEWEST),
    ),
    measure(
        "the same without containerd's share: (hull − null) ÷ (newest runc − null)",
        CTR_NEWEST,
        Value::Share(NEWEST),
    ),
    measure(
        "Create + Start + exit + Delete in a shim that runs",
        TASK,
        Value::Of(HULL),
    ),
    measure("the same ÷ floor", TASK, Value::Ratio(HULL, FLOOR)),
    measure("the same ÷ Debian's runc", TASK, Value::Ratio(HULL, DEBIAN)),
    measure("the same ÷ newest runc", TASK, Value::Ratio(HULL, NEWEST)),
    measure(
        "CPU time of the same ÷ Debian's runc",
        TASK_CPU,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "CPU time of the same ÷ floor",
        TASK_CPU,
        Value::Ratio(HULL, FLOOR),
    ),
    measure(
        "the four of a container that asks for most of what there is ÷ floor of the default one",
        ["full", "full", "sum", "ms"],
        Value::Ratio(HULL, FLOOR),
    ),
    measure(
        "exec of `true`: hull ÷ Debian's runc",
        EXEC,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "exec of `true`: hull ÷ newest runc",
        EXEC,
        Value::Ratio(HULL, NEWEST),
    ),
    measure(
        "CPU time of an exec: hull ÷ Debian's runc",
        EXEC_CPU,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "CPU time of an exec: hull ÷ newest runc",
        EXEC_CPU,
        Value::Ratio(HULL, NEWEST),
    ),
    measure("`start` to address", START, Value::Of(HULL)),
    measure(
        "`start` to address: hull ÷ Debian's runc",
        START,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "lone containers per second, 4 at once: hull ÷ Debian's runc",
        LONE,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "lone containers per second, 4 at once: hull ÷ newest runc",
        LONE,
        Value::Ratio(HULL, NEWEST),
    ),
    measure(
        "containers per second in one shim, 4 at once: hull ÷ Debian's runc",
        SHARED,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "containers per second in one shim, 4 at once: hull ÷ newest runc",
        SHARED,
        Value::Ratio(HULL, NEWEST),
    ),
    measure(
        "create at 500 live containers ÷ at 10",
        ["crowd", "crowd", "ratio", ""],
        Value::Of(HULL),
    ),
    measure(
        "daemon + launcher, one idle container: PSS",
        ["memory", "memory-one", "PSS", "KiB"],
        Value::Of(HULL),
    ),
    measure(
        "daemon + launcher, one idle container: private dirty",
        ["memory", "memory-one", "private dirty", "KiB"],
        Value::Of(HULL),
    ),
    measure(
        "daemon + launcher, one idle container: threads",
        ["memory", "memory-one", "threads", ""],
        Value::Of(HULL),
    ),
    measure(
        "PSS of a shim at 100 lone containers: hull ÷ Debian's runc",
        MANY,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "PSS of a shim at 100 lone containers: hull ÷ newest runc",
        MANY,
        Value::Ratio(HULL, NEWEST),
    ),
    measure(
        "fall of MemAvailable at 100 lone containers: hull ÷ Debian's runc",
        FALL,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "growth of the daemon over 200,000 execs, per exec",
        ["execs-soak", "execs-soak", "daemon", "bytes"],
        Value::Of(HULL),
    ),
    measure(
        "growth of the launcher over 200,000 execs, per exec",
        ["execs-soak", "execs-soak", "launcher", "bytes"],
        Value::Of(HULL),
    ),
    measure(
        "what a question waits for the event loop meanwhile, of a thousand one more",
        ["execs-soak", "execs-soak", "stall, 99.9 %", "ms"],
        Value::Of(HULL),
    ),
    measure(
        "stdout throughput: hull ÷ Debian's runc",
        STDOUT,
        Value::Ratio(HULL, DEBIAN),
    ),
    measure(
        "stdout throughput: hull ÷ newest runc",
        STDOUT,
        Value::Ratio(HULL, NEWEST),
    ),
    measure(
        "system calls of a container",
        ["counts", "counts-task", "system calls", ""],
        Value::Of(HULL),
    ),
    measure(
        "context switches of a container",
        ["counts", "counts-task", "context switches", ""],
        Value::Of(HULL),
    ),
    measure(
        "system calls of an exec",
        ["counts", "counts-exec", "system calls", ""],
        Value::Of(HULL),
    ),
    measure(
        "context switches of an exec",
        ["counts", "counts-exec", "context switches", ""],
        Value::Of(HULL),
    ),
    measure(
        "shim binary",
        ["size", "size", "shim", "MB"],
        Value::Of(HULL),
    ),
    measure(
        "`hull-wasm`, the runner",
        ["size", "size-more", "size", "MB"],
        Value::Of("hull-wasm"),
    ),
    measure(
        "`hull-wasmc`, the compiler",
        ["size", "size-more", "size", "MB"],
        Value::Of("hull-wasmc"),
    ),
    measure(
        "`hull`, the command line",
        ["size", "size-more", "size", "MB"],
        Value::Of("hull"),
    ),
    measure(
        "hello.wasm above native `true`, in a shim that runs",
        ["wasm", "wasm-pod", "sum", "ms"],
        Value::Difference("hello.wasm", "native `true`"),
    ),
    measure(
        "hello.wasm ÷ native `true`, in a shim that runs",
        ["wasm", "wasm-pod", "sum", "ms"],
        Value::Ratio("hello.wasm", "native `true`"),
    ),
    measure(
        "containers of hello.wasm per second, 4 at once",
        ["wasm-parallel", "wasm-parallel", "four at once", "/s"],
        Value::Of("hello.wasm"),
    ),
    measure(
        "the same ÷ native `true`",
        ["wasm-parallel", "wasm-parallel", "four at once", "/s"],
        Value::Ratio("hello.wasm", "native `true`"),
    ),
    measure(
        "PSS of each further idle Wasm container of an image in a pod",
        ["wasm-memory", "wasm-memory-further", "PSS", "KiB"],
        Value::Of("sleep.wasm"),
    ),
    measure(
        "hello.wasm as a process: hull-wasm ÷ `wasmtime` with a precompiled file",
        ["wasm-process", "wasm-process", "wall", "ms"],
        Value::Ratio("hull-wasm", "wasmtime, compiled before"),
    ),
    measure(
        "HTTP requests per second, WASI 0.2: hull ÷ `wasmtime serve`",
        ["http", "http", "requests/s", "/s"],
        Value::Ratio("hull, 0.2", "wasmtime serve, 0.2"),
    ),
    measure(
        "HTTP requests per second, WASI 0.3: hull ÷ `wasmtime serve`",
        ["http", "http", "requests/s", "/s"],
        Value::Ratio("hull, 0.3", "wasmtime serve, 0.3"),
    ),
];

/// The one of this name.
pub(super) fn find(name: &str) -> Option<&'static Measure> {
    MEASURES.iter().find(|measure| measure.name == name)
}

#[cfg(test)]
mod tests {
    use super::super::report::Figure;
    use super::*;

    #[test]
    fn every_name_is_there_once() {
        for measure in &MEASURES {
            let same = MEASURES.iter().filter(|other| other.name == measure.name);
            assert_eq!(same.count(), 1, "{}", measure.name);
        }
    }

    #[test]
    fn values_come_from_the_lines_they_name() {
        let line = |name: &str, value: f64| (name.to_owned(), vec![Figure::from(value)]);
        let mut table = Table {
            row: "ctr",
            id: "ctr",
            title: String::new(),
            how: String::new(),
            columns: vec!["wall"],
            lines: vec![line("hull", 50.0), line("Debian's runc shim (1.6)", 120.0)],
            comparison: None,
        };
        let ratio = measure("a", CTR, Value::Ratio(HULL, DEBIAN));
        let share = measure("b", CTR, Value::Share(DEBIAN));
        assert_eq!(
            ratio.value(std::slice::from_ref(&table)),
            Some(50.0 / 120.0)
        );
        assert_eq!(share.value(std::slice::from_ref(&table)), None);
        table.lines.push(line("null shim", 40.0));
        assert_eq!(share.value(std::slice::from_ref(&table)), Some(10.0 / 80.0));
        assert_eq!(ratio.value(&[]), None);
    }
}
