"""Cuts `gguf/llama-bpe.gguf` into the two parts of `gguf-split/`, as llama.cpp's `gguf-split` does: all metadata in the first,
the three keys of parts in both. The logits are those of the whole file.

Made with Python 3.11, gguf 0.19:

    pip install gguf==0.19.0
    python tests/golden/gguf_split.py
"""

import pathlib

import gguf

HERE = pathlib.Path(__file__).parent
SKIP = {"GGUF.version", "GGUF.tensor_count", "GGUF.kv_count", "general.architecture"}


def main():
    reader = gguf.GGUFReader(HERE / "gguf" / "llama-bpe.gguf")
    folder = HERE / "gguf-split"
    folder.mkdir(exist_ok=True)
    half = len(reader.tensors) // 2
    for number, tensors in enumerate((reader.tensors[:half], reader.tensors[half:])):
        path = folder / f"llama-bpe-{number + 1:05}-of-00002.gguf"
        writer = gguf.GGUFWriter(path, "llama")
        # Parts after the first have no key but those of parts.
        if number > 0:
            writer.kv_data[0].clear()
        else:
            for field in reader.fields.values():
                if field.name not in SKIP:
                    kind = field.types[0]
                    inner = field.types[-1] if kind == gguf.GGUFValueType.ARRAY else None
                    writer.add_key_value(field.name, field.contents(), kind, sub_type=inner)
        writer.add_uint16("split.no", number)
        writer.add_uint16("split.count", 2)
        writer.add_int32("split.tensors.count", len(reader.tensors))
        for tensor in tensors:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        print(path.name, len(tensors), path.stat().st_size)


main()
