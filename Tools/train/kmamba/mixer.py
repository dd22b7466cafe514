"""Bidirectional selective-scan mixer over the tokens of a volume (row-major, last axis fastest)."""
import math

import torch
import torch.nn.functional as F
from torch import nn

from .scan import selective_scan

SUFFIX = {"fwd": "", "bwd": "_b", "slice": "_s"}


class Mixer(nn.Module):
    """[B, L, C] -> [B, L, C]; one parameter set per direction, shared input and output projections, one gate."""

    def __init__(self, channels, rank, config):
        super().__init__()
        self.inner, self.states, self.rank = config.expand * channels, config.d_state, rank
        self.dirs, self.chunk, self.taps = list(config.scan_dirs), config.scan_chunk, config.d_conv
        self.in_proj = nn.Linear(channels, 2 * self.inner, bias=False)
        for direction in self.dirs:
            self._add_direction(SUFFIX[direction])
        self.out_proj = nn.Linear(self.inner, channels, bias=False)

    def _add_direction(self, end):
        inner, states, rank = self.inner, self.states, self.rank
        setattr(self, "conv1d" + end, nn.Conv1d(inner, inner, self.taps, groups=inner, padding=self.taps - 1))
        setattr(self, "x_proj" + end, nn.Linear(inner, rank + 2 * states, bias=False))
        dt_proj = nn.Linear(rank, inner)
        nn.init.uniform_(dt_proj.weight, -rank ** -0.5, rank ** -0.5)
        step = torch.exp(torch.rand(inner) * math.log(100) + math.log(1e-3)).clamp(min=1e-4)
        with torch.no_grad():
            dt_proj.bias.copy_(step + torch.log(-torch.expm1(-step)))      # softplus(bias) = step
        setattr(self, "dt_proj" + end, dt_proj)
        A = torch.arange(1, states + 1, dtype=torch.float32).expand(inner, -1)
        setattr(self, f"A{end}_log", nn.Parameter(A.log().contiguous()))
        setattr(self, "D" + end, nn.Parameter(torch.ones(inner)))

    def forward(self, tokens, grid):
        x, z = self.in_proj(tokens).chunk(2, -1)
        total = sum(self._back(self._scan(self._order(x, d, grid), SUFFIX[d]), d, grid) for d in self.dirs)
        return self.out_proj(total * F.silu(z))

    def _order(self, x, direction, grid):
        if direction == "bwd":
            return x.flip(1)
        if direction == "slice":                           # the slice index (first axis) becomes the fastest
            return x.unflatten(1, (grid[0], -1)).transpose(1, 2).flatten(1, 2)
        return x

    def _back(self, y, direction, grid):
        if direction == "slice":
            return y.unflatten(1, (-1, grid[0])).transpose(1, 2).flatten(1, 2)
        return y.flip(1) if direction == "bwd" else y

    def _scan(self, x, end):
        """One direction of [B, L, inner]: causal convolution, projections, scan, skip term."""
        conv, x_proj, dt_proj = (getattr(self, name + end) for name in ("conv1d", "x_proj", "dt_proj"))
        length, padded = x.shape[1], F.pad(x, (0, 0, self.taps - 1, 0))
        x = sum(padded[:, k:k + length] * conv.weight[:, 0, k] for k in range(self.taps))
        x = F.silu(x + conv.bias)
        dt, B, C = x_proj(x).split([self.rank, self.states, self.states], -1)
        parts = [x, F.softplus(dt_proj(dt)), B, C]
        chunk = self.chunk or length
        assert length % min(chunk, length) == 0, "scan_chunk must divide the number of tokens"
        cut = [p.reshape(-1, min(chunk, length), p.shape[-1]) for p in parts]
        u, delta, B, C = cut
        y = selective_scan(u, delta, -torch.exp(getattr(self, f"A{end}_log")), B, C)
        return y.reshape(x.shape) + getattr(self, "D" + end) * x
