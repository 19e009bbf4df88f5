"""What transformers' logits processors leave of a distribution, by their definitions: repetition penalty, temperature,
top-k, top-p, min-p, in this order. Prints the cases of src/model/sampling_tests.rs.

    python3 tests/model/sampling.py
"""

from math import exp

LOGITS = [2.0, -1.5, 0.5, 1.9, 0.5, -0.25, 1.0, 0.0]
HISTORY = [3, 3, 5, 7]


def softmax(logits):
    weights = [0.0 if x is None else exp(x - max(y for y in logits if y is not None)) for x in logits]
    return [w / sum(weights) for w in weights]


def left(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, penalty=1.0):
    logits = [(x / penalty if x > 0 else x * penalty) if t in HISTORY else x for t, x in enumerate(LOGITS)]
    logits = [x / temperature for x in logits]
    if top_k:
        least = sorted(logits)[-min(top_k, len(logits))]
        logits = [x if x >= least else None for x in logits]
    if top_p < 1:
        probabilities, total = softmax(logits), 0.0
        ascending = sorted(range(len(logits)), key=lambda t: (probabilities[t], -t))
        for t in ascending[:-1]:
            total += probabilities[t]
            if total <= 1 - top_p:
                logits[t] = None
    if min_p > 0:
        probabilities = softmax(logits)
        logits = [x if p >= min_p * max(probabilities) else None for x, p in zip(logits, probabilities)]
    return softmax(logits)


for case in [
    dict(),
    dict(temperature=0.5),
    dict(temperature=3.0, penalty=1.3),
    dict(top_k=1),
    dict(top_k=4),
    dict(top_k=100),
    dict(top_p=0.0),
    dict(top_p=0.6),
    dict(top_p=0.85, temperature=1.5),
    dict(min_p=0.2),
    dict(min_p=1.0),
    dict(penalty=1.5),
    dict(penalty=0.5),
    dict(top_k=5, top_p=0.7),
    dict(top_p=0.9, min_p=0.15),
    dict(temperature=0.7, top_k=6, top_p=0.95, min_p=0.1, penalty=1.2),
    dict(temperature=2.0, top_k=3, top_p=0.5, min_p=0.9, penalty=2.0),
]:
    values = dict(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, penalty=1.0) | case
    numbers = ", ".join("%.6f" % p for p in left(**case))
    print("    (%(temperature)s, %(top_k)d, %(top_p)s, %(min_p)s, %(penalty)s, [NUMBERS]),".replace("NUMBERS", numbers) % values)
