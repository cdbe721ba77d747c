"""Makes blocks of every quantised type of GGUF files and the numbers that they stand for, `tests/golden/blocks.safetensors`,
and the grids of the IQ types, `models/gguf-grids.txt`.

Made with Python 3.11, numpy 2.4.6, gguf 0.19.0, safetensors 0.8.0:

    pip install numpy==2.4.6 gguf==0.19.0 safetensors==0.8.0
    python tests/golden/blocks.py

Of each type, `TYPE.bytes` has four blocks: two of random bytes, one with all bits set and one with none, with scales that are
finite (those of the last are subnormal). `TYPE.values` has what `gguf.dequantize` makes of them, in f32; for Q8_K, Q1_0 and Q2_0,
which it does not read, what the formulas of llama.cpp's `ggml-quants.c` make of them. Q8_1 is never stored.
"""

import pathlib

import gguf
import numpy
from gguf import GGMLQuantizationType as Kind
from gguf import quants
from safetensors.numpy import save_file

HERE = pathlib.Path(__file__).parent
# Where in a block there is a half-precision scale.
HALVES = {
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108], "Q4_K": [0, 2],
    "Q5_K": [0, 2], "Q6_K": [208], "IQ1_S": [0], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
    "IQ4_NL": [0], "IQ4_XS": [0], "TQ1_0": [52], "TQ2_0": [64], "Q1_0": [0], "Q2_0": [0], "IQ1_M": [], "MXFP4": [], "NVFP4": [],
    "Q8_K": [], "BF16": [],
}
# Numbers and bytes, where gguf has no entry.
SIZES = {"Q2_0": (64, 18)}
GRIDS = {"iq1": "IQ1_S", "iq2_xxs": "IQ2_XXS", "iq2_xs": "IQ2_XS", "iq2_s": "IQ2_S", "iq3_xxs": "IQ3_XXS", "iq3_s": "IQ3_S"}


def blocks(name, size, generator):
    """Four blocks with sound scales."""
    found = generator.integers(0, 256, (4, size), dtype=numpy.uint8)
    found[2] = 255
    found[3] = 0
    for at in HALVES[name]:
        found[:3, at] = generator.integers(0, 256, 3)
        found[:3, at + 1] = generator.integers(0, 256, 3) & 0x83 | 0x2C
        found[3, at : at + 2] = 0x23, 0x81
    if name == "IQ1_M":
        # The scale's four digits stand in the upper halves of the last eight bytes' odd ones.
        found[:, 55] = found[:, 55] & 0x8F | 0x20
        found[3, [49, 51, 53]] = 0x30, 0x20, 0x10
    if name == "MXFP4":
        found[:, 0] = 118, 1, 250, 0
    if name == "NVFP4":
        found[:, :4] = [[0x38, 0x41, 0x07, 0x2D], [0x00, 0x7F, 0x7E, 0x01], [0x80, 0xFF, 0x85, 0x08], [0x30, 0x31, 0x32, 0x33]]
    if name == "Q8_K":
        found[:, :4] = numpy.array([[0.0123], [-3.75e-5], [0.3333], [1e-39]], dtype=numpy.float32).view(numpy.uint8)
    if name == "BF16":
        found = generator.integers(0, 256, (4, 64), dtype=numpy.uint8)
        found[:, 1::2] &= 0xBF
    return found


def values(name, found):
    half = lambda at: found[:, at : at + 2].copy().view(numpy.float16).astype(numpy.float32)
    bits = lambda packed, width: (packed[:, :, None] >> numpy.arange(0, 8, width, dtype=numpy.uint8)) & ((1 << width) - 1)
    if name == "Q8_K":
        return found[:, :4].copy().view(numpy.float32) * found[:, 4:260].view(numpy.int8).astype(numpy.float32)
    if name == "Q1_0":
        return half(0) * (2 * bits(found[:, 2:], 1).reshape(4, -1).astype(numpy.float32) - 1)
    if name == "Q2_0":
        return half(0) * (bits(found[:, 2:], 2).reshape(4, -1).astype(numpy.float32) - 1)
    return gguf.dequantize(found, Kind[name])


def grids():
    """One line a grid; see the header that is written."""
    yield "# Grids of the IQ types of GGUF files: facts of llama.cpp's `ggml-common.h` (MIT), by way of gguf 0.19's `quants.py`."
    yield "# Made by `tests/golden/blocks.py`. A line: name, entries, numbers of an entry, the numbers that there are, hexadecimal"
    yield "# digits. Of four numbers or fewer, a digit holds the indices of two (the first in its upper half), else of one."
    for grid, name in GRIDS.items():
        kind = quants._type_traits[Kind[name]]
        kind.init_grid()
        entries = kind.grid.reshape(kind.grid_shape)
        numbers = [int(number) for number in kind.grid_map]
        at = [numbers.index(int(number)) for number in entries.ravel()]
        if len(numbers) <= 4:
            at = [4 * first + second for first, second in zip(at[::2], at[1::2])]
        yield " ".join([grid, *map(str, entries.shape), ",".join(map(str, numbers)), "".join(f"{digit:x}" for digit in at)])


def main():
    generator = numpy.random.default_rng(20)
    tensors = {}
    for name in HALVES:
        numbers, size = SIZES.get(name) or gguf.GGML_QUANT_SIZES[Kind[name]]
        found = blocks(name, size, generator)
        stands = numpy.ascontiguousarray(values(name, found))
        assert numpy.isfinite(stands).all() and stands.dtype == numpy.float32, name
        assert name == "BF16" or stands.shape == (4, numbers), (name, stands.shape)
        tensors[f"{name}.bytes"] = found
        tensors[f"{name}.values"] = stands
    save_file(tensors, HERE / "blocks.safetensors")
    signs = quants._type_traits[Kind.IQ2_XXS].ksigns
    # Signs of seven numbers, and of the eighth so that an even number of them is negative: not worth a table.
    assert list(signs) == [index | (index.bit_count() & 1) << 7 for index in range(128)]
    (HERE.parents[1] / "models" / "gguf-grids.txt").write_text("\n".join(grids()) + "\n")


main()
