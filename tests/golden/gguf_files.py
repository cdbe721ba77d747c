"""Makes tiny GGUF files of each architecture that is read, and what transformers gives for the same checkpoints, into
`tests/golden/gguf`.

Made with Python 3.11, torch 2.15.0, transformers 5.23.0, tokenizers 0.23, sentencepiece 0.2, gguf 0.19:

    pip install torch==2.15.0 transformers==5.23.0 sentencepiece protobuf gguf==0.19.0
    python tests/golden/gguf_files.py

The files say what llama.cpp's converter would have said (names, turned queries and keys, norms that hold one). Of each file
`NAME.gguf`, `NAME.safetensors` has tokens and logits as in `families.py`, computed from the weights that the file holds once
they are dequantised, and `NAME.json` has texts and the ids that the original tokenizer gives.
"""

import json
import pathlib
import shutil
import tempfile

import gguf
import numpy
import sentencepiece
import torch
import transformers
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent / "gguf"
TEXT = [
    "The quick brown fox asks a question and the lazy dog answers with a letter.",
    "Eine kurze Frage: ja oder nein? (A) ja (B) nein. 1234 + 567 = 1801!",
    "短い質問です。はい、いいえ。",
    "Human: choose A or B.\n\nAssistant: A",
    "  two  spaces\tand\r\n\r\n a tab; it's WE'LL don't 12345",
    "Ａ full-width é (e plus accent: e\u0301)",
]
SPECIAL = ["<unk>", "<s>", "</s>", "<|user|>"]
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
VOCABULARY = 360


