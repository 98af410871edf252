# What a change must pass before it is merged, apart from the tests.
check:
    cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings
    cargo deny check --hide-inclusion-graph && cargo machete

# Unit, property and table tests, and those against a real control plane.
test *args:
    cargo test {{args}}

# The SQS script, which the stand-in passes too, against an implementation that is not ours.
conformance:
    tests/testbed/conformance.sh

# Writes docs/reference.md from the types.
reference:
    WRITE_REFERENCE=1 cargo test -q --test guide reference

# Writes crds/ from the types.
crds:
    cargo run -q -- crds --output-dir crds

# Writes the charts' READMEs from their values, then lints, renders and installs both charts.
charts *args:
    WRITE_CHARTS=1 cargo test --test charts -- {{args}}

# Writes the files with the alerts from the chart's.
alerts:
    .ci/alerts

# The main job in one command.
demo *args:
    cargo run --example demo -- {{args}}

# The measured promises, in one table.
bench *args:
    cargo bench --bench promises -- {{args}}

# Random faults, from a random seed on: CHAOS_SEED names the first one, as a failed run prints it.
chaos runs="30" nodes="100" seconds="30":
    CHAOS_RUNS={{runs}} CHAOS_NODES={{nodes}} CHAOS_SECONDS={{seconds}} cargo test --test chaos -- --nocapture whatever_fails
