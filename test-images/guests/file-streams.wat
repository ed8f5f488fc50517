;; A component of the world wasi:cli/command 0.2: writes a file by streams that do not wait for their outcome,
;; reads it likewise and writes what it read to standard output.
(component
  (import "wasi:io/error@0.2.0" (instance $error
    (export "error" (type (sub resource)))))
  (alias export $error "error" (type $error_type))
  (import "wasi:io/streams@0.2.0" (instance $streams
    (export "input-stream" (type $in (sub resource)))
    (export "output-stream" (type $out (sub resource)))
    (alias outer 1 $error_type (type $outer))
    (export "error" (type $error (eq $outer)))
    (type $failure (variant (case "last-operation-failed" (own $error)) (case "closed")))
    (export "stream-error" (type $stream_error (eq $failure)))
    (export "[method]input-stream.read"
      (func (param "self" (borrow $in)) (param "len" u64)
        (result (result (list u8) (error $stream_error)))))
    (export "[method]output-stream.check-write"
      (func (param "self" (borrow $out)) (result (result u64 (error $stream_error)))))
    (export "[method]output-stream.write"
      (func (param "self" (borrow $out)) (param "contents" (list u8))
        (result (result (error $stream_error)))))
    (export "[method]output-stream.blocking-write-and-flush"
      (func (param "self" (borrow $out)) (param "contents" (list u8))
        (result (result (error $stream_error)))))))
  (alias export $streams "input-stream" (type $in))
  (alias export $streams "output-stream" (type $out))
  (import "wasi:cli/stdout@0.2.0" (instance $stdout
    (alias outer 1 $out (type $outer))
    (export "output-stream" (type $out (eq $outer)))
    (export "get-stdout" (func (result (own $out))))))
  (import "wasi:filesystem/types@0.2.0" (instance $types
    (export "descriptor" (type $descriptor (sub resource)))
    (alias outer 1 $in (type $outer_in))
    (export "input-stream" (type $in (eq $outer_in)))
    (alias outer 1 $out (type $outer_out))
    (export "output-stream" (type $out (eq $outer_out)))
    (type $codes (enum "access" "would-block" "already" "bad-descriptor" "busy" "deadlock" "quota" "exist"
      "file-too-large" "illegal-byte-sequence" "in-progress" "interrupted" "invalid" "io" "is-directory"
      "loop" "too-many-links" "message-size" "name-too-long" "no-device" "no-entry" "no-lock"
      "insufficient-memory" "insufficient-space" "not-directory" "not-empty" "not-recoverable"
      "unsupported" "no-tty" "no-such-device" "overflow" "not-permitted" "pipe" "read-only" "invalid-seek"
      "text-file-busy" "cross-device"))
    (export "error-code" (type $code (eq $codes)))
    (type $flags (flags "read" "write" "file-integrity-sync" "data-integrity-sync" "requested-write-sync"
      "mutate-directory"))
    (export "descriptor-flags" (type $descriptor_flags (eq $flags)))
    (type $path (flags "symlink-follow"))
    (export "path-flags" (type $path_flags (eq $path)))
    (type $open (flags "create" "directory" "exclusive" "truncate"))
    (export "open-flags" (type $open_flags (eq $open)))
    (export "[method]descriptor.open-at"
      (func (param "self" (borrow $descriptor)) (param "path-flags" $path_flags) (param "path" string)
        (param "open-flags" $open_flags) (param "flags" $descriptor_flags)
        (result (result (own $descriptor) (error $code)))))
    (export "[method]descriptor.read-via-stream"
      (func (param "self" (borrow $descriptor)) (param "offset" u64)
        (result (result (own $in) (error $code)))))
    (export "[method]descriptor.write-via-stream"
      (func (param "self" (borrow $descriptor)) (param "offset" u64)
        (result (result (own $out) (error $code)))))
    (export "[method]descriptor.append-via-stream"
      (func (param "self" (borrow $descriptor)) (result (result (own $out) (error $code)))))))
  (alias export $types "descriptor" (type $descriptor))
  (import "wasi:filesystem/preopens@0.2.0" (instance $preopens
    (alias outer 1 $descriptor (type $outer))
    (export "descriptor" (type $descriptor (eq $outer)))
    (export "get-directories" (func (result (list (tuple (own $descriptor) string)))))))

  (core module $memory
    (memory (export "memory") 1)
    (data (i32.const 64) "etc/streams")
    (data (i32.const 96) "one\ntwo\nthree\n")
    (global $next (mut i32) (i32.const 4096))
    (func (export "realloc") (param i32 i32 i32 i32) (result i32)
      (global.get $next)
      (global.set $next
        (i32.and (i32.add (global.get $next) (i32.add (local.get 3) (i32.const 15))) (i32.const -16)))))
  (core instance $memory (instantiate $memory))
  (alias core export $memory "memory" (core memory $bytes))
  (alias core export $memory "realloc" (core func $realloc))
  (core func $get_stdout (canon lower (func $stdout "get-stdout")))
  (core func $get_directories
    (canon lower (func $preopens "get-directories") (memory $bytes) (realloc $realloc)))
  (core func $open (canon lower (func $types "[method]descriptor.open-at") (memory $bytes)))
  (core func $reader (canon lower (func $types "[method]descriptor.read-via-stream") (memory $bytes)))
  (core func $writer (canon lower (func $types "[method]descriptor.write-via-stream") (memory $bytes)))
  (core func $appender (canon lower (func $types "[method]descriptor.append-via-stream") (memory $bytes)))
  (core func $read
    (canon lower (func $streams "[method]input-stream.read") (memory $bytes) (realloc $realloc)))
  (core func $check_write (canon lower (func $streams "[method]output-stream.check-write") (memory $bytes)))
  (core func $write (canon lower (func $streams "[method]output-stream.write") (memory $bytes)))
  (core func $say
    (canon lower (func $streams "[method]output-stream.blocking-write-and-flush") (memory $bytes)))

  (core module $main
    (import "host" "memory" (memory 1))
    (import "host" "get-stdout" (func $get_stdout (result i32)))
    (import "host" "get-directories" (func $get_directories (param i32)))
    (import "host" "open" (func $open (param i32 i32 i32 i32 i32 i32 i32)))
    (import "host" "reader" (func $reader (param i32 i64 i32)))
    (import "host" "writer" (func $writer (param i32 i64 i32)))
    (import "host" "appender" (func $appender (param i32 i32)))
    (import "host" "read" (func $read (param i32 i64 i32)))
    (import "host" "check-write" (func $check_write (param i32 i32)))
    (import "host" "write" (func $write (param i32 i32 i32 i32)))
    (import "host" "say" (func $say (param i32 i32 i32 i32)))
    ;; Every answer is at 16; its first byte is 0 if it is no error, and a handle is at 20.
    (func $well (if (i32.load8_u (i32.const 16)) (then unreachable)))
    (func $handle (result i32) (call $well) (i32.load (i32.const 20)))
    (func $put (param $stream i32) (param $text i32) (param $length i32)
      (call $check_write (local.get $stream) (i32.const 16))
      (call $well)
      (if (i64.lt_u (i64.load (i32.const 24)) (i64.extend_i32_u (local.get $length))) (then unreachable))
      (call $write (local.get $stream) (local.get $text) (local.get $length) (i32.const 16))
      (call $well))
    (func (export "run") (result i32)
      (local $file i32) (local $stream i32)
      (call $get_directories (i32.const 16))
      ;; The first is the root; to create, truncate, read and write.
      (call $open (i32.load (i32.load (i32.const 16))) (i32.const 0) (i32.const 64) (i32.const 11)
        (i32.const 9) (i32.const 3) (i32.const 16))
      (local.set $file (call $handle))
      (call $writer (local.get $file) (i64.const 0) (i32.const 16))
      (local.set $stream (call $handle))
      (call $put (local.get $stream) (i32.const 96) (i32.const 4))
      (call $put (local.get $stream) (i32.const 100) (i32.const 4))
      (call $appender (local.get $file) (i32.const 16))
      (call $put (call $handle) (i32.const 104) (i32.const 6))
      (call $reader (local.get $file) (i64.const 0) (i32.const 16))
      (local.set $stream (call $handle))
      (call $read (local.get $stream) (i64.const 1000) (i32.const 16))
      (call $well)
      (call $say (call $get_stdout) (i32.load (i32.const 20)) (i32.load (i32.const 24)) (i32.const 16))
      (call $well)
      ;; The end of the file is the error "closed", the second one.
      (call $read (local.get $stream) (i64.const 1000) (i32.const 16))
      (i32.ne (i32.const 0x0101)
        (i32.or (i32.load8_u (i32.const 16)) (i32.shl (i32.load8_u (i32.const 20)) (i32.const 8))))))
  (core instance $host
    (export "memory" (memory $bytes))
    (export "get-stdout" (func $get_stdout))
    (export "get-directories" (func $get_directories))
    (export "open" (func $open))
    (export "reader" (func $reader))
    (export "writer" (func $writer))
    (export "appender" (func $appender))
    (export "read" (func $read))
    (export "check-write" (func $check_write))
    (export "write" (func $write))
    (export "say" (func $say)))
  (core instance $main (instantiate $main (with "host" (instance $host))))

  (func $run (result (result)) (canon lift (core func $main "run")))
  (instance $command (export "run" (func $run)))
  (export "wasi:cli/run@0.2.0" (instance $command)))
