#!/usr/bin/env bash
# Runs the AWS commands of docs/install.md, as they stand there, against moto, an implementation of AWS that is not ours;
# lints the template, and has moto's own matcher try the event patterns on our fixtures.
set -euo pipefail
cd "$(dirname "$0")/../.."

cache=${TESTBED_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}}/node-termination-operator/moto
packages=("moto[server]==5.2.5" "awscli==1.45.11" "cfn-lint==1.51.0")
if [ "$(cat "$cache/packages" 2>/dev/null)" != "${packages[*]}" ]; then
    mkdir -p "$cache"
    python3 -m venv "$cache/venv"
    "$cache/venv/bin/pip" install --quiet "${packages[@]}"
    echo "${packages[*]}" >"$cache/packages"
fi
export PATH=$cache/venv/bin:$PATH

cfn-lint docs/aws/node-events.yaml

python3 - <<'END'
import glob, json, pathlib
from moto.events.models import EventPattern

patterns = {pathlib.Path(p).stem: EventPattern.load(open(p).read()) for p in glob.glob("docs/aws/event-patterns/*.json")}
heard = set()
for path in glob.glob("tests/fixtures/events/*.json"):
    name = pathlib.Path(path).stem
    if name.startswith(("bad-", "sns-", "asg-notification", "other-asg-notification", "other-sns")):
        continue
    event = json.load(open(path))
    event.setdefault("detail-type", event.get("detail_type"))
    matched = [rule for rule, pattern in patterns.items() if pattern.matches_event(event)]
    assert len(matched) <= 1, (name, matched)
    assert matched or name.startswith("other-"), (name, matched)
    heard.update(matched)
assert heard == set(patterns), heard
END

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
log=$(mktemp)
moto_server --host 127.0.0.1 --port "$port" >"$log" 2>&1 &
server=$!
trap 'kill $server 2>/dev/null; wait $server 2>/dev/null || true; rm -f "$log"' EXIT INT TERM
tries=0
until python3 -c "import socket; socket.create_connection(('127.0.0.1', $port), 1)" 2>/dev/null; do
    tries=$((tries + 1))
    if [ $tries -gt 150 ] || ! kill -0 $server 2>/dev/null; then
        cat "$log" >&2
        exit 1
    fi
    sleep 0.2
done

export AWS_ACCESS_KEY_ID=guide AWS_SECRET_ACCESS_KEY=guide AWS_DEFAULT_REGION=eu-west-1 AWS_PAGER=
asked() { timeout 120 "$cache/venv/bin/aws" --endpoint-url "http://127.0.0.1:$port" "$@"; }
# What the guide takes for granted: a cluster and a group.
trust='{"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "eks.amazonaws.com"}, "Action": "sts:AssumeRole"}]}'
{
    asked iam create-role --role-name cluster --assume-role-policy-document "$trust"
    asked eks create-cluster --name production --role-arn arn:aws:iam::123456789012:role/cluster --resources-vpc-config subnetIds=subnet-1
    asked ec2 create-launch-template --launch-template-name workers --launch-template-data '{"ImageId": "ami-12c6146b"}'
    asked autoscaling create-auto-scaling-group --auto-scaling-group-name workers --min-size 0 --max-size 1 \
        --availability-zones eu-west-1a --launch-template LaunchTemplateName=workers
} >/dev/null

aws() {
    case "$1 $2" in
    # The guide has two ways to make the role, and a reader takes one.
    "iam create-role") asked iam delete-role --role-name node-termination-operator 2>/dev/null || true ;;
    # moto does not know the one, and tells no outputs of a stack, of which the other wants one.
    "eks create-pod-identity-association" | "iam attach-role-policy") return 0 ;;
    esac
    asked "$@"
}
commands=$(awk '/^```sh$/ {on = 1; next} /^```/ {on = 0} /^#/ && !on {section = $0}
    on && section ~ /^(# Install on EKS|## The queue and its rules|## Lifecycle hooks|## Permissions)$/' docs/install.md)
[ "$(grep -c '^aws \|(aws ' <<<"$commands")" -ge 9 ]
eval "$commands" >/dev/null

policy=$(asked iam get-role-policy --role-name node-termination-operator --policy-name node-termination-operator)
[ "$(jq '.PolicyDocument.Statement | length' <<<"$policy")" = 4 ]
hooks=$(asked autoscaling describe-lifecycle-hooks --auto-scaling-group-name workers)
[ "$(jq -r '.LifecycleHooks[0].DefaultResult' <<<"$hooks")" = CONTINUE ]
rules=$(asked events list-rule-names-by-target --target-arn "arn:aws:sqs:eu-west-1:123456789012:node-events")
[ "$(jq '.RuleNames | length' <<<"$rules")" = "$(ls docs/aws/event-patterns | wc -l)" ]
echo "docs/install.md: its AWS commands did what they say"
