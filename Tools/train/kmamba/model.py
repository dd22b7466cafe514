"""KMamba-3D, inspired by MSD-KMamba (arXiv 2509.23677): convolution, bidirectional selective scan and Kolmogorov-Arnold
blocks in a U-shaped network. Axes of every volume: [batch, channels, D, H, W]; tokens are voxels with W fastest.
"""
import math
from dataclasses import asdict, dataclass, field

import torch
import torch.nn.functional as F
from torch import nn

from .scan import chunked_scan


@dataclass
class Config:
    in_channels: int = 4
    classes: int = 4
    dims: list = field(default_factory=lambda: [16, 32, 64, 128])
    depths: list = field(default_factory=lambda: [1, 1, 1, 1])
    kan_stages: list = field(default_factory=lambda: [0, 0, 1, 1])
    d_state: int = 8
    d_conv: int = 4
    expand: int = 2
    dt_rank: int = 0
    kan_grid: int = 5
    stem_kernel: int = 3
    full_width: int = 8
    aux_heads: list = field(default_factory=list)

    def rank(self, channels):
        return self.dt_rank or math.ceil(channels / 16)

    def json(self):
        """Everything that the converter needs; auxiliary heads are for training only."""
        return {"architecture": "kmamba3d", **{k: v for k, v in asdict(self).items() if k != "aux_heads"}}


PRESETS = {
    "nano": {},
    "small": {"dims": [24, 48, 96, 192], "depths": [1, 1, 2, 2]},
    "segmamba": {"dims": [48, 96, 192, 384], "depths": [2, 2, 2, 2], "d_state": 16},
}


