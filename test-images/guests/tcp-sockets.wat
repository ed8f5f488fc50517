;; A component of the world wasi:cli/command 0.2: makes sockets until it gets no more, and closes none. It succeeds
;; if it got hundreds.
(component
  (import "wasi:sockets/network@0.2.0" (instance $network
    (type $errors (enum "unknown" "access-denied" "not-supported" "invalid-argument" "out-of-memory" "timeout"
      "concurrency-conflict" "not-in-progress" "would-block" "invalid-state" "new-socket-limit"
      "address-not-bindable" "address-in-use" "remote-unreachable" "connection-refused" "connection-reset"
      "connection-aborted" "datagram-too-large" "name-unresolvable" "temporary-resolver-failure"
      "permanent-resolver-failure"))
    (export "error-code" (type (eq $errors)))
    (type $families (enum "ipv4" "ipv6"))
    (export "ip-address-family" (type (eq $families)))))
  (alias export $network "error-code" (type $error))
  (alias export $network "ip-address-family" (type $family))
  (import "wasi:sockets/tcp@0.2.0" (instance $tcp
    (export "tcp-socket" (type (sub resource)))))
  (alias export $tcp "tcp-socket" (type $socket))
  (import "wasi:sockets/tcp-create-socket@0.2.0" (instance $make
    (alias outer 1 $error (type $outer-error))
    (export "error-code" (type $error (eq $outer-error)))
    (alias outer 1 $family (type $outer-family))
    (export "ip-address-family" (type $family (eq $outer-family)))
    (alias outer 1 $socket (type $outer-socket))
    (export "tcp-socket" (type $socket (eq $outer-socket)))
    (export "create-tcp-socket"
      (func (param "address-family" $family) (result (result (own $socket) (error $error)))))))

  (core module $storage (memory (export "memory") 1))
  (core instance $storage (instantiate $storage))
  (core func $create
    (canon lower (func $make "create-tcp-socket") (memory $storage "memory")))

  (core module $main
    (import "storage" "memory" (memory 1))
    (import "host" "create" (func $create (param i32 i32)))
    (func (export "run") (result i32) (local $sockets i32)
      (loop $more
        (call $create (i32.const 0) (i32.const 16))
        (if (i32.eqz (i32.load8_u (i32.const 16)))
          (then
            (local.set $sockets (i32.add (local.get $sockets) (i32.const 1)))
            (br $more))))
      (i32.lt_u (local.get $sockets) (i32.const 500))))
  (core instance $host (export "create" (func $create)))
  (core instance $main
    (instantiate $main (with "storage" (instance $storage)) (with "host" (instance $host))))

  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))
