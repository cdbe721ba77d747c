"""Prompts a second of `concord score`, of transformers and of lm-evaluation-harness, on the same checkpoint and token ids.

    benches/peers/run [--questions DIR] [--prompts N] [--peer-prompts N]

installs them and calls this script.

The checkpoint has SmolLM2-135M's shape, random weights stored in bfloat16 and a tokenizer trained on the questions. Prompts are
the question set in chat form, both orders of the options; every program reads the log-probabilities of the two letters.

* transformers: sdpa, bfloat16, prompts sorted by length, padded batches, the head on the last position alone.
* lm-eval: its own `hf` model, bfloat16, one request a letter, token ids handed over as they are.

Each is timed as often as `--repeats` says, and the best counts. Loading is timed nowhere. The letters' log-probabilities of
the three are compared, so that all have done the same work. Peers are slow: `--peer-prompts` gives them the first N prompts
of a fixed shuffle, and rates are compared.
"""

import argparse
import json
import pathlib
import random
import re
import subprocess
import tempfile
import time

import torch
import transformers
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

arguments = argparse.ArgumentParser()
arguments.add_argument("program")
arguments.add_argument("--questions")
arguments.add_argument("--prompts", type=int, default=0, help="prompts for concord, 0 for all")
arguments.add_argument("--peer-prompts", type=int, default=256)
arguments.add_argument("--repeats", type=int, default=3)
arguments.add_argument("--out", type=pathlib.Path, help="write the record to a file")
arguments = arguments.parse_args()

VOCABULARY, LETTERS = 49152, ("A", "B")
TEMPLATE = "{% for m in messages %}<|turn|>{{ m['role'] }}\n{{ m['content'] }}\n{% endfor %}<|turn|>assistant\n"
folder = pathlib.Path(tempfile.mkdtemp())

asked = [arguments.program, "prompts", "--format", "json"] + (["--questions", arguments.questions] if arguments.questions else [])
rows = [json.loads(line) for line in subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()]
rows = [row for row in rows if row["kind"] == "chat" and not row.get("abstention")]
chats = [row["messages"] for row in rows]
random.Random(135).shuffle(chats)
if arguments.prompts:
    chats = chats[: arguments.prompts]

tok = Tokenizer(models.BPE())
tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tok.decoder = decoders.ByteLevel()
alphabet = pre_tokenizers.ByteLevel.alphabet()
texts = sorted({message["content"] for chat in chats for message in chat})
tok.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=6256, special_tokens=["<|turn|>"], initial_alphabet=alphabet, show_progress=False))
tok.add_tokens([f"<|unused {i}|>" for i in range(VOCABULARY - tok.get_vocab_size())])
tok.save(str(folder / "tokenizer.json"))
(folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "chat_template": TEMPLATE}))

config = transformers.LlamaConfig(
    vocab_size=VOCABULARY, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, max_position_embeddings=8192, tie_word_embeddings=True, bos_token_id=0, eos_token_id=0,
)
torch.manual_seed(135)
model = transformers.LlamaForCausalLM(config).to(torch.bfloat16).eval()
model.save_pretrained(folder)
reader = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), chat_template=TEMPLATE, pad_token="<|turn|>")
ids = [tok.encode(reader.apply_chat_template(chat, tokenize=False), add_special_tokens=False).ids for chat in chats]
letters = [tok.encode(letter, add_special_tokens=False).ids[0] for letter in LETTERS]
few = min(arguments.peer_prompts, len(ids))


def concord():
    lines = folder / "prompts.jsonl"
    lines.write_text("".join(json.dumps({"messages": chat, "continuations": LETTERS}) + "\n" for chat in chats))
    command = [arguments.program, "score", "--model", str(folder), "--prompts", str(lines)]
    out = subprocess.run(command, capture_output=True, text=True, check=True)
    read = [json.loads(line) for line in out.stdout.splitlines()]
    assert all(row["prompt_tokens"] == len(prompt) for row, prompt in zip(read, ids)), "token ids differ"
    found = [[part["log_prob"] for part in row["continuations"]] for row in read]
    return float(re.search(r"([\d.]+) prompts/s", out.stderr)[1]), found[:few]


def by_transformers(batch):
    order = sorted(range(few), key=lambda i: -len(ids[i]))
    found, begun = [None] * few, time.perf_counter()
    with torch.inference_mode():
        for first in range(0, few, batch):
            part = order[first : first + batch]
            width = max(len(ids[i]) for i in part)
            # Padded on the left, so that the last position is the last for all.
            tokens = torch.tensor([[0] * (width - len(ids[i])) + ids[i] for i in part])
            mask = torch.tensor([[0] * (width - len(ids[i])) + [1] * len(ids[i]) for i in part])
            positions = (mask.cumsum(1) - 1).clamp(min=0)
            logits = model(tokens, attention_mask=mask, position_ids=positions, logits_to_keep=1).logits[:, -1].float()
            for i, row in zip(part, torch.log_softmax(logits, -1)[:, letters].tolist()):
                found[i] = row
    return few / (time.perf_counter() - begun), found


def by_lm_eval():
    from lm_eval.models.huggingface import HFLM

    peer = HFLM(pretrained=model, tokenizer=reader, batch_size=16, max_length=2048, device="cpu")
    requests = [(("", ""), prompt, [letter]) for prompt in ids[:few] for letter in letters]
    begun = time.perf_counter()
    answers = peer._loglikelihood_tokens(requests, disable_tqdm=True)
    spent = time.perf_counter() - begun
    found = [answer[0] for answer in answers]
    return few / spent, [list(pair) for pair in zip(found[::2], found[1::2])]


def best(run):
    runs = [run() for _ in range(arguments.repeats)]
    return max(runs, key=lambda run: run[0])


def furthest(found, expected):
    return max(abs(a - b) for x, y in zip(found, expected) for a, b in zip(x, y))


record = {
    "shape": "smollm2-135m", "prompts": len(ids), "peer_prompts": few, "tokens_per_prompt": sum(map(len, ids)) / len(ids),
    "threads": torch.get_num_threads(), "torch": torch.__version__, "transformers": transformers.__version__,
    "processor": next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), ""),
}
print(json.dumps(record))
rate, expected = best(concord)
record["concord_prompts_per_s"] = rate
print(f"concord, {len(ids)} prompts        {rate:8.1f} prompts/s")
for batch in (16, 64):
    rate, found = best(lambda: by_transformers(batch))
    record[f"transformers_{batch}_prompts_per_s"] = rate
    print(f"transformers, {batch} a batch    {rate:8.1f} prompts/s, letters within {furthest(found, expected):.3f} nats")
rate, found = best(by_lm_eval)
record["lm_eval_prompts_per_s"] = rate
print(f"lm-eval                      {rate:8.1f} prompts/s, letters within {furthest(found, expected):.3f} nats")
assert furthest(found, expected) < 0.2, "the programs did not read the same"
if arguments.out:
    arguments.out.write_text(json.dumps(record, indent=2) + "\n")
