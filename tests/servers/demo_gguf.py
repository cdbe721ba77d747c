"""Writes a checkpoint of the demo as a GGUF file of 32-bit floats, as llama.cpp's own converter would.

    python demo_gguf.py models/demo/base base.gguf
"""

import json
import pathlib
import sys

import gguf
import numpy


def tensors(path):
    """The tensors of a safetensors file of bfloat16 numbers, as 32-bit floats."""
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    for name, about in json.loads(data[8 : 8 + length]).items():
        if name == "__metadata__":
            continue
        assert about["dtype"] == "BF16", about
        first, end = (8 + length + offset for offset in about["data_offsets"])
        bits = numpy.frombuffer(data[first:end], dtype="<u2").astype(numpy.uint32) << 16
        yield name, bits.view(numpy.float32).reshape(about["shape"])


def turned(rows, heads):
    """Rows of a head from halves, as Hugging Face has them, to pairs."""
    width = rows.shape[0] // heads
    return rows.reshape(heads, 2, width // 2, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def main(folder, out):
    config = json.loads((folder / "config.json").read_text())
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    beside = json.loads((folder / "tokenizer_config.json").read_text())
    writer = gguf.GGUFWriter(out, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    special = {one["id"] for one in tokenizer["added_tokens"]}
    pieces = dict(tokenizer["model"]["vocab"]) | {one["content"]: one["id"] for one in tokenizer["added_tokens"]}
    by_id = {token: piece for piece, token in pieces.items()}
    count = config["vocab_size"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([by_id.get(token, f"[unused{token}]") for token in range(count)])
    kinds = gguf.TokenType
    writer.add_token_types([kinds.CONTROL if token in special else kinds.NORMAL for token in range(count)])
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in merges])
    writer.add_bos_token_id(config["bos_token_id"])
    writer.add_eos_token_id(config["eos_token_id"])
    writer.add_add_bos_token(True)
    if "chat_template" in beside:
        writer.add_chat_template(beside["chat_template"])
    for name, value in tensors(folder / "model.safetensors"):
        for heads, part in (("num_attention_heads", "q_proj"), ("num_key_value_heads", "k_proj")):
            if part in name:
                value = turned(value, config[heads])
        for known, new in NAMES.items():
            name = name.replace(known, new)
        name = name.replace("model.layers.", "blk.")
        writer.add_tensor(name, numpy.ascontiguousarray(value))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2])
