# hull: build, test and install. `make help` lists the targets.

PREFIX ?= /usr
DESTDIR ?=
CARGO ?= cargo
# The end-to-end tests share one machine's mounts, cgroups and two cores.
E2E_THREADS ?= 2
# CLIENTS=no leaves out containerd 2.x, crictl and their tests, for machines without a recent Go.
CLIENTS ?= yes
# How long `make fuzz` fuzzes, and how many configs `make test-soak` gives to runc and hull.
FUZZ_SECONDS ?= 600
SOAK_CASES ?= 10000
# VM=no leaves out the tests in the virtual machine, for machines without QEMU.
VM ?= yes

TARGET := $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
RELEASE := $(TARGET)/x86_64-unknown-linux-gnu/release
BINARIES := containerd-shim-hull-v1 hull hull-wasm hull-wasmc

# What links wasmtime is tested by calls of its own, as it is built, and not optimised: linking a test of
# the compiler for release takes minutes.
WASM := hull-wasm-engine hull-wasm-runner hull-wasm-compiler

# All other crates but the one of the end-to-end tests and the bench's yardstick.
UNITS := --workspace --exclude hull-e2e --exclude hull-null-shim $(WASM:%=--exclude %) --features hull-shim/fault-points

# What tests, demo and bench run: the release build, never a second one.
export HULL_BIN_DIR := $(RELEASE)
export HULL_IMAGES := $(CURDIR)/target/images
export HULL_CLIENTS := $(if $(filter no,$(CLIENTS)),,$(CURDIR)/target/clients)
export HULL_VM := $(CURDIR)/target/vm

# Left to right: containerd and its clients, what the build needs, what the tests look with.
PACKAGES := containerd runc containernetworking-plugins busybox-static \
	gcc g++ libc6-dev binutils libseccomp-dev pkg-config protobuf-compiler python3 \
	clang-14 lld-14 wasi-libc libclang-rt-14-dev-wasm32 \
	strace lsof iproute2 procps util-linux
ifneq ($(VM),no)
PACKAGES += qemu-system-x86 e2fsprogs
endif

# Whoever starts us in the background or by nohup has interrupts and hang-ups ignored, which programs
# inherit and `hull` heeds; the tests send them.
DEFAULT_SIGNALS := env --default-signal

# The hierarchies of cgroup v1 that this machine has.
V1 := $(shell awk '$$3 == "cgroup" { print $$2 }' /proc/mounts)

# Fails if anything of the machine is another than before: mounts, cgroups, names in /run, ...
FOOTPRINT := $(CARGO) run --quiet --locked -p hull-e2e --bin hull-footprint --

# Runs something where /run is memory, as it is wherever systemd is PID 1: on a disk the daemon can have to wait for
# the disk's journal, and the trees of the differential take a third of its time.
RUN_IN_MEMORY := unshare --mount sh -c 'mount -t tmpfs -o mode=755 run /run && exec "$$@"' --

HULL_VM_RUN := $(CARGO) run --quiet --locked -p hull-e2e --bin hull-vm

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help deps build images images-full clients demo test test-without-release test-full test-soak test-soak-contract fuzz vm vm-all \
	check layers bench bench-check wasmtime null-shim install clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

deps: ## install the Debian packages that build and tests need (root)
	@.ci/deps.sh $(PACKAGES)

# One call for each that links wasmtime: in one call, the runner would get the compiler's features.
build: ## build the release binaries
	$(CARGO) build --release --locked
	$(CARGO) build --release --locked -p hull-cli
	$(CARGO) build --release --locked -p hull-wasm-runner
	$(CARGO) build --release --locked -p hull-wasm-compiler

images: ## build the test images into target/images
	$(CARGO) run --quiet --locked -p hull-images -- build $(HULL_IMAGES)

# Python and JavaScript with their interpreters: components of 18 and 13 MB.
images-full: ## build the large test guests with tools from PyPI and npm, which go to target/guest-tools
	@.ci/guest-tools.sh $(CURDIR)/target/guest-tools
	$(CARGO) run --quiet --locked -p hull-images -- full $(HULL_IMAGES) $(CURDIR)/target/guest-tools

clients: ## build containerd 2.x, runc and crictl from their Go modules into target/clients
	@.ci/clients.sh target/clients

demo: deps build images ## run containers without and with containerd and show what happens (root)
	$(CARGO) run --quiet --locked -p hull-e2e --bin hull-demo

# Linking the release binaries keeps one processor busy for ten minutes; another does meanwhile what needs none of them.
test: deps ## run every test (root)
	@$(MAKE) --no-print-directory build & build=$$!; \
		$(MAKE) --no-print-directory test-without-release; made=$$?; \
		[ $$made = 0 ] || kill $$build; \
		wait $$build && exit $$made
	HULL_WASMC=$(RELEASE)/hull-wasmc $(CARGO) test --locked -p hull-wasm-runner
	$(DEFAULT_SIGNALS) $(FOOTPRINT) $(CARGO) test --locked -p hull-e2e -- --test-threads=$(E2E_THREADS)
	@echo "test: the guests in Python and JavaScript have a test of their own: make test-full" >&2
