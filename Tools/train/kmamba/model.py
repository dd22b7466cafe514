"""KMamba-3D, inspired by MSD-KMamba (arXiv 2509.23677): encoder of gated convolutions, scans and spline blocks,
convolutional decoder. Everything follows from a Config; tensor names are those that the importer expects."""
import torch
import torch.nn.functional as F
from torch import nn

from .kan import KANBlock
from .mixer import Mixer


class InstanceNorm(nn.Module):
    """Affine, over all voxels of a channel; one voxel gives the bias (PyTorch's own refuses it)."""

    def __init__(self, channels):
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))

    def forward(self, x):
        if x[0, 0].numel() > 1:
            return F.instance_norm(x, weight=self.weight, bias=self.bias, eps=1e-5)
        return torch.zeros_like(x) + self.bias.view(-1, 1, 1, 1)


def conv_norm(config, channels):
    return InstanceNorm(channels) if config.conv_norm == "instance" else nn.BatchNorm3d(channels)


class GSC(nn.Module):
    """Gated spatial convolution with its residual: [B, C, X, Y, Z] -> same."""

    def __init__(self, config, c):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv3d(c, c, 3, padding=1), nn.Conv3d(c, c, 3, padding=1)
        self.conv3, self.conv4 = nn.Conv3d(c, c, 1), nn.Conv3d(c, c, 1)
        self.norm1, self.norm2, self.norm3, self.norm4 = (conv_norm(config, c) for _ in range(4))

    def forward(self, t):
        a = F.relu(self.norm1(self.conv1(t)))
        a = F.relu(self.norm2(self.conv2(a)))
        c = F.relu(self.norm3(self.conv3(t)))
        return t + F.relu(self.norm4(self.conv4(a + c)))


class FFN(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.norm, self.fc1, self.fc2 = nn.LayerNorm(c), nn.Linear(c, 2 * c), nn.Linear(2 * c, c)

    def forward(self, tokens, grid):
        return self.fc2(F.gelu(self.fc1(self.norm(tokens))))


class Block(nn.Module):
    """Tokens [B, L, C]: mixer, then a plain MLP or a spline block, both with a residual."""

    def __init__(self, config, stage):
        super().__init__()
        c = config.dims[stage]
        self.norm, self.mixer = nn.LayerNorm(c), Mixer(c, config.dt_rank[stage], config)
        if config.kan_stages[stage]:
            self.kan = KANBlock(c, config)
        else:
            self.ffn = FFN(c)
        self.after = "kan" if config.kan_stages[stage] else "ffn"

    def forward(self, tokens, grid):
        tokens = tokens + self.mixer(self.norm(tokens), grid)
        return tokens + getattr(self, self.after)(tokens, grid)


class Down(nn.Module):
    def __init__(self, config, inputs, outputs):
        super().__init__()
        self.norm, self.conv = conv_norm(config, inputs), nn.Conv3d(inputs, outputs, 2, stride=2)

    def forward(self, t):
        return self.conv(self.norm(t))


class Stage(nn.Module):
    """[B, d(s-1), X, Y, Z] -> (trunk, skip), both [B, C, X/2, Y/2, Z/2] (stage 0 does not shrink)."""

    def __init__(self, config, s):
        super().__init__()
        c = config.dims[s]
        if s > 0:
            self.down = Down(config, config.dims[s - 1], c)
        self.gsc = GSC(config, c)
        self.blocks = nn.ModuleList(Block(config, s) for _ in range(config.depths[s]))
        self.out_norm = conv_norm(config, c)

    def forward(self, t):
        t = self.gsc(self.down(t) if hasattr(self, "down") else t)
        grid = t.shape[2:]
        tokens = t.flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = block(tokens, grid)
        t = tokens.transpose(1, 2).unflatten(2, grid)
        return t, self.out_norm(t)


class Residual(nn.Module):
    """[B, 2d, ...] -> [B, d, ...]; no convolution has a bias."""

    def __init__(self, config, d):
        super().__init__()
        self.conv1 = nn.Conv3d(2 * d, d, 3, padding=1, bias=False)
        self.conv2 = nn.Conv3d(d, d, 3, padding=1, bias=False)
        self.conv3 = nn.Conv3d(2 * d, d, 1, bias=False)
        self.norm1, self.norm2, self.norm3 = (conv_norm(config, d) for _ in range(3))

    def forward(self, g):
        r = self.norm3(self.conv3(g))
        g = F.leaky_relu(self.norm1(self.conv1(g)), 0.01)
        return F.leaky_relu(self.norm2(self.conv2(g)) + r, 0.01)


class Up(nn.Module):
    """[B, d_in, ...] and a skip [B, d, 2x...] -> [B, d, 2x...]."""

    def __init__(self, config, inputs, d):
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, d, 2, stride=2, bias=False)
        self.res = Residual(config, d)

    def forward(self, g, skip):
        return self.res(torch.cat([self.up(g), skip], 1))


class Full(Up):
    """The last step, whose skip is made from the input at full resolution."""

    def __init__(self, config):
        super().__init__(config, config.dims[0], config.full_width)
        self.skip = nn.Conv3d(config.in_channels, config.full_width, 3, padding=1, bias=False)
        self.skip_norm = conv_norm(config, config.full_width)

    def forward(self, g, x):
        return super().forward(g, F.relu(self.skip_norm(self.skip(x))))


class KMamba3D(nn.Module):
    """[B, in, X, Y, Z] -> logits [B, classes, X, Y, Z]; in training also the auxiliary heads' logits, level k at
    1/2^(k+1) of the size. X is the slowest axis of the token order, Z the fastest."""

    def __init__(self, config):
        super().__init__()
        self.config, d = config, config.dims
        k = config.stem_kernel
        self.stem = nn.Conv3d(config.in_channels, d[0], k, stride=2, padding=k // 2)
        self.stages = nn.ModuleList(Stage(config, s) for s in range(4))
        self.dec = nn.ModuleList(Up(config, d[l + 1], d[l]) for l in range(3))
        self.full = Full(config)
        self.head = nn.Conv3d(config.full_width, config.classes, 1)
        self.aux = nn.ModuleDict({str(k): nn.Conv3d(d[k], config.classes, 1) for k in config.aux_heads})

    def forward(self, x, with_aux=False):
        t, skips, aux = self.stem(x), [], {}
        for stage in self.stages:
            t, skip = stage(t)
            skips.append(skip)
        g = skips[3]
        for level in (3, 2, 1, 0):
            if level < 3:
                g = self.dec[level](g, skips[level])
            if with_aux and str(level) in self.aux:
                aux[level] = self.aux[str(level)](g)
        logits = self.head(self.full(g, x))
        return (logits, aux) if with_aux else logits
