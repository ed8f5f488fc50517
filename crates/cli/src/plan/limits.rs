//! What a container may use, in words.

use super::text::Section;
use crate::layout::Row;
use crate::units;
use hull_abi::{BlockIo, Cpu, DeviceKind, DeviceRule, Memory, Resources, ThrottleKind};

/// From the kernel's documentation of cgroup v1: the period where none is given, in µs.
const USUAL_PERIOD_US: u64 = 100_000;

/// Every limit that is set; what is not mentioned is not limited.
pub(super) fn limits(resources: &Resources) -> Section {
    let mut rows = memory(&resources.memory);
    rows.extend(cpu(&resources.cpu));
    if let Some(pids) = resources.pids {
        rows.push(row("tasks", count(pids)));
    }
    rows.extend(block_io(&resources.block_io));
    for page in &resources.hugepages {
        let size = units::bytes(page.limit_bytes);
        rows.push(row(
            "huge pages",
            format!("{size} of {} pages", page.page_size),
        ));
    }
    rows.extend(interfaces(resources));
    let unified = resources.unified.iter();
    rows.extend(unified.map(|(file, value)| row(file, value.clone())));
    if rows.is_empty() {
        return Section::line("limits", "none");
    }
    Section::rows("limits", rows)
}

/// The device rules; the last one that matches decides.
pub(super) fn device_rules(resources: &Resources) -> Section {
    let rules = resources.devices.iter().flatten();
    Section::rows("device rules", rules.map(rule).collect())
}

fn rule(rule: &DeviceRule) -> Row {
    let verdict = if rule.allow { "allow" } else { "deny" };
    let kind = match rule.kind {
        DeviceKind::All => "any",
        DeviceKind::Char => "c",
        DeviceKind::Block => "b",
    };
    let number = |number: Option<u32>| number.map_or("*".to_owned(), |number| number.to_string());
    let access: String = [(rule.read, 'r'), (rule.write, 'w'), (rule.mknod, 'm')]
        .into_iter()
        .filter_map(|(covered, letter)| covered.then_some(letter))
        .collect();
    let device = format!("{}:{}", number(rule.major), number(rule.minor));
    vec![verdict.into(), kind.into(), device.into(), access.into()]
}

fn memory(memory: &Memory) -> Vec<Row> {
    let mut rows = Vec::new();
    let sizes = [
        ("memory", memory.limit_bytes),
        ("memory, soft", memory.reservation_bytes),
        ("memory + swap", memory.swap_bytes),
    ];
    for (what, size) in sizes {
        if let Some(size) = size {
            rows.push(row(what, size_of(size)));
        }
    }
    if let Some(swappiness) = memory.swappiness {
        rows.push(row("swappiness", swappiness.to_string()));
    }
    if memory.disable_oom_killer == Some(true) {
        rows.push(row("OOM killer", "off".to_owned()));
    }
    rows
}

fn cpu(cpu: &Cpu) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(quota) = cpu.quota_us.filter(|quota| *quota != 0) {
        let period = cpu
            .period_us
            .filter(|us| *us != 0)
            .unwrap_or(USUAL_PERIOD_US);
        rows.push(row("CPU time", quota_of(quota, period)));
    }
    if let Some(burst) = cpu.burst_us {
        rows.push(row("CPU burst", format!("{burst} µs")));
    }
    if let Some(shares) = cpu.shares.filter(|shares| *shares != 0) {
        rows.push(row(
            "CPU shares",
            format!("{shares} (others have 1024 by default)"),
        ));
    }
    if cpu.idle == Some(1) {
        rows.push(row(
            "CPU idle",
            "runs when nothing else wants the CPU".to_owned(),
        ));
    }
    let realtime = [
        ("CPU realtime", cpu.realtime_runtime_us.map(i128::from)),
        (
            "CPU realtime period",
            cpu.realtime_period_us.map(i128::from),
        ),
    ];
    for (what, us) in realtime {
        if let Some(us) = us {
            rows.push(row(what, format!("{us} µs")));
        }
    }
    for (what, list) in [("CPUs", &cpu.cpus), ("memory nodes", &cpu.mems)] {
        if let Some(list) = list.as_ref().filter(|list| !list.is_empty()) {
            rows.push(row(what, list.clone()));
        }
    }
    rows
}

fn block_io(block_io: &BlockIo) -> Vec<Row> {
    let mut rows = Vec::new();
    if let Some(weight) = block_io.weight {
        rows.push(row("block I/O weight", weight.to_string()));
    }
    for device in &block_io.weight_devices {
        let place = format!("{}:{}", device.major, device.minor);
        rows.push(row(
            "block I/O weight",
            format!("{} on {place}", device.weight),
        ));
    }
    for throttle in &block_io.throttles {
        let unit = match throttle.kind {
            ThrottleKind::ReadBps => "bytes read",
            ThrottleKind::WriteBps => "bytes written",
            ThrottleKind::ReadIops => "reads",
            ThrottleKind::WriteIops => "writes",
        };
        let place = format!("{}:{}", throttle.major, throttle.minor);
        let text = format!("{} {unit} each second on {place}", throttle.rate);
        rows.push(row("block I/O", text));
    }
    rows
}

fn interfaces(resources: &Resources) -> Vec<Row> {
    let mut rows = Vec::new();
    for limit in &resources.rdma {
        let numbers = [
            ("handles", limit.hca_handles),
            ("objects", limit.hca_objects),
        ];
        for (what, number) in numbers {
            if let Some(number) = number {
                let text = format!("at most {number} {what} of {}", limit.device);
                rows.push(row("RDMA", text));
            }
        }
    }
    if let Some(class) = resources.network.class_id {
        rows.push(row("network class", format!("{class:#x}")));
    }
    for (interface, priority) in &resources.network.priorities {
        let text = format!("{priority} on {interface}");
        rows.push(row("network priority", text));
    }
    rows
}

fn row(what: &str, text: String) -> Row {
    vec![what.into(), text.into()]
}

/// -1 means no limit, 0 leaves what is there.
fn size_of(size: i64) -> String {
    match u64::try_from(size) {
        Ok(0) => "left as it is".to_owned(),
        Ok(size) => units::exact_bytes(size),
        Err(_) => "no limit".to_owned(),
    }
}

fn count(count: i64) -> String {
    if count < 0 {
        "no limit".to_owned()
    } else {
        format!("at most {count}")
    }
}

fn quota_of(quota: i64, period: u64) -> String {
    let Ok(quota) = u64::try_from(quota) else {
        return "no limit".to_owned();
    };
    let hundredths = u128::from(quota) * 100 / u128::from(period);
    let (whole, rest) = (hundredths / 100, hundredths % 100);
    let cpus = format!("{whole}.{rest:02}");
    let cpus = cpus.trim_end_matches('0').trim_end_matches('.');
    let unit = if cpus == "1" { "CPU" } else { "CPUs" };
    format!("{cpus} {unit} ({quota} of every {period} µs)")
}
