"""Spline layers: per edge a SiLU term and a cubic B-spline on a uniform grid that all edges share."""
import torch
import torch.nn.functional as F
from torch import nn


def uniform_grid(inputs, intervals, order, low, high):
    """Knots [inputs, intervals + 2 order + 1]: `order` intervals are added on both sides of low...high."""
    width = (high - low) / intervals
    knots = (torch.arange(-order, intervals + order + 1) * width + low).float()
    return knots.expand(inputs, -1).contiguous()


def spline_basis(x, grid, order):
    """x [..., I], grid [I, G+2K+1] -> [..., I, G+K], by the recursion of Cox and de Boor."""
    x = x[..., None]
    basis = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
    for k in range(1, order + 1):
        left = (x - grid[:, :-(k + 1)]) / (grid[:, k:-1] - grid[:, :-(k + 1)])
        right = (grid[:, k + 1:] - x) / (grid[:, k + 1:] - grid[:, 1:-k])
        basis = left * basis[..., :-1] + right * basis[..., 1:]
    return basis


class KANLinear(nn.Module):
    """[..., I] -> [..., O]; no bias. The input is clamped to what the integer runtime can hold."""

    def __init__(self, inputs, outputs, config):
        super().__init__()
        self.order, self.limits = config.kan_order, config.kan_clamp()
        splines = config.kan_grid + config.kan_order
        self.base_weight = nn.Parameter(torch.empty(outputs, inputs))
        self.spline_weight = nn.Parameter(torch.randn(outputs, inputs, splines) * 0.1 / config.kan_grid)
        self.spline_scaler = nn.Parameter(torch.empty(outputs, inputs))
        nn.init.kaiming_uniform_(self.base_weight, a=5 ** 0.5)
        nn.init.kaiming_uniform_(self.spline_scaler, a=5 ** 0.5)
        self.register_buffer("grid", uniform_grid(inputs, config.kan_grid, config.kan_order, *config.kan_range))

    def forward(self, x):
        x = x.clamp(*self.limits)
        spline = self.spline_weight * self.spline_scaler[..., None]
        base = F.linear(F.silu(x), self.base_weight)
        return base + F.linear(spline_basis(x, self.grid, self.order).flatten(-2), spline.flatten(1))


class DepthwiseNorm(nn.Module):
    """Depthwise 3x3x3 convolution, batch normalization, ReLU on [B, C, X, Y, Z]."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, padding=1, groups=channels)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class KANBlock(nn.Module):
    """Tokens [B, L, C] of a grid [X, Y, Z] -> [B, L, C], without the residual."""

    def __init__(self, channels, config):
        super().__init__()
        self.norm = nn.LayerNorm(channels)
        self.fc1, self.fc2 = KANLinear(channels, channels, config), KANLinear(channels, channels, config)
        self.dw1, self.dw2 = DepthwiseNorm(channels), DepthwiseNorm(channels)

    def forward(self, tokens, grid):
        x = self.norm(tokens)
        for fc, dw in ((self.fc1, self.dw1), (self.fc2, self.dw2)):
            x = fc(x)
            volume = x.transpose(1, 2).unflatten(2, grid)
            x = dw(volume).flatten(2).transpose(1, 2)
        return x
