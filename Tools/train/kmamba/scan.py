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


def chunked_scan(u, delta, a, b, c, skip, chunk=128):
    """The same by chunks: all chunks advance together, token by token, each from a state of zero; then one state is carried
    from chunk to chunk, and its decayed part is added. No exponent is ever positive. Everything is unbound once: indexing in
    a loop would make the backward pass fill a whole tensor per step."""
    batch, channels, tokens = u.shape
    pad = -tokens % chunk
    if pad:  # padded steps have delta 0: decay 1, injection 0
        u, delta, b, c = (torch.nn.functional.pad(x, (0, pad)) for x in (u, delta, b, c))

    def split(x):  # [batch, n, tokens] -> [token of the chunk, batch, chunks, n]
        return x.view(batch, x.shape[1], -1, chunk).permute(3, 0, 2, 1)

    step, b, c = split(delta), split(b), split(c)
    decay = torch.exp(step[..., None] * a)
    injection = (step * split(u))[..., None] * b[..., None, :]
    h, local = torch.zeros_like(injection[0]), []
    for factor, gain in zip(decay.unbind(0), injection.unbind(0)):
        h = torch.addcmul(gain, factor, h)
        local.append(h)
    reach = torch.exp(step.cumsum(0)[..., None] * a)
    carried = [torch.zeros_like(h[:, 0])]
    for factor, gain in zip(reach[-1].unbind(1)[:-1], h.unbind(1)[:-1]):
        carried.append(torch.addcmul(gain, factor, carried[-1]))
    states = torch.addcmul(torch.stack(local), reach, torch.stack(carried, 1))
    y = (states * c[..., None, :]).sum(-1)
    return y.permute(1, 3, 2, 0).reshape(batch, channels, -1)[..., :tokens] + skip[:, None] * u[..., :tokens]
