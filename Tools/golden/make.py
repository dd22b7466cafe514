"""Writes golden vectors: random cases of every op with the codes that its model computes.

    python -m golden.make FOLDER [--seed N] [--count K]      (from Tools)

Each case is one file OP-INDEX.safetensors: the arguments that are arrays and the result `expected` as tensors, the op's name
and the arguments that are numbers in the metadata.
"""
import argparse
import json
from pathlib import Path

import numpy as np

from . import conv, fixed, norm, pointwise, scan
from .cases import conv as conv_cases, norm as norm_cases, pointwise as pointwise_cases, scan as scan_cases

# The model and the cases of an op have its name.
MODULES = [
    ("conv3d conv3d_wide depthwise token_conv", conv, conv_cases),
    ("requantize", fixed, pointwise_cases),
    ("add add_wide argmax concat concat_spread depth_to_space gate global_pool kan_basis lookup lookup_fine lookup_wide max_pool "
     "multiply multiply_spread resize slice_order", pointwise, pointwise_cases),
    ("layer_norm narrow norm norm_scale", norm, norm_cases),
    ("decay_weight scan", scan, scan_cases),
]
TYPES = {"uint8": "U8", "int8": "I8", "uint16": "U16", "int16": "I16", "uint32": "U32", "int32": "I32", "int64": "I64"}


def save(path, tensors, metadata):
    """A safetensors file with its keys in the given order, which the safetensors package changes from run to run."""
    header, data = {"__metadata__": metadata}, b""
    for name, values in tensors.items():
        content = values.astype(values.dtype.newbyteorder("<")).tobytes()
        header[name] = {"dtype": TYPES[values.dtype.name], "shape": list(values.shape),
                        "data_offsets": [len(data), len(data) + len(content)]}
        data += content
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def write_case(path, op, model, arguments):
    tensors = {name: value for name, value in arguments.items() if isinstance(value, np.ndarray)}
    numbers = {name: " ".join(str(int(v)) for v in np.atleast_1d(value))
               for name, value in arguments.items() if name not in tensors}
    save(path, {**tensors, "expected": model(**arguments)}, {"op": op, **numbers})


def main():
    parser = argparse.ArgumentParser(description="Writes golden vectors of every op.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=10, help="cases per op (default 10)")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for names, models, cases in MODULES:
        for op in names.split():
            for index in range(options.count):
                # A stream per case: a new op, or more cases, leave the others as they are.
                rng = np.random.default_rng([options.seed, index, *op.encode()])
                path = options.folder / f"{op}-{index:03}.safetensors"
                write_case(path, op, getattr(models, op), getattr(cases, op)(rng, index))


if __name__ == "__main__":
    main()
