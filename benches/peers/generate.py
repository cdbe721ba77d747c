"""Tokens a second of `concord generate` and of transformers' `generate`, on the same made-up checkpoint and prompts.

    pip install torch transformers
    python benches/peers/generate.py target/release/concord [texts] [tokens]

The checkpoint has SmolLM2-135M's shape, random weights in float32 and one word a token. Prompts have 70 tokens, of which the
first 45 are the same, as those of a question set do. Both draw at temperature 1, so that no text ends early or repeats; each
is timed three times, and the best counts. Loading is not timed.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers

program, texts, tokens = sys.argv[1], int((sys.argv + ["", "128"])[2] or 128), int((sys.argv + ["", "", ""])[3] or 128)
VOCABULARY = 49152
folder = pathlib.Path(tempfile.mkdtemp())
config = transformers.LlamaConfig(
    vocab_size=VOCABULARY, hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
    num_key_value_heads=3, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=0, eos_token_id=1,
)
torch.manual_seed(135)
model = transformers.LlamaForCausalLM(config).float().eval()
model.save_pretrained(folder)
tok = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w2"))
tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
tok.save(str(folder / "tokenizer.json"))

prompts = [[3 + i * 37 % 40000 for i in range(45)] + [5 + (n * 101 + i * 13) % 40000 for i in range(25)] for n in range(texts)]
lines = folder / "prompts.jsonl"
lines.write_text("".join(json.dumps({"prompt": " ".join(f"w{t}" for t in prompt)}) + "\n" for prompt in prompts))


def concord():
    command = [program, "generate", "--model", str(folder), "--prompts", str(lines), "--max-tokens", str(tokens), "--temperature", "1"]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return float(re.search(r"([\d.]+) tokens/s", out)[1])


def peer(batch):
    written, begun = 0, time.perf_counter()
    for first in range(0, texts, batch):
        ids = torch.tensor(prompts[first : first + batch])
        with torch.inference_mode():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, min_new_tokens=tokens, do_sample=True, top_k=0, pad_token_id=1)
        written += out.numel() - ids.numel()
    return written / (time.perf_counter() - begun)


print(f"{texts} texts of {tokens} tokens, {torch.get_num_threads()} threads, torch {torch.__version__}, transformers {transformers.__version__}")
print(f"concord                  {max(concord() for _ in range(3)):8.1f} tokens/s")
for batch in (16, min(texts, 128)):
    print(f"transformers, {batch:3} a batch {max(peer(batch) for _ in range(3)):8.1f} tokens/s")
