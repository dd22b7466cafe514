"""Fake quantization with the integer runtime's formats (Sources/Quantize): codes are rounded halves up and clipped, and gradients
pass as if nothing had been rounded (the straight-through estimator), but not where a value was clipped."""
from typing import NamedTuple

import torch

HEADROOM = {"scores": 1.25, "shared": 2, "statistics": 4}      # of 16-bit codings, as in CodingChooser
SAMPLES = 4096                                                 # values of a channel that calibration keeps per crop


def rounded(x):
    return torch.floor(x + 0.5)


def codes_of(x, scale, zero, least, most):
    return (rounded(x / scale) + zero).clamp(least, most)


def fake_quantize(x, scale, zero, least, most):
    limited = torch.minimum(torch.maximum(x, (least - zero) * scale), (most - zero) * scale)
    return limited + ((codes_of(x, scale, zero, least, most) - zero) * scale - limited).detach()


def table_input(x, scale):
    """What a look-up of 4096 entries sees of a 16-bit code: the middle of sixteen neighbours."""
    index = torch.floor((codes_of(x, scale, 0, -32768, 32767) + 32768) / 16)
    return x + ((index * 16 - 32768 + 7.5) * scale - x).detach()


def least_error_range(values):
    """The rule `RangeRule.mse`: of 64 shrunken extremes those with the least squared error of a byte, rounding inside and
    distance outside. values [C, n] -> low, high [C], which contain 0."""
    low, high = values.amin(1).clamp(max=0), values.amax(1).clamp(min=0)
    best, least = (low, high), torch.full_like(low, float("inf"))
    for step in range(64):
        a, b = low * (1 - step / 72), high * (1 - step / 72)
        outside = torch.maximum(values - b[:, None], a[:, None] - values).clamp(min=0)
        width = (b - a) / 255
        error = torch.where(outside > 0, outside ** 2, (width ** 2 / 12)[:, None]).mean(1)
        better = error < least
        least = torch.where(better, error, least)
        best = torch.where(better, a, best[0]), torch.where(better, b, best[1])
    return best


def weight_scales(folded, importance):
    """The rule `WeightQuantizer.bestScale`: folded [O, I] (weights times the input's scales), importance [I] -> [O]."""
    most = folded.abs().amax(1).clamp(min=1e-9)
    best, least = most / 127, torch.full_like(most, float("inf"))
    for step in range(41):
        scale = most / 127 * (1 - step / 100)
        difference = folded - weight_codes(folded, scale) * scale[:, None]
        error = (difference ** 2 * importance).sum(1)
        better = error < least
        best, least = torch.where(better, scale, best), torch.where(better, error, least)
    return best


def weight_codes(folded, scale):
    """int8 codes [O, I], halves away from zero."""
    ratio = folded / scale[:, None]
    return (torch.sign(ratio) * torch.floor(ratio.abs() + 0.5)).clamp(-127, 127)


class Coded(NamedTuple):
    """A stored tensor: values that are scale times an integer, and what a convolution needs to know of it."""
    values: torch.Tensor
    scales: torch.Tensor           # [C] or [1]
    energy: torch.Tensor           # [C]: mean square of the codes


class Site:
    """One coding, of one value or of all values that share it. Calibration shows it values; then it is settled.

    Kinds: `tensor` u8 with a zero point; `positive` u8 per channel from 0 on; `centred` u8 per channel, zero point 128; `centred one`
    the same with the largest range; `fixed` given scales and zero point; `wide` i16; `wide channels` i16 per channel;
    `wide halves` i16, one scale for each half of the channels."""

    def __init__(self, kind, headroom=1.0, scales=None, zero=0, bits=8):
        self.kind, self.headroom = kind, headroom
        self.samples, self.extremes, self.scales, self.zero = [], None, scales, zero
        self.is_wide = kind.startswith("wide") or bits == 16
        self.limits = (-32768, 32767) if self.is_wide else (0, 255)
        self.energy = None

    @torch.no_grad()
    def observe(self, x, axis):
        channels = x.transpose(0, axis).flatten(1)
        most = channels.abs().amax(1)
        self.extremes = most if self.extremes is None else torch.maximum(self.extremes, most)
        if not self.is_wide:
            step = max(1, channels.shape[1] // SAMPLES)
            self.samples.append(channels[:, ::step].clone())

    @torch.no_grad()
    def settle(self):
        most = self.extremes * self.headroom
        if self.kind == "wide":
            self.scales = most.amax(keepdim=True)
        elif self.kind == "wide channels":
            self.scales = most
        elif self.kind == "wide halves":
            half = len(most) // 2
            self.scales = torch.cat([most[:half].amax().expand(half), most[half:].amax().expand(half)])
        if self.is_wide:
            self.scales = self.scales.clamp(min=1e-6) / 32767 if self.kind != "fixed" else self.scales
            return
        values = torch.cat(self.samples, 1)
        if self.kind == "tensor":
            low, high = least_error_range(values.flatten()[None])
            self.scales = (high - low).clamp(min=1e-6) / 255
            self.zero = rounded(-low / self.scales).clamp(0, 255).item()
        elif self.kind != "fixed":
            low, high = least_error_range(values)
            reach = high if self.kind == "positive" else torch.maximum(-low, high)
            reach = reach.clamp(min=1e-6)
            reach = reach.amax().expand_as(reach) if self.kind == "centred one" else reach
            self.zero = 0 if self.kind == "positive" else 128
            self.scales = reach / (255 if self.kind == "positive" else 127)
        codes = codes_of(values, self.scales[:, None], self.zero, *self.limits) - self.zero
        self.energy = (codes ** 2).mean(1).clamp(min=1e-6)
        self.samples = None

    def scales_along(self, x, axis):
        return self.scales.view([-1 if i == axis % x.dim() else 1 for i in range(x.dim())])

    def coded(self, x, axis):
        scale = self.scales_along(x, axis)
        return Coded(fake_quantize(x, scale, self.zero, *self.limits), self.scales, self.energy)
