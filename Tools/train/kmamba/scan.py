"""The selective scan in PyTorch: a plain loop over tokens, and a chunked form that is fast enough to train on a CPU.

Shapes: u, delta [batch, channels, tokens]; a [channels, states] (negative); b, c [batch, states, tokens]; skip [channels].
"""
import torch


def naive_scan(u, delta, a, b, c, skip):
    """h_t = exp(delta_t a) h_(t-1) + delta_t b_t u_t;  y_t = c_t h_t + skip u_t."""
    h = u.new_zeros(u.shape[0], u.shape[1], a.shape[1])
    out = []
    for t in range(u.shape[2]):
        step = delta[:, :, t, None]
        h = torch.exp(step * a) * h + step * b[:, None, :, t] * u[:, :, t, None]
        out.append((h * c[:, None, :, t]).sum(-1))
    return torch.stack(out, -1) + skip[:, None] * u


def chunked_scan(u, delta, a, b, c, skip, chunk=32):
    """The same by chunks: inside a chunk, doubling steps combine (decay, injection) pairs of neighbours, so that no
    exponent is ever positive; between chunks one state is carried."""
    batch, channels, tokens = u.shape
    pad = -tokens % chunk
    if pad:  # padded steps have delta 0: decay 1, injection 0
        u, delta, b, c = (torch.nn.functional.pad(x, (0, pad)) for x in (u, delta, b, c))
    count = (tokens + pad) // chunk
    step = delta.view(batch, channels, count, chunk)
    decay = torch.exp(step[..., None] * a[:, None, None, :])
    injection = (step * u.view_as(step))[..., None] * b.view(batch, 1, -1, count, chunk).permute(0, 1, 3, 4, 2)
    reach = 1
    while reach < chunk:
        earlier = torch.nn.functional.pad(injection[..., :-reach, :], (0, 0, reach, 0))
        injection = injection + decay * earlier
        decay = decay * torch.nn.functional.pad(decay[..., :-reach, :], (0, 0, reach, 0), value=1.0)
        reach *= 2
    carried = [u.new_zeros(batch, channels, a.shape[1])]
    for k in range(count - 1):
        carried.append(decay[:, :, k, -1] * carried[-1] + injection[:, :, k, -1])
    h = injection + decay * torch.stack(carried, 2)[..., None, :]
    y = (h * c.view(batch, 1, -1, count, chunk).permute(0, 1, 3, 4, 2)).sum(-1)
    return y.reshape(batch, channels, -1)[..., :tokens] + skip[:, None] * u[..., :tokens]
