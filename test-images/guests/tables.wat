;; Grows a table as far as it may and then asks for all that a table can have; the exit code is 0 if it got
;; some and not that.
(module
  (import "wasi_snapshot_preview1" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 1)
  (table $table 1 funcref)
  (func (export "_start")
    (loop $more
      (br_if $more
        (i32.ne (i32.const -1) (table.grow $table (ref.null func) (i32.const 65536)))))
    (if (i32.lt_u (table.size $table) (i32.const 65536)) (then (call $exit (i32.const 1))))
    (if (i32.ne (i32.const -1) (table.grow $table (ref.null func) (i32.const 0x7fff0000)))
      (then (call $exit (i32.const 2))))))
