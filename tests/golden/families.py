"""Makes one tiny checkpoint or more of every family, and reference logits, into `tests/golden/families`.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, safetensors 0.8, tokenizers 0.23:

    pip install torch==2.15.0 transformers==5.23.0
    python tests/golden/families.py [NAME…]

Weights are random, larger than usual so that every part shows in the logits, and rounded to bfloat16, as which they are
stored; logits are computed in float32. `golden.safetensors` has, for each sequence i, `tokens_i` (int32) and `logits_i`
(float32, every position), each from a model that has seen no other sequence (dynamic RoPE remembers lengths).
`../defaults.json` has what an absent key of config.json means in each family's config class.
"""

import copy
import json
import pathlib
import shutil
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, models, pre_tokenizers

HERE = pathlib.Path(__file__).parent
VOCABULARY = 96
COMMON = dict(
    vocab_size=VOCABULARY, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=64, bos_token_id=0, eos_token_id=1, pad_token_id=None,
    tie_word_embeddings=False,
)
GPT2 = dict(vocab_size=VOCABULARY, n_embd=32, n_layer=2, n_head=4, n_positions=64, bos_token_id=0, eos_token_id=1)
YARN = dict(rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=16)


def tokenizer(folder):
    """Words w0 … w95."""
    tok = Tokenizer(models.WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w2"))
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok.save(str(folder / "tokenizer.json"))


def old_spelling(config):
    """The keys that transformers 4 wrote."""
    rope = config.pop("rope_parameters")
    if "full_attention" in rope:
        config["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = rope["full_attention"]
    config["rope_theta"] = rope.pop("rope_theta")
    if "partial_rotary_factor" in rope:
        config["partial_rotary_factor"] = rope.pop("partial_rotary_factor")
    config["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    config.pop("layer_types", None)
    return config


def wrapped(config, folder):
    """As checkpoints with a vision tower are stored: the config one level down, other tensor names, a tower."""
    tensors = load_file(folder / "model.safetensors")
    named = {f"language_model.{name}": tensor for name, tensor in tensors.items()}
    named["vision_tower.patch.weight"] = torch.zeros(2)
    save_file(named, folder / "model.safetensors")
    tied = config.pop("tie_word_embeddings")
    return {
        "architectures": ["Gemma3ForConditionalGeneration"], "model_type": "gemma3", "text_config": config,
        "vision_config": {"hidden_size": 8}, "mm_tokens_per_image": 4, "tie_word_embeddings": tied,
    }


def bare(config, folder):
    """As the first GPT-2 was stored: without the prefix, with masks."""
    tensors = load_file(folder / "model.safetensors")
    named = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    named["h.0.attn.bias"] = torch.ones(1, 1, 4, 4)
    save_file(named, folder / "model.safetensors")
    return config


def make(name, config, lengths=(5, 40), edit=None, scale=0.2):
    if sys.argv[1:] and name not in sys.argv[1:]:
        return
    folder = HERE / "families" / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    torch.manual_seed(sum(map(ord, name)))
    config._attn_implementation = "eager"
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "norm" in key or ".ln_" in key:
                offset = 0 if "gemma" in config.model_type or key.endswith("bias") else 1
                weight.copy_(offset + 0.3 * torch.randn_like(weight))
            else:
                weight.copy_(scale * torch.randn_like(weight))
            weight.copy_(weight.bfloat16().float())
    # A copy: casting the model itself would round its RoPE frequencies as well.
    copy.deepcopy(model).bfloat16().save_pretrained(folder)
    (folder / "generation_config.json").unlink(missing_ok=True)
    tokenizer(folder)
    tensors = {}
    for index, length in enumerate(lengths):
        ids = (torch.arange(length) * 37 + 11 * index) % VOCABULARY
        with torch.no_grad():
            logits = copy.deepcopy(model)(ids[None]).logits[0]
        tensors[f"tokens_{index}"] = ids.int()
        tensors[f"logits_{index}"] = logits.contiguous()
    save_file(tensors, folder / "golden.safetensors")
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    if edit:
        saved = edit(saved, folder) if edit in (wrapped, bare) else edit(saved)
    path.write_text(json.dumps(saved, indent=1) + "\n")
    print(name, sorted({tuple(t.shape) for t in tensors.values()}), sum(f.stat().st_size for f in folder.iterdir()))


def config(kind, **options):
    options = {**COMMON, **options}
    if kind == "GPTNeoX":
        del options["num_key_value_heads"]  # it has none, and would write it all the same
    return getattr(transformers, kind + "Config")(**options)


make("llama-linear", config("Llama", rope_parameters=dict(rope_type="linear", rope_theta=300.0, factor=3.0)))
make(
    "llama-dynamic", config("Llama", max_position_embeddings=16, rope_parameters=dict(rope_type="dynamic", rope_theta=300.0, factor=4.0)),
    lengths=(5, 40, 33), edit=old_spelling,
)
make("llama-yarn", config("Llama", attention_bias=True, mlp_bias=True, rope_parameters=dict(**YARN, beta_fast=8.0, beta_slow=0.5, truncate=False)))
make("mistral", config("Mistral", head_dim=12, sliding_window=8), edit=old_spelling)
make("mixtral", config("Mixtral", num_local_experts=4, num_experts_per_tok=2, sliding_window=12))
make("qwen2", config("Qwen2", use_sliding_window=True, sliding_window=9, max_window_layers=1, tie_word_embeddings=True))
make("qwen2-yarn", config("Qwen2", rope_parameters=dict(YARN)), edit=old_spelling)
make(
    "qwen2-moe",
    config(
        "Qwen2Moe", num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[3], num_experts=5, num_experts_per_tok=2,
        moe_intermediate_size=24, shared_expert_intermediate_size=16, norm_topk_prob=False,
        use_sliding_window=True, sliding_window=7, max_window_layers=2,
    ),
)
make("qwen3", config("Qwen3", head_dim=16, attention_bias=True, use_sliding_window=True, sliding_window=9, max_window_layers=1))
make(
    "qwen3-moe",
    config("Qwen3Moe", head_dim=16, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=24, norm_topk_prob=True),
    edit=old_spelling,
)
make("gemma", config("Gemma", head_dim=16, tie_word_embeddings=True))
make(
    "gemma2",
    config(
        "Gemma2", num_hidden_layers=3, head_dim=16, sliding_window=8, query_pre_attn_scalar=24, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0, tie_word_embeddings=True,
    ),
    edit=old_spelling,
)
GEMMA3 = dict(
    num_hidden_layers=4, head_dim=16, sliding_window=8, query_pre_attn_scalar=20, tie_word_embeddings=True,
    layer_types=["sliding_attention", "full_attention"] * 2,
    rope_parameters={
        "sliding_attention": dict(rope_type="default", rope_theta=100.0),
        "full_attention": dict(rope_type="linear", rope_theta=4000.0, factor=4.0),
    },
)
make("gemma3", config("Gemma3Text", **GEMMA3))
make("gemma3-wrapped", config("Gemma3Text", **GEMMA3), edit=wrapped)
make(
    "gemma3-old", config("Gemma3Text", **{**GEMMA3, "layer_types": None}, sliding_window_pattern=2),
    edit=lambda c: {**old_spelling(c), "sliding_window_pattern": 2, "architectures": ["Gemma3ForCausalLM"]},
)
LONG = dict(
    rope_type="longrope", rope_theta=300.0, partial_rotary_factor=0.75, original_max_position_embeddings=16,
    short_factor=[1.0, 1.1, 1.3], long_factor=[1.5, 2.5, 4.0],
)
make(
    "phi3", config("Phi3", original_max_position_embeddings=16, rope_parameters=LONG, sliding_window=20),
    lengths=(5, 40, 16, 17),
)
make(
    "phi3-su", config("Phi3", original_max_position_embeddings=16, rope_parameters=LONG),
    lengths=(16, 40), edit=lambda c: (lambda c: {**c, "rope_scaling": {**c["rope_scaling"], "rope_type": None, "type": "su"}})(old_spelling(c)),
)
make("phi3-plain", config("Phi3", rope_parameters=dict(rope_type="default", rope_theta=300.0)))
make(
    "gemma2-plain",
    config("Gemma2", head_dim=16, query_pre_attn_scalar=16, attn_logit_softcapping=2.0, final_logit_softcapping=3.0, tie_word_embeddings=True),
)
make(
    "qwen2-moe-plain",
    config(
        "Qwen2Moe", num_experts=5, num_experts_per_tok=2, moe_intermediate_size=24, shared_expert_intermediate_size=16,
        norm_topk_prob=True,
    ),
)
make("cohere", config("Cohere", tie_word_embeddings=True, attention_bias=True))
make("cohere-qk-norm", config("Cohere", tie_word_embeddings=True, use_qk_norm=True, logit_scale=0.5))
make("cohere2", config("Cohere2", num_hidden_layers=4, sliding_window=8, tie_word_embeddings=True))
make("stablelm", config("StableLm", use_qkv_bias=True, rope_parameters=dict(rope_type="default", rope_theta=300.0, partial_rotary_factor=0.5)))
make("stablelm-parallel", config("StableLm", use_parallel_residual=True, qk_layernorm=True), edit=old_spelling)
make("olmo", config("Olmo", clip_qkv=0.8))
make("olmo2", config("Olmo2", num_key_value_heads=2))
make(
    "granite",
    config("Granite", embedding_multiplier=3.0, logits_scaling=2.5, residual_multiplier=0.4, attention_multiplier=0.3, mlp_bias=True),
)
make("smollm3", config("SmolLM3", num_hidden_layers=4, use_sliding_window=True, sliding_window=8, no_rope_layers=[1, 0, 1, 0]))
make("gpt-neox", config("GPTNeoX", hidden_act="gelu"))
make("gpt-neox-sequential", config("GPTNeoX", use_parallel_residual=False, attention_bias=False), edit=old_spelling)
make("gpt2", transformers.GPT2Config(**GPT2))
make("gpt2-bare", transformers.GPT2Config(**GPT2, n_inner=48, scale_attn_by_inverse_layer_idx=True, activation_function="relu"), edit=bare)

CLASSES = {
    "llama": "Llama", "mistral": "Mistral", "mixtral": "Mixtral", "qwen2": "Qwen2", "qwen2_moe": "Qwen2Moe", "qwen3": "Qwen3",
    "qwen3_moe": "Qwen3Moe", "gemma": "Gemma", "gemma2": "Gemma2", "gemma3": "Gemma3Text", "phi3": "Phi3", "cohere": "Cohere",
    "cohere2": "Cohere2", "stablelm": "StableLm", "olmo": "Olmo", "olmo2": "Olmo2", "granite": "Granite",
    "smollm3": "SmolLM3", "gpt_neox": "GPTNeoX", "gpt2": "GPT2",
}
defaults = {}
for family, kind in CLASSES.items():
    values = getattr(transformers, kind + "Config")().to_dict()
    rope = values.get("rope_parameters") or {}
    rope = rope.get("full_attention", rope)
    values["rope_theta"] = rope.get("rope_theta")
    values["partial_rotary_factor"] = rope.get("partial_rotary_factor")
    defaults[family] = {k: v for k, v in values.items() if isinstance(v, (int, float, str)) or k == "mlp_only_layers"}
(HERE / "defaults.json").write_text(json.dumps(defaults, indent=1, sort_keys=True) + "\n")
