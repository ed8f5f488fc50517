#!/usr/bin/env bash
# Fuzzes the crate that lowers configs with libFuzzer, beginning with the corpus of its tests.
#
# usage: fuzz.sh DIR SECONDS     (build, growing corpus and what was found go to DIR)
set -euo pipefail

[[ $# -eq 2 ]] || { echo "usage: fuzz.sh DIR SECONDS" >&2; exit 1; }
mkdir -p "$1/corpus" "$1/found"
dir=$(cd "$1" && pwd)
root=$(cd "$(dirname "$0")/.." && pwd)

# The corpus of the tests has one input a line.
number=0
while IFS= read -r line; do
  number=$((number + 1))
  printf '%s' "$line" >"$dir/corpus/seed-$number"
done <"$root/crates/plan/tests/data/corpus.txt"

# What `cargo fuzz` passes, without the address sanitizer, which needs a nightly compiler and has
# nothing to find in code without `unsafe`.
export RUSTFLAGS="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1"
export CARGO_TARGET_DIR=$dir/target
cargo build --release --locked --target x86_64-unknown-linux-gnu \
  --manifest-path "$root/crates/plan/fuzz/Cargo.toml"

# An input that takes seconds is a mistake like a panic.
exec nice "$CARGO_TARGET_DIR/x86_64-unknown-linux-gnu/release/plan" \
  -max_total_time="$2" -timeout=10 -rss_limit_mb=1024 -max_len=20000 -print_final_stats=1 \
  -dict="$root/crates/plan/fuzz/plan.dict" -artifact_prefix="$dir/found/" "$dir/corpus"
