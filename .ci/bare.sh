#!/usr/bin/env bash
# A bare machine: everything that is promised works with what it says it needs, and nothing else installed.
#
#   .ci/bare.sh [EXTRA...]      e.g. .ci/bare.sh ray onnx litert jax hub bench torch
#
# 1. A copy of the working tree: the README's first command word for word, then all commands (surface.py).
# 2. A wheel in an empty environment, used from another folder: the same, and a short run.
# 3. Each extra alone: an environment that sees the wheel's run requirements and this extra.
# Needs Python 3.11 or 3.12 (PYTHON names it) with venv, and make. Takes about 6 minutes on 2 cores, and one per extra.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset VIRTUAL_ENV PYTHONPATH KERAS_BACKEND
say() { printf '\n== %s (%s s)\n' "$*" "$SECONDS"; }

install() { # install ENVIRONMENT REQUIREMENT...
  "$1/bin/python" -m pip install --quiet --disable-pip-version-check -c "$root/constraints.txt" "${@:2}"
}

checkout() {
  local promise
  mkdir "$work/checkout"
  (cd "$root" && git ls-files -z --cached --others --exclude-standard | tar --create --null --files-from - --ignore-failed-read) |
    tar --extract --directory "$work/checkout"
  # The first commands of the README, but for the tests, which .ci/run runs last.
  promise=$(sed -n '/^```sh$/,/^```$/{/^```/!p;}' "$root/README.md" | sed -n '/^make test /q;p')
  say "README: $promise"
  (cd "$work/checkout" && bash -euo pipefail -c "$promise")
  test -s "$work/checkout/results/quickstart/report.html"
  say "the checkout with the run requirements alone"
  "$work/checkout/.venv/bin/python" "$here/surface.py"
}

wheel() {
  say "a wheel in an empty environment"
  "$work/checkout/.venv/bin/python" -m pip wheel --quiet --no-deps --wheel-dir "$work/dist" "$work/checkout"
  "${PYTHON:-python3}" -m venv "$work/wheel"
  install "$work/wheel" "$work"/dist/*.whl
  mkdir "$work/elsewhere"
  cd "$work/elsewhere"
  "$work/wheel/bin/csilink" run quickstart --drops 8 --out short
  test -s short/report.html
  "$work/wheel/bin/python" "$here/surface.py"
  # All files of the packages are in it, but the papers' prose and results.
  (cd "$work/checkout" && find simulator receivers scenarios benchmarks csilink -type f ! -path '*/__pycache__/*' \
    ! -path 'benchmarks/papers/*/results/*' ! -path 'benchmarks/papers/*/README.md' | sort) > "$work/wanted"
  "$work/wheel/bin/python" -m zipfile --list "$work"/dist/*.whl | awk '{print $1}' | sort > "$work/packed"
  if comm -23 "$work/wanted" "$work/packed" | grep .; then
    echo "these files are not in the wheel" >&2
    exit 1
  fi
}

extra() { # what an extra promises, with it alone
  local venv="$work/extra-$1" short
  say "extra $1"
  "${PYTHON:-python3}" -m venv "$venv"
  # The wheel's environment holds the run requirements and nothing else, so what comes on top is this extra.
  ls -d "$work"/wheel/lib/python*/site-packages > "$(echo "$venv"/lib/python*/site-packages)/base.pth"
  install "$venv" "$(echo "$work"/dist/*.whl)[$1]"
  csilink() { "$venv/bin/python" -m benchmarks.cli "$@"; }
  mkdir "$work/elsewhere/$1"
  cd "$work/elsewhere/$1"
  case $1 in
    ray) csilink run quickstart --engine ray --workers 2 --drops 8 --out short ;;
    onnx | litert)
      csilink export transnet-250 --side ue --format "$1" # verifies itself
      csilink export transnet-250 --side ue --format "$1" --int8 ;; # as in docs/models.md
    torch | jax)
      short='splits={train: 200, val: 100, test: 100}'
      csilink dataset mixed_3g5_32ports --set "$short" --set shard_samples=100 --out store
      csilink train csinet_100 --backend "$1" --store store --set samples=200 --set batch_size=50 --set warmup_samples=50 \
        --out trained
      test -s trained/card.json
      csilink import-torch --help > /dev/null ;;
    hub) "$venv/bin/python" -P -m benchmarks.doctor_checks hub ;; # a folder in the cache of the hub, without a network
    bench) csilink bench speed --item coders --item codebook_search --out speed ;;
    *) echo "extra $1 is not known here" >&2; exit 2 ;;
  esac
}

checkout
wheel
for name in "$@"; do extra "$name"; done
say "a bare machine will do"
