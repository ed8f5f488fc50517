;; Takes memory in steps of 1 MiB, each after a growth of a table that cannot be; the exit code is the number of
;; steps that it got, at most 100.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (table $table i64 1 funcref)
  (func (export "_start") (local $steps i32)
    (loop $more
      (drop (table.grow $table (ref.null func) (i64.const -1)))
      (if (i32.and
            (i32.ne (i32.const -1) (memory.grow (i32.const 16)))
            (i32.lt_u (local.get $steps) (i32.const 100)))
        (then
          (local.set $steps (i32.add (local.get $steps) (i32.const 1)))
          (br $more))))
    (call $exit (local.get $steps))))
