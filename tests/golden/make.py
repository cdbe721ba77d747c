"""Makes the tiny Llama checkpoints of this folder and their reference logits.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, tokenizers 0.23, safetensors 0.8, numpy 2.4:

    pip install torch==2.15.0 transformers==5.23.0
    python tests/golden/make.py

Each checkpoint switches other parts of the family on; weights are random and larger than usual, so that every part shows
in the logits. `golden.safetensors` has, for each sequence i, `tokens_i` (int32) and `logits_i` (float32, every position),
computed in float32; `rendered.json` has what `apply_chat_template` gives.
"""

import copy
import json
import pathlib
import shutil

import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).parent
TEXT = [
    "The quick brown fox asks a question and the lazy dog answers with a letter.",
    "Eine kurze Frage: ja oder nein? (A) ja (B) nein.",
    "短い質問です。はい、いいえ。",
    "Human: choose A or B.\n\nAssistant: A",
]
TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}\n"
    "    {% if message['role'] == 'system' %}\n<|s|>{{ message['content'] | trim }}\n"
    "    {%- elif message.role == 'user' -%}\n<|u|>{{ message['content'].strip() }}\n"
    "    {%- else -%}\n<|a|>{{ message.content }}{{ eos_token }}\n    {%- endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}<|a|>{% endif %}"
)
MESSAGES = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "A or B?\n- (A): ja\n- (B): nein"},
    {"role": "assistant", "content": "If I must choose ("},
]


def sentencepiece_tokenizer():
    """As Llama 1 and 2 have it: spaces as U+2581, one put before every text, bytes as a last resort."""
    special = ["<unk>", "<s>", "</s>"]
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    words = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="first")
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = words
    trained.train_from_iterator(TEXT, trainers.BpeTrainer(vocab_size=120))
    learnt = json.loads(trained.to_str())["model"]
    vocab = {token: index for index, token in enumerate(special + byte_tokens)}
    for token in sorted(learnt["vocab"], key=learnt["vocab"].get):
        vocab.setdefault(token, len(vocab))
    merges = [tuple(merge) for merge in learnt["merges"]]
    merges = [merge for merge in merges if "".join(merge) in vocab][: 320 - len(vocab) + len(merges)]
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
    tok.decoder = decoders.Sequence(
        [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tok.add_special_tokens(special)
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    assert tok.get_vocab_size() <= 400, tok.get_vocab_size()
    return PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def tokenizer(with_bos):
    special = ["<s>", "</s>", "<|s|>", "<|u|>", "<|a|>"]
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, special_tokens=special, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())
    )
    tok.train_from_iterator(TEXT, trainer)
    if with_bos:
        tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>")


def make(
    name, seed, with_bos, template, bf16=False, shards=False, old_rope=False, tok=None, vocab_size=320, **options
):
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(seed)
    config = LlamaConfig(vocab_size=vocab_size, bos_token_id=0, eos_token_id=1, **options)
    model = LlamaForCausalLM(config).float().eval()
    with torch.no_grad():
        for key, weight in model.named_parameters():
            if "norm" in key:
                weight.copy_(1 + 0.3 * torch.randn_like(weight))
            else:
                weight.copy_(0.25 * torch.randn_like(weight))
            if bf16:
                weight.copy_(weight.bfloat16().float())
    # A copy: casting the model itself would round its RoPE frequencies as well.
    stored = copy.deepcopy(model).bfloat16() if bf16 else model
    stored.save_pretrained(folder, max_shard_size="40KB" if shards else "1GB")
    tok = tok or tokenizer(with_bos)
    if template:
        tok.chat_template = TEMPLATE
    tok.save_pretrained(folder)
    path = folder / "config.json"
    saved = json.loads(path.read_text())
    if old_rope:
        rope = saved.pop("rope_parameters")
        saved["rope_theta"] = rope.pop("rope_theta")
        saved["rope_scaling"] = None if rope.get("rope_type") == "default" else rope
    path.write_text(json.dumps(saved, indent=2) + "\n")
    for extra in ("generation_config.json", "special_tokens_map.json"):
        (folder / extra).unlink(missing_ok=True)

    tok = AutoTokenizer.from_pretrained(folder)
    tensors = {}
    for index, text in enumerate(TEXT):
        ids = torch.tensor([tok(text).input_ids[:40]])
        with torch.no_grad():
            logits = model(ids).logits[0]
        tensors[f"tokens_{index}"] = ids[0].int()
        tensors[f"logits_{index}"] = logits.contiguous()
    save_file(tensors, folder / "golden.safetensors")
    if template:
        text = tok.apply_chat_template(MESSAGES, tokenize=False, add_generation_prompt=True)
        ids = tok.apply_chat_template(MESSAGES, tokenize=True, add_generation_prompt=True)
        ids = ids if isinstance(ids, list) else ids["input_ids"]
        record = {"messages": MESSAGES, "text": text, "tokens": ids}
        (folder / "rendered.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    print(name, {key: tuple(value.shape) for key, value in load_file(folder / "golden.safetensors").items()})


make(
    "llama3-gqa-untied", 1, with_bos=True, template=True, hidden_size=32, intermediate_size=56, num_hidden_layers=3,
    num_attention_heads=4, num_key_value_heads=2, head_dim=16, tie_word_embeddings=False, rms_norm_eps=1e-5,
    max_position_embeddings=128,
    rope_parameters={
        "rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    },
)
make(
    "biased-tied-sharded", 2, with_bos=False, template=False, bf16=True, shards=True, old_rope=True, hidden_size=48,
    intermediate_size=40, num_hidden_layers=2, num_attention_heads=6, num_key_value_heads=6, tie_word_embeddings=True,
    attention_bias=True, mlp_bias=True, rms_norm_eps=1e-6, max_position_embeddings=64,
    rope_parameters={"rope_type": "default", "rope_theta": 200.0},
)
make(
    "multi-query-wide-heads", 3, with_bos=True, template=True, hidden_size=24, intermediate_size=32, num_hidden_layers=2,
    num_attention_heads=3, num_key_value_heads=1, head_dim=64, tie_word_embeddings=True, max_position_embeddings=256,
)
make(
    "sentencepiece-llama2", 4, with_bos=True, template=False, tok=sentencepiece_tokenizer(), vocab_size=400,
    hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4,
    tie_word_embeddings=False, rms_norm_eps=1e-5, max_position_embeddings=512,
)
