"""Selective scan h[t] = exp(delta[t] A) h[t-1] + delta[t] B[t] u[t],  y[t] = C[t] h[t], along one sequence."""
import math

import torch
import torch.nn.functional as F


def selective_scan_ref(u, delta, A, B, C):
    """u, delta [S, L, D]; A [D, N] (negative); B, C [S, L, N] -> y [S, L, D]. One token after the other."""
    state, outputs = u.new_zeros(u.shape[0], *A.shape), []
    for t in range(u.shape[1]):
        decay = torch.exp(delta[:, t, :, None] * A)
        state = decay * state + (delta[:, t] * u[:, t])[..., None] * B[:, t, None, :]
        outputs.append((state * C[:, t, None, :]).sum(-1))
    return torch.stack(outputs, 1)


def selective_scan(u, delta, A, B, C):
    """Same as selective_scan_ref. The sequence is cut into pieces; a step handles one token of every piece."""
    sequences, length = u.shape[:2]
    steps = max(1, round(math.sqrt(length)))
    pieces = -(-length // steps)
    missing = steps * pieces - length

    def cut(x):
        # [S, L, X] -> [steps, S, pieces, X]; added tokens have delta 0 and change nothing.
        x = F.pad(x, (0, 0, 0, missing)) if missing else x
        return x.view(sequences, pieces, steps, -1).permute(2, 0, 1, 3).contiguous()

    y = _Scan.apply(cut(delta), cut(delta * u), A, cut(B), cut(C))
    return y.permute(1, 2, 0, 3).reshape(sequences, steps * pieces, -1)[:, :length]


def scan_(decay, inject, total):
    """In place: inject[i] becomes h[i] = decay[i] h[i-1] + inject[i]; shapes [steps, S, pieces, D, N].

    total [S, pieces, D, N] is the product of a piece's decays. Only sums and products with decays <= 1 occur, so
    nothing can overflow."""
    steps, _, pieces = inject.shape[:3]
    end = inject[0].clone()
    for i in range(1, steps):
        end.mul_(decay[i]).add_(inject[i])
    start = torch.zeros_like(end)
    for k in range(1, pieces):
        torch.addcmul(end[:, k - 1], total[:, k - 1], start[:, k - 1], out=start[:, k])
    inject[0].addcmul_(decay[0], start)
    for i in range(1, steps):
        inject[i].addcmul_(decay[i], inject[i - 1])
    return inject


def adjoint_scan_(decay, inject, total):
    """In place, from the last token to the first: g[i] = inject[i] + decay[i+1] g[i+1]."""
    steps, _, pieces = inject.shape[:3]
    first = inject[-1].clone()
    for i in range(steps - 2, -1, -1):
        first.mul_(decay[i + 1]).add_(inject[i])
    first.mul_(decay[0])                                   # what a piece hands to the one before it
    incoming = torch.zeros_like(first)
    for k in range(pieces - 2, -1, -1):
        torch.addcmul(first[:, k + 1], total[:, k + 1], incoming[:, k + 1], out=incoming[:, k])
    inject[-1].add_(incoming)
    for i in range(steps - 2, -1, -1):
        inject[i].addcmul_(decay[i + 1], inject[i + 1])
    return inject


class _Scan(torch.autograd.Function):
    """All tensors in the cut layout [steps, S, pieces, D or N]."""

    @staticmethod
    def forward(ctx, delta, du, A, B, C):
        decay = torch.exp(delta[..., None] * A)
        total = torch.exp(delta.sum(0)[..., None] * A)
        states = scan_(decay, du[..., None] * B[..., None, :], total)
        ctx.save_for_backward(delta, du, A, B, C, decay, states, total)
        return (states @ C[..., None])[..., 0]

    @staticmethod
    def backward(ctx, dy):
        delta, du, A, B, C, decay, states, total = ctx.saved_tensors
        grad_C = (dy[..., None, :] @ states)[..., 0, :]
        adjoint = adjoint_scan_(decay, dy[..., None] * C[..., None, :], total)
        grad_B = (du[..., None, :] @ adjoint)[..., 0, :]
        grad_du = (adjoint @ B[..., None])[..., 0]
        # Gradient of the exponent delta*A: adjoint, decay and the state one token earlier.
        exponent = adjoint.mul_(decay)
        exponent[1:].mul_(states[:-1])
        exponent[0, :, 1:].mul_(states[-1, :, :-1])
        exponent[0, :, 0] = 0
        grad_delta = torch.einsum("ispdn,dn->ispd", exponent, A)
        grad_A = torch.einsum("ispdn,ispd->dn", exponent, delta)
        return grad_delta, grad_du, grad_A, grad_B, grad_C
