"""Cases of the convolutions."""
import numpy as np

from . import draw


def strides(rng, index):
    """None, the same along all axes, or any."""
    return ((1, 1, 1), (2, 2, 2), tuple(int(s) for s in rng.integers(1, 3, 3)))[index % 3]


def shapes(rng, stride):
    """Size of the input, weights [O, I, kd, kh, kw] of 8 bits, dilation and padding."""
    kernel = tuple(int(rng.choice([1, 3, 3, 3, 5] if s == 1 else [1, 2, 3, 3, 4])) for s in stride)
    dilation = tuple(int(d) for d in rng.choice([1, 1, 2, 3], 3))
    padding = tuple(int(rng.integers(0, d * (k - 1) + 1)) for d, k in zip(dilation, kernel))
    # As many voxels more as the kernel takes away.
    size = [n + max(0, d * (k - 1) - 2 * p)
            for n, d, k, p in zip(draw.extent(rng, 300), dilation, kernel, padding)]
    ins, outs = rng.integers(1, 10, 2)
    weights = draw.weights(rng, (outs, min(ins, 1 + 2500 // (outs * np.prod(kernel))), *kernel))
    return (weights.shape[1], *size), weights, dilation, padding


def conv3d(rng, index):
    stride, bits = strides(rng, index), (8, 16)[index // 3 % 2]
    size, weights, dilation, padding = shapes(rng, stride)
    return {"input": draw.codes(rng, size, 8), "weights": weights,
            **draw.channels(rng, weights, bits), "stride": stride, "dilation": dilation, "padding": padding,
            "input_zero_point": draw.zero_point(rng), "output_zero_point": draw.zero_point(rng) if bits == 8 else 0,
            "output_bits": bits}


def conv3d_wide(rng, index):
    stride, bits = strides(rng, index), (16, 8)[index // 3 % 2]
    size, weights, dilation, padding = shapes(rng, stride)
    # As large as Σ|w| · 2^15 < 2^30 lets them be, the bias takes the rest.
    rows = np.abs(weights.astype(np.int64)).reshape(len(weights), -1).sum(1)
    weights = (weights * np.minimum(258, 2**15 // np.maximum(1, rows)).reshape(-1, 1, 1, 1, 1)).astype(np.int16)
    return {"input": draw.codes(rng, size, 16), "weights": weights,
            **draw.channels(rng, weights, bits, code=2**15), "stride": stride, "dilation": dilation, "padding": padding,
            "output_zero_point": draw.zero_point(rng) if bits == 8 else 0, "output_bits": bits,
            "is_rectified": int(bits == 16 and index % 2)}


def depthwise(rng, index):
    bits = (8, 16)[index % 2]
    kernel = rng.choice([1, 3, 3, 5, 7], 3)
    weights = draw.weights(rng, (rng.integers(1, 10), *kernel))
    return {"input": draw.codes(rng, (len(weights), *draw.extent(rng, 250)), 8), "weights": weights,
            **draw.channels(rng, weights, bits), "input_zero_point": draw.zero_point(rng),
            "output_zero_point": draw.zero_point(rng) if bits == 8 else 0, "output_bits": bits,
            "is_rectified": int(bits == 16 and index % 4 == 1)}


def token_conv(rng, index):
    bits = (8, 8, 16, 16)[index % 4]
    weights = draw.weights(rng, (rng.integers(1, 10), rng.integers(1, 17)))
    return {"input": draw.codes(rng, (len(weights), *draw.extent(rng, 250)), 8), "weights": weights,
            **draw.channels(rng, weights, bits), "input_zero_point": draw.zero_point(rng),
            "output_zero_point": draw.zero_point(rng) if bits == 8 else 0, "output_bits": bits, "is_reversed": index % 2}
