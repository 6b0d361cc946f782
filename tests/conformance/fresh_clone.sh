#!/usr/bin/env bash
# On a fresh clone in a new virtual environment the README's first command serves, and curl reaches a function of the README's
# worker, which uses the unmodified `iii-sdk` from PyPI.
#
# usage: fresh_clone.sh [REPOSITORY]   (default: the one this file is in; what is committed counts, HEAD)
#
# The README's words are taken as they stand, but for its ports: free ones are used, so that nothing else on the machine is in
# the way. Needs git, curl, python3 (3.11 or later) with venv, and PyPI.
set -euo pipefail

readonly source="${1:-$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)}"
readonly sdk="0.25.0"
work=$(mktemp -d)
readonly work
unset PYTHONPATH VIRTUAL_ENV III_URL III_NAMESPACE III_WORKER_NAME III_TOKEN
started=()

finish() {
  local status=$? process
  trap - EXIT
  for process in "${started[@]}"; do kill -KILL "$process" 2>/dev/null || true; done
  if ((status)); then tail -n 50 "$work"/*.log >&2 2>/dev/null || true; fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT

fail() { echo "fresh_clone.sh: $*" >&2; exit 1; }

# Calls a command until it succeeds, for 60 seconds at most: until WHAT COMMAND...
until_succeeds() {
  local what=$1 end=$((SECONDS + 60))
  shift
  until "$@"; do
    ((SECONDS < end)) || fail "not within 60 s: $what"
    sleep 0.1
  done
}

# The port in a line of the engine's log: port_of 'READY] http on' -> 41234
port_of() { sed -nE "s/.*\[$1 127\.0\.0\.1:([0-9]+)\$/\1/p" "$work/engine.log" | head -n 1; }
is_ready() {
  kill -0 "$engine" 2>/dev/null || fail "the engine ended before it was ready"
  [[ -n "$(port_of 'READY\] listener on')" && -n "$(port_of 'READY\] http on')" ]]
}
answers() {
  kill -0 "$worker" 2>/dev/null || fail "the worker ended before it served"
  [[ "$(curl -sS -o "$work/answer" -w '%{http_code} %{content_type}' "$1" 2>>"$work/curl.log")" == "200 application/json" ]]
}

git clone --quiet "$source" "$work/clone"
cd "$work/clone"
command=$(grep -E '^python3 -m venv .* serve$' README.md || true)
[[ -n "$command" && "$command" != *$'\n'* ]] || fail "README.md must have exactly one line 'python3 -m venv ... serve'; found: '$command'"
readonly install="${command% && *}" serve="${command##* && }"

echo "+ $install"
bash -c "$install" >"$work/install.log" 2>&1 || fail "the install part of the README's first command failed"

cat >"$work/engine.yaml" <<'YAML'
workers:
  - name: iii-worker-manager
    config: { host: 127.0.0.1 }
  - name: iii-http
    config: { host: 127.0.0.1, port: 0 }
YAML
echo "+ $serve --config engine.yaml --port 0"
read -ra words <<<"$serve"
"${words[@]}" --config "$work/engine.yaml" --port 0 >"$work/engine.log" 2>&1 &
readonly engine=$!
started+=("$engine")
until_succeeds "the engine is ready" is_ready
engine_port=$(port_of 'READY\] listener on')
http_port=$(port_of 'READY\] http on')

python3 -m venv "$work/sdk"
"$work/sdk/bin/pip" install --quiet --disable-pip-version-check --only-binary :all: "iii-sdk==$sdk" >"$work/sdk.log" 2>&1 \
  || fail "iii-sdk==$sdk cannot be installed from PyPI"
# the Python block of the README that imports the published package
awk '/^```python$/ { text = ""; inside = 1; next }
     /^```$/ { if (inside && text ~ /from iii import/) printf "%s", text; inside = 0; next }
     inside { text = text $0 "\n" }' README.md | sed "s/:49134/:$engine_port/" >"$work/worker.py"
grep -q "127.0.0.1:$engine_port" "$work/worker.py" || fail "README.md has no Python worker for ws://127.0.0.1:49134"
mkdir "$work/home" # the package leaves a file in it
HOME="$work/home" "$work/sdk/bin/python" "$work/worker.py" >"$work/worker.log" 2>&1 &
readonly worker=$!
started+=("$worker")
disown "$worker" # it is killed in the end, which is no news

echo "+ curl http://127.0.0.1:$http_port/hello/Ada"
until_succeeds "the worker's answer" answers "http://127.0.0.1:$http_port/hello/Ada"
answer=$(<"$work/answer")
echo "$answer"
[[ "$answer" == '{"message":"Hello, Ada!"}' ]] || fail "another answer than the README says"

kill -TERM "$engine"
status=0
wait "$engine" || status=$?
((status == 0)) || fail "the engine exited with $status after SIGTERM"
