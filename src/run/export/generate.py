#!/usr/bin/env python3
"""Solves a problem in five stages with the model in this folder.

    python3 generate.py "Implement a function that reverses a string"

Needs torch, transformers and jinja2; for a folder that holds an adapter alone, peft and its base model too.
"""

import argparse
import ast
import json
import pathlib

import jinja2
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

FOLDER = pathlib.Path(__file__).resolve().parent
END = "<|end|>"  # closes every text of a model that is not prompted as in a conversation


def prompt(name, **values):
    return jinja2.Template((FOLDER / "prompts" / f"{name}.j2").read_text()).render(**values)


def header_of(signature):
    """The first line of the definition without annotations: the code was trained to open with it."""
    function = ast.parse(f"{signature.rstrip(': ')}: pass").body[0]
    arguments = function.args
    for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
        if argument:
            argument.annotation = None
    function.returns = None
    return ast.unparse(function).splitlines()[0]


def load():
    adapter = FOLDER / "adapter_config.json"
    source = json.loads(adapter.read_text())["base_model_name_or_path"] if adapter.exists() else FOLDER
    model = AutoModelForCausalLM.from_pretrained(source).float()
    if adapter.exists():
        import peft

        model = peft.PeftModel.from_pretrained(model, FOLDER)
    return AutoTokenizer.from_pretrained(source), model.eval()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("problem", help="what the function shall do")
    parser.add_argument("--signature", help="as in 'def f(text: str) -> str'")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="of each stage")
    parser.add_argument("--temperature", type=float, default=0.0, help="0 takes the likeliest token")
    parser.add_argument("--json", action="store_true", help="print the stages as a JSON list")
    args = parser.parse_args()

    tokenizer, model = load()
    end = tokenizer.eos_token if tokenizer.chat_template else END
    drawn = {"do_sample": True, "temperature": args.temperature} if args.temperature > 0 else {"do_sample": False}

    def write(text):
        tokens = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        tokens.pop("token_type_ids", None)
        with torch.no_grad():
            written = model.generate(
                **tokens,
                **drawn,
                max_new_tokens=args.max_new_tokens,
                eos_token_id=tokenizer.convert_tokens_to_ids(end),
                pad_token_id=0,
            )
        return tokenizer.decode(written[0, tokens["input_ids"].shape[1] :], skip_special_tokens=True)

    text = prompt("problem", statement=args.problem, signature=args.signature)
    header = header_of(args.signature) if args.signature else ""
    messages, stages = [], []
    for number in range(1, 6):
        opening = prompt(f"stage_{number}", header=header)
        if tokenizer.chat_template:
            content = f"{text}\n\n{opening}" if number == 1 else opening
            messages.append({"role": "user", "content": content})
            stages.append(write(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)))
            messages.append({"role": "assistant", "content": stages[-1]})
        else:
            text += opening
            written = write(text)
            text += written + END
            stages.append(header * (number == 5) + written)
    if args.json:
        print(json.dumps(stages))
    else:
        print("\n\n".join(f"{number}. {stage}" for number, stage in enumerate(stages, 1)))


if __name__ == "__main__":
    main()