ifeq ($(V1),)
	@echo "test: this machine has no cgroup v1: NOTHING WAS TESTED ON V1 OF A HOST, AND NOTHING BESIDE RUNC" >&2
else
	$(CARGO) test --locked -p hull-cgroup --test host
	$(DEFAULT_SIGNALS) $(FOOTPRINT) $(CARGO) test --locked -p hull-e2e --test hybrid --test differential \
		-- --test-threads=$(E2E_THREADS)
endif
ifeq ($(VM),no)
	@echo "test: VM=no: NOTHING WAS TESTED ON UNIFIED CGROUPS AND ON DEBIAN'S KERNEL" >&2
else
	$(HULL_VM_RUN)
endif

# The unit tests, and what the other tests are built from.
test-without-release: images
	$(CARGO) test --locked $(UNITS)
	$(CARGO) test --locked -p hull-wasm-compiler
	$(CARGO) test --no-run --locked -p hull-wasm-runner
	$(CARGO) test --no-run --locked -p hull-e2e
ifneq ($(CLIENTS),no)
	@$(MAKE) --no-print-directory clients || \
		echo "test: the tests on containerd 2.x and of CRI will fail; make test CLIENTS=no leaves them out" >&2
endif

test-full: deps build images images-full ## run the tests of the large guests; needs Node.js 20 and Python's venv (root)
	$(DEFAULT_SIGNALS) $(CARGO) test --locked -p hull-e2e --test wasm_full -- --test-threads=1

# What `make test` does with a fixed seed and a few cases, with others and many; and what takes long.
test-soak: deps build images clients test-soak-contract ## run the tests that get better with time; half an hour (root)
	$(DEFAULT_SIGNALS) HULL_DIFFERENTIAL_SEED=$$(date +%s)000000 HULL_DIFFERENTIAL_CASES=$(SOAK_CASES) \
		$(RUN_IN_MEMORY) $(CARGO) test --locked -p hull-e2e --test differential

# Crowds, 5,000 lives, 200,000 execs: bounds on growth and on how long the daemon may be busy. A quarter of an hour.
test-soak-contract: deps build images clients
	$(DEFAULT_SIGNALS) HULL_SOAK=1 $(RUN_IN_MEMORY) $(CARGO) test --locked -p hull-e2e --test load --test io_load \
		-- --test-threads=1 --nocapture
	$(DEFAULT_SIGNALS) $(CARGO) test --locked -p hull-e2e --test soak --test wasm_soak --test races \
		-- --test-threads=$(E2E_THREADS)
	$(CARGO) run --release --locked -p hull-e2e --bin hull-bench -- --check --percent 100 execs-soak

fuzz: ## fuzz the lowering of configs for FUZZ_SECONDS seconds
	@.ci/fuzz.sh $(TARGET)/fuzz $(FUZZ_SECONDS)

# The fault tests run in the machine too.
vm: deps build images ## run the tests in a virtual machine with unified cgroups
	$(CARGO) build --locked -p hull-shim --features fault-points
	$(HULL_VM_RUN)

vm-all: deps build images ## run every test in it that can run there; long
	$(CARGO) build --locked -p hull-shim --features fault-points
	$(HULL_VM_RUN) -- --all

check: build layers ## formatting, lints, docs, crate arrows, licences, no NSS in the binaries
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked -p hull-e2e --test unified --test legacy --test systemd --test hybrid \
		--test differential --test wasm_full -- -D warnings
	$(CARGO) clippy --locked -p hull-cgroup --test host -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --quiet --locked --workspace --no-deps
	.ci/nss.sh $(BINARIES:%=$(RELEASE)/%)
	@if command -v cargo-deny >/dev/null; then \
		$(CARGO) deny --config .deny.toml check bans licenses sources; \
	else \
		echo "check: cargo-deny is not installed, licences and bans were not checked" >&2; \
	fi

layers: ## check that the crates depend on each other as designed
	.ci/layers.py

bench: build images clients null-shim ## measure hull beside containerd's runc shim (root)
	$(CARGO) run --release --locked -p hull-e2e --bin hull-bench

bench-check: build images clients null-shim ## fail when a budget of docs/performance.md is passed (root)
	$(CARGO) run --release --locked -p hull-e2e --bin hull-bench -- --check

# What the bench sets hull's servers beside; no other target needs it.
wasmtime: ## build wasmtime of the version that hull has, for the bench
	$(CARGO) install --locked --quiet --root $(CURDIR)/target/clients wasmtime-cli@48.0.8

# The yardstick of the bench; no other target needs it and nothing installs it.
null-shim:
	$(CARGO) build --release --locked -p hull-null-shim

# No prerequisite, so that `sudo make install` after `make build` needs no Rust.
$(BINARIES:%=$(RELEASE)/%):
	$(MAKE) --no-print-directory build

install: $(BINARIES:%=$(RELEASE)/%) ## install the binaries into $(DESTDIR)$(PREFIX)/bin, stripped
	install -d $(DESTDIR)$(PREFIX)/bin
	install --strip -m 0755 $^ $(DESTDIR)$(PREFIX)/bin

clean: ## remove everything that was built
	$(CARGO) clean
