;; Calls a function through a table as if it had another type.
(module
  (memory (export "memory") 1)
  (type $number (func (result i32)))
  (table 1 funcref)
  (elem (i32.const 0) $nothing)
  (func $nothing)
  (func $call (drop (call_indirect (type $number) (i32.const 0))))
  (func (export "_start") (call $call)))
