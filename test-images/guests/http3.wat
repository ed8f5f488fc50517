;; A server of wasi:http 0.3. The path says what it does:
;;   /        answers "hello"          /count  how many requests this instance has had, as a digit
;;   /slow    answers after 1.5 s      /sleep  answers after 10 minutes
;;   /trap    traps                    /error  gives the error "destination-not-found"
(component
  (import "wasi:clocks/monotonic-clock@0.3.0" (instance $clock
    (export "wait-for" (func async (param "how-long" u64)))))
  (import "wasi:http/types@0.3.0" (instance $http
    (type $dns_ (record (field "rcode" (option string)) (field "info-code" (option u16))))
    (export "DNS-error-payload" (type $dns (eq $dns_)))
    (type $tls_ (record (field "alert-id" (option u8)) (field "alert-message" (option string))))
    (export "TLS-alert-received-payload" (type $tls (eq $tls_)))
    (type $field_ (record (field "field-name" (option string)) (field "field-size" (option u32))))
    (export "field-size-payload" (type $field (eq $field_)))
    (type $code_ (variant
      (case "DNS-timeout") (case "DNS-error" $dns) (case "destination-not-found")
      (case "destination-unavailable") (case "destination-IP-prohibited")
      (case "destination-IP-unroutable") (case "connection-refused")
      (case "connection-terminated") (case "connection-timeout")
      (case "connection-read-timeout") (case "connection-write-timeout")
      (case "connection-limit-reached") (case "TLS-protocol-error")
      (case "TLS-certificate-error") (case "TLS-alert-received" $tls)
      (case "HTTP-request-denied") (case "HTTP-request-length-required")
      (case "HTTP-request-body-size" (option u64)) (case "HTTP-request-method-invalid")
      (case "HTTP-request-URI-invalid") (case "HTTP-request-URI-too-long")
      (case "HTTP-request-header-section-size" (option u32))
      (case "HTTP-request-header-size" (option $field))
      (case "HTTP-request-trailer-section-size" (option u32))
      (case "HTTP-request-trailer-size" $field) (case "HTTP-response-incomplete")
      (case "HTTP-response-header-section-size" (option u32))
      (case "HTTP-response-header-size" $field) (case "HTTP-response-body-size" (option u64))
      (case "HTTP-response-trailer-section-size" (option u32))
      (case "HTTP-response-trailer-size" $field)
      (case "HTTP-response-transfer-coding" (option string))
      (case "HTTP-response-content-coding" (option string)) (case "HTTP-response-timeout")
      (case "HTTP-upgrade-failed") (case "HTTP-protocol-error") (case "loop-detected")
      (case "configuration-error") (case "internal-error" (option string))))
    (export "error-code" (type $code (eq $code_)))
    (export "fields" (type $fields (sub resource)))
    (export "request" (type $request (sub resource)))
    (export "response" (type $response (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]request.get-path-with-query"
      (func (param "self" (borrow $request)) (result (option string))))
    (type $trailers (future (result (option (own $fields)) (error $code))))
    (type $sent (future (result (error $code))))
    (export "[static]response.new"
      (func (param "headers" (own $fields)) (param "contents" (option (stream u8)))
        (param "trailers" $trailers) (result (tuple (own $response) $sent))))))
  (alias export $http "fields" (type $fields))
  (alias export $http "request" (type $request))
  (alias export $http "response" (type $response))
  (alias export $http "error-code" (type $code))
  (type $body (stream u8))
  (type $trailers (future (result (option (own $fields)) (error $code))))
  (type $sent (future (result (error $code))))

  (core module $libc
    (memory (export "memory") 2)
    ;; What the host gives is short and soon read: it goes round and round in 64 KiB.
    (global $heap (mut i32) (i32.const 0))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (local $at i32)
      (local.set $at (i32.add (i32.const 65536) (global.get $heap)))
      (global.set $heap
        (i32.and (i32.add (global.get $heap) (i32.const 4096)) (i32.const 32767)))
      (local.get $at)))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))

  (core func $path (canon lower (func $http "[method]request.get-path-with-query")
    (memory $memory) (realloc (func $realloc))))
  (core func $fields (canon lower (func $http "[constructor]fields")))
  (core func $new (canon lower (func $http "[static]response.new") (memory $memory)))
  (core func $wait (canon lower (func $clock "wait-for") async (memory $memory)))
  (core func $body_new (canon stream.new $body))
  (core func $body_write (canon stream.write $body async (memory $memory)))
  (core func $body_drop (canon stream.drop-writable $body))
  (core func $trailers_new (canon future.new $trailers))
  (core func $trailers_write (canon future.write $trailers async (memory $memory)))
  (core func $trailers_drop (canon future.drop-writable $trailers))
  (core func $sent_drop (canon future.drop-readable $sent))
  (core func $set_new (canon waitable-set.new))
  (core func $set_drop (canon waitable-set.drop))
  (core func $join (canon waitable.join))
  (core func $subtask_drop (canon subtask.drop))
  (core func $return (canon task.return
    (result (result (own $response) (error $code))) (memory $memory)))
  (core func $request_drop (canon resource.drop $request))
  (core func $context_get (canon context.get i32 0))
  (core func $context_set (canon context.set i32 0))

  (core module $main
    (import "libc" "memory" (memory 2))
    (import "host" "path" (func $path (param i32 i32)))
    (import "host" "fields" (func $fields (result i32)))
    (import "host" "new" (func $new (param i32 i32 i32 i32 i32)))
    (import "host" "wait" (func $wait (param i64) (result i32)))
    (import "host" "body-new" (func $body_new (result i64)))
    (import "host" "body-write" (func $body_write (param i32 i32 i32) (result i32)))
    (import "host" "body-drop" (func $body_drop (param i32)))
    (import "host" "trailers-new" (func $trailers_new (result i64)))
    (import "host" "trailers-write" (func $trailers_write (param i32 i32) (result i32)))
    (import "host" "trailers-drop" (func $trailers_drop (param i32)))
    (import "host" "sent-drop" (func $sent_drop (param i32)))
    (import "host" "set-new" (func $set_new (result i32)))
    (import "host" "set-drop" (func $set_drop (param i32)))
    (import "host" "join" (func $join (param i32 i32)))
    (import "host" "subtask-drop" (func $subtask_drop (param i32)))
    (import "host" "return" (func $return (param i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "host" "request-drop" (func $request_drop (param i32)))
    (import "host" "context-get" (func $context_get (result i32)))
    (import "host" "context-set" (func $context_set (param i32)))

    (data (i32.const 1024) "hello from wasi:http 0.3\n")
    (global $count (mut i32) (i32.const 0))

    ;; Of each of 16 requests that can be there at once, 32 bytes from 4096: whether it is taken, the
    ;; body's and the trailers' writable ends, the set of waitables, where the text is and how long, and
    ;; the text of a number.
    (func $slot (result i32)
      (local $at i32)
      (local.set $at (i32.const 4096))
      (loop $next
        (if (i32.eqz (i32.load (local.get $at)))
          (then
            (i32.store (local.get $at) (i32.const 1))
            (return (local.get $at))))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (br_if $next (i32.lt_u (local.get $at) (i32.const 4608))))
      unreachable)

    ;; Answers with the slot's text, and says what to wait for.
    (func $answer (param $slot i32) (result i32)
      (local $body i64) (local $trailers i64)
      (local.set $body (call $body_new))
      (local.set $trailers (call $trailers_new))
      (call $new (call $fields) (i32.const 1) (i32.wrap_i64 (local.get $body))
        (i32.wrap_i64 (local.get $trailers)) (i32.const 64))
      (call $sent_drop (i32.load (i32.const 68)))
      (i32.store offset=4 (local.get $slot)
        (i32.wrap_i64 (i64.shr_u (local.get $body) (i64.const 32))))
      (i32.store offset=8 (local.get $slot)
        (i32.wrap_i64 (i64.shr_u (local.get $trailers) (i64.const 32))))
      (call $return (i32.const 0) (i32.load (i32.const 64)) (i32.const 0) (i64.const 0)
        (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
      (if (i32.eq
            (call $body_write (i32.load offset=4 (local.get $slot))
              (i32.load offset=16 (local.get $slot)) (i32.load offset=20 (local.get $slot)))
            (i32.const -1))
        (then (return (call $wait_for (local.get $slot) (i32.load offset=4 (local.get $slot))))))
      (call $end_body (local.get $slot)))

    (func $end_body (param $slot i32) (result i32)
      (call $body_drop (i32.load offset=4 (local.get $slot)))
      ;; Zeros: no trailers.
      (if (i32.eq
            (call $trailers_write (i32.load offset=8 (local.get $slot)) (i32.const 512))
            (i32.const -1))
        (then (return (call $wait_for (local.get $slot) (i32.load offset=8 (local.get $slot))))))
      (call $end (local.get $slot)))

    (func $end (param $slot i32) (result i32)
      (call $trailers_drop (i32.load offset=8 (local.get $slot)))
      (if (i32.load offset=12 (local.get $slot))
        (then (call $set_drop (i32.load offset=12 (local.get $slot)))))
      (memory.fill (local.get $slot) (i32.const 0) (i32.const 32))
      (i32.const 0))

    ;; WAIT for the slot's set, with this in it.
    (func $wait_for (param $slot i32) (param $waitable i32) (result i32)
      (if (i32.eqz (i32.load offset=12 (local.get $slot)))
        (then (i32.store offset=12 (local.get $slot) (call $set_new))))
      (call $join (local.get $waitable) (i32.load offset=12 (local.get $slot)))
      (i32.or (i32.const 2) (i32.shl (i32.load offset=12 (local.get $slot)) (i32.const 4))))

    (func (export "handle") (param $request i32) (result i32)
      (local $path i32) (local $len i32) (local $kind i32) (local $slot i32) (local $task i32)
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (local.set $slot (call $slot))
      (call $context_set (local.get $slot))
      (i32.store offset=16 (local.get $slot) (i32.const 1024))
      (i32.store offset=20 (local.get $slot) (i32.const 25))
      (call $path (local.get $request) (i32.const 64))
      (local.set $path (i32.load (i32.const 68)))
      (local.set $len (i32.load (i32.const 72)))
      (call $request_drop (local.get $request))
      (local.set $kind
        (if (result i32) (i32.gt_u (local.get $len) (i32.const 2))
          (then (i32.load16_u offset=1 (local.get $path)))
          (else (i32.const 0))))
      (if (i32.eq (local.get $kind) (i32.const 0x7274)) ;; tr
        (then unreachable))
      (if (i32.eq (local.get $kind) (i32.const 0x7265)) ;; er
        (then
          (call $return (i32.const 1) (i32.const 2) (i32.const 0) (i64.const 0)
            (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
          (memory.fill (local.get $slot) (i32.const 0) (i32.const 32))
          (return (i32.const 0))))
      (if (i32.eq (local.get $kind) (i32.const 0x6f63)) ;; co
        (then
          (i32.store8 offset=24 (local.get $slot)
            (i32.add (i32.const 48) (i32.rem_u (global.get $count) (i32.const 10))))
          (i32.store offset=16 (local.get $slot) (i32.add (local.get $slot) (i32.const 24)))
          (i32.store offset=20 (local.get $slot) (i32.const 1))))
      (if (i32.eq (local.get $kind) (i32.const 0x6c73)) ;; sl
        (then
          (local.set $task (call $wait
            (select (i64.const 1500000000) (i64.const 600000000000)
              (i32.eq (i32.load8_u offset=3 (local.get $path)) (i32.const 0x6f))))) ;; slo
          ;; 2 is "returned", and there is no subtask then.
          (if (i32.ne (i32.and (local.get $task) (i32.const 15)) (i32.const 2))
            (then (return
              (call $wait_for (local.get $slot) (i32.shr_u (local.get $task) (i32.const 4))))))))
      (call $answer (local.get $slot)))

    ;; An event: 1 of a subtask, 3 of a stream's writable end, 5 of a future's.
    (func (export "callback") (param $event i32) (param $waitable i32) (param $code i32) (result i32)
      (local $slot i32)
      (local.set $slot (call $context_get))
      (call $join (local.get $waitable) (i32.const 0))
      (if (i32.eq (local.get $event) (i32.const 1))
        (then
          (call $subtask_drop (local.get $waitable))
          (return (call $answer (local.get $slot)))))
      (if (i32.eq (local.get $event) (i32.const 3))
        (then (return (call $end_body (local.get $slot)))))
      (call $end (local.get $slot))))
  (core instance $host
    (export "path" (func $path)) (export "fields" (func $fields)) (export "new" (func $new))
    (export "wait" (func $wait)) (export "body-new" (func $body_new))
    (export "body-write" (func $body_write)) (export "body-drop" (func $body_drop))
    (export "trailers-new" (func $trailers_new)) (export "trailers-write" (func $trailers_write))
    (export "trailers-drop" (func $trailers_drop)) (export "sent-drop" (func $sent_drop))
    (export "set-new" (func $set_new)) (export "set-drop" (func $set_drop))
    (export "join" (func $join)) (export "subtask-drop" (func $subtask_drop))
    (export "return" (func $return)) (export "request-drop" (func $request_drop))
    (export "context-get" (func $context_get)) (export "context-set" (func $context_set)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc)) (with "host" (instance $host))))

  (func $handle async (param "request" (own $request))
    (result (result (own $response) (error $code)))
    (canon lift (core func $main "handle") async (memory $memory)
      (callback (func $main "callback"))))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/handler@0.3.0" (instance $handler)))
