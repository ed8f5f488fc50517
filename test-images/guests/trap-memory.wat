;; Reads behind the end of its memory.
(module
  (memory (export "memory") 1 1)
  (func $far (result i32) (i32.load (i32.const 65536)))
  (func (export "_start") (drop (call $far))))
