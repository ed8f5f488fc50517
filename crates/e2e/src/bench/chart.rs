//! Bar charts as SVG: one column of a table, a bar for each line.
//!
//! Text and bars take their colours from the reader's scheme, so that a chart reads on white and on
//! black; the background is left to the page.

use std::fmt::Write as _;

use super::report::{FLOOR, HULL, NULL, Table, bare, number};

/// Which column of which table is drawn.
#[derive(Debug)]
struct Chart {
    table: &'static str,
    column: &'static str,
    title: &'static str,
    /// The unit behind each value.
    unit: &'static str,
    /// Which way is better.
    better: Better,
}

#[derive(Debug, Clone, Copy)]
enum Better {
    Less,
    More,
}

const fn chart(
    [table, column]: [&'static str; 2],
    title: &'static str,
    unit: &'static str,
    better: Better,
) -> Chart {
    Chart {
        table,
        column,
        title,
        unit,
        better,
    }
}

const CHARTS: [Chart; 11] = [
    chart(
        ["ctr", "wall"],
        "ctr run --rm busybox true, containerd of the distribution",
        "ms",
        Better::Less,
    ),
    chart(
        ["ctr-newest", "wall"],
        "ctr run --rm busybox true, containerd 2.x",
        "ms",
        Better::Less,
    ),
    chart(
        ["task-pod", "sum"],
        "Create + Start + exit + Delete of true, shim running",
        "ms",
        Better::Less,
    ),
    chart(
        ["exec", "sum"],
        "An exec of true in a running container",
        "ms",
        Better::Less,
    ),
    chart(
        ["parallel", "lone, per second"],
        "Lone containers per second, 4 at once",
        "/s",
        Better::More,
    ),
    chart(
        ["memory-one", "PSS"],
        "Memory beside one idle container, PSS",
        "KiB",
        Better::Less,
    ),
    chart(
        ["memory-many", "PSS of a shim"],
        "Memory of each shim at 100 lone containers, PSS",
        "KiB",
        Better::Less,
    ),
    chart(
        ["stdout", "MB/s"],
        "stdout of a container through its FIFO",
        "MB/s",
        Better::More,
    ),
    chart(
        ["size", "together"],
        "Shim and runtime on disk, stripped",
        "MB",
        Better::Less,
    ),
    chart(
        ["counts-task", "system calls"],
        "System calls of a container of true",
        "",
        Better::Less,
    ),
    chart(
        ["wasm-pod", "sum"],
        "A container of hello.wasm beside native ones",
        "ms",
        Better::Less,
    ),
];

/// The charts of these tables: file name and SVG.
pub(super) fn draw_all(tables: &[Table]) -> Vec<(String, String)> {
    let drawn = CHARTS.iter().filter_map(|chart| {
        let table = tables.iter().find(|table| table.id == chart.table)?;
        Some((
            format!("{}.svg", table.id),
            draw(chart, &bars(chart, table)),
        ))
    });
    drawn.collect()
}

/// Name and value of each bar.
fn bars<'table>(chart: &Chart, table: &'table Table) -> Vec<(&'table str, f64)> {
    let value = |name: &str| table.figure(name, chart.column);
    let lines = table.lines.iter();
    lines
        .filter_map(|(name, _)| Some((name.as_str(), value(name)?)))
        .filter(|(_, value)| value.is_finite())
        .collect()
}

const WIDTH: f64 = 780.0;
/// Where the bars begin.
const LEFT: f64 = 290.0;
/// Room for a value behind the longest bar.
const RIGHT: f64 = 100.0;
const TOP: f64 = 58.0;
/// From one bar to the next, and the height of one.
const STEP: f64 = 32.0;
const BAR: f64 = 20.0;

const STYLE: &str = "\
text{font:13px system-ui,sans-serif;fill:#1f2328}\
.title{font-size:16px;font-weight:600}.note{fill:#59636e;font-size:12px}.value{font-weight:600}\
.ours{fill:#1f6feb}.rival{fill:#8c959f}.yard{fill:none;stroke:#8c959f;stroke-dasharray:4 3}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.note{fill:#9198a1}.ours{fill:#58a6ff}\
.rival{fill:#6e7681}.yard{stroke:#9198a1}}";

