# Every command of the project; `make help` lists them. Needs rustup's cargo; `make deps` installs the rest (Debian).

TARGET ?= x86_64-unknown-linux-musl
PREFIX ?= /usr
DESTDIR ?=
# Not empty: without the optional parts, the cargo features of Cargo.toml.
MINIMAL ?=
# Words that select integration tests by name, and options of their runner: make test TESTS='logs:: --jobs 1'
TESTS ?=
# Layout of cgroups on the emulated board.
CGROUPS ?= v2

# The compiler that releases are made with; another installed one is used only when it is this version.
RUST_VERSION := 1.95.0
ifneq ($(word 2,$(shell rustc --version 2>/dev/null)),$(RUST_VERSION))
export RUSTUP_TOOLCHAIN := $(RUST_VERSION)
endif

# CC, CC_PACKAGE, RUNNER, TARGET_RUSTFLAGS, MINIMAL_RUSTFLAGS
include targets/$(TARGET).mk

# RUSTFLAGS of the caller would silently replace those of the target.
unexport RUSTFLAGS CARGO_ENCODED_RUSTFLAGS CARGO_BUILD_RUSTFLAGS

TARGET_DIR = target$(if $(MINIMAL),/minimal)
FEATURES = $(if $(MINIMAL),--no-default-features)
APPLETS = $(shell sed -n $(if $(MINIMAL),-e '/cfg.feature/ { N; d; }') -e 's/^ *Applet { name: "\([^"]*\)".*/\1/p' src/applet.rs)
BINARY = $(TARGET_DIR)/$(TARGET)/release/isulabox
PAYLOAD = target/$(TARGET)/release/examples/payload
UPPER = $(shell echo $(TARGET) | tr a-z- A-Z_)
UNDER = $(subst -,_,$(TARGET))
COMMIT := $(shell git rev-parse HEAD 2>/dev/null || echo unknown)
# Of the commit, not of the build: two builds of one commit are equal.
BUILD_TIME := $(shell TZ=UTC git log -1 --date=format-local:%Y-%m-%dT%H:%M:%SZ --format=%cd 2>/dev/null || echo unknown)

# For rust-lld. Equal functions are one.
LINK_FLAGS = -Clink-arg=--icf=all -Clink-arg=-Ttargets/no-unwind.ld

# $(call cargo,WORDS): cargo for TARGET, with the standard library that targets/toolchain finds or builds.
cargo = sysroot=$$(CC='$(CC)' CC_PACKAGE='$(CC_PACKAGE)' targets/toolchain $(TARGET)) && \
	ISULABOX_COMMIT='$(COMMIT)' ISULABOX_BUILD_TIME='$(BUILD_TIME)' CC_$(UNDER)='$(CC)' \
	CARGO_TARGET_$(UPPER)_LINKER=rust-lld \
	$(if $(RUNNER),CARGO_TARGET_$(UPPER)_RUNNER='$(RUNNER)') \
	CARGO_TARGET_$(UPPER)_RUSTFLAGS="$${sysroot:+--sysroot=$$sysroot }$(TARGET_RUSTFLAGS) $(if $(MINIMAL),$(MINIMAL_RUSTFLAGS) )$(LINK_FLAGS)" \
	cargo $(1)

INTEGRATION = ISULABOX_BIN=$(CURDIR)/$(BINARY) ISULABOX_PAYLOAD=$(CURDIR)/$(PAYLOAD) \
	cargo test --locked --quiet --test integration $(FEATURES) --
# What depends on system calls that older kernels lack; the rest of the suite passes too: make test TESTS='--kernel 4.14'
KERNEL_TESTS = embedded:: exec:: isolation:: mounts:: remap:: users:: volumes:: volume_copies::

.DEFAULT_GOAL := build
.PHONY: all build man install-man minimal payload help check test test-board demo size bench install deps cross all-targets clean distclean

all: build ## The same as build

build: deps-build ## Release binary for TARGET, proven to be static and stripped (default)
	$(call cargo,build --release --locked --target $(TARGET) --bin isulabox --target-dir $(TARGET_DIR) $(FEATURES))
	@targets/prove $(BINARY)

minimal: ## The same without the optional parts, also as MINIMAL=1 for build, install, check and test
	@$(MAKE) --no-print-directory build MINIMAL=1