def tokens(x):
    return x.flatten(2)


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of each voxel."""

    def forward(self, x):
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


class GSC(nn.Module):
    """Gated spatial convolution with a residual path."""

    def __init__(self, channels):
        super().__init__()
        for i, kernel in enumerate((3, 3, 1, 1), 1):
            setattr(self, f"conv{i}", nn.Conv3d(channels, channels, kernel, padding=kernel // 2))
            setattr(self, f"norm{i}", nn.InstanceNorm3d(channels, affine=True))

    def forward(self, t):
        a = F.relu(self.norm1(self.conv1(t)))
        a = F.relu(self.norm2(self.conv2(a)))
        c = F.relu(self.norm3(self.conv3(t)))
        return t + F.relu(self.norm4(self.conv4(a + c)))


class Mixer(nn.Module):
    """Bidirectional selective scan over the token sequence, gated once."""

    def __init__(self, channels, config):
        super().__init__()
        inner, states, rank = config.expand * channels, config.d_state, config.rank(channels)
        self.rank, self.states = rank, states
        self.in_proj = nn.Linear(channels, 2 * inner, bias=False)
        self.out_proj = nn.Linear(inner, channels, bias=False)
        for tail in ("", "_b"):
            setattr(self, f"conv1d{tail}", nn.Conv1d(inner, inner, config.d_conv, groups=inner))
            setattr(self, f"x_proj{tail}", nn.Linear(inner, rank + 2 * states, bias=False))
            step = nn.Linear(rank, inner)
            nn.init.uniform_(step.weight, -rank ** -0.5, rank ** -0.5)
            delta = torch.exp(torch.rand(inner) * math.log(100) + math.log(1e-3)).clamp(min=1e-4)
            step.bias.data = delta + torch.log(-torch.expm1(-delta))
            setattr(self, f"dt_proj{tail}", step)
        logs = torch.log(torch.arange(1, states + 1, dtype=torch.float32)).repeat(inner, 1)
        self.A_log, self.A_b_log = nn.Parameter(logs.clone()), nn.Parameter(logs.clone())
        self.D, self.D_b = nn.Parameter(torch.ones(inner)), nn.Parameter(torch.ones(inner))

    def direction(self, x, tail):
        if tail:
            x = x.flip(-1)
        conv = getattr(self, f"conv1d{tail}")
        x = F.silu(conv(F.pad(x, (conv.kernel_size[0] - 1, 0))))
        parts = getattr(self, f"x_proj{tail}")(x.transpose(1, 2)).transpose(1, 2)
        step, b, c = parts.split([self.rank, self.states, self.states], 1)
        delta = F.softplus(getattr(self, f"dt_proj{tail}")(step.transpose(1, 2)).transpose(1, 2))
        a = -torch.exp(self.A_b_log if tail else self.A_log)
        y = chunked_scan(x, delta, a, b, c, self.D_b if tail else self.D)
        return y.flip(-1) if tail else y

    def forward(self, u):
        x, z = self.in_proj(u.transpose(1, 2)).transpose(1, 2).chunk(2, 1)
        y = (self.direction(x, "") + self.direction(x, "_b")) * F.silu(z)
        return self.out_proj(y.transpose(1, 2)).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.fc1, self.fc2 = nn.Linear(channels, 2 * channels), nn.Linear(2 * channels, channels)

    def forward(self, t):
        return self.fc2(F.gelu(self.fc1(self.norm(t).movedim(1, -1)))).movedim(-1, 1)


class KANLinear(nn.Module):
    """Cubic B-splines on a uniform grid over [-1, 1] plus a SiLU base (efficient-kan), inputs clamped to the integer range
    of 16 codes per cell."""

    def __init__(self, channels, grid):
        super().__init__()
        self.cell = 2 / grid
        knots = (torch.arange(-3, grid + 4) * self.cell - 1).repeat(channels, 1)
        self.register_buffer("grid", knots)
        self.base_weight = nn.Parameter(torch.randn(channels, channels) / channels ** 0.5)
        self.spline_weight = nn.Parameter(torch.randn(channels, channels, grid + 3) * 0.1)
        self.spline_scaler = nn.Parameter(torch.randn(channels, channels) / channels ** 0.5)

    def basis(self, x):
        x, grid = x[..., None], self.grid
        result = ((x >= grid[:, :-1]) & (x < grid[:, 1:])).to(x.dtype)
        for k in range(1, 4):
            left = (x - grid[:, : -(k + 1)]) / (k * self.cell) * result[..., :-1]
            right = (grid[:, k + 1:] - x) / (k * self.cell) * result[..., 1:]
            result = left + right
        return result

    def forward(self, x):
        x = x.clamp(-128 * self.cell / 16, 127 * self.cell / 16)
        weight = (self.spline_weight * self.spline_scaler[..., None]).flatten(1)
        return F.silu(x) @ self.base_weight.T + self.basis(x).flatten(-2) @ weight.T


class Depthwise(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, 3, padding=1, groups=channels)
        self.bn = nn.BatchNorm3d(channels)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class KAN(nn.Module):
    def __init__(self, channels, grid):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.fc1, self.fc2 = KANLinear(channels, grid), KANLinear(channels, grid)
        self.dw1, self.dw2 = Depthwise(channels), Depthwise(channels)

    def forward(self, t):
        v = self.norm(t)
        for linear, depthwise in ((self.fc1, self.dw1), (self.fc2, self.dw2)):
            v = depthwise(linear(v.movedim(1, -1)).movedim(-1, 1))
        return v


class Block(nn.Module):
    def __init__(self, channels, config, is_kan):
        super().__init__()
        self.norm = ChannelNorm(channels)
        self.mixer = Mixer(channels, config)
        if is_kan:
            self.kan = KAN(channels, config.kan_grid)
        else:
            self.ffn = FeedForward(channels)

    def forward(self, t):
        t = t + self.mixer(tokens(self.norm(t))).view_as(t)
        return t + (self.kan(t) if hasattr(self, "kan") else self.ffn(t))


class Down(nn.Module):
    def __init__(self, before, channels):
        super().__init__()
        self.norm = nn.InstanceNorm3d(before, affine=True)
        self.conv = nn.Conv3d(before, channels, 2, stride=2)

    def forward(self, t):
        return self.conv(self.norm(t))


class Stage(nn.Module):
    def __init__(self, index, config):
        super().__init__()
        channels = config.dims[index]
        if index:
            self.down = Down(config.dims[index - 1], channels)
        self.gsc = GSC(channels)
        self.blocks = nn.ModuleList(
            Block(channels, config, config.kan_stages[index]) for _ in range(config.depths[index]))
        self.out_norm = nn.InstanceNorm3d(channels, affine=True)

    def forward(self, t):
        t = self.gsc(self.down(t) if hasattr(self, "down") else t)
        for block in self.blocks:
            t = block(t)
        return t


class Residual(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv1 = nn.Conv3d(2 * channels, channels, 3, padding=1, bias=False)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.conv3 = nn.Conv3d(2 * channels, channels, 1, bias=False)
        for i in (1, 2, 3):
            setattr(self, f"norm{i}", nn.InstanceNorm3d(channels, affine=True))

    def forward(self, x):
        g = F.leaky_relu(self.norm1(self.conv1(x)), 0.01)
        return F.leaky_relu(self.norm2(self.conv2(g)) + self.norm3(self.conv3(x)), 0.01)


class Decoder(nn.Module):
    def __init__(self, inputs, channels):
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, channels, 2, stride=2, bias=False)
        self.res = Residual(channels)

    def forward(self, g, skip):
        return self.res(torch.cat([self.up(g), skip], 1))


class Full(Decoder):
    """The decoder step at full resolution; its skip comes straight from the input."""

    def __init__(self, config):
        super().__init__(config.dims[0], config.full_width)
        self.skip = nn.Conv3d(config.in_channels, config.full_width, 3, padding=1, bias=False)
        self.skip_norm = nn.InstanceNorm3d(config.full_width, affine=True)


class KMamba3D(nn.Module):
    """[batch, in_channels, D, H, W], sides multiples of 16 -> scores [batch, classes, D, H, W], and in training the scores of
    the auxiliary heads at full size."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.stem = nn.Conv3d(config.in_channels, config.dims[0], config.stem_kernel, 2, config.stem_kernel // 2)
        self.stages = nn.ModuleList(Stage(s, config) for s in range(4))
        self.dec = nn.ModuleList(Decoder(config.dims[s + 1], config.dims[s]) for s in range(3))
        self.full = Full(config)
        self.head = nn.Conv3d(config.full_width, config.classes, 1)
        self.aux = nn.ModuleDict({str(k): nn.Conv3d(config.dims[k], config.classes, 1) for k in config.aux_heads})

    def forward(self, x):
        edge = F.relu(self.full.skip_norm(self.full.skip(x)))
        t, skips, heads = self.stem(x), [], []
        for stage in self.stages:
            t = stage(t)
            skips.append(stage.out_norm(t))
        g = skips[3]
        for level in (2, 1, 0):
            g = self.dec[level](g, skips[level])
            if self.training and str(level) in self.aux:
                heads.append(F.interpolate(self.aux[str(level)](g), x.shape[2:], mode="trilinear"))
        scores = self.head(self.full(g, edge))
        return (scores, heads) if self.training else scores
