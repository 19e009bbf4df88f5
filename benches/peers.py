"""peers.py MODEL PARTS DTYPE [ROUNDS]: what benches/engine.rs measures, by transformers and PEFT, one JSON line a measurement.

MODEL is a Hugging Face folder; PARTS are those of benches/engine.rs, separated by commas; DTYPE is float32, bfloat16, or
mixed: float32 weights and gradients with products in bfloat16, as one trains all weights there and as the engine does.
"""

import json
import statistics
import sys
import time

import torch
import transformers

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
MODEL, PARTS, DTYPE = sys.argv[1:4]
ROUNDS = int(sys.argv[4]) if len(sys.argv) > 4 else 3
WHO = f"transformers {DTYPE}"


def peak_mb():
    try:
        status = open("/proc/self/status").read()
    except OSError:
        return None
    return int(status.split("VmHWM:")[1].split()[0]) // 1024


def line(what, work, unit, seconds):
    value = (lambda s: s) if unit == "s" else (lambda s: work / s)
    print(json.dumps({"who": WHO, "what": what, "unit": unit, "best": value(min(seconds)),
                      "median": value(statistics.median(seconds)), "rounds": len(seconds), "peak_mb": peak_mb()}), flush=True)


def timed(f):
    begun = time.perf_counter()
    f()
    return time.perf_counter() - begun


def prompts(rows, length):
    return torch.randint(1000, 21000, (rows, length))


def load():
    begun = time.perf_counter()
    model = transformers.AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.float32 if DTYPE == "mixed" else getattr(torch, DTYPE))
    line("load", 1, "s", [time.perf_counter() - begun])
    return model.eval()


def generate(model, ids, count, **more):
    return model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                          max_new_tokens=count, min_new_tokens=count, pad_token_id=0, repetition_penalty=1.0, **more)


def adapter(model):
    import peft

    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    return peft.get_peft_model(model, peft.LoraConfig(r=16, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"))


def forward_backward(net, last):
    ids = prompts(8, 256)
    labels = ids.clone()
    keep = 0
    if last:
        labels[:, :-last] = -100
        keep = last + 1
    with torch.autocast("cpu", torch.bfloat16, enabled=DTYPE == "mixed"):
        out = net(input_ids=ids, logits_to_keep=keep).logits[:, :-1]
    torch.nn.functional.cross_entropy(out.flatten(0, 1).float(), labels[:, -out.shape[1] - 1:][:, 1:].flatten()).backward()
    net.zero_grad(set_to_none=True)


def logprobs(net, ids, completion):
    logits = net(input_ids=ids, logits_to_keep=completion + 1).logits[:, :-1].float()
    return torch.gather(logits.log_softmax(-1), 2, ids[:, -completion:, None]).squeeze(2)


def policy_step(model):
    """The step of benches/engine.rs in plain transformers and PEFT, which is what TRL's GRPO does without its bookkeeping."""
    net = adapter(model)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-5, weight_decay=0.0)
    laps = {"generate": [], "reference": [], "forward, backward": [], "optimizer": []}
    whole = []
    for _ in range(ROUNDS):
        begun = last = time.perf_counter()

        def lap(what):
            nonlocal last
            now = time.perf_counter()
            laps[what].append(now - last)
            last = now

        net.eval()
        with torch.no_grad():
            ids = generate(net, prompts(2, 100).repeat_interleave(8, 0), 128)
        lap("generate")
        with torch.no_grad(), net.disable_adapter():
            reference = logprobs(net, ids, 128)
        lap("reference")
        net.train()
        ours = logprobs(net, ids, 128)
        difference = reference - ours
        advantages = torch.tensor([1.0, -1.0]).repeat(8)[:, None]
        loss = -(ours - ours.detach()).exp() * advantages + 0.04 * (difference.exp() - difference - 1)
        loss.mean().backward()
        lap("forward, backward")
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        lap("optimizer")
        whole.append(time.perf_counter() - begun)
    line("step", 1, "s", whole)
    for what, seconds in laps.items():
        line(f"step: {what}", 1, "s", seconds)


model = load()
for part in PARTS.split(","):
    part = part.split(":")[0]
    if part == "decode":
        for batch in [1, 8, 32]:
            seconds = [max(timed(lambda: generate(model, prompts(batch, 64), 33)) - timed(lambda: generate(model, prompts(batch, 64), 1)),
                           1e-9) for _ in range(ROUNDS)]
            line(f"decode batch {batch}", batch * 32, "tokens/s", seconds)
    elif part == "prefill":
        line(part, 400, "tokens/s", [timed(lambda: generate(model, prompts(1, 400), 1)) for _ in range(ROUNDS)])
    elif part == "group":
        line(part, 1, "s", [timed(lambda: generate(model, prompts(1, 400), 200, num_return_sequences=8)) for _ in range(ROUNDS)])
    elif part == "first":
        line(part, 1, "s", [timed(lambda: generate(model, prompts(1, 8), 1))])
    elif part in ("full", "last"):
        model.train()
        line(part, 1, "s", [timed(lambda: forward_backward(model, 64 if part == "last" else 0)) for _ in range(ROUNDS)])
    elif part == "lora":
        net = adapter(model).train()
        line(part, 1, "s", [timed(lambda: forward_backward(net, 0)) for _ in range(ROUNDS)])
    elif part == "step":
        policy_step(model)
    else:
        sys.exit(f"part {part!r}")
