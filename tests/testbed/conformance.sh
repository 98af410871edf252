#!/bin/sh
# Runs the SQS conformance script against ministack, an implementation that is not ours.
# Its known deviations from AWS are listed in tests/conformance.rs and printed by the test.
set -eu
cd "$(dirname "$0")"

cache=${TESTBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/node-termination-operator/ministack
version=1.5.33
if [ "$(cat "$cache/version" 2>/dev/null)" != "$version" ]; then
    mkdir -p "$cache"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet "ministack==$version"
    echo "$version" >"$cache/version"
fi

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log=$(mktemp)
BIND_HOST=127.0.0.1 GATEWAY_PORT=$port "$cache/venv/bin/ministack" >"$log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null; rm -f "$log"' EXIT INT TERM

# Up in well under a second on an idle machine; 30 s for a busy one.
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)" 2>/dev/null; do
    tries=$((tries + 1))
    if [ $tries -gt 150 ] || ! kill -0 $server 2>/dev/null; then
        cat "$log" >&2
        exit 1
    fi
    sleep 0.2
done

SQS_CONFORMANCE_ENDPOINT=http://127.0.0.1:$port \
    cargo test --workspace --test conformance -- --ignored --nocapture independent
