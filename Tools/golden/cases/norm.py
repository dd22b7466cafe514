"""Cases of the normalizations."""
import numpy as np

from . import draw


def spread_codes(rng, count, size):
    """i16 [count, *size], each row with its own mean and width, from all equal to the whole range."""
    rows = (count, *(1 for _ in size))
    mean, width = rng.integers(-32768, 32768, rows), draw.log_uniform(rng, 1, 2**16, rows)
    values = mean + rng.integers(-1, 2, (count, *size)) * (width // 2) + rng.integers(0, width, (count, *size))
    return np.clip(values, -32768, 32767).astype(np.int16)


def constants(rng, count, bits):
    """Gains of about half a range of output codes per deviation, with either sign; some are 0 or at the ends."""
    gain = rng.integers(2**29, 2**31, count) * rng.choice([-1, 1], count)
    gain_shift = 31 - (bits - 2) + rng.integers(-3, 4, count)
    bias = rng.integers(-2**(bits + 14), 2**(bits + 14), count)
    epsilon, epsilon_shift = draw.log_uniform(rng, 1, 2**32, count), rng.integers(-32, 63, count)
    for values, ends in [(gain, [0, 1, 2**31 - 1, 1 - 2**31]), (gain_shift, [0, 62]), (bias, [0, 2**31 - 1, 1 - 2**31])]:
        odd_ones = rng.random(count) < 1 / 12
        values[odd_ones] = rng.choice(ends, count)[odd_ones]
    return {"gain": gain.astype(np.int32), "gain_shift": gain_shift.astype(np.int32), "bias": bias.astype(np.int32),
            "epsilon": epsilon.astype(np.uint32), "epsilon_shift": epsilon_shift.astype(np.int32)}


def norm(rng, index):
    bits = (8, 16)[index % 2]
    members, groups = (1, 2, 1, 3)[index % 4], rng.integers(1, 5)
    count = members * groups
    channels = constants(rng, count, bits)
    # Most often an epsilon below most variances, so that the spread decides.
    common = rng.random(count) < 0.8
    channels["epsilon_shift"][common] = rng.integers(8, 40, count)[common]
    codes = spread_codes(rng, groups, (members, *draw.extent(rng, 200)))
    return {"input": codes.reshape(count, *codes.shape[2:]), **channels, "groups": groups,
            "zero_point": draw.zero_point(rng) if bits == 8 else 0, "output_bits": bits,
            "is_rectified": int(bits == 16 and index % 4 == 1)}


def norm_scale(rng, index):
    """Sums of up to 2^31 - 1 codes, which no tensor of a test could hold: S² ≤ n·Q, Q ≤ n · 2^30."""
    count, bits = 40, (8, 16)[index % 2]
    counts = draw.log_uniform(rng, 1, 2**31, count)
    counts[:2] = 1, 2**31 - 1
    sums = [int(n * mean) for n, mean in zip(counts, rng.uniform(-32767, 32767, count))]
    least = [-(-s * s // int(n)) for n, s in zip(counts, sums)]
    squares = [min(q + int(n * width), int(n) << 30)
               for n, q, width in zip(counts, least, draw.log_uniform(rng, 1, 2**30, count) - 1)]
    return {"counts": counts, "sums": np.array(sums), "squares": np.array(squares), **constants(rng, count, bits),
            "zero_point": draw.zero_point(rng) if bits == 8 else 0, "output_bits": bits}


def narrow(rng, index):
    input = draw.codes(rng, (rng.integers(1, 10), *draw.extent(rng, 200)), 16)
    count = len(input)
    shift = rng.integers(1, 23, count)
    # The ends of the input become 64 ... 1024 codes; powers of two make ties.
    exponent = np.minimum(shift + rng.integers(8, 12, count), 30)
    multiplier = (1 << exponent) + np.where(np.arange(count) % 2, 0, rng.integers(0, 1 << exponent))
    offset = (rng.integers(0, 256, count) << shift) + (1 << (shift - 1))
    offset[rng.random(count) < 1 / 12] = rng.choice([-2**30, 2**30])
    return {"input": input, "multiplier": (multiplier * rng.choice([-1, 1], count)).astype(np.int32),
            "offset": np.minimum(offset, 2**30).astype(np.int32), "shift": shift.astype(np.int32)}


def layer_norm(rng, index):
    channels = (5, 16, 3, 1, 33, 8, 512, 2)[index % 8]
    size = draw.extent(rng, 2000 // (channels + 20))
    voxels = spread_codes(rng, int(np.prod(size)), (channels,))
    gain = (rng.uniform(-60, 60, channels) * 2**16).astype(np.int64)
    gain[rng.random(channels) < 1 / 16] = rng.choice([0, 2**31 - 1, -2**31])
    bias = rng.integers(-200 * 2**16, 200 * 2**16, channels)
    bias[1::2] |= 2**15  # half a code, a tie where all channels of a voxel are equal
    bias[1::2] &= -2**15
    bias[rng.random(channels) < 1 / 16] = rng.choice([2**31 - 1, -2**31])
    epsilon, zero_point = draw.log_uniform(rng, 1, 2**48) if index % 3 else 1, draw.zero_point(rng)
    if channels == 2:
        # Two opposite codes normalize to ±1 or just below, where the last bits of the root decide (at 2^14 its last one),
        # and the largest gain shows it.
        voxels[:, 0] = np.where(rng.random(len(voxels)) < 0.5, 2**14, voxels[:, 0])
        voxels[:, 1] = -np.maximum(voxels[:, 0], -32767)
        gain[:], bias[:], epsilon, zero_point = 2**31 - 1, [-2**31, 2**31 - 1], 1, 100
    return {"input": np.ascontiguousarray(voxels.T).reshape(channels, *size), "gain": gain.astype(np.int32),
            "bias": bias.astype(np.int32), "epsilon": epsilon, "zero_point": zero_point}