all-targets: ## Release binaries for every file in targets/
	set -e; for t in $(basename $(notdir $(wildcard targets/*.mk))); do $(MAKE) build TARGET=$$t; done

check: deps-build ## Format, lints, unit tests, house rules, documentation; no root needed
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	cargo test --locked --quiet --lib --test house $(FEATURES)
	RUSTDOCFLAGS='-D warnings' cargo doc --locked --quiet --no-deps --lib

test: deps check build payload ## Everything that is called a test: check, then real containers (root)
	$(INTEGRATION) $(TESTS)
	$(if $(TESTS),,$(INTEGRATION) --kernel 4.14 $(KERNEL_TESTS))
	$(if $(TESTS),,$(INTEGRATION) --kernel 5.4 $(KERNEL_TESTS))

# Slow: the emulated processor has a twentieth of this one's speed. Not a part of `test`.
test-board: private RUNNER = $(CURDIR)/tests/board/run
# The runner of the tests unwinds, which the linker takes out of releases.
test-board: private LINK_FLAGS =
test-board: build payload ## The integration tests on an emulated board of TARGET, with CGROUPS=v2, v1 or hybrid
	export ISULABOX_BIN=$(CURDIR)/$(BINARY) ISULABOX_PAYLOAD=$(CURDIR)/$(PAYLOAD) CGROUPS=$(CGROUPS) \
		BOARD='$(BOARD)' BOARD_PACKAGE='$(BOARD_PACKAGE)' BOARD_CONSOLE='$(BOARD_CONSOLE)' BOARD_KERNEL='$(BOARD_KERNEL)'; \
	$(call cargo,test --locked --quiet --target $(TARGET) --test integration $(FEATURES) -- $(TESTS))

payload: deps-build # The program that runs inside the test containers
	$(call cargo,build --release --locked --target $(TARGET) --example payload)

demo: deps-demo build ## The main job before your eyes, in a private root that is removed afterwards (root)
	@tests/demo.sh $(CURDIR)/$(BINARY)

bench: deps deps-bench build payload ## Times and memory as ratios against crun on the same bundle (root)
	ISULABOX_BIN=$(CURDIR)/$(BINARY) ISULABOX_PAYLOAD=$(CURDIR)/$(PAYLOAD) \
		cargo bench --locked --quiet --profile dev --bench bench -- $(BENCH)

size: build minimal ## Sizes of the binary, full and minimal, and the largest symbols of the full one
	$(call cargo,build --release --locked --target $(TARGET) --bin isulabox \
		--target-dir target/size --config profile.release.strip=false)
	@targets/symbols target/size/$(TARGET)/release/isulabox

install: build ## Binary and a link per applet into DESTDIR and PREFIX
	install -D -m 0755 $(BINARY) $(DESTDIR)$(PREFIX)/bin/isulabox
	set -e; for a in $(APPLETS); do ln -sf isulabox $(DESTDIR)$(PREFIX)/bin/$$a; done

man: ## Manual pages of all programs, in target/man
	rm -rf target/man
	cargo run --locked --quiet --example man $(FEATURES) -- target/man

install-man: man ## The same into DESTDIR and PREFIX
	install -d $(DESTDIR)$(PREFIX)/share/man
	cp -R target/man/. $(DESTDIR)$(PREFIX)/share/man/

cross: ## Release binary for TARGET with cross (github.com/cross-rs/cross), which brings its own toolchain
	CROSS_CONFIG=cross.toml ISULABOX_COMMIT='$(COMMIT)' ISULABOX_BUILD_TIME='$(BUILD_TIME)' \
		CARGO_TARGET_$(UPPER)_LINKER=rust-lld \
		CARGO_TARGET_$(UPPER)_RUSTFLAGS='$(TARGET_RUSTFLAGS) $(LINK_FLAGS)' \
		cross build --release --locked --target $(TARGET) --bin isulabox

deps: deps-build ## Installs the Debian packages that build and tests need (root); asks apt for nothing when all are there
	@targets/deps busybox:busybox-static ip:iproute2 script:bsdutils \
		losetup:mount mkfs.ext4:e2fsprogs mkfs.xfs:xfsprogs mkfs.btrfs:btrfs-progs docker-registry:docker-registry skopeo:skopeo zstd:zstd xz:xz-utils openssl:openssl htpasswd:apache2-utils \
		mksquashfs:squashfs-tools umoci:umoci buildah:buildah podman:podman containerd:containerd crun:crun runc:runc mmdebstrap:mmdebstrap python3:python3-venv
	@targets/python target/python docker==7.2.0

.PHONY: deps-build deps-demo deps-bench
# The registry client has C in it.
deps-build:
	@targets/deps cc:gcc readelf:binutils $(if $(MINIMAL),,'$(CC):$(CC_PACKAGE)')
deps-demo:
	@targets/deps busybox:busybox-static mountpoint:util-linux
deps-bench:
	@targets/deps crun:crun containerd:containerd

clean: ## Removes what was built
	cargo clean

distclean: clean ## The same, and the standard libraries built by targets/toolchain
	rm -rf dist
	targets/toolchain --clean

help: ## This list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1\t\2/p' $(firstword $(MAKEFILE_LIST)) | sort | awk -F '\t' '{printf "  %-12s %s\n", $$1, $$2}'
	@echo "  Variables: TARGET=$(TARGET) PREFIX=$(PREFIX) DESTDIR= MINIMAL= TESTS= CGROUPS= NO_RUSTUP= RUST_LIBRARY_TAR="
