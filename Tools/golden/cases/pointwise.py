"""Cases of the ops without neighbours."""
import numpy as np

from . import draw


def requantize(rng, index):
    """Every shift, accumulators over the whole of int32 and, by a power of two, exactly between two codes."""
    shift = np.arange(33, 54)
    multiplier = rng.integers(2**30, 2**31, len(shift))
    multiplier[index % 2::2] = 2**30
    multiplier[rng.random(len(shift)) < 1 / 10] = rng.choice([0, 1, 2**31 - 1])
    half = (np.int64(1) << (shift - 31))[:, None] * rng.integers(-511, 512, (len(shift), 24))
    whole = draw.log_uniform(rng, 1, 2**31, (len(shift), 13)) * rng.choice([-1, 1], (len(shift), 13))
    ends = np.broadcast_to([-2**31, 2**31 - 1, 0, 1, -1], (len(shift), 5))
    accumulator = np.clip(np.concatenate([half, whole, ends], 1), -2**31, 2**31 - 1)
    bits = (8, 16)[index % 2]
    return {"accumulator": accumulator.astype(np.int32)[:, None, None], "multiplier": multiplier.astype(np.int32),
            "shift": shift.astype(np.int32), "zero_point": draw.zero_point(rng) if bits == 8 else 0, "output_bits": bits}


def add(rng, index):
    shape = (rng.integers(1, 10), *draw.extent(rng, 250))
    shift = int(rng.choice([32, 53, rng.integers(33, 50)]))
    if index % 3 == 0:  # quarters: many ties
        multipliers = [int(k) << min(shift - 2, 44) for k in rng.integers(0, 8, 2)]
    else:
        multipliers = rng.integers(0, 2**min(shift, 48), 2)
    if index % 5 == 4:
        multipliers[0] = 2**48 - 1
    return {"a": draw.codes(rng, shape, 8), "b": draw.codes(rng, shape, 8), "multiplier_a": multipliers[0],
            "multiplier_b": multipliers[1], "shift": shift, "zero_point_a": draw.zero_point(rng),
            "zero_point_b": draw.zero_point(rng), "zero_point_out": draw.zero_point(rng)}


def add_wide(rng, index):
    shape = (rng.integers(1, 8), *draw.extent(rng, 200))
    return {"a": draw.codes(rng, shape, 16), "b": draw.codes(rng, shape, 16)}


def gate(rng, index):
    shape = (rng.integers(1, 8), *draw.extent(rng, 200))
    a, b, table = (draw.codes(rng, size, 16) for size in (shape, shape, 256))
    constants = draw.requantizers(rng, np.full(shape[0], 2**28), 8)
    if index % 3 == 1:  # so small that the rounding of the halved product is seen
        a, b, table = a >> 10, b >> 10, table >> 10
        constants["shift"][:] = 33
    return {"a": a, "b": b, "z": draw.codes(rng, shape, 8), "table": table, **constants,
            "zero_point": draw.zero_point(rng)}


def lookup(rng, index):
    return {"input": draw.codes(rng, (rng.integers(1, 10), *draw.extent(rng, 250)), 8), "table": draw.codes(rng, 256, 8)}


def lookup_wide(rng, index):
    input = draw.codes(rng, (rng.integers(1, 10), *draw.extent(rng, 200)), 16)
    return {"input": input, "table": draw.codes(rng, 4096, 8)}


def lookup_fine(rng, index):
    input = draw.codes(rng, (rng.integers(1, 10), *draw.extent(rng, 200)), 16)
    return {"input": input, "table": draw.codes(rng, 4097, 16)}


def kan_basis(rng, index):
    return {"input": draw.codes(rng, (rng.integers(1, 10), *draw.extent(rng, 60)), 8),
            "table": draw.codes(rng, (256, rng.integers(1, 17)), 8)}


