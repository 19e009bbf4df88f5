"""torch and safetensors on the weights of a generator.pt: checkpoint.py FILE DIR, one JSON line a measurement."""

import json
import os
import sys
import time

import torch
from safetensors.torch import load_file, save_file

file, folder = sys.argv[1:]


def timed(what, work):
    begun = time.perf_counter()
    made = work()
    print(json.dumps({"what": what, "unit": "s", "best": time.perf_counter() - begun}), flush=True)
    return made


def synced(path, save):
    save(path)
    with open(path, "rb") as saved:
        os.fsync(saved.fileno())


state = timed("torch.load, warm, unchecked", lambda: torch.load(file, weights_only=True))["model_state_dict"]
theirs = os.path.join(folder, "theirs.pt")
tensors = os.path.join(folder, "theirs.safetensors")
timed("torch.save and fsync", lambda: synced(theirs, lambda path: torch.save(state, path)))
timed("safetensors save and fsync", lambda: synced(tensors, lambda path: save_file(state, path)))
# Every page touched: a map alone has read nothing.
timed("safetensors load, warm, unchecked", lambda: [t.clone() for t in load_file(tensors).values()])
timed("torch.load of its own file, warm", lambda: torch.load(theirs, weights_only=True))
for path in (theirs, tensors):
    os.remove(path)
