;; A list of garbage-collected structures that grows without end.
(module
  (type $node (struct (field (ref null $node)) (field i64 i64 i64 i64)))
  (memory (export "memory") 1)
  (func $grow_list (export "_start")
    (local $list (ref null $node))
    (loop $forever
      (local.set $list
        (struct.new $node (local.get $list)
          (i64.const 1) (i64.const 2) (i64.const 3) (i64.const 4)))
      (br $forever))))
