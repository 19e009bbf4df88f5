#!/usr/bin/env bash
# Measures the engine, transformers (with PEFT) and llama.cpp on one model, in turn, and prints the ratios:
#   benches/peers.sh MODEL_FOLDER [PARTS [GGUF..]]
# MODEL_FOLDER is a Hugging Face folder; PARTS are those of benches/engine.rs; each GGUF is run by llama.cpp for decode
# and prefill. The peers live in the user's cache folder, made at the first run: transformers in a virtual environment, on
# the Python torch that `cargo xtask setup` made, llama.cpp out of PyPI's llama-cpp-python source package. ROUNDS=n takes
# each measurement n times within a turn (2), TURNS=n turns (2), THREADS=n threads (2), MEASURE="cmd" runs each measurement
# under a command of yours.
set -euo pipefail
model=${1:?usage: benches/peers.sh MODEL_FOLDER [PARTS [GGUF..]]}
parts=${2:-floor,decode,prefill,group,full,last,lora,step}
shift $(($# < 2 ? $# : 2))
cd "$(dirname "$0")/.."
peers=${GAUNTLET_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/gauntlet}/peers
venv=$peers/venv
export OMP_NUM_THREADS=${THREADS:-2}

# PyPI's torch asks for CUDA's libraries; this is the same without.
export PYTHONPATH=$peers/../python-torch
if ! "$venv/bin/python" -c "import torch, transformers, peft" 2>/dev/null; then
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet filelock fsspec jinja2 networkx sympy typing-extensions numpy transformers gguf
  "$venv/bin/pip" install --quiet --no-deps peft accelerate psutil
fi

# The processor's extensions by name: GGML_NATIVE took some that the processor did not have.
has() { grep -qw "$1" /proc/cpuinfo && echo ON || echo OFF; }
if [ $# -gt 0 ] && ! [ -x "$peers/llama/build/bin/llama-batched-bench" ]; then
  mkdir -p "$peers/llama"
  "$venv/bin/pip" install --quiet cmake ninja
  "$venv/bin/pip" download --quiet --no-deps --no-binary llama-cpp-python --dest "$peers/llama" llama-cpp-python==0.3.36
  tar xzf "$peers"/llama/llama_cpp_python-*.tar.gz -C "$peers/llama"
  PATH=$venv/bin:$PATH cmake -S "$peers"/llama/llama_cpp_python-*/vendor/llama.cpp -B "$peers/llama/build" -G Ninja \
    -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF -DGGML_NATIVE=OFF \
    -DGGML_AVX="$(has avx)" -DGGML_AVX2="$(has avx2)" -DGGML_FMA="$(has fma)" -DGGML_F16C="$(has f16c)" \
    -DGGML_BMI2="$(has bmi2)" -DGGML_AVX512="$(has avx512bw)" -DGGML_AVX512_VNNI="$(has avx512_vnni)" \
    -DGGML_AVX512_BF16="$(has avx512_bf16)"
  PATH=$venv/bin:$PATH nice ninja -C "$peers/llama/build" -j1 llama-bench llama-batched-bench
fi

cargo bench --bench engine --no-run
results=$(mktemp)
for _ in $(seq "${TURNS:-2}"); do
  for part in ${parts//,/ }; do
    ours=$part dtypes="float32 bfloat16"
    case $part in
      # What trains does so in both kinds, as its peers do; all weights in bf16 have masters, the peer's mixed, or none.
      full | last) ours="$part:float32 $part:bfloat16 $part:bfloat16:alone" dtypes="$dtypes mixed" ;;
      lora) ours="$part:float32 $part:bfloat16" ;;
    esac
    for own in $ours; do ${MEASURE:-} cargo bench --quiet --bench engine -- "$model" "$own" "${ROUNDS:-2}"; done
    [ "${part%%:*}" = floor ] && continue
    for dtype in $dtypes; do
      ${MEASURE:-} "$venv/bin/python" -W ignore benches/peers.py "$model" "$part" "$dtype" "${ROUNDS:-2}"
    done
  done
  for gguf in "$@"; do
    ${MEASURE:-} "$peers/llama/build/bin/llama-batched-bench" -m "$gguf" -t "$OMP_NUM_THREADS" -c 4096 -npp 64 -ntg 32 \
      -npl 1,8,32 --output-format jsonl | "$venv/bin/python" benches/ratios.py llama "$gguf" decode
    ${MEASURE:-} "$peers/llama/build/bin/llama-batched-bench" -m "$gguf" -t "$OMP_NUM_THREADS" -c 1024 -npp 400 -ntg 1 \
      -npl 1 --output-format jsonl | "$venv/bin/python" benches/ratios.py llama "$gguf" prefill
  done
done | tee "$results"
"$venv/bin/python" benches/ratios.py table <"$results"
rm "$results"
