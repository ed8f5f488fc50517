//! The one engine configuration that runner and compiler share.
//!
//! A compiled artifact only loads into an engine that was configured like the one that compiled it.
//! Wasmtime's defaults follow its cargo features, in which the two binaries differ, so everything
//! that has an influence on artifacts is said here and nowhere else. The compiler adds what only
//! shapes the code it emits (optimisation level, threads to compile with), the runner what only
//! matters while code runs (stack size).
#![forbid(unsafe_code)]

use std::num::NonZeroUsize;
use wasmtime::{Collector, Config, Inlining, InstanceAllocationStrategy, WasmBacktraceDetails};

/// The version of wasmtime in full. Artifacts themselves only carry the major version, but a patch
/// release may fix what an older compiler got wrong, so the full version belongs into every key.
pub const VERSION: &str = wasmtime_environ::VERSION;

/// Address space that each 32-bit linear memory reserves, in bytes. With all 4 GiB reserved,
/// compiled code needs no bounds checks and memories never move. The price is that a process with
/// an `RLIMIT_AS` below about 4.2 GiB (twice that for a guest that uses the garbage collector)
/// cannot instantiate a module that has a memory.
pub const MEMORY_RESERVATION: u64 = 4 << 30;

/// Inaccessible bytes before and after each memory: accesses with a static offset below this need
/// no bounds check either.
const GUARD: u64 = 32 << 20;

/// Address space to grow into for a memory that had to move (64-bit ones only).
const RESERVATION_FOR_GROWTH: u64 = 2 << 30;

/// Data segments that span up to this many bytes become a page-aligned image in the artifact, which
/// is mapped copy-on-write instead of being copied at every start. Those that span more become one only
/// if half of it is data: else a few bytes of a module could make an artifact of any size.
const DENSE_IMAGE: u64 = 1 << 20;

/// Stack that a guest may use, in bytes; running out of it is a trap. Not part of an artifact.
pub const WASM_STACK: usize = 1 << 20;

/// Frames in the backtrace of a trap.
const BACKTRACE_FRAMES: NonZeroUsize = NonZeroUsize::MIN.saturating_add(31);

/// Switches one proposal on.
pub type Switch = fn(&mut Config);

/// Proposals that guests may ask for by name. What they change is the compiler's affair: the runner loads
/// artifacts with and without them.
pub const ON_REQUEST: [(&str, Switch); 2] = [
    ("custom-page-sizes", |config| {
        config.wasm_custom_page_sizes(true);
    }),
    ("wide-arithmetic", |config| {
        config.wasm_wide_arithmetic(true);
    }),
];

/// The configuration of every engine.
#[must_use]
pub fn config() -> Config {
    let mut config = Config::new();
    proposals(&mut config);
    memories(&mut config);
    traps(&mut config);
    config
        .allocation_strategy(InstanceAllocationStrategy::OnDemand)
        .compiler_inlining(Inlining::No)
        .debug_info(false)
        // Only profilers read these; the names in backtraces come from the module itself.
        .debug_symbols(false);
    config
}

/// What guests may use: WebAssembly 3.0 without threads, which commands on one thread cannot have,
/// and components with the concurrency of WASI 0.3 as far as its standard has it. Starting a guest that does
/// not use it takes as many system calls and page faults with it as without, so there is one engine for all. What
/// is not finished yet is off, some of it [on request](ON_REQUEST).
fn proposals(config: &mut Config) {
    config
        .wasm_reference_types(true)
        .wasm_function_references(true)
        .wasm_gc(true)
        .wasm_exceptions(true)
        .wasm_tail_call(true)
        .wasm_simd(true)
        .wasm_relaxed_simd(true)
        .relaxed_simd_deterministic(false)
        .wasm_bulk_memory(true)
        .wasm_multi_value(true)
        .wasm_multi_memory(true)
        .wasm_memory64(true)
        .wasm_extended_const(true)
        .wasm_branch_hinting(false)
        .wasm_custom_page_sizes(false)
        .wasm_wide_arithmetic(false)
        .wasm_stack_switching(false)
        .wasm_shared_everything_threads(false)
        .shared_memory(false)
        .wasm_component_model(true)
        .wasm_component_model_async(true)
        .wasm_component_model_more_async_builtins(false)
        .wasm_component_model_async_stackful(false)
        .wasm_component_model_threading(false)
        .wasm_component_model_error_context(false)
        .wasm_component_model_gc(false)
        .wasm_component_model_map(false)
        .wasm_component_model_memory64(false)
        .wasm_component_model_fixed_length_lists(false)
        .wasm_component_model_implements(false)
        .concurrency_support(true);
}

/// Memories, tables and the garbage collector's heap, which is reserved only by guests that need it.
fn memories(config: &mut Config) {
    config
        .memory_reservation(MEMORY_RESERVATION)
        .memory_guard_size(GUARD)
        .memory_reservation_for_growth(RESERVATION_FOR_GROWTH)
        .memory_may_move(true)
        .guard_before_linear_memory(true)
        .memory_init_cow(true)
        .force_memory_init_memfd(false)
        .memory_guaranteed_dense_image_size(DENSE_IMAGE)
        .table_lazy_init(true)
        .gc_support(true)
        .collector(Collector::Copying)
        .gc_heap_initial_size(0)
        .gc_heap_reservation(MEMORY_RESERVATION)
        .gc_heap_guard_size(GUARD)
        .gc_heap_reservation_for_growth(RESERVATION_FOR_GROWTH)
        .gc_heap_may_move(true);
}

/// How guests end: hardware faults become traps with a backtrace of function names. Neither epochs
/// nor fuel: a signal ends the whole process, so compiled code need not look for one.
fn traps(config: &mut Config) {
    config
        .signals_based_traps(true)
        .epoch_interruption(false)
        .consume_fuel(false)
        .generate_address_map(true)
        // Wasmtime walks frame pointers and has its own tables for exceptions.
        .native_unwind_info(false)
        // Not from WASMTIME_BACKTRACE_DETAILS in the environment, which is the default.
        .wasm_backtrace_details(WasmBacktraceDetails::Disable)
        .wasm_backtrace_max_frames(Some(BACKTRACE_FRAMES))
        .max_wasm_stack(WASM_STACK)
        .async_stack_size(2 * WASM_STACK);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_a_full_one() {
        let parts: Vec<u32> = VERSION.split('.').map(|n| n.parse().unwrap()).collect();
        assert_eq!(parts.len(), 3);
        assert_eq!(parts.first(), Some(&48));
    }

    #[test]
    fn an_engine_can_be_made_of_it() {
        let mut config = config();
        wasmtime::Engine::new(&config).unwrap();
        for (_, switch_on) in ON_REQUEST {
            switch_on(&mut config);
        }
        wasmtime::Engine::new(&config).unwrap();
    }
}
