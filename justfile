# Everyday commands. `just` itself is installed by scripts/tools, as .tools/bin/just.

export PATH := justfile_directory() / ".tools/bin:" + env("PATH")

# Names every command
default:
    @just --list --unsorted

# Installs the tools into .tools (again after scripts/tools-requirements.txt changed)
tools *args:
    scripts/tools {{ args }}

# Formatting and clippy for the crates that changed since HEAD (or since a commit): before each commit
check *commit:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo fmt --all --check
    crates=$(scripts/changed-crates {{ commit }} | tr '\n' ' ')
    case "$crates" in
        "") echo "no crate changed" ;;
        *--workspace*) cargo clippy --workspace --all-targets -- -D warnings ;;
        *) cargo clippy $crates --all-targets -- -D warnings ;;
    esac

# Formats all code
fmt:
    cargo fmt --all

# Unit and integration tests, by nextest's arguments: `just test -p hearth-cwmp`, `just test digest`; those that need
# real servers use what `just servers start` started, or say SKIPPED
test *args:
    eval "$(scripts/servers env)" && cargo nextest run {{ if args =~ "(^| )(-p|--package|--workspace|-E)" { "" } else { "--workspace" } }} {{ args }}

# Every test and check, as CI runs them (stages by name: `just test-all clippy docs`)
test-all *stages:
    scripts/test {{ stages }}

# Real NATS, Valkey and Cassandra for the tests: `just servers start|status|stop`
servers *args:
    scripts/servers {{ args }}

# The distributed form on this machine: `just cluster start|status|stop`, `just cluster kill gateway-1` (docs/cluster.md)
cluster *args="start":
    scripts/cluster {{ args }}

# The server with a small simulated fleet and a tour (`just demo --exit` ends after the tour)
demo *args:
    cargo run --package hearth --bin hearth -- demo {{ args }}

# The server, its data in target/data
run *args:
    cargo run --package hearth --bin hearth -- run --data-dir target/data {{ args }}

# The operator's command line: `just ctl device list`
ctl *args:
    cargo run --quiet --package hearthctl --bin hearthctl -- {{ args }}

# Benchmarks of one crate (release build)
bench package="hearth-cwmp" *args:
    cargo bench --package {{ package }} {{ args }}

# Measures the server beside a bare one (`just load restart`, `just load all`; docs/performance.md)
load *args:
    scripts/load {{ args }}

# SIGKILL at random moments under a fleet with tasks of every kind: the long form
kill-test rounds="100":
    HEARTH_KILL_ROUNDS={{ rounds }} HEARTH_STAGE_TIMEOUT=86400 scripts/test kill-test

# Every part of a cluster killed, held, cut off, emptied and filled under 2,000 devices: the long form
fault-table times="20" faults="":
    HEARTH_FAULT_TIMES={{ times }} HEARTH_FAULT_LIST={{ faults }} HEARTH_STAGE_TIMEOUT=86400 scripts/test faults

# Other people's software against the server: CwmpClient, curl, openssl, HAProxy, Prosody
interop:
    scripts/interop

# What the edge costs, by kind of login and of TLS, and the memory of crowds (docs/performance.md)
load-edge *args:
    scripts/load-edge {{ args }}

# Fuzzes what strangers send, each target for so many seconds (docs/fuzzing.md)
fuzz seconds="600":
    HEARTH_FUZZ_SECONDS={{ seconds }} HEARTH_STAGE_TIMEOUT=86400 scripts/test fuzz

# API documentation of all crates, in target/doc
doc *args:
    cargo doc --workspace --no-deps {{ args }}

# Contracts: lint, and what breaks against a commit
proto against="HEAD":
    cd proto && buf lint && buf breaking --against "../.git#ref={{ against }},subdir=proto"

# Licences, bans, sources and advisories of the dependencies
deny:
    scripts/check-dependencies

# Dependencies that no code uses
unused:
    cargo shear
