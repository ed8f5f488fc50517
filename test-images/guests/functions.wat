;; A library: nothing to start, functions to call.
(module
  (func (export "add") (param i32 i32) (result i32)
    (i32.add (local.get 0) (local.get 1)))
  (func (export "half") (param f64) (result f64)
    (f64.div (local.get 0) (f64.const 2)))
  (func (export "forever") (loop $again (br $again)))
  (func (export "vector") (param v128)))
