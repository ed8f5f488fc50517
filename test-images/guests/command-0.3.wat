;; A component of the world wasi:cli/command 0.3: writes a line to standard output.
(component
  (import "wasi:cli/types@0.3.0" (instance $types
    (type $code (enum "io" "illegal-byte-sequence" "pipe"))
    (export "error-code" (type (eq $code)))))
  (alias export $types "error-code" (type $error_code))
  (import "wasi:cli/stdout@0.3.0" (instance $stdout
    (alias outer 1 $error_code (type $outer))
    (export "error-code" (type $code (eq $outer)))
    (type $bytes (stream u8))
    (type $end (future (result (error $code))))
    (export "write-via-stream" (func (param "data" $bytes) (result $end)))))

  (core module $memory
    (memory (export "memory") 1)
    (data (i32.const 64) "hello from WASI 0.3\n"))
  (core instance $memory (instantiate $memory))
  (type $bytes (stream u8))
  (type $end (future (result (error $error_code))))
  (core func $new (canon stream.new $bytes))
  (core func $write (canon stream.write $bytes async (memory $memory "memory")))
  (core func $close (canon stream.drop-writable $bytes))
  (core func $read (canon future.read $end async (memory $memory "memory")))
  (core func $set (canon waitable-set.new))
  (core func $join (canon waitable.join))
  (core func $wait (canon waitable-set.wait (memory $memory "memory")))
  (core func $show (canon lower (func $stdout "write-via-stream")))

  (core module $main
    (import "host" "new" (func $new (result i64)))
    (import "host" "write" (func $write (param i32 i32 i32) (result i32)))
    (import "host" "close" (func $close (param i32)))
    (import "host" "read" (func $read (param i32 i32) (result i32)))
    (import "host" "set" (func $set (result i32)))
    (import "host" "join" (func $join (param i32 i32)))
    (import "host" "wait" (func $wait (param i32 i32) (result i32)))
    (import "host" "show" (func $show (param i32) (result i32)))
    (import "memory" "memory" (memory 1))
    ;; Waits for what has not been done at once (-1), with the event at 16.
    (func $settle (param $code i32) (param $what i32)
      (local $set i32)
      (if (i32.eq (local.get $code) (i32.const -1)) (then
        (local.set $set (call $set))
        (call $join (local.get $what) (local.get $set))
        (drop (call $wait (local.get $set) (i32.const 16)))
        (call $join (local.get $what) (i32.const 0)))))
    ;; The result of wasi:cli/run: 0 is ok.
    (func (export "run") (result i32)
      (local $ends i64) (local $writer i32) (local $end i32)
      (local.set $ends (call $new))
      (local.set $writer (i32.wrap_i64 (i64.shr_u (local.get $ends) (i64.const 32))))
      ;; The lower half is the reader's end.
      (local.set $end (call $show (i32.wrap_i64 (local.get $ends))))
      (call $settle
        (call $write (local.get $writer) (i32.const 64) (i32.const 20)) (local.get $writer))
      (call $close (local.get $writer))
      (call $settle (call $read (local.get $end) (i32.const 0)) (local.get $end))
      ;; The first byte of what stdout came to: 0 is ok.
      (i32.load8_u (i32.const 0))))
  (core instance $host
    (export "new" (func $new))
    (export "write" (func $write))
    (export "close" (func $close))
    (export "read" (func $read))
    (export "set" (func $set))
    (export "join" (func $join))
    (export "wait" (func $wait))
    (export "show" (func $show)))
  (core instance $main (instantiate $main
    (with "host" (instance $host))
    (with "memory" (instance $memory))))

  (func $run async (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.3.0" (instance $command)))
