;; A server of wasi:http 0.2. The path says what it does:
;;   /            answers "hello"                   /count  how many requests this instance has had, a digit
;;   /echo        sends the request's body back     /big    answers 1 GiB
;;   /slow        answers after 1.5 s               /sleep  answers after 10 minutes
;;   /trap        traps                             /late   traps after the beginning of an answer
;;   /loop        computes for ever                 /grow   answers "more" or "less": can it have 64 MiB?
;;   /log         writes a line to stdout           /env    answers the value of the first variable
;;   /silent      returns without an answer         /burn   computes for a while, then answers
;;   /out?H:P/X   asks http://H:P/X and answers its status, or 600 + the error code
(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $io_error))
  (import "wasi:io/poll@0.2.0" (instance $poll
    (export "pollable" (type $pollable (sub resource)))
    (export "[method]pollable.block" (func (param "self" (borrow $pollable))))))
  (alias export $poll "pollable" (type $pollable))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (alias outer 1 $io_error (type $outer_error))
    (export "error" (type $error (eq $outer_error)))
    (alias outer 1 $pollable (type $outer_pollable))
    (export "pollable" (type $pollable (eq $outer_pollable)))
    (type $failure (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream_error (eq $failure)))
    (export "input-stream" (type $input (sub resource)))
    (export "output-stream" (type $output (sub resource)))
    (export "[method]input-stream.blocking-read"
      (func (param "self" (borrow $input)) (param "len" u64)
        (result (result (list u8) (error $stream_error)))))
    (export "[method]output-stream.check-write"
      (func (param "self" (borrow $output)) (result (result u64 (error $stream_error)))))
    (export "[method]output-stream.write"
      (func (param "self" (borrow $output)) (param "contents" (list u8))
        (result (result (error $stream_error)))))
    (export "[method]output-stream.blocking-flush"
      (func (param "self" (borrow $output)) (result (result (error $stream_error)))))
    (export "[method]output-stream.subscribe"
      (func (param "self" (borrow $output)) (result (own $pollable))))))
  (alias export $streams "input-stream" (type $input))
  (alias export $streams "output-stream" (type $output))
  (import "wasi:clocks/monotonic-clock@0.2.0" (instance $clock
    (alias outer 1 $pollable (type $outer_pollable))
    (export "pollable" (type $pollable (eq $outer_pollable)))
    (export "subscribe-duration" (func (param "when" u64) (result (own $pollable))))))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $output (type $outer))
    (export "output-stream" (type $output (eq $outer)))
    (export "get-stdout" (func (result (own $output))))))
  (import "wasi:cli/environment@0.2.0" (instance $environment
    (export "get-environment" (func (result (list (tuple string string)))))))
  (import "wasi:http/types@0.2.0" (instance $http
    (alias outer 1 $input (type $outer_input))
    (export "input-stream" (type $input (eq $outer_input)))
    (alias outer 1 $output (type $outer_output))
    (export "output-stream" (type $output (eq $outer_output)))
    (alias outer 1 $pollable (type $outer_pollable))
    (export "pollable" (type $pollable (eq $outer_pollable)))
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
    (type $scheme_ (variant (case "HTTP") (case "HTTPS") (case "other" string)))
    (export "scheme" (type $scheme (eq $scheme_)))
    (export "fields" (type $fields (sub resource)))
    (export "incoming-request" (type $request (sub resource)))
    (export "incoming-body" (type $incoming_body (sub resource)))
    (export "response-outparam" (type $outparam (sub resource)))
    (export "outgoing-response" (type $response (sub resource)))
    (export "outgoing-body" (type $outgoing_body (sub resource)))
    (export "outgoing-request" (type $asked (sub resource)))
    (export "request-options" (type $options (sub resource)))
    (export "future-incoming-response" (type $future (sub resource)))
    (export "incoming-response" (type $told (sub resource)))
    (export "[constructor]fields" (func (result (own $fields))))
    (export "[method]incoming-request.path-with-query"
      (func (param "self" (borrow $request)) (result (option string))))
    (export "[method]incoming-request.consume"
      (func (param "self" (borrow $request)) (result (result (own $incoming_body)))))
    (export "[method]incoming-body.stream"
      (func (param "self" (borrow $incoming_body)) (result (result (own $input)))))
    (export "[constructor]outgoing-response"
      (func (param "headers" (own $fields)) (result (own $response))))
    (export "[method]outgoing-response.body"
      (func (param "self" (borrow $response)) (result (result (own $outgoing_body)))))
    (export "[static]response-outparam.set"
      (func (param "param" (own $outparam))
        (param "response" (result (own $response) (error $code)))))
    (export "[method]outgoing-body.write"
      (func (param "self" (borrow $outgoing_body)) (result (result (own $output)))))
    (export "[static]outgoing-body.finish"
      (func (param "this" (own $outgoing_body)) (param "trailers" (option (own $fields)))
        (result (result (error $code)))))
    (export "[constructor]outgoing-request"
      (func (param "headers" (own $fields)) (result (own $asked))))
    (export "[method]outgoing-request.set-authority"
      (func (param "self" (borrow $asked)) (param "authority" (option string)) (result (result))))
    (export "[method]outgoing-request.set-path-with-query"
      (func (param "self" (borrow $asked)) (param "path-with-query" (option string))
        (result (result))))
    (export "[method]outgoing-request.set-scheme"
      (func (param "self" (borrow $asked)) (param "scheme" (option $scheme)) (result (result))))
    (export "[method]future-incoming-response.subscribe"
      (func (param "self" (borrow $future)) (result (own $pollable))))
    (export "[method]future-incoming-response.get"
      (func (param "self" (borrow $future))
        (result (option (result (result (own $told) (error $code)))))))
    (export "[method]incoming-response.status"
      (func (param "self" (borrow $told)) (result u16)))))
  (alias export $http "incoming-request" (type $request))
  (alias export $http "incoming-body" (type $incoming_body))
  (alias export $http "response-outparam" (type $outparam))
  (alias export $http "outgoing-request" (type $asked))
  (alias export $http "request-options" (type $options))
  (alias export $http "future-incoming-response" (type $future))
  (alias export $http "error-code" (type $code))
  (import "wasi:http/outgoing-handler@0.2.0" (instance $outgoing
    (alias outer 1 $asked (type $asked_))
    (export "outgoing-request" (type $asked (eq $asked_)))
    (alias outer 1 $options (type $options_))
    (export "request-options" (type $options (eq $options_)))
    (alias outer 1 $future (type $future_))
    (export "future-incoming-response" (type $future (eq $future_)))
    (alias outer 1 $code (type $code_))
    (export "error-code" (type $code (eq $code_)))
    (export "handle"
      (func (param "request" (own $asked)) (param "options" (option (own $options)))
        (result (result (own $future) (error $code)))))))

  (core module $libc
    (memory (export "memory") 4)
    ;; Where the next thing that the host gives is put. 64 KiB are the program's own, 64 KiB the pattern of
    ;; large answers.
    (global $heap (export "heap") (mut i32) (i32.const 131072))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
      (global.get $heap)
      (global.set $heap (i32.add (global.get $heap) (local.get 3)))))
  (core instance $libc (instantiate $libc))
  (alias core export $libc "memory" (core memory $memory))
  (alias core export $libc "realloc" (core func $realloc))

  (core func $path (canon lower (func $http "[method]incoming-request.path-with-query")
    (memory $memory) (realloc (func $realloc))))
  (core func $consume (canon lower (func $http "[method]incoming-request.consume") (memory $memory)))
  (core func $stream (canon lower (func $http "[method]incoming-body.stream") (memory $memory)))
  (core func $read (canon lower (func $streams "[method]input-stream.blocking-read")
    (memory $memory) (realloc (func $realloc))))
  (core func $check (canon lower (func $streams "[method]output-stream.check-write") (memory $memory)))
  (core func $write (canon lower (func $streams "[method]output-stream.write") (memory $memory)))
  (core func $flush (canon lower (func $streams "[method]output-stream.blocking-flush") (memory $memory)))
  (core func $ready (canon lower (func $streams "[method]output-stream.subscribe")))
  (core func $block (canon lower (func $poll "[method]pollable.block")))
  (core func $after (canon lower (func $clock "subscribe-duration")))
  (core func $get_stdout (canon lower (func $stdout "get-stdout")))
  (core func $env (canon lower (func $environment "get-environment")
    (memory $memory) (realloc (func $realloc))))
  (core func $fields (canon lower (func $http "[constructor]fields")))
  (core func $response (canon lower (func $http "[constructor]outgoing-response")))
  (core func $body (canon lower (func $http "[method]outgoing-response.body") (memory $memory)))
  (core func $set (canon lower (func $http "[static]response-outparam.set")
    (memory $memory) (realloc (func $realloc))))
  (core func $open (canon lower (func $http "[method]outgoing-body.write") (memory $memory)))
  (core func $finish (canon lower (func $http "[static]outgoing-body.finish")
    (memory $memory) (realloc (func $realloc))))
  (core func $request (canon lower (func $http "[constructor]outgoing-request")))
  (core func $authority (canon lower (func $http "[method]outgoing-request.set-authority")
    (memory $memory)))
  (core func $target (canon lower (func $http "[method]outgoing-request.set-path-with-query")
    (memory $memory)))
  (core func $scheme (canon lower (func $http "[method]outgoing-request.set-scheme")
    (memory $memory)))
  (core func $send (canon lower (func $outgoing "handle")
    (memory $memory) (realloc (func $realloc))))
  (core func $told (canon lower (func $http "[method]future-incoming-response.subscribe")))
  (core func $get (canon lower (func $http "[method]future-incoming-response.get")
    (memory $memory) (realloc (func $realloc))))
  (core func $status (canon lower (func $http "[method]incoming-response.status")))
  (core func $drop_output (canon resource.drop $output))
  (core func $drop_pollable (canon resource.drop $pollable))

  (core module $main
    (import "libc" "memory" (memory 4))
    (import "libc" "heap" (global $heap (mut i32)))
    (import "host" "path" (func $path (param i32 i32)))
    (import "host" "consume" (func $consume (param i32 i32)))
    (import "host" "stream" (func $stream (param i32 i32)))
    (import "host" "read" (func $read (param i32 i64 i32)))
    (import "host" "check" (func $check (param i32 i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "flush" (func $flush (param i32 i32)))
    (import "host" "ready" (func $ready (param i32) (result i32)))
    (import "host" "block" (func $block (param i32)))
    (import "host" "after" (func $after (param i64) (result i32)))
    (import "host" "get-stdout" (func $get_stdout (result i32)))
    (import "host" "env" (func $env (param i32)))
    (import "host" "fields" (func $fields (result i32)))
    (import "host" "response" (func $response (param i32) (result i32)))
    (import "host" "body" (func $body (param i32 i32)))
    (import "host" "set" (func $set (param i32 i32 i32 i32 i64 i32 i32 i32 i32)))
    (import "host" "open" (func $open (param i32 i32)))
    (import "host" "finish" (func $finish (param i32 i32 i32 i32)))
    (import "host" "request" (func $request (param i32) (result i32)))
    (import "host" "authority" (func $authority (param i32 i32 i32 i32) (result i32)))
    (import "host" "target" (func $target (param i32 i32 i32 i32) (result i32)))
    (import "host" "scheme" (func $scheme (param i32 i32 i32 i32 i32) (result i32)))
    (import "host" "send" (func $send (param i32 i32 i32 i32)))
    (import "host" "told" (func $told (param i32) (result i32)))
    (import "host" "get" (func $get (param i32 i32)))
    (import "host" "status" (func $status (param i32) (result i32)))
    (import "host" "drop-output" (func $drop_output (param i32)))
    (import "host" "drop-pollable" (func $drop_pollable (param i32)))

    (data (i32.const 1024) "hello from wasi:http 0.2\n")
    (data (i32.const 1056) "a request\n")
    (data (i32.const 1072) "moreless")
    (global $count (mut i32) (i32.const 0))
    (global $outgoing_body (mut i32) (i32.const 0))

    ;; Begins the answer; its stream.
    (func $begin (param $out i32) (result i32)
      (local $response i32)
      (local.set $response (call $response (call $fields)))
      (call $body (local.get $response) (i32.const 16))
      (global.set $outgoing_body (i32.load (i32.const 20)))
      (call $open (global.get $outgoing_body) (i32.const 16))
      (call $set (local.get $out) (i32.const 0) (local.get $response)
        (i32.const 0) (i64.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0))
      (i32.load (i32.const 20)))

    (func $end (param $stream i32)
      (call $drop_output (local.get $stream))
      (call $finish (global.get $outgoing_body) (i32.const 0) (i32.const 0) (i32.const 32)))

    (func $wait (param $pollable i32)
      (call $block (local.get $pollable))
      (call $drop_pollable (local.get $pollable)))

    ;; Writes it all, in pieces as the host takes them; 0 if that failed.
    (func $write_all (param $stream i32) (param $at i32) (param $len i32) (result i32)
      (local $can i32)
      (loop $more
        (if (i32.eqz (local.get $len)) (then (return (i32.const 1))))
        (call $check (local.get $stream) (i32.const 16))
        (if (i32.load8_u (i32.const 16)) (then (return (i32.const 0))))
        (local.set $can (i32.load (i32.const 24)))
        (if (i32.eqz (local.get $can))
          (then (call $wait (call $ready (local.get $stream))) (br $more)))
        (if (i32.gt_u (local.get $can) (local.get $len))
          (then (local.set $can (local.get $len))))
        (call $write (local.get $stream) (local.get $at) (local.get $can) (i32.const 16))
        (if (i32.load8_u (i32.const 16)) (then (return (i32.const 0))))
        (local.set $at (i32.add (local.get $at) (local.get $can)))
        (local.set $len (i32.sub (local.get $len) (local.get $can)))
        (br $more))
      unreachable)

    (func $say (param $out i32) (param $at i32) (param $len i32)
      (local $stream i32)
      (local.set $stream (call $begin (local.get $out)))
      (drop (call $write_all (local.get $stream) (local.get $at) (local.get $len)))
      (call $end (local.get $stream)))

    (func $number (param $out i32) (param $number i32)
      (local $at i32)
      (local.set $at (i32.const 2048))
      (loop $digits
        (local.set $at (i32.sub (local.get $at) (i32.const 1)))
        (i32.store8 (local.get $at)
          (i32.add (i32.const 48) (i32.rem_u (local.get $number) (i32.const 10))))
        (local.set $number (i32.div_u (local.get $number) (i32.const 10)))
        (br_if $digits (local.get $number)))
      (call $say (local.get $out) (local.get $at) (i32.sub (i32.const 2048) (local.get $at))))

    (func $echo (param $request i32) (param $out i32)
      (local $input i32) (local $output i32) (local $heap i32)
      (call $consume (local.get $request) (i32.const 16))
      (call $stream (i32.load (i32.const 20)) (i32.const 16))
      (local.set $input (i32.load (i32.const 20)))
      (local.set $output (call $begin (local.get $out)))
      (local.set $heap (global.get $heap))
      (block $over
        (loop $more
          (global.set $heap (local.get $heap))
          (call $read (local.get $input) (i64.const 65536) (i32.const 40))
          (br_if $over (i32.load8_u (i32.const 40)))
          (br_if $over (i32.eqz
            (call $write_all (local.get $output) (i32.load (i32.const 44)) (i32.load (i32.const 48)))))
          (br $more)))
      (call $end (local.get $output)))

    (func $big (param $out i32)
      (local $output i32) (local $pieces i32)
      (local.set $output (call $begin (local.get $out)))
      (local.set $pieces (i32.const 16384))
      (block $over
        (loop $more
          (br_if $over (i32.eqz
            (call $write_all (local.get $output) (i32.const 65536) (i32.const 65536))))
          (local.set $pieces (i32.sub (local.get $pieces) (i32.const 1)))
          (br_if $more (local.get $pieces))))
      (call $end (local.get $output)))

    ;; The path is /out?HOST:PORT/PATH.
    (func $ask (param $out i32) (param $path i32) (param $len i32)
      (local $request i32) (local $host i32) (local $slash i32) (local $future i32)
      (local.set $host (i32.add (local.get $path) (i32.const 5)))
      (local.set $slash (local.get $host))
      (loop $more
        (local.set $slash (i32.add (local.get $slash) (i32.const 1)))
        (br_if $more (i32.ne (i32.load8_u (local.get $slash)) (i32.const 47))))
      (local.set $request (call $request (call $fields)))
      (drop (call $authority (local.get $request) (i32.const 1) (local.get $host)
        (i32.sub (local.get $slash) (local.get $host))))
      (drop (call $target (local.get $request) (i32.const 1) (local.get $slash)
        (i32.sub (i32.add (local.get $path) (local.get $len)) (local.get $slash))))
      (drop (call $scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
      (call $send (local.get $request) (i32.const 0) (i32.const 0) (i32.const 256))
      (if (i32.load8_u (i32.const 256))
        (then
          (call $number (local.get $out)
            (i32.add (i32.const 600) (i32.load8_u (i32.const 264))))
          (return)))
      (local.set $future (i32.load (i32.const 264)))
      (call $wait (call $told (local.get $future)))
      (call $get (local.get $future) (i32.const 256))
      (call $number (local.get $out)
        (if (result i32) (i32.load8_u (i32.const 272))
          (then (i32.add (i32.const 600) (i32.load8_u (i32.const 280))))
          (else (call $status (i32.load (i32.const 280)))))))

    (func $log
      (local $stdout i32)
      (local.set $stdout (call $get_stdout))
      (drop (call $write_all (local.get $stdout) (i32.const 1056) (i32.const 10)))
      (call $drop_output (local.get $stdout)))

    (func $burn
      (local $left i32)
      (local.set $left (i32.const 300000000))
      (loop $more
        (local.set $left (i32.sub (local.get $left) (i32.const 1)))
        (br_if $more (local.get $left))))

    (func $handle (export "handle") (param $request i32) (param $out i32)
      (local $path i32) (local $len i32) (local $kind i32)
      (global.set $count (i32.add (global.get $count) (i32.const 1)))
      (call $path (local.get $request) (i32.const 16))
      (local.set $path (i32.load (i32.const 20)))
      (local.set $len (i32.load (i32.const 24)))
      ;; The two letters after the slash.
      (local.set $kind
        (if (result i32) (i32.gt_u (local.get $len) (i32.const 2))
          (then (i32.load16_u offset=1 (local.get $path)))
          (else (i32.const 0))))
      (if (i32.eq (local.get $kind) (i32.const 0x6f63)) ;; co
        (then (call $number (local.get $out) (global.get $count)) (return)))
      (if (i32.eq (local.get $kind) (i32.const 0x6365)) ;; ec
        (then (call $echo (local.get $request) (local.get $out)) (return)))
      (if (i32.eq (local.get $kind) (i32.const 0x6962)) ;; bi
        (then (call $big (local.get $out)) (return)))
      (if (i32.eq (local.get $kind) (i32.const 0x7562)) ;; bu
        (then (call $burn)))
      (if (i32.eq (local.get $kind) (i32.const 0x6c73)) ;; sl
        (then (call $wait (call $after
          (select (i64.const 1500000000) (i64.const 600000000000)
            (i32.eq (i32.load8_u offset=3 (local.get $path)) (i32.const 0x6f))))))) ;; slo
      (if (i32.eq (local.get $kind) (i32.const 0x7274)) ;; tr
        (then unreachable))
      (if (i32.eq (local.get $kind) (i32.const 0x616c)) ;; la
        (then
          (drop (call $write_all (call $begin (local.get $out)) (i32.const 1024) (i32.const 25)))
          unreachable))
      (if (i32.eq (local.get $kind) (i32.const 0x6f6c)) ;; lo
        (then
          (if (i32.eq (i32.load8_u offset=3 (local.get $path)) (i32.const 0x67)) ;; log
            (then (call $log))
            (else (loop $for_ever (br $for_ever))))))
      (if (i32.eq (local.get $kind) (i32.const 0x7267)) ;; gr
        (then
          (call $say (local.get $out)
            (select (i32.const 1076) (i32.const 1072)
              (i32.eq (memory.grow (i32.const 1024)) (i32.const -1)))
            (i32.const 4))
          (return)))
      (if (i32.eq (local.get $kind) (i32.const 0x6e65)) ;; en
        (then
          (call $env (i32.const 16))
          (call $say (local.get $out)
            (i32.load offset=8 (i32.load (i32.const 16)))
            (i32.load offset=12 (i32.load (i32.const 16))))
          (return)))
      (if (i32.eq (local.get $kind) (i32.const 0x6973)) ;; si
        (then (return)))
      (if (i32.eq (local.get $kind) (i32.const 0x756f)) ;; ou
        (then (call $ask (local.get $out) (local.get $path) (local.get $len)) (return)))
      (call $say (local.get $out) (i32.const 1024) (i32.const 25))))
  (core instance $host
    (export "path" (func $path)) (export "consume" (func $consume)) (export "stream" (func $stream))
    (export "read" (func $read)) (export "check" (func $check)) (export "write" (func $write))
    (export "flush" (func $flush)) (export "ready" (func $ready)) (export "block" (func $block))
    (export "after" (func $after)) (export "get-stdout" (func $get_stdout)) (export "env" (func $env))
    (export "fields" (func $fields)) (export "response" (func $response)) (export "body" (func $body))
    (export "set" (func $set)) (export "open" (func $open)) (export "finish" (func $finish))
    (export "request" (func $request)) (export "authority" (func $authority))
    (export "target" (func $target)) (export "scheme" (func $scheme)) (export "send" (func $send))
    (export "told" (func $told)) (export "get" (func $get)) (export "status" (func $status))
    (export "drop-output" (func $drop_output)) (export "drop-pollable" (func $drop_pollable)))
  (core instance $main (instantiate $main
    (with "libc" (instance $libc)) (with "host" (instance $host))))

  (func $handle (param "request" (own $request)) (param "response-out" (own $outparam))
    (canon lift (core func $main "handle")))
  (instance $handler (export "handle" (func $handle)))
  (export "wasi:http/incoming-handler@0.2.0" (instance $handler)))
