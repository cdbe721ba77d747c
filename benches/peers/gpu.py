"""Prompts a second of `concord score` and of transformers on a GPU, on the same checkpoint and token ids.

    python3 benches/peers/gpu.py PROGRAM [--device cuda:0] [--questions DIR] [--shape llama-3.2-1b] [--prompts N]

The checkpoint has the shape of a Llama, random weights stored in bfloat16 and a tokenizer trained on the questions. Prompts are
the question set in chat form, both orders of the options; both programs read the log-probabilities of the two letters after each.

* concord: end to end, with reading the prompts, tokenising and writing the answers; also as it counts its own passes.
* transformers: sdpa, bfloat16, prompts sorted by length, padded batches of so many tokens, the head on the last position alone;
  tokenising is not timed.
* `--texts N`: tokens a second of `concord generate` and of transformers' `generate`, N texts of `--tokens` tokens, drawn at temperature 1;
  and whether eight of the texts are the same as bytes when they are written alone.
* `--sweep`: seconds of `concord run` from start to its table, on the checkpoint and on it twice, weights in the page cache.

The best of `--repeats` runs counts. One JSON object on stdout.
"""

import argparse
import atexit
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

SHAPES = {
    "smollm2-135m": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, tie_word_embeddings=True),
    "llama-3.2-1b": dict(hidden_size=2048, intermediate_size=8192, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8, tie_word_embeddings=True),
    "llama-3-8b": dict(hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8, tie_word_embeddings=False),
}
VOCABULARY, LETTERS = 128256, ("A", "B")
TEMPLATE = "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] }}\n{% endfor %}<|turn|>assistant\n"

# What is timed is read.
os.environ["CONCORD_NO_CACHE"] = "1"
arguments = argparse.ArgumentParser()
arguments.add_argument("program")
arguments.add_argument("--device", default="cuda:0")
arguments.add_argument("--questions")
arguments.add_argument("--shape", default="llama-3.2-1b", choices=SHAPES)
arguments.add_argument("--prompts", type=int, default=0, help="0 for all")
arguments.add_argument("--peer-prompts", type=int, default=0, help="of a fixed shuffle, 0 for all")
arguments.add_argument("--sweep", action="store_true", help="time `concord run` on one checkpoint and on two instead")
arguments.add_argument("--texts", type=int, default=0, help="time so many texts instead")
arguments.add_argument("--tokens", type=int, default=64, help="of a text")
arguments.add_argument("--alone", action="store_true", help="without transformers")
arguments.add_argument("--repeats", type=int, default=2)
arguments = arguments.parse_args()
folder = pathlib.Path(tempfile.mkdtemp())
atexit.register(shutil.rmtree, folder, ignore_errors=True)

asked = [arguments.program, "prompts", "--format", "json"] + (["--questions", arguments.questions] if arguments.questions else [])
rows = [json.loads(line) for line in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()]
chats = [row["messages"] for row in rows if row["kind"] == "chat" and not row.get("abstention")]
random.Random(135).shuffle(chats)
chats = chats[: arguments.prompts] if arguments.prompts else chats

tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tok.decoder = decoders.ByteLevel()
texts = sorted({message["content"] for chat in chats for message in chat})
trainer = trainers.BpeTrainer(vocab_size=6256, special_tokens=["<|turn|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
tok.train_from_iterator(texts, trainer)
tok.add_tokens([f"<|unused {i}|>" for i in range(VOCABULARY - tok.get_vocab_size())])
tok.save(str(folder / "tokenizer.json"))
(folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE}))

config = transformers.LlamaConfig(vocab_size=VOCABULARY, max_position_embeddings=8192, bos_token_id=0, eos_token_id=0, **SHAPES[arguments.shape])
torch.manual_seed(135)
torch.set_default_dtype(torch.bfloat16)
with torch.device(arguments.device):
    model = transformers.LlamaForCausalLM(config).eval()
torch.set_default_dtype(torch.float32)
model.save_pretrained(folder)
reader = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), chat_template=TEMPLATE, pad_token="<|turn|>")
ids = [tok.encode(reader.apply_chat_template(chat, tokenize=False), add_special_tokens=False).ids for chat in chats]
letters = [tok.encode(letter, add_special_tokens=False).ids[0] for letter in LETTERS]
few = min(arguments.peer_prompts or len(ids), len(ids))


def done():
    if arguments.device.startswith("cuda"):
        torch.cuda.synchronize()


