# What a change must pass before it is merged, apart from the tests.
check:
    cargo fmt --all --check && cargo clippy --workspace --all-targets -- -D warnings
    cargo deny check --hide-inclusion-graph && cargo machete

# All that a fresh clone must pass.
ci:
    .ci/run

# Known vulnerabilities of what Cargo.lock names; they need a database from the network.
advisories:
    cargo deny check --hide-inclusion-graph advisories

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

# The image: a tag, platforms, and what docker buildx takes besides, such as --push or --load; buildah if there is no docker.
image tag="node-termination-operator:dev" platforms="linux/amd64,linux/arm64" *args:
    #!/usr/bin/env bash
    set -euo pipefail
    if docker buildx version >/dev/null 2>&1; then
        # The builder that docker has by itself knows one platform.
        docker buildx inspect node-termination-operator >/dev/null 2>&1 ||
            docker buildx create --name node-termination-operator --driver docker-container
        docker buildx build --builder node-termination-operator --platform {{platforms}} --tag {{tag}} {{args}} .
    else
        buildah build --platform {{platforms}} --manifest {{tag}} --file Dockerfile {{args}} .
    fi

# The image's runtime stage around a binary that is built beside it, and whether it starts: no registry is needed.
image-check profile="dev":
    .ci/image {{profile}}

# The files of a release beside the image.
dist version image folder="dist" source="":
    .ci/dist {{version}} {{image}} {{folder}} {{source}}
