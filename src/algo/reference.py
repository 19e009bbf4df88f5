"""Losses and gradients of policies, by autograd through the published formulas, for golden_tests.rs.

    python reference.py > golden.json

Needs torch. Nothing here is shared with what it checks: objectives are written as their papers write them and
differentiated, where the Rust code multiplies log-probabilities by weights.
"""

import itertools
import json

import torch

LENGTHS = [3, 1, 4]  # tokens of each sequence of the microbatch
COUNTS = {"sequences": 5, "tokens": 23}  # of the whole batch
MAX_NEW_TOKENS, TEMPERATURE, BETA, VOCABULARY = 8, 0.7, 0.3, 5
BOUNDS = {"reinforce": (None, None), "ppo_clip": (0.2, 0.28), "gspo": (0.1, 0.15), "cispo": (0.4, 0.5)}

torch.manual_seed(25)
torch.set_default_dtype(torch.float64)
tokens = sum(LENGTHS)
rounded = lambda t: (t * 1000).round() / 1000
logits = rounded(torch.randn(tokens, VOCABULARY))
targets = torch.randint(VOCABULARY, (tokens,))
start = torch.log_softmax(logits / TEMPERATURE, -1)[torch.arange(tokens), targets]
sampled = rounded(start + 0.8 * torch.randn(tokens))
reference = rounded(start + 0.5 * torch.randn(tokens))
advantages = torch.tensor([0.75, -1.25, -0.5])


def spread(values):
    return torch.cat([value.expand(length) for value, length in zip(values, LENGTHS)])


def case(objective, kl, denominator):
    x = logits.clone().requires_grad_()
    logp = torch.log_softmax(x / TEMPERATURE, -1)[torch.arange(tokens), targets]
    advantage = spread(advantages)
    k1 = (logp - reference).detach()
    if kl == "reward":
        advantage = advantage - BETA * k1
    ratio = (logp - sampled).exp()
    if objective == "gspo":
        means = [part.mean() for part in (logp - sampled).split(LENGTHS)]
        ratio = spread([mean.exp() for mean in means])
        if kl == "reward":  # advantages differ within a sequence: GSPO-token
            ratio = ratio.detach() * (logp - logp.detach()).exp()
    low, high = BOUNDS[objective]
    if objective == "reinforce":
        value = ratio.clamp(max=2.0).detach() * advantage * logp
        clipped = 0
    elif objective == "cispo":
        value = ratio.clamp(1 - low, 1 + high).detach() * advantage * logp
        clipped = ((ratio < 1 - low) | (ratio > 1 + high)).sum().item()
    else:
        bound = ratio.clamp(1 - low, 1 + high)
        value = torch.minimum(ratio * advantage, bound * advantage)
        clipped = (bound * advantage < ratio * advantage).sum().item()
    penalty = BETA * ((reference - logp).exp() - (reference - logp) - 1) if kl == "loss" else torch.zeros(tokens)
    terms = penalty - value
    if denominator == "constant":
        loss = terms.sum() / (COUNTS["sequences"] * MAX_NEW_TOKENS)
    elif denominator == "token":
        loss = terms.sum() / COUNTS["tokens"]
    else:
        loss = sum(part.mean() for part in terms.split(LENGTHS)) / COUNTS["sequences"]
    loss.backward()
    estimate = {"none": 0.0, "loss": (penalty / BETA).sum().item(), "reward": k1.sum().item()}[kl]
    return {
        "config": {"objective": objective, "clip_low": low, "clip_high": high, "kl": kl, "denominator": denominator},
        "loss": loss.item(),
        "gradient": x.grad.tolist(),
        "kl": estimate,
        "clipped": clipped,
        "ratio_sum": ratio.sum().item(),
        "ratio_max": ratio.max().item(),
    }


choices = itertools.product(BOUNDS, ["none", "loss", "reward"], ["constant", "token", "sequence"])
golden = {
    "lengths": LENGTHS,
    "counts": COUNTS,
    "max_new_tokens": MAX_NEW_TOKENS,
    "temperature": TEMPERATURE,
    "kl_beta": BETA,
    "logits": logits.tolist(),
    "targets": targets.tolist(),
    "sampled": sampled.tolist(),
    "reference": reference.tolist(),
    "advantages": advantages.tolist(),
    "entropy": -start.sum().item(),
    "mismatch": (start - sampled).abs().sum().item(),
    "cases": [case(*choice) for choice in choices],
}


def shortened(value):
    if isinstance(value, float):
        return round(value, 9)
    if isinstance(value, list):
        return [shortened(entry) for entry in value]
    if isinstance(value, dict):
        return {key: shortened(entry) for key, entry in value.items()}
    return value


lines = [f'"{key}": {json.dumps(shortened(value))}' for key, value in golden.items() if key != "cases"]
cases = ",\n".join(json.dumps(shortened(value)) for value in golden["cases"])
print("{" + ",\n".join(lines) + ',\n"cases": [\n' + cases + "\n]}")
