"""Makes PEFT adapters of the tiny checkpoints in `families`, and the logits with which PEFT runs them, into
`tests/golden/adapters`.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, peft 0.21.2, safetensors 0.8:

    pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2
    python tests/golden/adapters.py [CASE...]

Makes the named cases, or all. Each folder is an adapter as `save_pretrained` writes it; `golden.safetensors` is as in
`families.py`, and `base` names the checkpoint. Logits are those of the `PeftModel` that `from_pretrained` gives, unmerged, in
float32. Where the base ties embedding and head, `merge_and_unload` would put a low-rank change of either into both
(peft#2018); elsewhere it gives the same within 1e-5. The logits of `biases`, `dora`, `neox-head`, `patterns`,
`rslora-all-linear`, `saved`, `some-layers`, `tied-saved-embedding`, `tied-saved-head` and `transposed` are still those of
`merge_and_unload`, with transformers 5.23.0; what 5.24.0 runs unmerged is within 1e-5 of them.
"""

import json
import pathlib
import shutil
import sys

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
VOCABULARY = 96
NAMED = sys.argv[1:]


def make(name, base, resize=None, **options):
    if NAMED and name not in NAMED:
        return
    folder = HERE / "adapters" / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(sum(map(ord, name)))
    model = transformers.AutoModelForCausalLM.from_pretrained(
        HERE / "families" / base, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    if resize:
        model.resize_token_embeddings(resize, mean_resizing=False)
    adapted = peft.get_peft_model(model, peft.LoraConfig(task_type="CAUSAL_LM", **options))
    with torch.no_grad():
        for key, weight in adapted.named_parameters():
            if "lora_magnitude" in key:
                weight.mul_(1 + 0.3 * torch.randn_like(weight))
            elif "lora_" in key:
                weight.copy_(0.3 * torch.randn_like(weight))
            elif "modules_to_save" in key or (weight.requires_grad and key.endswith("bias")):
                weight.add_(0.2 * torch.randn_like(weight))
    adapted.save_pretrained(folder)
    (folder / "README.md").unlink(missing_ok=True)
    config = folder / "adapter_config.json"
    stored = json.loads(config.read_text()) | {"base_model_name_or_path": f"tiny/{base}"}
    config.write_text(json.dumps(stored, indent=1) + "\n")
    # As a user of the adapter has it: read back onto the base.
    model = transformers.AutoModelForCausalLM.from_pretrained(
        HERE / "families" / base, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    if resize:
        model.resize_token_embeddings(resize, mean_resizing=False)
    adapted = peft.PeftModel.from_pretrained(model, folder).eval()
    tensors = {}
    for index, length in enumerate((5, 40)):
        ids = (torch.arange(length) * 37 + 11 * index) % (resize or VOCABULARY)
        with torch.no_grad():
            tensors[f"logits_{index}"] = adapted(ids[None]).logits[0].contiguous()
        tensors[f"tokens_{index}"] = ids.int()
    save_file(tensors, folder / "golden.safetensors")
    (folder / "base").write_text(base + "\n")
    keys = sorted(load_file(folder / "adapter_model.safetensors"))
    print(name, len(keys), keys[0], keys[-1], sum(f.stat().st_size for f in folder.iterdir()))


make(
    "patterns", "llama-yarn", r=4, lora_alpha=6, target_modules=["q_proj", "v_proj", "down_proj"],
    rank_pattern={"down_proj": 2, "layers.1.self_attn.q_proj": 3}, alpha_pattern={"v_proj": 16},
)
make("rslora-all-linear", "cohere", r=4, lora_alpha=8, use_rslora=True, target_modules="all-linear")
make("biases", "gpt-neox", r=2, lora_alpha=4, target_modules=["query_key_value", "dense_4h_to_h"], bias="lora_only")
make("transposed", "gpt2", r=2, lora_alpha=4, target_modules=["c_attn", "c_fc"], fan_in_fan_out=True)
make("dora", "llama-yarn", r=4, lora_alpha=8, use_dora=True, target_modules=["k_proj", "gate_proj", "o_proj"])
make("saved", "llama-linear", r=2, lora_alpha=2, target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])
make("resized", "llama-linear", resize=100, r=2, lora_alpha=2, target_modules=["q_proj"], modules_to_save=["lm_head", "embed_tokens"])
make("tied-embedding", "qwen2", r=2, lora_alpha=4, target_modules=["q_proj", "embed_tokens"])
make("tied-head", "qwen2", r=2, lora_alpha=4, target_modules=["q_proj", "lm_head"])
make("tied-saved-embedding", "qwen2", r=2, lora_alpha=4, target_modules=["q_proj"], modules_to_save=["embed_tokens"])
make("tied-saved-head", "qwen2", r=2, lora_alpha=4, target_modules=["q_proj"], modules_to_save=["lm_head"])
make(
    "tied-saved-embedding-lora-head", "qwen2", r=2, lora_alpha=4, target_modules=["q_proj", "lm_head"],
    modules_to_save=["embed_tokens"],
)
make("neox-head", "gpt-neox", r=2, lora_alpha=4, target_modules=["query_key_value", "lm_head"])
make("some-layers", "gemma3", r=2, lora_alpha=4, target_modules=["up_proj", "k_proj"], layers_to_transform=[1, 3])
make("tied-head-dora", "qwen2", r=2, lora_alpha=4, use_dora=True, target_modules=["q_proj", "lm_head"])
make("tied-embedding-dora", "qwen2", r=2, lora_alpha=4, use_dora=True, target_modules=["q_proj", "embed_tokens"])
make("tied-both", "qwen2", r=2, lora_alpha=4, target_modules=["q_proj", "embed_tokens", "lm_head"])
# PEFT gives the head the embedding's halves, transposed and swapped, and writes both pairs. With the head alone as a target it
# writes the embedding as the target and neither base table.
make("tied-ensured-embedding", "qwen2", r=2, lora_alpha=4, target_modules=["q_proj", "embed_tokens"], ensure_weight_tying=True)
make("tied-ensured-head", "qwen2", r=2, lora_alpha=4, target_modules=["q_proj", "lm_head"], ensure_weight_tying=True)
# Two magnitudes: of the embedding's columns, of the head's rows. The same pair is scaled by 2 and by 4.
make(
    "tied-ensured-dora", "qwen2", r=2, lora_alpha=4, use_dora=True, target_modules=["q_proj", "embed_tokens"],
    alpha_pattern={"embed_tokens": 8}, ensure_weight_tying=True,
)
make(
    "tied-ensured-saved", "qwen2", r=2, lora_alpha=4, target_modules=["q_proj"], modules_to_save=["lm_head"],
    ensure_weight_tying=True,
)
# More rows than the base has.
make(
    "tied-resized", "qwen2", resize=100, r=2, lora_alpha=4, target_modules=["q_proj"],
    modules_to_save=["lm_head", "embed_tokens"],
)
# The embedding is a copy; the head is the base's table, which stands there three times.
make(
    "tied-resized-embedding", "qwen2", resize=100, r=2, lora_alpha=4, target_modules=["q_proj"],
    modules_to_save=["embed_tokens"],
)
make("tied-resized-head-lora", "qwen2", resize=100, r=2, lora_alpha=4, target_modules=["q_proj", "lm_head"])
# PEFT saves both tables by itself.
make("tied-resized-auto", "qwen2", resize=100, r=2, lora_alpha=4, target_modules=["q_proj"])
