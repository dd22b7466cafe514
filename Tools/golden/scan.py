"""The selective scan, written from docs/arithmetic.md: one token after the other, all channels and states at once."""
import numpy as np

from .fixed import rounded_shift, saturated

COEFFICIENTS = (11356, 1968, 229, 20)


def signed16(values):
    """The value of the lower 16 bits as a signed number."""
    return ((values + 2**15) & 0xFFFF) - 2**15


def decay_weight(step, rate, bits):
    """2^15 · (2^-u - 1), u = step · rate / 2^(32 - bits): step and rate u16, bits 1 ... 12, any shapes that broadcast."""
    step, rate, bits = (np.asarray(v, np.int64) for v in (step, rate, bits))
    half = np.int64(1) << (15 - bits)
    product = step * rate
    high, low = product >> 16, np.minimum((product & 0xFFFF) + half, 0xFFFF)
    whole = np.minimum(high + half, 0xFFFF) >> (16 - bits)
    fraction = signed16((high << 16 | low) >> (16 - bits))
    loss = 0
    for c in reversed(COEFFICIENTS):
        loss = rounded_shift(fraction * (c - loss), np.int64(15))
    kept = np.where(whole > 15, 0, (2**15 - loss) >> np.minimum(whole, 15))
    return kept - 2**15


def softplus(v, table):
    """ln(1 + e^v) with 27 fraction bits: v i16 with 11 of them, table u32 [513], straight lines between its values."""
    index = v.astype(np.int64) + 2**15
    low, high = table.astype(np.int64)[index >> 7], table.astype(np.int64)[(index >> 7) + 1]
    return low + rounded_shift((high - low) * (index & 127), np.int64(7))


def scan(x, step, matrices, softplus_table, rates, step_shift, injection_shift, exponent_bits, multiplier, skip, shift, *,
         zero_point, is_reversed, cuts):
    """x u8 and step i16 [C, D, H, W], matrices i16 [2·N, D, H, W] (b, then c), rates u16 [C, N], the others one per channel
    -> i16 [C, D, H, W]. `cuts` tells a kernel into how long pieces to cut the sequence; no bit may depend on it."""
    channels, states = rates.shape
    order = slice(None, None, -1 if is_reversed else 1)
    X = (x.reshape(channels, -1).astype(np.int64) - zero_point)[:, order]
    v = step.reshape(channels, -1)[:, order]
    b, c = matrices.reshape(2, states, -1).astype(np.int64)[:, :, order]
    column = {name: values.astype(np.int64)[:, None] for name, values in
              dict(r=step_shift, k=injection_shift, m1=multiplier, m2=skip, s=shift).items()}
    delta = np.minimum(rounded_shift(softplus(v, softplus_table), column["r"]), 2**16 - 1)
    injection = np.clip(rounded_shift(delta * X, column["k"]), -65534, 65534)
    read_out_shift = max(1, (states - 1).bit_length())
    c = rounded_shift(c, np.int64(read_out_shift))
    state = np.full((channels, states), 2**15, np.int64)
    read = np.empty(X.shape, np.int64)
    for t in range(X.shape[1]):
        state += 2 * (state >> 16) * decay_weight(delta[:, t, None], rates, exponent_bits[:, None])
        if np.any(state != state.astype(np.int32)):
            raise ValueError("a decayed state has left int32")
        state = np.clip(state + injection[:, t, None] * b[:, t], -2**31, 2**31 - 1)
        read[:, t] = (c[:, t] * (state >> 16)).sum(1)
    if np.any(np.abs(read) > 2**30):
        raise ValueError("what is read out has left its range")
    y = saturated(rounded_shift(read * column["m1"] + (X << 15) * column["m2"], column["s"]), 16)
    return y[:, order].reshape(x.shape)
