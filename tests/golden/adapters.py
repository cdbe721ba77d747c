"""Makes PEFT adapters of the tiny checkpoints in `families`, and the logits after PEFT has merged them, into
`tests/golden/adapters`.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, peft 0.21.2, safetensors 0.8:

    pip install torch==2.15.0 transformers==5.23.0 peft==0.21.2
    python tests/golden/adapters.py

Each folder is an adapter as `save_pretrained` writes it; `golden.safetensors` is as in `families.py`, and `base` names the
checkpoint. Logits are those of `merge_and_unload` in float32.
"""

import json
import pathlib
import shutil

import peft
import torch
import transformers
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).parent
VOCABULARY = 96


def make(name, base, resize=None, **options):
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
    # As a user of the adapter has it: read back onto the base, then merged.
    model = transformers.AutoModelForCausalLM.from_pretrained(
        HERE / "families" / base, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    if resize:
        model.resize_token_embeddings(resize, mean_resizing=False)
    merged = peft.PeftModel.from_pretrained(model, folder).merge_and_unload()
    tensors = {}
    for index, length in enumerate((5, 40)):
        ids = (torch.arange(length) * 37 + 11 * index) % VOCABULARY
        with torch.no_grad():
            tensors[f"logits_{index}"] = merged(ids[None]).logits[0].contiguous()
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
