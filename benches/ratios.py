"""ratios.py llama GGUF decode|prefill: llama-batched-bench's lines, as benches/engine.rs writes its own
ratios.py table: a table of measurements and of how the engine stands to each peer, from lines of all of them

A ratio above one is to the engine's favour: best against best, and in brackets from the least to the most favourable turn.
"""

import json
import os
import sys


def llama(gguf, part):
    for text in sys.stdin:
        if not text.startswith("{"):
            continue
        line = json.loads(text)
        what, speed = (f"decode batch {line['pl']}", line["speed_tg"]) if part == "decode" else ("prefill", line["speed_pp"])
        if part == "prefill" or line["pl"] in (1, 8, 32):
            print(json.dumps({"who": f"llama.cpp {os.path.basename(gguf)}", "what": what, "unit": "tokens/s", "best": speed,
                              "median": speed, "rounds": 1}), flush=True)


PRECISIONS = ["float32", "bfloat16", "int8", "mixed"]


def table():
    found = {}
    for text in sys.stdin:
        if text.startswith("{"):
            line = json.loads(text)
            who, what = line["who"], line["what"]
            for precision in PRECISIONS:
                if who == "gauntlet" and precision in what.split():
                    who, what = f"gauntlet {precision}", " ".join(w for w in what.split() if w != precision)
            found.setdefault((what, line["unit"]), {}).setdefault(who, []).append(line)
    for (what, unit), by in found.items():
        print(f"{what} [{unit}]")
        better = min if unit == "s" else max
        for who, lines in by.items():
            values = [line["best"] for line in lines]
            peak = max((line.get("peak_mb") or 0) for line in lines)
            told = f"  {who:40} {better(values):9.2f}  ({min(values):.2f} to {max(values):.2f})" + (f"  {peak} MB" if peak else "")
            if not who.startswith("gauntlet"):
                for ours, own in by.items():
                    if ours.startswith("gauntlet"):
                        mine = [line["best"] for line in own]
                        ratio = (lambda a, b: b / a) if unit == "s" else (lambda a, b: a / b)
                        pairs = [ratio(a, b) for a, b in zip(mine, values)]
                        told += f"  {ours}: {ratio(better(mine), better(values)):.2f} ({min(pairs):.2f} to {max(pairs):.2f})"
            print(told)


if sys.argv[1] == "llama":
    llama(*sys.argv[2:])
else:
    table()
