"""peers.py MODEL DTYPE [ROUNDS]: what benches/engine.rs measures, by transformers (and PEFT), one JSON line a measurement.

MODEL is a Hugging Face folder or a GGUF file; DTYPE is float32 or bfloat16.
"""

import json
import os
import statistics
import sys
import time

import peft
import torch
import transformers

transformers.logging.set_verbosity_error()
MODEL, DTYPE = sys.argv[1], sys.argv[2]
ROUNDS = int(sys.argv[3]) if len(sys.argv) > 3 else 3


def line(what, work, unit, seconds):
    value = (lambda s: s) if unit == "s" else (lambda s: work / s)
    print(json.dumps({"what": what, "unit": unit, "best": value(min(seconds)), "median": value(statistics.median(seconds)),
                      "rounds": len(seconds), "who": f"transformers {DTYPE}"}), flush=True)


def timed(f):
    begun = time.perf_counter()
    f()
    return time.perf_counter() - begun


def prompts(rows, length):
    return torch.randint(1000, 21000, (rows, length))


folder, options = (os.path.dirname(MODEL) or ".", {"gguf_file": os.path.basename(MODEL)}) if MODEL.endswith(".gguf") else (MODEL, {})
begun = time.perf_counter()
model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, DTYPE), **options)
line("load", 1, "s", [time.perf_counter() - begun])


def generate(ids, count, **more):
    model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                   max_new_tokens=count, min_new_tokens=count, pad_token_id=0, repetition_penalty=1.0, **more)


model.eval()
for batch in [1, 8, 32]:
    seconds = [max(timed(lambda: generate(prompts(batch, 64), 33)) - timed(lambda: generate(prompts(batch, 64), 1)), 1e-9)
               for _ in range(ROUNDS)]
    line(f"decode batch {batch}", batch * 32, "tokens/s", seconds)
line("prefill 400", 400, "tokens/s", [timed(lambda: generate(prompts(1, 400), 1)) for _ in range(ROUNDS)])
line("group 8 x 200 over 400", 1, "s", [timed(lambda: generate(prompts(1, 400), 200, num_return_sequences=8)) for _ in range(min(ROUNDS, 2))])


def step(net, last):
    ids = prompts(8, 256)
    labels = ids.clone()
    keep = 0
    if last:
        labels[:, :-last] = -100
        keep = last + 1
    out = net(input_ids=ids, logits_to_keep=keep).logits[:, :-1]
    torch.nn.functional.cross_entropy(out.flatten(0, 1).float(), labels[:, -out.shape[1]:].flatten()).backward()
    net.zero_grad(set_to_none=True)


model.train()
for what, last in [("all", 0), ("all, last 64", 64)]:
    line(f"forward+backward 8 x 256, {what}", 1, "s", [timed(lambda: step(model, last)) for _ in range(min(ROUNDS, 3))])
targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
adapted = peft.get_peft_model(model, peft.LoraConfig(r=16, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"))
line("forward+backward 8 x 256, lora 16", 1, "s", [timed(lambda: step(adapted, 0)) for _ in range(min(ROUNDS, 3))])
