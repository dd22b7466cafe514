"""KMamba-3D computed as the integer runtime computes it, for quantization-aware fine-tuning.

`FakeQuantized` walks a KMamba3D and stores every value in the format that the converter's CodingChooser gives it: int8 weights per
output channel with the input's scales folded in, bytes where convolutions read, 16 bits in the trunk, before normalizations
and activations, around the scan, and for the scores. First `calibrate`, then call it like the network."""
import torch
import torch.nn.functional as F

from .kan import spline_basis
from .mixer import SUFFIX
from .quantized import HEADROOM, Coded, Site, fake_quantize, rounded, table_input, weight_codes, weight_scales
from .scan import selective_scan

SILU_OFFSET = 0.27846454276107374                  # minus the smallest value of SiLU
RENEW = 25                                         # calls after which a layer's weight scales are searched again


class FakeQuantized:
    def __init__(self, net):
        assert net.config.conv_norm == "instance" and net.config.scan_chunk == 0
        self.net, self.sites, self.is_observing = net, {}, False
        self.weight_cache = {}

    @torch.no_grad()
    def calibrate(self, crops):
        """Ranges from the values that the float network has on crops [B, C, X, Y, Z]."""
        self.is_observing, self.sites, self.weight_cache = True, {}, {}
        for crop in crops:
            self(crop)
        for site in self.sites.values():
            site.settle()
        self.is_observing = False

    # Codings

    def site(self, name, x, axis, kind, **options):
        if self.is_observing:
            self.sites.setdefault(name, Site(kind, **options)).observe(x, axis)
        return self.sites[name]

    def bytes(self, name, x, kind, axis=1, **options):
        site = self.site(name, x, axis, kind, **options)
        return Coded(x, x.new_ones(1), None) if self.is_observing else site.coded(x, axis)

    def wide(self, name, x, headroom="shared", kind="wide", axis=1, **options):
        site = self.site(name, x, axis, kind, headroom=HEADROOM.get(headroom, 1), **options)
        if self.is_observing:
            return x
        return fake_quantize(x, site.scales_along(x, axis), 0, *site.limits)

    def table(self, name, x, f, kind, axis=1, group=None, **options):
        """An activation by table: 16 bits in, `group` if they are those of a sum, bytes out."""
        if group is None:
            group = f"{name}.in"
            self.wide(group, x, "scores")
        seen = x if self.is_observing else table_input(x, self.sites[group].scales)
        return self.bytes(name, f(seen), kind, axis, **options)

    # Layers

    def weights(self, name, weight, source):
        """weight [O, I, ...], fake-quantized, and the real value of one accumulator unit [O]."""
        if self.is_observing:
            return weight, None
        taps = weight[0, 0].numel()
        scales = source.scales.expand(weight.shape[1]).repeat_interleave(taps)
        folded = weight.flatten(1) * scales
        with torch.no_grad():
            cached, age = self.weight_cache.get(name, (None, RENEW))
            if age >= RENEW or not torch.is_grad_enabled():
                cached, age = weight_scales(folded, source.energy.repeat_interleave(taps)), 0
            if torch.is_grad_enabled():
                self.weight_cache[name] = cached, age + 1
            exact = weight_codes(folded, cached) * cached[:, None] / scales
        return weight + (exact.view_as(weight) - weight).detach(), cached

    def bias(self, bias, unit):
        return bias if bias is None or unit is None else bias + (rounded(bias / unit) * unit - bias).detach()

    def conv(self, name, module, source):
        weight, unit = self.weights(name, module.weight, source)
        return F.conv3d(source.values, weight, self.bias(module.bias, unit), module.stride, module.padding)

    def linear(self, name, weight, bias, source):
        weight, unit = self.weights(name, weight, source)
        return F.linear(source.values, weight, self.bias(bias, unit))

    def taps(self, weight):
        """Depthwise weights [C, taps]: per channel by their largest magnitude."""
        if self.is_observing:
            return weight
        scale = weight.detach().abs().amax(1).clamp(min=1e-9) / 127
        return weight + (weight_codes(weight, scale) * scale[:, None] - weight).detach()

    def normed(self, name, conv, norm, source):
        x = self.wide(f"{name}.statistics", self.conv(name, conv, source), "statistics", "wide channels")
        return norm(x)

    # Blocks

    def gsc(self, name, gsc, trunk, t):
        source = self.bytes(f"{name}.in", t, "centred")
        a = F.relu(self.normed(f"{name}.conv1", gsc.conv1, gsc.norm1, source))
        a = F.relu(self.normed(f"{name}.conv2", gsc.conv2, gsc.norm2, self.bytes(f"{name}.a", a, "positive")))
        c = F.relu(self.normed(f"{name}.conv3", gsc.conv3, gsc.norm3, source))
        total = self.wide(f"{name}.sum", self.wide(f"{name}.sum", a) + self.wide(f"{name}.sum", c))
        copy = self.bytes(f"{name}.sum.narrow", total, "centred")
        gate = F.relu(self.normed(f"{name}.conv4", gsc.conv4, gsc.norm4, copy))
        return self.wide(trunk, t + self.wide(trunk, gate))

    def direction(self, name, mixer, direction, x, grid):
        """One scan order: x [B, L, inner], of one coding -> y in the order of x."""
        end = SUFFIX[direction]
        conv, x_proj, dt_proj = (getattr(mixer, n + end) for n in ("conv1d", "x_proj", "dt_proj"))
        ordered = mixer._order(x, direction, grid)
        weight, length = self.taps(conv.weight[:, 0]), ordered.shape[1]
        padded = F.pad(ordered, (0, 0, mixer.taps - 1, 0))
        u = sum(padded[:, k:k + length] * weight[:, k] for k in range(mixer.taps)) + conv.bias
        u = self.table(f"{name}.u{end}", u, F.silu, "tensor", -1)
        rank = mixer.rank
        step = self.linear(f"{name}.dt{end}", dt_proj.weight @ x_proj.weight[:rank], dt_proj.bias, u)
        step = self.wide(f"{name}.dt{end}", step, 1, "fixed", -1, scales=step.new_tensor([2.0 ** -11]), bits=16)
        matrices = self.linear(f"{name}.bc{end}", x_proj.weight[rank:], None, u)
        matrices = self.wide(f"{name}.bc{end}", matrices, "shared", "wide halves", -1)
        B, C = matrices.split(mixer.states, -1)
        A = -torch.exp(getattr(mixer, f"A{end}_log"))
        y = selective_scan(u.values, F.softplus(step), A, B, C) + getattr(mixer, "D" + end) * u.values
        return self.wide(f"{name}.y", mixer._back(y, direction, grid), "shared", "wide channels", -1)

    def mixer(self, name, mixer, x, grid):
        source = self.bytes(f"{name}.norm", x, "tensor", -1)
        x, z = self.linear(f"{name}.in_proj", mixer.in_proj.weight, None, source).chunk(2, -1)
        x = self.bytes(f"{name}.x", x, "tensor", -1).values
        z = self.bytes(f"{name}.z", z, "tensor", -1).values
        total = sum(self.direction(name, mixer, d, x, grid) for d in mixer.dirs)
        gated = self.bytes(f"{name}.gate", total * F.silu(z), "centred", -1)
        return self.linear(f"{name}.out_proj", mixer.out_proj.weight, None, gated)

    def ffn(self, name, ffn, tokens, grid):
        source = self.bytes(f"{name}.norm", ffn.norm(tokens), "tensor", -1)
        hidden = self.linear(f"{name}.fc1", ffn.fc1.weight, ffn.fc1.bias, source)
        hidden = self.table(f"{name}.gelu", hidden, F.gelu, "tensor", -1)
        return self.linear(f"{name}.fc2", ffn.fc2.weight, ffn.fc2.bias, hidden)

    def kan_linear(self, name, fc, source):
        """Basis bytes and SiLU, shifted up by its minimum, into one linear layer."""
        low, high = fc.limits
        x = source.values.clamp(low, high)
        basis = torch.cat([spline_basis(x, fc.grid, fc.order), (F.silu(x) + SILU_OFFSET)[..., None]], -1)
        splines, inputs = basis.shape[-1] - 1, basis.shape[-2]
        top = F.silu(x.new_tensor(high)) + SILU_OFFSET
        scales = torch.cat([x.new_full((splines,), 2 / 3 / 255), top[None] / 255]).repeat(inputs)
        coded = self.bytes(f"{name}.basis", basis.flatten(-2), "fixed", -1, scales=scales)
        weight = torch.cat([fc.spline_weight * fc.spline_scaler[..., None], fc.base_weight[..., None]], -1)
        return self.linear(name, weight.flatten(1), -fc.base_weight.sum(1) * SILU_OFFSET, coded)

    def depthwise(self, dw, x):
        """Without the ReLU; batch normalization folded with its running statistics."""
        gain = dw.bn.weight / torch.sqrt(dw.bn.running_var + dw.bn.eps)
        weight = dw.conv.weight * gain.view(-1, 1, 1, 1, 1)
        bias = (dw.conv.bias - dw.bn.running_mean) * gain + dw.bn.bias
        return F.conv3d(x, self.taps(weight.flatten(1)).view_as(weight), bias, padding=1, groups=len(weight))

    def kan(self, name, kan, tokens, grid):
        step = kan.fc1.limits[1] / 127
        knots = dict(scales=tokens.new_tensor([step]), zero=128)
        source = self.bytes(f"{name}.norm", kan.norm(tokens), "fixed", -1, **knots)
        x = self.kan_linear(f"{name}.fc1", kan.fc1, source)
        x = self.bytes(f"{name}.fc1.out", x, "tensor", -1).values.transpose(1, 2).unflatten(2, grid)
        source = self.table(f"{name}.dw1", self.depthwise(kan.dw1, x), F.relu, "fixed", 1, **knots)
        source = source._replace(values=source.values.flatten(2).transpose(1, 2))
        x = self.kan_linear(f"{name}.fc2", kan.fc2, source)
        x = self.bytes(f"{name}.fc2.out", x, "tensor", -1).values.transpose(1, 2).unflatten(2, grid)
        return F.relu(self.depthwise(kan.dw2, x)).flatten(2).transpose(1, 2)

    def block(self, name, block, trunk, tokens, grid):
        out = self.mixer(f"{name}.mixer", block.mixer, block.norm(tokens), grid)
        tokens = self.wide(trunk, tokens + self.wide(trunk, out, axis=-1), axis=-1)
        after = getattr(self, block.after)(f"{name}.{block.after}", getattr(block, block.after), tokens, grid)
        return self.wide(trunk, tokens + self.wide(trunk, after, axis=-1), axis=-1)

    def stage(self, s, stage, t):
        name, trunk = f"stages.{s}", f"stages.{s}.trunk"
        if s > 0:
            source = self.bytes(f"{name}.down.norm", stage.down.norm(t), "tensor")
            t = self.conv(f"{name}.down.conv", stage.down.conv, source)
        t = self.gsc(f"{name}.gsc", stage.gsc, trunk, self.wide(trunk, t))
        grid = t.shape[2:]
        tokens = t.flatten(2).transpose(1, 2)
        for b, block in enumerate(stage.blocks):
            tokens = self.block(f"{name}.blocks.{b}", block, trunk, tokens, grid)
        return tokens.transpose(1, 2).unflatten(2, grid)

    def up(self, name, up, g, skip):
        weight = up.up.weight                                       # [I, O, 2, 2, 2] -> a pointwise layer to 8·O channels
        flat, unit = self.weights(f"{name}.up", weight.permute(1, 2, 3, 4, 0).flatten(0, 3)[..., None], g)
        flat = flat[..., 0].view(weight.shape[1], 2, 2, 2, -1).permute(4, 0, 1, 2, 3)
        large = self.bytes(f"{name}.up", F.conv_transpose3d(g.values, flat, stride=2), "centred")
        both = Coded(torch.cat([large.values, skip.values], 1), torch.cat([large.scales, skip.scales]),
                     None if self.is_observing else torch.cat([large.energy, skip.energy]))
        res, group = up.res, f"{name}.res.sum"
        r = self.wide(group, self.normed(f"{name}.res.conv3", res.conv3, res.norm3, both))
        x = self.normed(f"{name}.res.conv1", res.conv1, res.norm1, both)
        x = self.table(f"{name}.res.x", x, leaky, "tensor")
        x = self.wide(group, self.normed(f"{name}.res.conv2", res.conv2, res.norm2, x))
        return self.table(f"{name}.res", self.wide(group, x + r), leaky, "tensor", group=group)

    def __call__(self, x):
        net = self.net
        x = self.bytes("input", x, "fixed", scales=x.new_tensor([1 / 255]))
        edge = self.normed("full.skip", net.full.skip, net.full.skip_norm, x)
        edge = self.table("full.skip", edge, F.relu, "centred one")
        t, skips = self.conv("stem", net.stem, x), []
        for s, stage in enumerate(net.stages):
            t = self.stage(s, stage, t)
            skips.append(self.bytes(f"stages.{s}.out_norm", stage.out_norm(t), "centred" if s < 3 else "tensor"))
        g = skips[3]
        for level in (2, 1, 0):
            g = self.up(f"dec.{level}", net.dec[level], g, skips[level])
        g = self.up("full", net.full, g, edge)
        return self.wide("head", self.conv("head", net.head, g), "scores")


def leaky(x):
    return F.leaky_relu(x, 0.01)
