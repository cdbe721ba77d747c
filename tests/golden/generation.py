"""Makes `tests/golden/generation.json`: what transformers writes greedily after prompts, with log-probabilities.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, after `families.py`:

    python tests/golden/generation.py

Checkpoints whose RoPE depends on the length are left out: transformers changes it in the middle of a text.
"""

import json
import pathlib

import torch
import transformers

HERE = pathlib.Path(__file__).parent
WRITTEN = 24
left_out = {"phi3", "phi3-su", "llama-dynamic", "gemma3-wrapped", "gpt2-bare"}

found = []
for folder in sorted((HERE / "families").iterdir()):
    if folder.name in left_out:
        continue
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    for length in (3, 30):
        ids = (torch.arange(length) * 37 + 5) % 96
        out = model.generate(
            ids[None], max_new_tokens=WRITTEN, do_sample=False, output_logits=True, return_dict_in_generate=True, pad_token_id=1
        )
        written = out.sequences[0, length:]
        logs = [torch.log_softmax(logits[0].double(), -1)[token].item() for logits, token in zip(out.logits, written)]
        found.append({"checkpoint": folder.name, "prompt": ids.tolist(), "written": written.tolist(), "log_probs": [round(x, 6) for x in logs]})
(HERE / "generation.json").write_text("[\n" + ",\n".join(json.dumps(f) for f in found) + "\n]\n")
ends = sum(1 in f["written"] for f in found)
print(len(found), "texts,", ends, "ended by themselves")
