//! The engine of a server: the same as everybody's as far as artifacts see it, with memories, tables and
//! stacks that are reserved once and used again by one instance after the other.

use crate::command::engine_config;
use crate::failure::Failure;
use hull_abi::WasmSettings;
use wasmtime::component::Component;
use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// What stays in memory of a linear memory, a stack and a table that nobody uses, in bytes: clearing so much
/// by hand is cheaper than giving it back to the kernel and taking it again.
const KEEP_MEMORY: usize = 128 << 10;
const KEEP_STACK: usize = 32 << 10;
const KEEP_TABLE: usize = 16 << 10;
/// Elements that a table can grow to at least; larger ones can double.
const TABLE_ELEMENTS: usize = 100_000;
/// Memories that were used and are kept ready. Others are given back.
const WARM: u32 = 64;
/// Memories and tables in all: what a guest with many of them needs for many instances at once is more than
/// there are addresses.
const MOST: usize = 16_000;

/// An engine for so many instances of the component at once: one with a pool, or, where the component does
/// not say what it needs or the addresses cannot be had, one that makes each memory when it is needed.
pub(crate) fn engine(
    component: &Component,
    instances: usize,
    settings: &WasmSettings,
) -> Result<Engine, Failure> {
    let pooled = pool(component, instances).and_then(|pool| {
        let mut config = config(settings);
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        // Where there is an RLIMIT_AS, or the kernel promises no more memory than it has.
        Engine::new(&config).ok()
    });
    match pooled {
        Some(engine) => Ok(engine),
        None => Engine::new(&config(settings))
            .map_err(|error| Failure::internal("cannot make the engine", error)),
    }
}

/// Core dumps are for commands: a server goes on after a trap, and would make one after the other.
fn config(settings: &WasmSettings) -> Config {
    let mut config = engine_config(settings);
    config.coredump_on_trap(false);
    config
}

fn pool(component: &Component, instances: usize) -> Option<PoolingAllocationConfig> {
    let needs = component.resources_required()?;
    let total = |each: u32| -> Option<u32> {
        let total = usize::try_from(each).ok()?.checked_mul(instances)?;
        u32::try_from(total).ok().filter(|_| total <= MOST)
    };
    let stacks = u32::try_from(instances).ok()?;
    let elements = usize::try_from(needs.max_initial_table_size.unwrap_or(0)).ok()?;
    let mut pool = PoolingAllocationConfig::new();
    // A guest that uses the garbage collector finds its heap among the memories.
    pool.total_memories(total(needs.num_memories + 1)?)
        .total_gc_heaps(stacks)
        .total_tables(total(needs.num_tables)?)
        // Each request has one, and what an instance does after its answers.
        .total_stacks(stacks.checked_mul(2)?)
        .table_elements(elements.saturating_mul(2).max(TABLE_ELEMENTS))
        .max_memories_per_module(needs.num_memories.max(1))
        .max_tables_per_module(needs.num_tables.max(1))
        // These are only counted. Memory of ours that instances take is limited by their number.
        .total_component_instances(u32::MAX)
        .total_core_instances(u32::MAX)
        .max_component_instance_size(16 << 20)
        .max_core_instance_size(16 << 20)
        .linear_memory_keep_resident(KEEP_MEMORY)
        .async_stack_keep_resident(KEEP_STACK)
        .table_keep_resident(KEEP_TABLE)
        .max_unused_warm_slots(WARM)
        // It would be an ioctl of /proc/self/pagemap.
        .pagemap_scan(Enabled::No);
    Some(pool)
}
