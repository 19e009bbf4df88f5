#!/usr/bin/env bash
# Measures the engine and transformers on one model, in turn: benches/peers.sh MODEL [ROUNDS]
# The peers live in a virtual environment in the user's cache folder, made at the first run.
set -euo pipefail
model=${1:?usage: benches/peers.sh MODEL [ROUNDS]}
rounds=${2:-3}
cd "$(dirname "$0")/.."
venv=${GAUNTLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gauntlet}/peers/venv
if [ -z "${GAUNTLET_TEST_PYTHON:-}" ]; then
  if ! "$venv/bin/python" -c "import torch, transformers, peft" 2>/dev/null; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet torch==2.13.0 transformers peft gguf
  fi
  GAUNTLET_TEST_PYTHON=$venv/bin/python
fi
cargo bench --bench engine --no-run
for _ in 1 2; do
  cargo bench --quiet --bench engine -- "$model" "$rounds"
  for dtype in float32 bfloat16; do
    "$GAUNTLET_TEST_PYTHON" -W ignore benches/peers.py "$model" "$dtype" "$rounds"
  done
done
