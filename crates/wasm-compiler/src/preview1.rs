//! The functions of WASI preview 1, as wasmtime-wasi's
//! `witx/p1/wasi_snapshot_preview1.witx` declares them, lowered to core Wasm types.

use wasmparser::ValType;

/// The module name that they are imported from.
pub(crate) const MODULE: &str = "wasi_snapshot_preview1";
/// The module name of preview 0, an older and different interface.
pub(crate) const OLDER_MODULE: &str = "wasi_unstable";

const I: ValType = ValType::I32;
const L: ValType = ValType::I64;

/// Parameters and results of a function.
pub(crate) type Signature<'a> = (&'a [ValType], &'a [ValType]);

/// The type of the function of this name.
pub(crate) fn signature(name: &str) -> Option<Signature<'static>> {
    FUNCTIONS
        .iter()
        .find(|(offered, ..)| *offered == name)
        .map(|(_, params, results)| (*params, *results))
}

/// A name, its parameters and its results.
type Function = (&'static str, &'static [ValType], &'static [ValType]);

/// All of them, ordered by name.
pub(crate) const FUNCTIONS: &[Function] = &[
    ("args_get", &[I, I], &[I]),
    ("args_sizes_get", &[I, I], &[I]),
    ("clock_res_get", &[I, I], &[I]),
    ("clock_time_get", &[I, L, I], &[I]),
    ("environ_get", &[I, I], &[I]),
    ("environ_sizes_get", &[I, I], &[I]),
    ("fd_advise", &[I, L, L, I], &[I]),
    ("fd_allocate", &[I, L, L], &[I]),
    ("fd_close", &[I], &[I]),
    ("fd_datasync", &[I], &[I]),
    ("fd_fdstat_get", &[I, I], &[I]),
    ("fd_fdstat_set_flags", &[I, I], &[I]),
    ("fd_fdstat_set_rights", &[I, L, L], &[I]),
    ("fd_filestat_get", &[I, I], &[I]),
    ("fd_filestat_set_size", &[I, L], &[I]),
    ("fd_filestat_set_times", &[I, L, L, I], &[I]),
    ("fd_pread", &[I, I, I, L, I], &[I]),
    ("fd_prestat_dir_name", &[I, I, I], &[I]),
    ("fd_prestat_get", &[I, I], &[I]),
    ("fd_pwrite", &[I, I, I, L, I], &[I]),
    ("fd_read", &[I, I, I, I], &[I]),
    ("fd_readdir", &[I, I, I, L, I], &[I]),
    ("fd_renumber", &[I, I], &[I]),
    ("fd_seek", &[I, L, I, I], &[I]),
    ("fd_sync", &[I], &[I]),
    ("fd_tell", &[I, I], &[I]),
    ("fd_write", &[I, I, I, I], &[I]),
    ("path_create_directory", &[I, I, I], &[I]),
    ("path_filestat_get", &[I, I, I, I, I], &[I]),
    ("path_filestat_set_times", &[I, I, I, I, L, L, I], &[I]),
    ("path_link", &[I, I, I, I, I, I, I], &[I]),
    ("path_open", &[I, I, I, I, I, L, L, I, I], &[I]),
    ("path_readlink", &[I, I, I, I, I, I], &[I]),
    ("path_remove_directory", &[I, I, I], &[I]),
    ("path_rename", &[I, I, I, I, I, I], &[I]),
    ("path_symlink", &[I, I, I, I, I], &[I]),
    ("path_unlink_file", &[I, I, I], &[I]),
    ("poll_oneoff", &[I, I, I, I], &[I]),
    ("proc_exit", &[I], &[]),
    ("proc_raise", &[I], &[I]),
    ("random_get", &[I, I], &[I]),
    ("sched_yield", &[], &[I]),
    ("sock_accept", &[I, I, I], &[I]),
    ("sock_recv", &[I, I, I, I, I, I], &[I]),
    ("sock_send", &[I, I, I, I, I], &[I]),
    ("sock_shutdown", &[I, I], &[I]),
];
