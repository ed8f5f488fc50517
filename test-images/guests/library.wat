;; A component without a command: functions at its outermost level and in an interface.
(component
  (core module $m
    (memory (export "memory") 1)
    (global $free (mut i32) (i32.const 1024))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $free)
      (global.set $free (i32.add (global.get $free) (i32.add (local.get 3) (i32.const 16)))))
    ;; Gives a string back.
    (func (export "echo") (param i32 i32) (result i32)
      (i32.store (i32.const 16) (local.get 0))
      (i32.store (i32.const 20) (local.get 1))
      (i32.const 16))
    (func (export "check") (param i32) (result i32) (i32.eqz (local.get 0))))
  (core instance $i (instantiate $m))
  (func $echo (param "text" string) (result string)
    (canon lift (core func $i "echo") (memory $i "memory") (realloc (func $i "realloc"))))
  (func $check (param "it" bool) (result (result)) (canon lift (core func $i "check")))
  (export "check" (func $check))
  (instance $texts (export "echo" (func $echo)))
  (export "hull:library/texts@1.2.0" (instance $texts)))