def byte_level(pre):
    """A byte-level BPE; `pre` is llama.cpp's name of its pre-tokenizer."""
    tok = Tokenizer(models.BPE(ignore_merges=pre == "llama-bpe"))
    pattern = LLAMA3 if pre == "llama-bpe" else LLAMA3.replace("{1,3}", "")
    if pre == "smollm":
        steps = [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    else:
        cut = pre_tokenizers.Split(Regex(pattern), "isolated")
        steps = [cut, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    if pre == "qwen2":
        tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.Sequence(steps)
    tok.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=SPECIAL, initial_alphabet=alphabet)
    tok.train_from_iterator(TEXT * 3, trainer)
    model = json.loads(tok.to_str())["model"]
    pieces = sorted(model["vocab"], key=model["vocab"].get)
    fields = {
        "model": "gpt2", "pre": pre, "tokens": pieces, "merges": [" ".join(merge) for merge in model["merges"]],
        "token_type": [3 if piece in SPECIAL else 1 for piece in pieces],
    }
    return tok, fields


def pieces(kind, prefix):
    """SentencePiece BPE as Llama 2 (with a space put before) and Gemma (without) have it."""
    with tempfile.TemporaryDirectory() as folder:
        text = pathlib.Path(folder) / "text"
        text.write_text("\n".join(TEXT * 3))
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=f"{folder}/tokenizer", vocab_size=VOCABULARY, model_type="bpe", byte_fallback=True,
            add_dummy_prefix=prefix, remove_extra_whitespaces=False, normalization_rule_name="identity", unk_id=0, bos_id=1,
            eos_id=2, pad_id=-1, user_defined_symbols=["<|user|>"], minloglevel=2, hard_vocab_limit=False,
        )
        model = sentencepiece.SentencePieceProcessor(model_file=f"{folder}/tokenizer.model")
        count = model.vocab_size()
        kinds = [
            2 if model.is_unknown(i) else 3 if model.is_control(i) else 6 if model.is_byte(i) else 1 for i in range(count)
        ]
        kinds[model.piece_to_id("<|user|>")] = 4
        fields = {
            "model": "llama", "tokens": [model.id_to_piece(i) for i in range(count)],
            "scores": [model.get_score(i) for i in range(count)], "token_type": kinds,
        }
        if not prefix:
            fields["add_space_prefix"] = False
        vocab = {piece: index for index, piece in enumerate(fields["tokens"])}
        from transformers.convert_slow_tokenizer import generate_merges

        merges = generate_merges(vocab, dict(zip(fields["tokens"], fields["scores"])))
        tok = kind(vocab=vocab, merges=merges, unk_token="<unk>", bos_token="<s>", eos_token="</s>")
        if prefix:
            # As the tokenizer.json of Llama 2, Mistral 7B and Phi-3 has it: a space before every stretch of text.
            steps = [normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")]
            tok._tokenizer.normalizer = normalizers.Sequence(steps)
            tok._tokenizer.pre_tokenizer = None
        tok.add_tokens([transformers.AddedToken("<|user|>", normalized=False)])
    return tok, fields


def write_tokenizer(writer, fields):
    writer.add_tokenizer_model(fields["model"])
    if "pre" in fields:
        writer.add_tokenizer_pre(fields["pre"])
    writer.add_token_list(fields["tokens"])
    writer.add_token_types(fields["token_type"])
    if "merges" in fields:
        writer.add_token_merges(fields["merges"])
    if "scores" in fields:
        writer.add_token_scores(fields["scores"])
    if "add_space_prefix" in fields:
        writer.add_add_space_prefix(False)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_chat_template("{{ bos_token }}{% for m in messages %}<|user|>{{ m.content }}{% endfor %}")


def random_blocks(kind, shape, generator):
    """Random blocks of a quantised type, with scales that give weights of about 0.05."""
    numbers, size = gguf.GGML_QUANT_SIZES[kind]
    blocks = generator.integers(0, 256, (shape[0], shape[1] // numbers, size), dtype=numpy.uint8)
    halves = {Kind.Q4_0: [0], Kind.Q8_0: [0], Kind.Q4_K: [0, 2], Kind.Q5_K: [0, 2], Kind.Q6_K: [208]}[kind]
    scale = {Kind.Q4_0: 0.01, Kind.Q8_0: 0.0007, Kind.Q4_K: 0.0003, Kind.Q5_K: 0.00015, Kind.Q6_K: 0.00004}[kind]
    for at in halves:
        values = (scale * generator.uniform(0.5, 1.5, blocks.shape[:2])).astype(numpy.float16)
        blocks[..., at : at + 2] = values[..., None].view(numpy.uint8)
    return blocks.reshape(shape[0], -1)


def turned(weight, heads):
    """Queries and keys as llama.cpp stores them for Llama: the halves of each head interleaved."""
    half = weight.shape[0] // heads // 2
    return weight.reshape(heads, 2, half, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


OUTER = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
PARTS = {
    "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.qkv_proj": "attn_qkv", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate_up_proj": "ffn_up",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
}
GEMMA = {
    "post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
}


def make(name, arch, config, tok, fields, kinds, describe, lengths=(5, 40)):
    torch.manual_seed(sum(map(ord, name)))
    generator = numpy.random.default_rng(sum(map(ord, name)))
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").float().eval()
    path = HERE / f"{name}.gguf"
    writer = gguf.GGUFWriter(path, arch)
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    describe(writer)
    write_tokenizer(writer, fields)
    with torch.no_grad():
        for key, weight in model.named_parameters():
            stem, ending = key.rsplit(".", 1)
            if stem in OUTER:
                new = f"{OUTER[stem]}.{ending}"
            else:
                _, _, number, part = stem.split(".", 3)
                part = (GEMMA | PARTS | GEMMA if arch.startswith("gemma") else PARTS)[part]
                new = f"blk.{number}.{part}.{ending}"
            kind = kinds.get(new.split(".")[-2], Kind.F32) if weight.dim() == 2 else Kind.F32
            gain = 0.3 if "norm" in key else 0.2
            offset = 1 if "norm" in key and not arch.startswith("gemma") else 0
            value = (offset + gain * torch.randn_like(weight)).numpy()
            if kind in (Kind.F32, Kind.F16, Kind.BF16):
                stored = gguf.quantize(value, kind)
            else:
                stored = random_blocks(kind, value.shape, generator)
            weight.copy_(torch.from_numpy(gguf.dequantize(stored, kind).reshape(value.shape).copy()))
            if arch == "llama" and new.split(".")[-2] in ("attn_q", "attn_k"):
                heads = config.num_attention_heads if "attn_q" in new else config.num_key_value_heads
                stored = turned(stored, heads)
            if arch.startswith("gemma") and key.endswith("norm.weight"):
                stored = stored + 1
            writer.add_tensor(new, stored, raw_dtype=None if kind == Kind.F32 else kind)
    rope = getattr(config, "rope_parameters", {})
    if rope.get("rope_type") == "llama3":
        plain = rope["rope_theta"] ** (-torch.arange(0, config.head_dim, 2).float() / config.head_dim)
        scaled = model.model.rotary_emb.inv_freq
        writer.add_tensor("rope_freqs.weight", (plain / scaled).numpy().astype(numpy.float32))
    if rope.get("rope_type") == "longrope":
        for length in ("long", "short"):
            writer.add_tensor(f"rope_factors_{length}.weight", numpy.array(rope[f"{length}_factor"], dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    tensors = {}
    for index, length in enumerate(lengths):
        ids = (torch.arange(length) * 37 + 11 * index) % config.vocab_size
        with torch.no_grad():
            tensors[f"logits_{index}"] = model(ids[None]).logits[0].contiguous()
        tensors[f"tokens_{index}"] = ids.int()
    save_file(tensors, HERE / f"{name}.safetensors")
    texts = TEXT + ["<|user|>again <s> and </s>"]
    if isinstance(tok, Tokenizer):
        ids = [tok.encode(text).ids for text in texts]
    else:
        ids = [tok(text, add_special_tokens=False).input_ids for text in texts]
    record = [{"text": text, "tokens": tokens} for text, tokens in zip(texts, ids)]
    (HERE / f"{name}.json").write_text(json.dumps(record, ensure_ascii=False, indent=1) + "\n")
    print(name, path.stat().st_size)


def config(kind, fields, **options):
    common = dict(
        vocab_size=len(fields["tokens"]) + 3, hidden_size=32, intermediate_size=40, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=64, bos_token_id=1, eos_token_id=2, pad_token_id=None,
        tie_word_embeddings=False,
    )
    return getattr(transformers, kind + "Config")(**{**common, **options})


shutil.rmtree(HERE, ignore_errors=True)
HERE.mkdir()
tok, fields = byte_level("llama-bpe")
llama3 = dict(
    rope_type="llama3", rope_theta=500.0, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
    original_max_position_embeddings=16,
)
make(
    "llama-bpe", "llama",
    config("Llama", fields, head_dim=16, rope_parameters=llama3, tie_word_embeddings=True),
    tok, fields, {"token_embd": Kind.F16, "attn_q": Kind.BF16},
    lambda w: (w.add_rope_freq_base(500.0), w.add_rope_dimension_count(16), w.add_key_length(16), w.add_value_length(16)),
)
tok, fields = pieces(transformers.LlamaTokenizer, True)
make(
    "llama-quantised", "llama",
    config("Llama", fields, hidden_size=256, intermediate_size=256, num_hidden_layers=1, rope_parameters=dict(rope_theta=300.0)),
    tok, fields,
    {
        "token_embd": Kind.Q8_0, "output": Kind.Q6_K, "attn_q": Kind.Q4_K, "attn_k": Kind.Q5_K, "attn_v": Kind.Q6_K,
        "attn_output": Kind.Q8_0, "ffn_gate": Kind.Q4_0, "ffn_up": Kind.Q4_K, "ffn_down": Kind.Q5_K,
    },
    lambda w: (w.add_rope_freq_base(300.0), w.add_rope_dimension_count(64)),
)
tok, fields = pieces(transformers.LlamaTokenizer, True)
long = dict(
    rope_type="longrope", rope_theta=300.0, original_max_position_embeddings=16, short_factor=[1.0, 1.1, 1.3, 1.4],
    long_factor=[1.5, 2.5, 4.0, 5.0],
)
make(
    "phi3", "phi3",
    config("Phi3", fields, original_max_position_embeddings=16, rope_parameters=long, sliding_window=20),
    tok, fields, {"attn_qkv": Kind.F16},
    lambda w: (
        w.add_rope_freq_base(300.0), w.add_rope_dimension_count(8), w.add_sliding_window(20),
        w.add_rope_scaling_orig_ctx_len(16), w.add_rope_scaling_attn_factors((1 + numpy.log(4) / numpy.log(16)) ** 0.5),
    ),
    lengths=(5, 40, 16, 17),
)
tok, fields = byte_level("qwen2")
make(
    "qwen2", "qwen2", config("Qwen2", fields, rope_parameters=dict(rope_theta=700.0)), tok, fields, {},
    lambda w: w.add_rope_freq_base(700.0),
)
yarn = dict(rope_type="yarn", rope_theta=500.0, factor=4.0, original_max_position_embeddings=16)
make(
    "qwen3", "qwen3", config("Qwen3", fields, head_dim=16, rope_parameters=yarn), tok, fields, {"ffn_up": Kind.F16},
    lambda w: (
        w.add_rope_freq_base(500.0), w.add_key_length(16), w.add_value_length(16),
        w.add_rope_scaling_type(gguf.RopeScalingType.YARN), w.add_rope_scaling_factor(4.0), w.add_rope_scaling_orig_ctx_len(16),
    ),
)
tok, fields = byte_level("smollm")
make("smollm", "llama", config("Llama", fields), tok, fields, {}, lambda w: w.add_rope_freq_base(10000.0))
tok, fields = pieces(transformers.GemmaTokenizer, False)
make(
    "gemma2", "gemma2",
    config(
        "Gemma2", fields, head_dim=16, sliding_window=8, query_pre_attn_scalar=16, attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0, tie_word_embeddings=True,
    ),
    tok, fields, {},
    lambda w: (
        w.add_key_length(16), w.add_value_length(16), w.add_sliding_window(8), w.add_attn_logit_softcapping(2.0),
        w.add_final_logit_softcapping(3.0),
    ),
)
make(
    "gemma3", "gemma3",
    config(
        "Gemma3Text", fields, num_hidden_layers=6, head_dim=16, sliding_window=8, query_pre_attn_scalar=16, tie_word_embeddings=True,
        layer_types=["sliding_attention"] * 5 + ["full_attention"],
        rope_parameters={
            "sliding_attention": dict(rope_type="default", rope_theta=10000.0),
            "full_attention": dict(rope_type="linear", rope_theta=1000000.0, factor=8.0),
        },
    ),
    tok, fields, {},
    lambda w: (
        w.add_key_length(16), w.add_value_length(16), w.add_sliding_window(8), w.add_rope_freq_base(1000000.0),
        w.add_rope_scaling_type(gguf.RopeScalingType.LINEAR), w.add_rope_scaling_factor(8.0),
    ),
)
