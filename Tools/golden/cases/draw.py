"""Random shapes, codes and constants, biased towards where rounding, clamping and vector ends matter."""
import numpy as np

WIDTHS = [1, 2, 3, 5, 8, 15, 16, 17, 31, 33, 37]


def extent(rng, voxels):
    """Depth, height, width of at most `voxels` voxels, the width around multiples of a vector."""
    width = rng.choice([w for w in WIDTHS if w <= voxels])
    height = rng.integers(1, min(4, voxels // width) + 1)
    return int(rng.integers(1, min(4, voxels // (width * height)) + 1)), int(height), int(width)


def zero_point(rng):
    return int(rng.choice([0, 255, 128, rng.integers(1, 255)]))


def codes(rng, shape, bits):
    """u8 or i16 codes, one in eight at an end of the range."""
    limits = np.iinfo(np.uint8 if bits == 8 else np.int16)
    values = rng.integers(limits.min, limits.max + 1, shape)
    ends = rng.choice([limits.min, limits.max], shape)
    return np.where(rng.random(shape) < 1 / 8, ends, values).astype(limits.dtype)


def weights(rng, shape):
    """int8, output channel first. Those of odd channels are 0 and ±64: few bits below the rounded one, so many ties."""
    values = rng.integers(-127, 128, shape)
    values[rng.random(shape) < 1 / 8] = -127
    values[1::2] = rng.choice([-64, 0, 0, 64], values[1::2].shape)
    return values.astype(np.int8)


def requantizers(rng, deviation, bits):
    """multiplier and shift for accumulators of a standard deviation [C]: it becomes an eighth of the output codes, up to all
    of them. Odd channels multiply by a power of two; some multipliers and shifts are at an end of their range."""
    count = len(deviation)
    multiplier = rng.integers(2**30, 2**31, count)
    multiplier[1::2] = 2**30
    shift = 30 + np.round(np.log2(deviation + 1)).astype(np.int64) - bits + rng.integers(0, 4, count)
    odd_ones = rng.random(count) < 1 / 16
    multiplier[odd_ones] = rng.choice([0, 1, 2**30 - 1, 2**31 - 1], count)[odd_ones]
    shift[rng.random(count) < 1 / 16] = rng.choice([33, 53])
    return {"multiplier": multiplier.astype(np.int32), "shift": np.clip(shift, 33, 53).astype(np.int32)}


def channels(rng, weights, bits, code=255):
    """bias, multiplier and shift of the output channels of `weights` such that no accumulator can leave int32:
    code · Σ|w| + |bias| < 2^31, where `code` is the largest magnitude of the input: 255 of bytes, 2^15 of codes around 0. Most
    biases centre the sum, some are at that limit; odd channels have multiples of 64."""
    rows = weights.astype(np.int64).reshape(len(weights), -1)
    deviation = (80 if code == 255 else 0.6 * code) * np.sqrt((rows**2).sum(1))
    bias = (rng.normal(0, deviation) - (128 if code == 255 else 0) * rows.sum(1)).astype(np.int64)
    bias[1::2] -= bias[1::2] % 64
    limit = (2**31 - 1 - code * np.abs(rows).sum(1)) * rng.choice([-1, 1], len(rows))
    bias = np.where(rng.random(len(rows)) < 1 / 16, limit, np.clip(bias, -np.abs(limit), np.abs(limit)))
    return {"bias": bias.astype(np.int32), **requantizers(rng, deviation, bits)}


def log_uniform(rng, low, high, shape=None):
    """Integers in low ..< high, every power of two as likely as another; low of 1 or more."""
    exponents = rng.uniform(np.log2(low), np.log2(high), shape)
    return np.clip(np.exp2(exponents).astype(np.int64), low, high - 1)