def argmax(rng, index):
    bits = (16, 8)[index % 2]
    classes = (18, 3, 300, 1, 257, 256, 2, 104)[index % 8]
    scores = draw.codes(rng, (classes, *draw.extent(rng, 12 if classes > 100 else 120)), bits)
    # Few different scores in half of the voxels: equal ones must go to the lowest class.
    return {"scores": np.where(rng.random(scores.shape[1:]) < 0.5, scores >> (bits - 3), scores)}


def slice_order(rng, index):
    return {"input": draw.codes(rng, (rng.integers(1, 10), *draw.extent(rng, 250)), (8, 16)[index // 2 % 2]),
            "is_inverse": index % 2}


def multiply(rng, index):
    shape = (rng.integers(1, 10), *draw.extent(rng, 250))
    shift = int(rng.integers(33, 47))
    multiplier = 1 << min(30, shift - 1 - index % 4) if index % 3 == 0 else rng.integers(0, 2**31)
    return {"a": draw.codes(rng, shape, 8), "b": draw.codes(rng, shape, 8), "multiplier": multiplier, "shift": shift,
            "zero_point_a": draw.zero_point(rng), "zero_point_b": draw.zero_point(rng), "zero_point_out": draw.zero_point(rng)}


def multiply_spread(rng, index):
    arguments = multiply(rng, index)
    shape = arguments["a"].shape
    return {**arguments, "b": draw.codes(rng, (shape[0], shape[1] if index % 2 else 1, 1, 1), 8)}


def global_pool(rng, index):
    """Factors that bring the means to about the whole range of the output, powers of two in a third of the cases for ties."""
    shape = (rng.integers(1, 10), *draw.extent(rng, 300))
    bits, output_bits = (8, 16)[index % 2], (16, 8)[index // 2 % 2]
    input, zero = draw.codes(rng, shape, bits), draw.zero_point(rng) if bits == 8 else 0
    is_per_slice = index // 4 % 2
    parts = input.reshape(shape[0], shape[1] if is_per_slice else 1, -1) - float(zero)
    factor = 2.0**(output_bits - 1) / np.maximum(abs(parts.mean(axis=2)).max(axis=1), 0.01) * rng.uniform(0.2, 1.5, shape[0])
    if index % 3 == 0:
        factor = 2.0**np.round(np.log2(factor))
    shift = 30 - np.floor(np.log2(factor)).astype(np.int64)
    return {"input": input, "multiplier": np.minimum(np.round(factor * 2.0**shift), 2**31 - 1).astype(np.int32),
            "shift": shift.astype(np.int32), "input_zero_point": zero,
            "output_zero_point": draw.zero_point(rng) if output_bits == 8 else 0, "output_bits": output_bits,
            "is_per_slice": is_per_slice}


def factors(index):
    """Each of the seven that change the grid, all axes first."""
    return tuple(1 + ((7 - index) % 7 or 7) // bit % 2 for bit in (4, 2, 1))


def max_pool(rng, index):
    factor = factors(index)
    sides = [f * side for f, side in zip(factor, draw.extent(rng, 40))]
    return {"input": draw.codes(rng, (rng.integers(1, 10), *sides), (8, 16)[index % 2]), "factor": factor, "overlaps": index // 2 % 2}


def resize(rng, index):
    input = draw.codes(rng, (rng.integers(1, 10), *draw.extent(rng, 40)), (8, 16)[index // 2 % 2])
    return {"input": input, "factor": factors(index), "is_linear": int(index % 3 < 2)}


def concat(rng, index):
    size = draw.extent(rng, 120)
    return {f"source{i}": draw.codes(rng, (rng.integers(1, 7), *size), 8) for i in range(2 + index % 4)}


def concat_spread(rng, index):
    depth, height, width = draw.extent(rng, 120)
    sizes = [(depth, height, width), (depth if index % 2 else 1, 1, 1)] * 2
    return {f"source{i}": draw.codes(rng, (rng.integers(1, 10), *sizes[(i + index) % 4]), 8) for i in range(2 + index % 3)}


def depth_to_space(rng, index):
    factor = factors(index)
    return {"input": draw.codes(rng, (np.prod(factor) * 4 * rng.integers(1, 4), *draw.extent(rng, 40)), 8), "factor": factor}
