;; A component of the world wasi:cli/command 0.2: asks for its standard output without end and gives no
;; handle back.
(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "output-stream" (type (sub resource)))))
  (alias export $streams "output-stream" (type $stream))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $stream (type $outer))
    (export "output-stream" (type $stream (eq $outer)))
    (export "get-stdout" (func (result (own $stream))))))
  (core func $get (canon lower (func $stdout "get-stdout")))

  (core module $main
    (import "host" "get" (func $get (result i32)))
    (func (export "run") (result i32)
      (loop $forever (drop (call $get)) (br $forever))
      (i32.const 0)))
  (core instance $host (export "get" (func $get)))
  (core instance $main (instantiate $main (with "host" (instance $host))))

  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))
