;; Wants 1 GiB from the beginning and touches none of it.
(module
  (memory (export "memory") 16384)
  (func (export "_start")))
