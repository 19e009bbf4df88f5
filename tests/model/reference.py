"""reference.py MODEL COMMAND ..: what transformers makes of a model, as JSON on standard output.

MODEL is a Hugging Face folder, or a GGUF file.
  logits TOKENS.json DTYPE      [[id, ..], ..] -> a file of the logits of all tokens behind one another, float32
  tokens LINES.json             [text, ..] -> [[id, ..], ..]
  chat MESSAGES.json            [[{role, content}, ..], ..] -> [text, ..]
  greedy TOKENS.json COUNT      [[id, ..], ..] -> [[id, ..], ..], the COUNT likeliest continuations
  make FAMILY                   writes a small random model of a family into the folder MODEL
"""

import json
import os
import sys

import torch
import transformers

transformers.logging.set_verbosity_error()


def place(model):
    if model.endswith(".gguf"):
        return os.path.dirname(model) or ".", {"gguf_file": os.path.basename(model)}
    return model, {}


def load(model, dtype="float32"):
    folder, options = place(model)
    return transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), **options).eval()


def make(family, folder):
    shared = dict(vocab_size=96, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                  num_key_value_heads=2, max_position_embeddings=256, rms_norm_eps=1e-6)
    if family == "llama":
        scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                   "original_max_position_embeddings": 64}
        config = transformers.LlamaConfig(**shared, head_dim=16, rope_theta=10000.0, rope_scaling=scaling,
                                          tie_word_embeddings=False)
    elif family == "qwen2":
        config = transformers.Qwen2Config(**shared, rope_theta=1000000.0, tie_word_embeddings=True)
    elif family == "gemma3":
        # Windows of 8 in two of three layers, and a width whose root is rounded in bf16.
        shared.update(hidden_size=80, num_hidden_layers=3)
        config = transformers.Gemma3TextConfig(**shared, head_dim=32, sliding_window=8, sliding_window_pattern=2,
                                               query_pre_attn_scalar=32, tie_word_embeddings=True)
    elif family == "smollm3":
        shared.update(num_hidden_layers=4)
        config = transformers.SmolLM3Config(**shared, rope_theta=2000000.0, tie_word_embeddings=True,
                                          pad_token_id=0, bos_token_id=1, eos_token_id=2)
    else:
        config = transformers.Qwen3Config(**shared, head_dim=32, rope_theta=1000000.0, tie_word_embeddings=True)
    torch.manual_seed(7)
    model = transformers.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            # Norms away from one (Gemma stores how far) and biases away from zero, so that a forgotten one shows.
            one = 0 if family == "gemma3" else 1
            # Gemma's embeddings are multiplied by sqrt(hidden_size), and would drown the rest.
            size = 0.04 if family == "gemma3" and "embed" in name else 0.15
            weight.copy_(one + 0.2 * torch.randn_like(weight) if "norm" in name else size * torch.randn_like(weight))
    # In bf16 the files are half as large; transformers and we read the same rounded values.
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="60KB" if family == "qwen2" else "5GB")


def main():
    model, command, *rest = sys.argv[1:]
    if command == "make":
        return make(rest[0], model)
    given = json.load(open(rest[0]))
    if command == "logits":
        net = load(model, rest[1])
        answer = rest[0] + ".logits"
        with torch.no_grad(), open(answer, "wb") as out:
            for row in given:
                out.write(net(torch.tensor([row])).logits[0].float().numpy().tobytes())
    elif command == "greedy":
        net = load(model)
        # The end token is one among others: it neither stops a completion nor is it kept from being the likeliest.
        net.generation_config.eos_token_id = None
        answer = []
        for row in given:
            ids = torch.tensor([row])
            out = net.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=int(rest[1]),
                               temperature=None, top_p=None, top_k=None, repetition_penalty=1.0, pad_token_id=0)
            answer.append(out[0, len(row):].tolist())
    else:
        folder, options = place(model)
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        if command == "tokens":
            answer = [tokenizer(line, add_special_tokens=False)["input_ids"] for line in given]
        else:
            answer = [tokenizer.apply_chat_template(m, tokenize=False, add_generation_prompt=True) for m in given]
    json.dump(answer, sys.stdout)


main()
