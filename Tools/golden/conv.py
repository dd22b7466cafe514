"""Convolutions: u8 codes, int8 weights, a bias and a requantizer per output channel. Outside the volume lies the input's zero
point; its part in the sum, -zero_point · Σ w, has been folded into the bias."""
from itertools import product

import numpy as np

from .fixed import per_channel, requantize


def taps(codes, kernel, *, stride=(1, 1, 1), dilation=(1, 1, 1), padding, zero_point):
    """Yields each tap (kz, ky, kx) and the codes under it for all outputs: [C, D', H', W'] with
    D' = (D + 2·padding - dilation·(kernel - 1) - 1) // stride + 1."""
    padded = np.pad(codes.astype(np.int64), [(0, 0), *((p, p) for p in padding)], constant_values=zero_point)
    last = [d * (k - 1) for d, k in zip(dilation, kernel)]
    for tap in product(*map(range, kernel)):
        start = [k * d for k, d in zip(tap, dilation)]
        window = (slice(s, n - e + s, step) for s, n, e, step in zip(start, padded.shape[1:], last, stride))
        yield tap, padded[:, *window]


def conv3d(input, weights, bias, multiplier, shift, *, stride, dilation, padding, input_zero_point, output_zero_point,
           output_bits, is_rectified=False):
    """acc[o,z,y,x] = bias[o] + Σ w[o,i,kz,ky,kx] · input[i, sz·z + kz·dz - pz, sy·y + ky·dy - py, sx·x + kx·dx - px]

    input [I, D, H, W] u8, weights [O, I, kd, kh, kw] -127 ... 127, strides 1 or 2 -> [O, D', H', W'] u8 or i16."""
    weights = weights.astype(np.int64)
    accumulator = per_channel(bias) + sum(
        np.tensordot(weights[..., *tap], codes, 1)
        for tap, codes in taps(input, weights.shape[2:], stride=stride, dilation=dilation, padding=padding,
                               zero_point=input_zero_point))
    return requantize(accumulator, multiplier, shift, zero_point=output_zero_point, output_bits=output_bits,
                      is_rectified=is_rectified)


def conv3d_wide(input, weights, bias, multiplier, shift, **attributes):
    """The same with 16-bit codes around 0 and weights of -32767 ... 32767."""
    return conv3d(input, weights, bias, multiplier, shift, input_zero_point=0, **attributes)


def depthwise(input, weights, bias, multiplier, shift, *, input_zero_point, output_zero_point, output_bits, is_rectified):
    """acc[c,v] = bias[c] + Σ_tap w[c,tap] · input[c, v + tap], stride 1, the size is kept.

    input [C, D, H, W] u8, weights [C, kd, kh, kw] of odd sizes 1 ... 7 -> u8 or i16 (which `is_rectified` clamps at 0)."""
    kernel = weights.shape[1:]
    accumulator = per_channel(bias) + sum(
        per_channel(weights[..., *tap]) * codes
        for tap, codes in taps(input, kernel, padding=[k // 2 for k in kernel], zero_point=input_zero_point))
    return requantize(accumulator, multiplier, shift, zero_point=output_zero_point, output_bits=output_bits,
                      is_rectified=is_rectified)


def token_conv(input, weights, bias, multiplier, shift, *, input_zero_point, output_zero_point, output_bits,
               is_reversed):
    """Along the sequence t of all voxels, width fastest; reversed is the same on the sequence read from its end:

        acc[c,t] = bias[c] + Σ_k w[c,k] · input[c, t - (K-1) + k]        reversed: input[c, t + (K-1) - k]

    input [C, D, H, W] u8, weights [C, K], K in 1 ... 16 -> u8 or i16."""
    count = weights.shape[1]
    direction = -1 if is_reversed else 1
    tokens = input.reshape(len(input), -1).astype(np.int64)[:, ::direction]
    history = np.pad(tokens, [(0, 0), (count - 1, 0)], constant_values=input_zero_point)
    sums = sum(weights[:, k, None] * history[:, k:k + tokens.shape[1]] for k in range(count))
    accumulator = per_channel(bias) + sums[:, ::direction].reshape(input.shape)
    return requantize(accumulator, multiplier, shift, zero_point=output_zero_point, output_bits=output_bits)
