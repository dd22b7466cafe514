"""Ops that see one voxel at a time, and those that only move codes."""
import numpy as np

from .fixed import requantize, rounded_shift, saturated


def add(a, b, *, multiplier_a, multiplier_b, shift, zero_point_a, zero_point_b, zero_point_out):
    """y = clamp(zy + (((a - za)·Ma + (b - zb)·Mb + 2^(n-1)) >> n)): u8 tensors, Ma and Mb in 0 ..< 2^48, n in 32 ... 53."""
    scaled = (a.astype(np.int64) - zero_point_a) * multiplier_a + (b.astype(np.int64) - zero_point_b) * multiplier_b
    return saturated(zero_point_out + rounded_shift(scaled, np.int64(shift)), 8)


def multiply(a, b, *, multiplier, shift, zero_point_a, zero_point_b, zero_point_out):
    """y = clamp(zy + (((a - za)·(b - zb)·M + 2^(n-1)) >> n)): u8 tensors, M in 0 ..< 2^31, n in 33 ... 53."""
    product = (a.astype(np.int64) - zero_point_a) * (b.astype(np.int64) - zero_point_b)
    return saturated(zero_point_out + rounded_shift(product * multiplier, np.int64(shift)), 8)


def multiply_spread(a, b, **constants):
    """The same where a voxel of b stands for a slice or the volume: [C, D, H, W] and [C, D or 1, 1, 1]."""
    return multiply(a, np.broadcast_to(b, a.shape), **constants)


def add_wide(a, b):
    """y = clamp(a + b): i16 tensors of one scale."""
    return saturated(a.astype(np.int64) + b, 16)


def gate(a, b, z, table, multiplier, shift, *, zero_point):
    """y[c] = clamp(zero_point + requantize[c](((a + b) · table[z] + 1) >> 1)): i16 a and b, u8 z, i16 table [256] -> u8."""
    product = (a.astype(np.int64) + b) * table[z]
    return requantize(rounded_shift(product, np.int64(1)), multiplier, shift, zero_point=zero_point, output_bits=8)


def lookup(input, table):
    """y = table[x]: u8, table [256]."""
    return table[input]


def lookup_wide(input, table):
    """y = table[(x + 2^15) >> 4]: i16, table u8 [4096] -> u8."""
    return table[(input.astype(np.int64) + 2**15) >> 4]


def lookup_fine(input, table):
    """y = (table[i]·(16 - f) + table[i + 1]·f + 8) >> 4, i and f the upper 12 and lower 4 bits of x + 2^15: i16, table i16 [4097]."""
    code = input.astype(np.int64) + 2**15
    index, past = code >> 4, code & 15
    entries = table.astype(np.int64)
    return ((entries[index] * (16 - past) + entries[index + 1] * past + 8) >> 4).astype(np.int16)


def kan_basis(input, table):
    """y[c·K + k] = table[x[c], k]: u8 [C, D, H, W], table [256, K] -> [C·K, D, H, W]."""
    return np.moveaxis(table[input], -1, 1).reshape(-1, *input.shape[1:])


def argmax(scores):
    """Index of the largest score of a voxel, the lowest of equals: i16 or u8 [C, D, H, W] -> [D, H, W] of one byte up to 256
    classes, of two from there on."""
    return np.argmax(scores, axis=0).astype(np.uint8 if len(scores) <= 256 else np.uint16)


def slice_order(input, *, is_inverse):
    """Voxels in the order (height, width, depth), depth fastest, written in memory order (depth, height, width); or back. u8 or
    i16 [C, D, H, W] -> the same shape."""
    channels, depth, height, width = input.shape
    if is_inverse:
        return input.reshape(channels, height, width, depth).transpose(0, 3, 1, 2)
    return input.transpose(0, 2, 3, 1).reshape(input.shape)


def max_pool(input, *, factor, overlaps):
    """The largest of each box of fz × fy × fx voxels, 1 or 2; where it overlaps, with the voxel before along axes of 2, if there is
    one: u8 or i16 [C, fz·D, fy·H, fx·W] -> [C, D, H, W]."""
    result = input
    for axis, f in enumerate(factor, 1):
        index = np.arange(0, input.shape[axis], f)
        parts = [np.take(result, index + i, axis) for i in range(f)]
        if overlaps and f == 2:
            parts.append(np.take(result, np.maximum(index - 1, 0), axis))
        result = np.maximum.reduce(parts)
    return result


def resize(input, *, factor, is_linear):
    """Twice as fine where the factor is 2: y[2i] = y[2i+1] = x[i], or linearly y[2i] = (x[i-1] + 3·x[i]) / 4 and
    y[2i+1] = (3·x[i] + x[i+1]) / 4 with the edge repeated; the sums of all axes are divided once, rounded half up. u8 or i16."""
    sums, shift = input.astype(np.int64), 0
    for axis, size in enumerate(input.shape[1:], 1):
        if factor[axis - 1] == 1:
            continue
        index = np.arange(2 * size)
        near = np.take(sums, index // 2, axis)
        if is_linear:
            sums = 3 * near + np.take(sums, np.clip(index // 2 + index % 2 * 2 - 1, 0, size - 1), axis)
            shift += 2
        else:
            sums = near
    return (sums if shift == 0 else rounded_shift(sums, np.int64(shift))).astype(input.dtype)


def concat(**sources):
    """Channels of source0, source1, … in this order; all have one scale and zero point."""
    return np.concatenate([sources[f"source{i}"] for i in range(len(sources))])


def concat_spread(**sources):
    """The same of sources that may have one voxel for a slice or the volume."""
    size = np.broadcast_shapes(*(source.shape[1:] for source in sources.values()))
    return concat(**{name: np.broadcast_to(source, (len(source), *size)) for name, source in sources.items()})


def global_pool(input, multiplier, shift, *, input_zero_point, output_zero_point, output_bits, is_per_slice):
    """Means of n voxels, the volume's or a slice's: y[c] = clamp(zy + round((sum of (x - zx) over them) · M / (2^s · n))), halves up:
    u8 or i16 [C, D, H, W] -> u8 or i16 [C, D or 1, 1, 1], M in 0 ..< 2^31, s in 1 ... 62."""
    parts = input.astype(object).reshape(len(input), input.shape[1] if is_per_slice else 1, -1) - input_zero_point
    count = parts.shape[2]
    means = [[(2 * int(total) * int(m) + (count << int(s))) // (count << int(s) + 1) for total in row]
             for row, m, s in zip(parts.sum(axis=2), multiplier, shift)]
    limits = np.iinfo(np.uint8 if output_bits == 8 else np.int16)
    codes = [[min(max(output_zero_point + mean, limits.min), limits.max) for mean in row] for row in means]
    return np.array(codes, limits.dtype).reshape(len(input), -1, 1, 1)


def depth_to_space(input, *, factor):
    """y[c, fz·z+kz, fy·y+ky, fx·x+kx] = x[((kz·fy + ky)·fx + kx)·C + c, z, y, x], factors 1 or 2:
    [fz·fy·fx·C, D, H, W] -> [C, fz·D, fy·H, fx·W]."""
    size = input.shape[1:]
    corners = input.reshape(*factor, -1, *size)
    return corners.transpose(3, 4, 0, 5, 1, 6, 2).reshape(-1, *(f * n for f, n in zip(factor, size)))
