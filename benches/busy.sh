#!/usr/bin/env bash
# How much slower decoding is beside busy processes: alone, beside one, beside four.
#
#     benches/busy.sh MODEL [INFERENCE]
#
# One run of all three; each line has seconds, seconds of processor time, and the ratio to the first line.
set -euo pipefail
model=$1
binary=${2:-target/release/inference}
alone=
for count in 0 1 4; do
  busy=()
  for ((i = 0; i < count; i++)); do
    (while :; do :; done) &
    busy+=($!)
  done
  TIMEFORMAT='%R %U %S'
  spent=$({ time "$binary" --model "$model" --problem "Implement two_sum" --max-new-tokens 24 >/dev/null 2>&1; } 2>&1)
  if ((count > 0)); then
    kill "${busy[@]}"
    wait "${busy[@]}" 2>/dev/null || true
  fi
  read -r wall user system <<<"$spent"
  alone=${alone:-$wall}
  awk -v n="$count" -v w="$wall" -v u="$user" -v s="$system" -v a="$alone" \
    'BEGIN { printf "beside %d: %.1f s, %.1f s of processor time, %.2f times alone\n", n, w, u + s, w / a }'
done
