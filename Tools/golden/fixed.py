"""Roundings and clamps that the ops share."""
import numpy as np

CODES = {8: np.uint8, 16: np.int16}


def saturated(values, bits, floor=None):
    """Clamped to u8 or i16 codes, i16 optionally to `floor` from below."""
    limits = np.iinfo(CODES[bits])
    return np.clip(values, limits.min if floor is None else floor, limits.max).astype(CODES[bits])


def rounded_shift(values, shift):
    """values / 2^shift to the nearest integer, halves up; shift of 1 or more."""
    return (values + (np.int64(1) << (shift - 1))) >> shift


def per_channel(values):
    """[C] -> int64 [C, 1, 1, 1]."""
    return np.asarray(values, np.int64).reshape(-1, 1, 1, 1)


def requantize(accumulator, multiplier, shift, *, zero_point, output_bits, is_rectified=False):
    """y = clamp(zero_point + ((accumulator · multiplier + 2^(shift-1)) >> shift))

    accumulator [C, D, H, W] within int32, multiplier [C] in 0 ..< 2^31, shift [C] in 33 ... 53, so that the product stays
    below 2^62. `is_rectified` clamps i16 at 0."""
    accumulator = np.asarray(accumulator, np.int64)
    if np.any(accumulator != accumulator.astype(np.int32)):
        raise ValueError("an accumulator has left int32")
    scaled = rounded_shift(accumulator * per_channel(multiplier), per_channel(shift))
    return saturated(zero_point + scaled, output_bits, 0 if is_rectified else None)
