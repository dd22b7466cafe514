"""Cases of the convolutions."""
import numpy as np

from . import draw


def conv3d(rng, index):
    stride, bits = (1, 1, 2)[index % 3], (8, 16)[index // 3 % 2]
    kernel = tuple(int(k) for k in rng.choice([1, 3, 3, 3, 5] if stride == 1 else [1, 2, 3, 3, 4], 3))
    dilation = tuple(int(d) for d in rng.choice([1, 1, 2, 3], 3))
    padding = tuple(int(rng.integers(0, d * (k - 1) + 1)) for d, k in zip(dilation, kernel))
    # As many voxels more as the kernel takes away.
    size = [n + max(0, d * (k - 1) - 2 * p)
            for n, d, k, p in zip(draw.extent(rng, 300), dilation, kernel, padding)]
    ins, outs = rng.integers(1, 10, 2)
    weights = draw.weights(rng, (outs, min(ins, 1 + 2500 // (outs * np.prod(kernel))), *kernel))
    return {"input": draw.codes(rng, (weights.shape[1], *size), 8), "weights": weights,
            **draw.channels(rng, weights, bits), "stride": stride, "dilation": dilation, "padding": padding,
            "input_zero_point": draw.zero_point(rng), "output_zero_point": draw.zero_point(rng) if bits == 8 else 0,
            "output_bits": bits}


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
