#!/usr/bin/env python3
"""Writes rendered.json: conversations as jinja2 renders the published chat templates, set up the way
transformers sets it up (utils/chat_template_utils.py). Run by hand, with jinja2 3.1:

    python3 tests/data/templates/render.py

The templates of gemma3, llama3_2, qwen2_5 and qwen3 are those that scripts/fetch-tokenizer fetches;
the others are written here as their models have them.
"""
import datetime
import json
import pathlib
import subprocess

from jinja2.exceptions import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

HERE = pathlib.Path(__file__).parent
FETCH = HERE.parents[2] / "scripts" / "fetch-tokenizer"

SMOLLM2 = "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
PHI3 = "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"

user = lambda text: {"role": "user", "content": text}
assistant = lambda text: {"role": "assistant", "content": text}
system = lambda text: {"role": "system", "content": text}

CONVERSATIONS = [
    [user("Why is the sky blue?")],
    [user("  Leading and trailing whitespace \n")],
    [system("You answer in one sentence."), user("Grüezi! 你好 👩‍🚀")],
    [user("One"), assistant("Two."), user("Three & <b>four</b> \"five\" 'six' {{ seven }} {% eight %}")],
    [system(" Be brief. "), user("a"), assistant(" b\n"), user("c"), assistant("d"), user("e")],
    [user("Think"), assistant("<think>\nWhat is this?\n</think>\n\nThought."), user("Again")],
]
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "description": "The weather <now> & later, at 'a place'",
            "parameters": {
                "type": "object",
                "properties": {"place": {"type": "string"}, "days": {"type": "integer", "default": 1.5}},
                "required": ["place"],
            },
        },
    },
    {"type": "function", "function": {"name": "größe", "parameters": {"type": "object", "properties": {}}}},
]


def environment():
    env = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    env.filters["tojson"] = lambda x, ensure_ascii=False, indent=None, separators=None, sort_keys=False: json.dumps(
        x, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )

    def raise_exception(message):
        raise TemplateError(message)

    env.globals["raise_exception"] = raise_exception
    # The date that this project's templates are told.
    env.globals["strftime_now"] = lambda form: datetime.datetime(2024, 7, 26).strftime(form)
    return env


def published(name):
    folder = subprocess.run([FETCH, name], check=True, capture_output=True, text=True).stdout.strip()
    config = json.loads((pathlib.Path(folder) / "tokenizer_config.json").read_text())
    text = lambda t: t["content"] if isinstance(t, dict) else (t or "")
    return config["chat_template"], text(config.get("bos_token")), text(config.get("eos_token"))


def main():
    cases = []
    models = {"smollm2": (SMOLLM2, "<|im_start|>", "<|im_end|>"), "phi3": (PHI3, "<s>", "<|endoftext|>")}
    models |= {name: published(name) for name in ["gemma3", "llama3_2", "qwen2_5", "qwen3"]}
    for name, (source, bos, eos) in models.items():
        template = environment().from_string(source)
        for tools in (None, TOOLS):
            if tools and "tools" not in source:
                continue
            for messages in CONVERSATIONS:
                text = template.render(
                    messages=messages, tools=tools, add_generation_prompt=True, bos_token=bos, eos_token=eos
                )
                case = {"model": name, "tools": [json.dumps(t, ensure_ascii=False) for t in tools or []], "messages": messages, "text": text}
                if name in ("smollm2", "phi3"):
                    case["template"] = source
                cases.append(case)
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    (HERE / "rendered.json").write_text(f"[\n{lines}\n]\n")


main()