fn draw(chart: &Chart, bars: &[(&str, f64)]) -> String {
    let rows: f64 = bars.iter().map(|_| STEP).sum();
    let greatest = bars
        .iter()
        .map(|(_, value)| *value)
        .fold(f64::MIN_POSITIVE, f64::max);
    let note = match chart.better {
        Better::Less => "less is better",
        Better::More => "more is better",
    };
    let unit = if chart.unit.is_empty() {
        "count"
    } else {
        chart.unit
    };
    let title = escape(chart.title);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         width=\"{WIDTH}\" height=\"{height}\" role=\"img\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n<text class=\"title\" x=\"0\" y=\"20\">{title}</text>\n\
         <text class=\"note\" x=\"0\" y=\"40\">{unit}, median; {note}</text>\n",
        height = TOP + rows + 4.0,
    );
    let mut top = TOP;
    for (name, value) in bars {
        let width = (WIDTH - LEFT - RIGHT) * (value.max(0.0) / greatest);
        let (base, end) = (top + 15.0, LEFT + width + 8.0);
        let _infallible = write!(
            svg,
            "<text x=\"{x}\" y=\"{base}\" text-anchor=\"end\">{name}</text>\n\
             <rect class=\"{class}\" x=\"{LEFT}\" y=\"{top}\" width=\"{width:.1}\" \
             height=\"{BAR}\" rx=\"2\"/>\n\
             <text class=\"value\" x=\"{end:.1}\" y=\"{base}\">{value}</text>\n",
            x = LEFT - 10.0,
            name = escape(name),
            class = class(name, bars),
            value = format!("{} {}", number(*value), chart.unit).trim_end(),
        );
        top += STEP;
    }
    svg.push_str("</svg>\n");
    svg
}

/// Ours in colour, rivals grey, and what is only there to measure by as an outline.
fn class(name: &str, bars: &[(&str, f64)]) -> &'static str {
    let first = bars.first().is_some_and(|(first, _)| *first == name);
    match bare(name) {
        NULL | FLOOR => "yard",
        HULL => "ours",
        _ if first => "ours",
        _ => "rival",
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHART: Chart = chart(["t", "c"], "A < B", "ms", Better::Less);

    #[test]
    fn the_longest_bar_fills_the_room_and_the_others_are_in_proportion() {
        let svg = draw(&CHART, &[("hull", 10.0), ("Debian's runc shim (1)", 40.0)]);
        assert!(
            svg.contains("class=\"rival\" x=\"290\" y=\"90\" width=\"390.0\""),
            "{svg}"
        );
        assert!(
            svg.contains("class=\"ours\" x=\"290\" y=\"58\" width=\"97.5\""),
            "{svg}"
        );
        assert!(
            svg.contains(">10.0 ms</text>") && svg.contains(">40.0 ms</text>"),
            "{svg}"
        );
    }

    #[test]
    fn text_is_escaped_and_every_element_is_closed() {
        let svg = draw(&CHART, &[("a & b", 1.0)]);
        assert!(
            svg.contains("<title>A &lt; B</title>") && svg.contains(">a &amp; b<"),
            "{svg}"
        );
        for element in ["text", "svg", "style", "title"] {
            let opened = svg.matches(&format!("<{element} ")).count()
                + svg.matches(&format!("<{element}>")).count();
            assert_eq!(
                opened,
                svg.matches(&format!("</{element}>")).count(),
                "{element}"
            );
        }
    }

    #[test]
    fn nothing_but_zeros_draws_no_bar() {
        let svg = draw(&CHART, &[("hull", 0.0)]);
        assert!(svg.contains("width=\"0.0\""), "{svg}");
    }

    #[test]
    fn yardsticks_are_outlines() {
        let bars = [("hull", 1.0), ("null shim", 1.0), ("floor", 1.0)];
        let classes = bars.map(|(name, _)| class(name, &bars));
        assert_eq!(classes, ["ours", "yard", "yard"]);
    }
}
