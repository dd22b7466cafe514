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


def max_pool(input):
    """The largest of each cube of 2 × 2 × 2 voxels: u8 or i16 [C, 2·D, 2·H, 2·W] -> [C, D, H, W]."""
    channels, depth, height, width = input.shape
    return input.reshape(channels, depth // 2, 2, height // 2, 2, width // 2, 2).max(axis=(2, 4, 6))


def concat(**sources):
    """Channels of source0, source1, … in this order; all have one scale and zero point."""
    return np.concatenate([sources[f"source{i}"] for i in range(len(sources))])


def depth_to_space(input):
    """y[c, 2z+kz, 2y+ky, 2x+kx] = x[(4·kz + 2·ky + kx)·C + c, z, y, x]: [8·C, D, H, W] -> [C, 2·D, 2·H, 2·W]."""
    _, depth, height, width = input.shape
    corners = input.reshape(2, 2, 2, -1, depth, height, width)
    return corners.transpose(3, 4, 0, 5, 1, 6, 2).reshape(-1, 2 * depth, 2 * height, 2 * width)
