"""blocks.py: two random blocks of each GGUF format, and what the gguf package makes of them, as data/blocks.json holds."""

import json

import gguf
import numpy

rng = numpy.random.default_rng(5)
golden = {}
for name in ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K"]:
    kind = gguf.GGMLQuantizationType[name]
    weights, size = gguf.GGML_QUANT_SIZES[kind]
    count = 2 if weights > 1 else 8
    data = rng.integers(0, 256, size=(count, size), dtype=numpy.uint8)
    # Scales are half floats; random bits would make some of them infinite.
    half = numpy.frombuffer(rng.uniform(-2, 2, size=count * 2).astype(numpy.float16).tobytes(), numpy.uint8).reshape(count, 4)
    if name == "F32":
        data = rng.normal(size=count).astype(numpy.float32).view(numpy.uint8).reshape(count, 4)
    elif name == "F16":
        data = rng.normal(size=count).astype(numpy.float16).view(numpy.uint8).reshape(count, 2)
    elif name == "BF16":
        data[:, 1] = 0x3F
    elif name == "Q6_K":
        data[:, -2:] = half[:, :2]
    else:
        data[:, :4 if name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else 2] = half[:, :4 if name in ("Q4_1", "Q5_1", "Q4_K", "Q5_K") else 2]
    values = gguf.quants.dequantize(data.reshape(1, -1), kind)
    golden[name] = {"number": int(kind), "bytes": data.reshape(-1).tolist(), "values": [float(v) for v in values.reshape(-1)]}
print(json.dumps(golden, separators=(",", ":")))