def by_transformers(tokens_a_batch):
    order = sorted(range(few), key=lambda i: -len(ids[i]))
    found, first = [None] * few, 0
    done()
    begun = time.perf_counter()
    with torch.inference_mode():
        while first < few:
            width = len(ids[order[first]])
            part = order[first : first + max(1, tokens_a_batch // width)]
            first += len(part)
            # Padded on the left, so that the last position is the last for all.
            tokens = torch.tensor([[0] * (width - len(ids[i])) + ids[i] for i in part], device=arguments.device)
            mask = torch.tensor([[0] * (width - len(ids[i])) + [1] * len(ids[i]) for i in part], device=arguments.device)
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            logits = model(tokens, attention_mask=mask, position_ids=positions, logits_to_keep=1).logits[:, -1].float()
            for i, row in zip(part, torch.log_softmax(logits, -1)[:, letters].tolist()):
                found[i] = row
    done()
    return few / (time.perf_counter() - begun), found


def concord():
    lines = folder / "prompts.jsonl"
    lines.write_text("".join(json.dumps({"messages": chat, "continuations": LETTERS}) + "\n" for chat in chats))
    command = [arguments.program, "score", "--model", str(folder), "--prompts", str(lines), "--device", arguments.device]
    begun = time.perf_counter()
    out = subprocess.run(command, capture_output=True, text=True)
    spent = time.perf_counter() - begun
    if out.returncode:
        sys.exit(out.stderr)
    read = [json.loads(line) for line in out.stdout.splitlines()]
    assert all(row["prompt_tokens"] == len(prompt) for row, prompt in zip(read, ids)), "token ids differ"
    found = [[part["log_prob"] for part in row["continuations"]] for row in read]
    return float(re.search(r"([\d.]+) prompts/s", out.stderr)[1]), found[:few], spent


def sweep():
    """Seconds of `concord run` from start to its table, on the checkpoint and on it twice."""
    other = folder.with_name(folder.name + "-again")
    other.symlink_to(folder)
    atexit.register(other.unlink)
    seconds = {}
    for models in ([folder], [folder], [folder, other]):
        out = folder / f"run-{len(seconds)}-{time.monotonic_ns()}"
        command = [arguments.program, "run", "--device", arguments.device, "--formats", "letter", "--no-steering", "--out", str(out)]
        command += ["--questions", arguments.questions] if arguments.questions else []
        command += [word for model in models for word in ("--model", str(model))]
        begun = time.perf_counter()
        ran = subprocess.run(command, capture_output=True, text=True)
        if ran.returncode:
            sys.exit(ran.stderr)
        # The first run reads every weight once for its fingerprint, and warms the page cache.
        seconds[len(models)] = time.perf_counter() - begun
    results = json.loads((out / "manifest.json").read_text())["results"]
    return {
        "shape": arguments.shape, "seconds_of_one": seconds[1], "seconds_of_two": seconds[2],
        "next_adds": seconds[2] - seconds[1], "passes_seconds": [result["seconds"] for result in results.values()],
        "load_seconds": [result["load_seconds"] for result in results.values()],
    }


def generated(prompts, name):
    """Texts by their names, and tokens a second of `concord generate`, as it counts itself and from start to end."""
    lines = folder / f"{name}.jsonl"
    lines.write_text("".join(json.dumps({"id": str(i), "messages": chat}) + "\n" for i, chat in prompts))
    command = [arguments.program, "generate", "--model", str(folder), "--prompts", str(lines), "--device", arguments.device]
    command += ["--max-tokens", str(arguments.tokens), "--temperature", "1", "--seed", "3"]
    begun = time.perf_counter()
    out = subprocess.run(command, capture_output=True, text=True)
    spent = time.perf_counter() - begun
    if out.returncode:
        sys.exit(out.stderr)
    texts = {row["id"]: row["text"] for row in map(json.loads, out.stdout.splitlines())}
    return texts, float(re.search(r"([\d.]+) tokens/s", out.stderr)[1]), spent


def texts_by_transformers(count):
    width = max(map(len, ids[:count]))
    tokens = torch.tensor([[0] * (width - len(x)) + x for x in ids[:count]], device=arguments.device)
    mask = torch.tensor([[0] * (width - len(x)) + [1] * len(x) for x in ids[:count]], device=arguments.device)
    done()
    begun = time.perf_counter()
    with torch.inference_mode():
        model.generate(
            tokens, attention_mask=mask, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=arguments.tokens,
            min_new_tokens=arguments.tokens, pad_token_id=0,
        )
    done()
    return count * arguments.tokens / (time.perf_counter() - begun)


def texts():
    count = min(arguments.texts, len(chats))
    record = {"shape": arguments.shape, "texts": count, "tokens": arguments.tokens}
    if not arguments.alone:
        record["transformers_tokens_per_s"] = max(texts_by_transformers(count) for _ in range(arguments.repeats))
    globals().pop("model")
    if arguments.device.startswith("cuda"):
        torch.cuda.empty_cache()
    prompts = list(enumerate(chats[:count]))
    runs = [generated(prompts, f"texts-{i}") for i in range(arguments.repeats)]
    alone, _, _ = generated(prompts[::max(1, count // 8)][:8], "alone")
    record["concord_tokens_per_s"] = max(rate for _, rate, _ in runs)
    record["concord_seconds_from_start_to_end"] = min(spent for _, _, spent in runs)
    record["the_same_alone"] = all(runs[0][0][name] == text for name, text in alone.items())
    return record


def furthest(found, expected):
    return max(abs(a - b) for x, y in zip(found, expected) for a, b in zip(x, y))


if arguments.texts:
    print(json.dumps(texts(), indent=2))
    sys.exit()

if arguments.sweep:
    del model
    if arguments.device.startswith("cuda"):
        torch.cuda.empty_cache()
    print(json.dumps(sweep(), indent=2))
    sys.exit()

record = {
    "shape": arguments.shape, "prompts": len(ids), "peer_prompts": few, "tokens_per_prompt": sum(map(len, ids)) / len(ids),
    "device": torch.cuda.get_device_name(arguments.device) if arguments.device.startswith("cuda") else "cpu", "torch": torch.__version__, "transformers": transformers.__version__,
}
rates = {}
for tokens_a_batch in (8192, 32768):
    by_transformers(tokens_a_batch)
    runs = [by_transformers(tokens_a_batch) for _ in range(arguments.repeats)]
    rates[tokens_a_batch] = max(rate for rate, _ in runs)
    expected = runs[0][1]
record["transformers_prompts_per_s"] = rates
# The card is concord's alone while it is timed.
del model
if arguments.device.startswith("cuda"):
    torch.cuda.empty_cache()
runs = [concord() for _ in range(arguments.repeats)]
record["concord_prompts_per_s"] = max(rate for rate, _, _ in runs)
record["concord_seconds_from_start_to_end"] = min(spent for _, _, spent in runs)
record["letters_apart_nats"] = furthest(runs[0][1], expected)
print(json.dumps(record, indent=2))
assert record["letters_apart_nats"] < 0.3, "the programs did not read the same"
