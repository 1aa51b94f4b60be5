# Two commands do everything: make demo, make test. Both install what they need, pinned, on a machine with a Rust toolchain.
CARGO ?= cargo
PROFILE ?= quick
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/$(PROFILE)/sluice
VENV := $(TARGET)/venv

.PHONY: all build demo test test-rust test-peers test-kill test-live bench bench-live fmt lint deny clean tools

all: build

build: tools
	$(CARGO) build --locked --profile $(PROFILE) --bin sluice

demo: build
	$(BIN) demo

# Everything a change must pass: formatting is `make fmt`, lints are `make lint`.
test: test-rust test-peers test-kill

test-rust: tools
	$(CARGO) test --locked --profile $(PROFILE) --workspace

test-peers: build
	PRICE_CALLS="$(CARGO) run --locked --quiet --profile $(PROFILE) -p sluice-enrich --example price_calls" tests/peers/run.sh $(BIN) $(VENV)

test-kill: build
	tests/peers/venv.sh $(VENV) duckdb deltalake pyarrow
	$(VENV)/bin/python tests/kill/kill.py --bin $(BIN) --kills 50

# Heavy peers: Spark reads the lake too.
test-live: build
	tests/live/run.sh $(BIN) $(VENV)

bench: build
	bench/run.sh $(BIN) $(VENV)

bench-live: build
	bench/live.sh $(BIN)

fmt:
	$(CARGO) fmt --all --check

lint: tools
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings

deny:
	$(CARGO) deny check

tools:
	@command -v $(CARGO) >/dev/null || { echo "no cargo found: install Rust 1.95 or newer (https://rustup.rs), then run this again" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "no C compiler found: install one (Debian: apt-get install build-essential), then run this again" >&2; exit 1; }

clean:
	$(CARGO) clean
