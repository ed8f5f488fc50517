;; What every guest of these tests has: imports, places in memory, and functions to tell something. Tests add
;; the name at 300 and the exported `run`.
(import "wasi:cli/stdout@0.2.0" "get-stdout"
  (func $stdout (result i32)))
(import "wasi:io/streams@0.2.0" "[method]output-stream.blocking-write-and-flush"
  (func $write (param i32 i32 i32 i32)))
(import "wasi:io/streams@0.2.0" "[method]input-stream.blocking-read"
  (func $read (param i32 i64 i32)))
(import "wasi:io/poll@0.2.0" "[method]pollable.block"
  (func $block (param i32)))
(import "wasi:sockets/instance-network@0.2.0" "instance-network"
  (func $network (result i32)))
(import "wasi:sockets/tcp-create-socket@0.2.0" "create-tcp-socket"
  (func $create_tcp (param i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.start-bind"
  (func $tcp_start_bind (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.finish-bind"
  (func $tcp_finish_bind (param i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.start-listen"
  (func $start_listen (param i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.finish-listen"
  (func $finish_listen (param i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.accept"
  (func $accept (param i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.start-connect"
  (func $start_connect (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.finish-connect"
  (func $finish_connect (param i32 i32)))
(import "wasi:sockets/tcp@0.2.0" "[method]tcp-socket.subscribe"
  (func $subscribe (param i32) (result i32)))
(import "wasi:sockets/udp-create-socket@0.2.0" "create-udp-socket"
  (func $create_udp (param i32 i32)))
(import "wasi:sockets/udp@0.2.0" "[method]udp-socket.start-bind"
  (func $udp_start_bind (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:sockets/udp@0.2.0" "[method]udp-socket.finish-bind"
  (func $udp_finish_bind (param i32 i32)))
(import "wasi:sockets/udp@0.2.0" "[method]udp-socket.stream"
  (func $udp_stream (param i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32)))
(import "wasi:sockets/udp@0.2.0" "[method]outgoing-datagram-stream.check-send"
  (func $check_send (param i32 i32)))
(import "wasi:sockets/udp@0.2.0" "[method]outgoing-datagram-stream.send"
  (func $send (param i32 i32 i32 i32)))
(import "wasi:sockets/ip-name-lookup@0.2.0" "resolve-addresses"
  (func $resolve (param i32 i32 i32 i32)))
(import "wasi:sockets/ip-name-lookup@0.2.0" "[method]resolve-address-stream.resolve-next-address"
  (func $next (param i32 i32)))
(import "wasi:sockets/ip-name-lookup@0.2.0" "[method]resolve-address-stream.subscribe"
  (func $names (param i32) (result i32)))
(memory (export "memory") 2)
(global $heap (mut i32) (i32.const 65536))
(global $socket (mut i32) (i32.const 0))
(global $net (mut i32) (i32.const 0))
;; The stages, 16 bytes apart.
(data (i32.const 0) "create ") (data (i32.const 16) "bind ") (data (i32.const 32) "listen ")
(data (i32.const 48) "accept ") (data (i32.const 64) "connect ") (data (i32.const 80) "resolve ")
(data (i32.const 96) "send ")
;; Results are at 128, the result of a write at 112.
(data (i32.const 200) "\7f\00\00\01")
(data (i32.const 700) "hello") (data (i32.const 710) "sent")
(func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
  (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
  (global.get $heap)
  (global.set $heap (i32.add (global.get $heap) (local.get 3))))
(func $print (param $at i32) (param $length i32)
  (call $write (call $stdout) (local.get $at) (local.get $length) (i32.const 112)))
(func $digit (param $at i32) (param $digit i32)
  (i32.store8 (local.get $at) (i32.add (i32.const 48) (local.get $digit))))
;; A stage, and a code of two digits.
(func $fail (param $at i32) (param $length i32) (param $code i32)
  (call $print (local.get $at) (local.get $length))
  (call $digit (i32.const 750) (i32.div_u (local.get $code) (i32.const 10)))
  (call $digit (i32.const 751) (i32.rem_u (local.get $code) (i32.const 10)))
  (call $print (i32.const 750) (i32.const 2)))
