"""Cases of the selective scan."""
import numpy as np

from . import draw

CUTS = [1, 2, 7, 61, 64, 1000]


def softplus_table(rng, index):
    """The real one, or anything that rises by less than 2^25 a step and stays below 2^31."""
    if index % 4:
        return np.round(np.log1p(np.exp((np.arange(513) * 128 - 2**15) / 2**11)) * 2**27).astype(np.uint32)
    return np.cumsum(draw.log_uniform(rng, 1, 2**22, 513) - 1).astype(np.uint32)


def scan(rng, index):
    channels = (5, 16, 3, 1, 18, 33)[index % 6]
    states = (8, 1, 5, 16, 2, 7, 32, 8)[index % 8]
    size = draw.extent(rng, 60 if channels * states > 150 else 120)
    saturates = index % 3 == 1                             # states that one token fills, and others
    spread = 0 if saturates else int(rng.integers(0, 10))
    b = draw.codes(rng, (states, *size), 16) >> spread
    step = draw.codes(rng, (channels, *size), 16)
    quiet = rng.random(channels) < 0.4                     # small steps: states that remember
    step[quiet] = np.clip(step[quiet] >> 1, -2**15, 0)
    step_shift = rng.integers(8, 17, channels)
    # Which product is then around the range of a state: the step has 31 - r bits at most, the code 8.
    injection_shift = 31 - step_shift + 8 - 16 + rng.integers(-3, 4, channels) - 4 * saturates
    injection_shift = np.clip(injection_shift, 1, 25)
    exponent_bits = rng.integers(1, 13, channels)
    rates = draw.log_uniform(rng, 1, 2**16, (channels, states)).astype(np.uint16)
    multiplier = rng.integers(2**30, 2**31, channels)
    skip = rng.integers(-2**31, 2**31, channels) >> rng.integers(0, 12, channels)
    shift = rng.integers(36, 47, channels)
    multiplier[1::3], skip[1::3] = 2**30, skip[1::3] >> 20 << 20      # many ties
    for values, ends in [(step_shift, [1, 31]), (injection_shift, [1, 25]), (multiplier, [0, 2**31 - 1]),
                         (skip, [0, -2**31, 2**31 - 1]), (shift, [33, 53])]:
        odd_ones = rng.random(channels) < 1 / 16
        values[odd_ones] = rng.choice(ends, channels)[odd_ones]
    rates[rng.random(rates.shape) < 1 / 16] = rng.choice([0, 2**16 - 1])
    return {"x": draw.codes(rng, (channels, *size), 8), "step": step,
            "matrices": np.concatenate([b, draw.codes(rng, (states, *size), 16)]),
            "softplus_table": softplus_table(rng, index), "rates": rates,
            **{name: values.astype(np.int32) for name, values in
               dict(step_shift=step_shift, injection_shift=injection_shift, exponent_bits=exponent_bits,
                    multiplier=multiplier, skip=skip, shift=shift).items()},
            "zero_point": draw.zero_point(rng), "is_reversed": index % 2, "cuts": CUTS}


def decay_weight(rng, index):
    """Products around whole and half numbers, where the rounding of u decides, and any others."""
    bits = np.arange(1, 13)[:, None]
    step, rate = (draw.log_uniform(rng, 1, 2**16, (12, 60)) for _ in range(2))
    step[:, :20] = np.int64(1) << rng.integers(0, 16, (12, 20))
    near = np.int64(1) << rng.integers(8, 16, (12, 20))
    rate[:, :20] = np.clip(near + rng.integers(-2, 3, (12, 20)), 0, 2**16 - 1)
    step[:, 20:24], rate[:, 20:24] = [0, 2**16 - 1, 0, 2**16 - 1], [0, 2**16 - 1, 2**16 - 1, 1]
    return {"step": step.astype(np.uint16), "rate": rate.astype(np.uint16), "bits": bits.astype(np.int32)}
