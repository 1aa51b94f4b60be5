# Two commands do everything: make demo, make test. Both install what they need, pinned, on a machine with a Rust toolchain.
CARGO ?= cargo
PROFILE ?= quick
TARGET := $(if $(CARGO_TARGET_DIR),$(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/$(PROFILE)/sluice
VENV := $(TARGET)/venv
# The clients of live sources, which a demo does without.
FEATURES := aws,kafka
# Kills of each scenario of the live kill loop: `make test-live-chaos KILLS=50` for a long one.
KILLS ?= 4
# Version of cargo-deny.
DENY := 0.20.2
LIVE := $(CARGO) test --locked --profile $(PROFILE) --workspace --features $(FEATURES)

.PHONY: all templates test-deploy test-deploy-cloudformation test-live-stack build demo test test-rust test-peers test-kill test-live test-live-services test-live-chaos test-deploy-guides bench bench-enforce bench-live bench-runaway fmt lint deny deny-advisories deny-tool clean tools test-live-trino dist image test-deploy-pack $(DIST)/sluice

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
	PRICE_CALLS="$(CARGO) run --locked --quiet --profile $(PROFILE) -p sluice-enrich --example price_calls" \
		MESSAGES="$(CARGO) run --locked --quiet --profile $(PROFILE) -p sluice-enforce --example messages" tests/peers/run.sh $(BIN) $(VENV)

test-kill: build
	tests/peers/venv.sh $(VENV) duckdb deltalake pyarrow
	$(VENV)/bin/python tests/kill/kill.py --bin $(BIN) --kills 50

# Sources and stores against real servers and emulators, and what needs their clients.
test-live-services: tools
	$(LIVE) --no-run
	$(LIVE) --lib --bins
	SLUICE_LIVE=1 $(LIVE) --test kafka_live --test s3_live
	SLUICE_LIVE=1 AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_REGION=eu-central-1 $(LIVE) --test dynamo_live --test lake_s3 --test standby --test coverage_live --test directory_live --test levers_live --test athena --test doctor_live --test config_live
	SLUICE_LIVE=1 tests/live/servers/kinesis_local.sh $(LIVE) --offline --test kinesis_live --test lambda_live --test accounts_live

# A program with every client, killed while real services feed it, its shards split and its groups rebalance.
test-live-chaos: tools
	$(CARGO) build --locked --profile $(PROFILE) --bin sluice --features $(FEATURES)
	mkdir -p $(TARGET)/live
	cp $(BIN) $(TARGET)/live/sluice
	tests/peers/venv.sh $(VENV) deltalake pyarrow boto3 confluent-kafka
	$(VENV)/bin/python tests/live/flags.py --bin $(TARGET)/live/sluice
	$(VENV)/bin/python tests/live/enforce.py --bin $(TARGET)/live/sluice
	$(VENV)/bin/python tests/live/chaos.py --bin $(TARGET)/live/sluice --kills $(KILLS)

# Athena's queries on the engine that Athena is made of, and lakes of other versions in every reader; fetches 820 MB once.
test-live-trino: build
	tests/peers/venv.sh $(VENV) trino sqlglot deltalake pyarrow duckdb
	SLUICE_LIVE=1 $(VENV)/bin/python tests/live/trino/check.py --bin $(BIN)

# Heavy peers: real servers, Spark as a reader, long kill loops.
test-live: test-live-services test-live-chaos test-live-trino build
	tests/live/run.sh $(BIN) $(VENV)

# Dashboards and alert rules against a real Prometheus, consumers of messages against moto, the guides against the program; a few minutes.
# Needs the clients: LIVE_BIN=… takes a program that is there.
LIVE_BIN ?= $(TARGET)/live/sluice
test-deploy-guides: $(LIVE_BIN)
	tests/deploy/guides.sh $(LIVE_BIN) $(VENV)

$(TARGET)/live/sluice:
	$(CARGO) build --locked --profile $(PROFILE) --bin sluice --features $(FEATURES)
	mkdir -p $(TARGET)/live
	cp $(BIN) $@

bench: build
	bench/run.sh $(BIN) $(VENV)

# From a record to the call of IAM; needs the clients.
bench-enforce: tools
	$(CARGO) build --locked --profile $(PROFILE) --bin sluice --features $(FEATURES)
	python3 bench/enforce.py --bin $(BIN)

# What the join costs: minutes; CALLERS=--large takes a million sessions, 1 GB of memory, 300 MB of disk and ten minutes or more.
.PHONY: bench-callers
CALLERS ?=
bench-callers: build
	python3 bench/callers.py --bin $(BIN) --data $(TARGET)/bench-callers $(CALLERS)

bench-live: build
	bench/live.sh $(BIN)

# How soon budgets follow evidence that comes after its calls.
.PHONY: bench-late
bench-late: build
	python3 bench/late.py --bin $(BIN) --data $(TARGET)/bench-late

# How soon runaways are caught and how often normal work is called one, on seeds that no threshold was chosen on.
bench-runaway:
	$(CARGO) run --locked --profile $(PROFILE) -p sluice-enforce --example runaway_figures -- held-out 200 20

.PHONY: templates test-deploy-cloudformation test-live-stack
# The program that the stack is tested with; a build with the AWS clients.
STACK_BIN ?= $(TARGET)/live/sluice

# The templates of CloudFormation and the cost tables, from their sources.
templates:
	tests/peers/venv.sh $(VENV) pyyaml
	$(VENV)/bin/python deploy/cloudformation/build.py
	$(VENV)/bin/python deploy/cloudformation/costs.py

# Linters, policies, every combination of choices, the handlers; a minute, no program needed.
test-deploy-cloudformation:
	tests/deploy/cloudformation/run.sh $(VENV)

# The stack from its creation to its deletion, on an emulator; then with a member account in another region.
test-live-stack:
	tests/peers/venv.sh $(VENV) boto3 jsonschema pyyaml
	$(VENV)/bin/python tests/live/stack.py --bin $(STACK_BIN)
	$(VENV)/bin/python tests/live/member.py --bin $(STACK_BIN)

fmt:
	$(CARGO) fmt --all --check

lint: tools
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --locked --workspace --all-targets --features $(FEATURES) -- -D warnings

# Licences, bans and sources; seconds, once the tool is there. It takes minutes to compile, so no other target asks for it.
deny: deny-tool
	$(CARGO) deny --locked check licenses bans sources

# Known vulnerabilities: fetches the database of the RustSec project from GitHub.
deny-advisories: deny-tool
	$(CARGO) deny --locked check advisories

deny-tool: tools
	@$(CARGO) deny --version 2>/dev/null | grep -qx "cargo-deny $(DENY)" || \
		CARGO_TARGET_DIR=$(abspath $(TARGET))/deny $(CARGO) install --locked cargo-deny --version $(DENY)

tools:
	@command -v $(CARGO) >/dev/null || { echo "no cargo found: install Rust 1.95 or newer (https://rustup.rs), then run this again" >&2; exit 1; }
	@command -v cc >/dev/null || { echo "no C compiler found: install one (Debian: apt-get install build-essential), then run this again" >&2; exit 1; }

# Files of a release for this machine's architecture, in $(DIST): docs/release.md. The build takes long; its timings stand in
# $(TARGET)/cargo-timings. `make dist DIST_BIN=FILE` packs a program that is there.
DIST := $(TARGET)/dist
DIST_BIN ?= $(DIST)/sluice
# What the largest program is: docs/release.md.
MOST_MB ?= 80
dist: tools $(DIST_BIN)
	rm -rf $(DIST)/release && mkdir -p $(DIST)/release
	deploy/dist/sbom.py --out $(DIST)/components.json --target $$(rustc -vV | sed -n 's/^host: //p') --features $(FEATURES) --binary $(DIST_BIN)
	deploy/dist/pack.py --bin $(DIST_BIN) --most-mb $(MOST_MB) --out $(DIST)/release --sbom $(DIST)/components.json

# Always asked for: cargo knows whether there is something to do.
$(DIST)/sluice:
	deploy/dist/build.sh $@

# An image of the same program, without a container engine: docs/deploy-linux.md says how to push it.
image: $(DIST_BIN)
	rm -rf $(DIST)/rootfs && deploy/container/rootfs.sh $(DIST_BIN) $(DIST)/rootfs
	deploy/container/oci.py --rootfs $(DIST)/rootfs --out $(DIST)/sluice-image.tar --tag $$(sed -n '/^\[workspace.package\]/,/^version/s/^version = "\(.*\)"/\1/p' Cargo.toml) \
		--revision "$$(git rev-parse HEAD 2>/dev/null)"

# Terraform module, image, units and packing, on any program with the clients; some minutes. Builds no release.
PACK_BIN ?= $(TARGET)/live/sluice
test-deploy-pack:
	tests/deploy/pack.sh $(PACK_BIN)

# Everything about installing it, on the program that test-live-chaos built.
test-deploy: test-deploy-cloudformation test-live-stack test-deploy-guides test-deploy-pack

clean:
	$(CARGO) clean
