"""Normalizations by statistics of the data itself: i16 in, exact integer sums, one reciprocal root in fixed point."""
from math import isqrt

import numpy as np

from .fixed import per_channel, saturated


def narrow(input, multiplier, offset, shift, *, zero_point=0, output_bits=8, is_rectified=False):
    """y = clamp((((a · 2^15 · multiplier) >> 32) + offset) >> shift): i16 [C, D, H, W] -> u8 or i16.

    multiplier [C] within int32, offset [C] (zero point and half a code included) within ±2^30, shift [C] in 1 ... 22."""
    product = ((input.astype(np.int64) << 15) * per_channel(multiplier)) >> 32
    return saturated((product + per_channel(offset)) >> per_channel(shift), output_bits, 0 if is_rectified else None)


def scaled(value, shift):
    """floor(value · 2^shift) for a shift of either sign."""
    return value << shift if shift >= 0 else value >> -shift


def affine(count, total, squares, gain, gain_shift, bias, epsilon, epsilon_shift, *, zero_point, output_bits):
    """(multiplier, offset, shift) of `narrow` for one channel, from count n, sum S and sum of squares Q of its group:

        y = zero_point + bias / 2^16 + (n·a - S) · (gain / 2^gain_shift) / √(n·Q - S² + n² · epsilon / 2^epsilon_shift)

    Python's integers, because n·Q has up to 92 bits. The radicand, its epsilon at least 1, is brought to 61 or 62 bits by an
    even power of two 2^e, |gain|·n to 62 bits, their quotient to 31 bits; multiplier / 2^s is the result."""
    radicand = count * squares - total**2 + max(scaled(count**2 * epsilon, -epsilon_shift), 1)
    exponent = radicand.bit_length() - 62
    exponent += exponent % 2
    root = isqrt(scaled(radicand, -exponent))
    product = abs(gain) * count
    up = 62 - product.bit_length() if product else 0
    multiplier = (product << up) // root
    s = gain_shift + exponent // 2 + up if product else 32
    if multiplier >= 2**31:
        multiplier, s = multiplier >> 1, s - 1
    # The sum in `narrow` has 32 bits: 8 or 16 of the code and s - 17 of fraction.
    limited = min(max(s, 18), 39 if output_bits == 8 else 31)
    multiplier = min(scaled(multiplier, limited - s), 2**31 - 1) * (-1 if gain < 0 else 1)
    fraction = limited - 17
    # (zero_point + bias / 2^16 - S / n · multiplier / 2^limited) · 2^fraction + 2^(fraction-1) over the denominator n · 2^17
    code = (zero_point << 16) + bias
    offset = (count * ((code << (fraction + 1)) + (1 << (fraction + 16))) - total * multiplier) // (count << 17)
    return multiplier, min(max(offset, -2**30), 2**30), fraction


def norm_scale(counts, sums, squares, gain, gain_shift, bias, epsilon, epsilon_shift, *, zero_point, output_bits):
    """`affine` of independent rows [N] -> [N, 3] int32."""
    rows = zip(*(values.tolist() for values in (counts, sums, squares, gain, gain_shift, bias, epsilon,
                                                    epsilon_shift)))
    return np.array([affine(*row, zero_point=zero_point, output_bits=output_bits) for row in rows], np.int32)


def norm(input, gain, gain_shift, bias, epsilon, epsilon_shift, *, groups, zero_point, output_bits, is_rectified):
    """Group normalization (instance normalization: as many groups as channels) of i16 [C, D, H, W] -> u8 or i16.

    A group has one set of statistics and the epsilon of its first channel; gain and bias [C] are each channel's own."""
    members = len(input) // groups
    codes = input.astype(np.int64).reshape(groups, -1)
    counts = np.full(groups, codes.shape[1])
    statistics = [np.repeat(values, members) for values in (counts, codes.sum(1), (codes**2).sum(1))]
    shared = [np.repeat(values[::members], members) for values in (epsilon, epsilon_shift)]
    maps = norm_scale(*statistics, gain, gain_shift, bias, *shared, zero_point=zero_point, output_bits=output_bits)
    return narrow(input, *maps.T, output_bits=output_bits, is_rectified=is_rectified)


def floor_root(values):
    """⌊√v⌋ of int64 below 2^62: the double is off by one at most, which the squares tell."""
    root = np.sqrt(values.astype(np.float64)).astype(np.int64)
    root -= root * root > values
    return root + ((root + 1) * (root + 1) <= values)


def layer_norm(input, gain, bias, *, epsilon, zero_point):
    """Each voxel over its C channels, i16 [C, D, H, W] -> u8, C in 1 ... 512, epsilon in 1 ..< 2^48:

        C·Q - S² + epsilon = v · 2^e with v in 2^60 ..< 2^62 and e even,   r = ⌊2^61 / ⌊√v⌋⌋
        z = ((C·a - S) · r) >> (45 + e/2)                                    in 2^-16
        y = clamp((z · gain + bias · 2^16 + zero_point · 2^32 + 2^31) >> 32)"""
    a = input.astype(np.int64)
    channels, total = len(a), a.sum(0)
    variance = channels * (a * a).sum(0) - total**2 + epsilon
    # Below 2^50, hence exact as a double, whose exponent is the number of bits.
    up = (62 - np.frexp(variance.astype(np.float64))[1].astype(np.int64)) & ~1
    reciprocal = 2**61 // floor_root(variance << up)
    z = ((channels * a - total) * reciprocal) >> (45 - up // 2)
    y = z * per_channel(gain) + (per_channel(bias) << 16) + (zero_point << 32)
    return saturated((y + 2**31) >> 32, 8)
