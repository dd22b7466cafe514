"""Self-checks of the network's parts, and of fake quantization against the integer models of Tools/golden:  python -m kmamba.check   (in Tools/train)"""
import sys
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from scipy.interpolate import BSpline

from .config import Config, load_config
from .kan import spline_basis, uniform_grid
from .mixer import Mixer
from .model import KMamba3D
from .qat import FakeQuantized
from .quantized import Coded, Site, codes_of, weight_codes, weight_scales
from .scan import selective_scan, selective_scan_ref


def check_scan():
    """Values and gradients, for lengths that do and do not divide into equal pieces."""
    for length in (1, 2, 7, 64, 301):
        torch.manual_seed(length)
        shapes = [(2, length, 5), (2, length, 5), (5, 3), (2, length, 3), (2, length, 3)]
        values = [torch.randn(s, dtype=torch.float64) for s in shapes]
        values[1], values[2] = values[1].exp() * 0.3, -values[2].exp()
        weight = torch.randn(2, length, 5, dtype=torch.float64)
        results = []
        for function in (selective_scan, selective_scan_ref):
            inputs = [v.clone().requires_grad_() for v in values]
            y = function(*inputs)
            (y * weight).sum().backward()
            results.append([y.detach()] + [v.grad for v in inputs])
        for a, b in zip(*results):
            assert torch.allclose(a, b, rtol=1e-9, atol=1e-9), (length, (a - b).abs().max())


def check_kan_basis():
    """Against SciPy's splines, at and between the knots and outside of them."""
    for intervals in (5, 8):
        grid = uniform_grid(1, intervals, 3, -1, 1).double()
        x = torch.linspace(-3.19, 3.17, 997, dtype=torch.float64)
        basis = spline_basis(x[:, None], grid, 3)[:, 0].numpy()
        knots = grid[0].numpy()
        for k in range(intervals + 3):
            truth = BSpline.basis_element(knots[k:k + 5], extrapolate=False)(x.numpy())
            assert np.allclose(basis[:, k], np.nan_to_num(truth), atol=1e-9)


def expected_shapes(c):
    """The tensors of a network by the specification (auxiliary heads and counters left out)."""
    d, shapes = c.dims, {}

    def put(prefix, **tensors):
        shapes.update({f"{prefix}.{name.replace('__', '.')}": shape for name, shape in tensors.items()})

    def norm(prefix, n):
        put(prefix, weight=(n,), bias=(n,))
        if c.conv_norm == "batch" and ".blocks." not in prefix:
            put(prefix, running_mean=(n,), running_var=(n,))

    put("stem", weight=(d[0], c.in_channels, *[c.stem_kernel] * 3), bias=(d[0],))
    for s, n in enumerate(d):
        stage, inner, rank = f"stages.{s}", c.expand * n, c.dt_rank[s]
        if s:
            norm(f"{stage}.down.norm", d[s - 1])
            put(f"{stage}.down.conv", weight=(n, d[s - 1], 2, 2, 2), bias=(n,))
        for i, k in enumerate((3, 3, 1, 1), 1):
            put(f"{stage}.gsc.conv{i}", weight=(n, n, k, k, k), bias=(n,))
            norm(f"{stage}.gsc.norm{i}", n)
        for b in range(c.depths[s]):
            block = f"{stage}.blocks.{b}"
            norm(f"{block}.norm", n)
            put(f"{block}.mixer", in_proj__weight=(2 * inner, n), out_proj__weight=(n, inner))
            for e in ("", "_b", "_s")[:len(c.scan_dirs)]:
                put(f"{block}.mixer", **{
                    f"conv1d{e}__weight": (inner, 1, c.d_conv), f"conv1d{e}__bias": (inner,),
                    f"x_proj{e}__weight": (rank + 2 * c.d_state, inner), f"dt_proj{e}__weight": (inner, rank),
                    f"dt_proj{e}__bias": (inner,), f"A{e}_log": (inner, c.d_state), f"D{e}": (inner,)})
            if c.kan_stages[s]:
                norm(f"{block}.kan.norm", n)
                for j in (1, 2):
                    put(f"{block}.kan.fc{j}", base_weight=(n, n), spline_weight=(n, n, c.kan_grid + 3),
                        spline_scaler=(n, n), grid=(n, c.kan_grid + 7))
                    put(f"{block}.kan.dw{j}", conv__weight=(n, 1, 3, 3, 3), conv__bias=(n,), bn__weight=(n,),
                        bn__bias=(n,), bn__running_mean=(n,), bn__running_var=(n,))
            else:
                norm(f"{block}.ffn.norm", n)
                put(f"{block}.ffn", fc1__weight=(2 * n, n), fc1__bias=(2 * n,), fc2__weight=(n, 2 * n),
                    fc2__bias=(n,))
        norm(f"{stage}.out_norm", n)
    ups = [(f"dec.{l}", d[l + 1], d[l]) for l in range(3)] + [("full", d[0], c.full_width)]
    for prefix, inputs, n in ups:
        put(prefix, up__weight=(inputs, n, 2, 2, 2))
        put(f"{prefix}.res", conv1__weight=(n, 2 * n, 3, 3, 3), conv2__weight=(n, n, 3, 3, 3),
            conv3__weight=(n, 2 * n, 1, 1, 1))
        for i in (1, 2, 3):
            norm(f"{prefix}.res.norm{i}", n)
    put("full.skip", weight=(c.full_width, c.in_channels, 3, 3, 3))
    norm("full.skip_norm", c.full_width)
    put("head", weight=(c.classes, c.full_width, 1, 1, 1), bias=(c.classes,))
    return shapes


def check_names():
    for config in (load_config("nano"), load_config("nano-t1", conv_norm="batch"), load_config("segmamba-width")):
        net = KMamba3D(config)
        found = {k: tuple(v.shape) for k, v in net.state_dict().items()
                 if not k.startswith("aux.") and not k.endswith("num_batches_tracked")}
        assert found == expected_shapes(config), set(found.items()) ^ set(expected_shapes(config).items())


def check_directions():
    """A token must reach only later tokens (forward), earlier ones (backward), later ones in slice order (slice)."""
    grid, length = (2, 3, 4), 24
    for direction in ("fwd", "bwd", "slice"):
        mixer = Mixer(4, 1, Config(scan_dirs=["fwd", "bwd", "slice"]))
        mixer.dirs = [direction]
        x = torch.randn(1, length, 4)
        moved = x.clone()
        moved[0, 10] += 1
        touched = ((mixer(x, grid) - mixer(moved, grid)).abs().amax(-1)[0] > 0).nonzero()[:, 0].tolist()
        slice_order = [t for _, t in sorted((t % 12 * 2 + t // 12, t) for t in range(length))]
        after = slice_order[slice_order.index(10):]
        expected = {"fwd": list(range(10, 24)), "bwd": list(range(0, 11)), "slice": sorted(after)}[direction]
        assert touched == expected, (direction, touched)
    # Reverse convolution in forward indices: xb[t] = sum_k w_b[k] x[t + K-1-k].
    conv, x = mixer.conv1d_b, torch.randn(9)
    weight = conv.weight[0, 0].detach()
    flipped = torch.cat([torch.zeros(3), x.flip(0)]).unfold(0, 4, 1) @ weight
    direct = [sum(weight[k] * x[t + 3 - k] for k in range(4) if t + 3 - k < 9) for t in range(9)]
    assert torch.allclose(flipped.flip(0), torch.stack(direct), atol=1e-6)


def requantizers(factors):
    """`Requantizer.nearest`: multiplier below 2^31 and shift 33 ... 53 of each factor."""
    shifts = [next(n for n in range(53, 32, -1) if round(f * 2.0 ** n) < 2 ** 31) for f in factors]
    return np.array([round(f * 2.0 ** n) for f, n in zip(factors, shifts)]), np.array(shifts)


def settled(kind, scales, zero=0, bits=8):
    site = Site("fixed" if bits == 8 else kind, scales=torch.tensor(scales, dtype=torch.float64), zero=zero, bits=bits)
    site.energy = torch.ones(len(scales), dtype=torch.float64)
    return site


def check_quantized():
    """What fake quantization computes in floating point is, code for code, what the integer models compute (Tools/golden)."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from golden import conv as golden_conv, pointwise as golden
    rng = np.random.default_rng(3)
    fake = FakeQuantized(KMamba3D(Config(dims=[4] * 4, aux_heads=[], patch=16)).eval())
    for bits in (8, 16):
        # A convolution of bytes with a scale per channel, to bytes with a zero point or to 16 bits.
        input_scales, zero = rng.uniform(0.005, 0.05, 6), 128
        codes = rng.integers(0, 256, (6, 5, 6, 7))
        source = Coded(torch.from_numpy((codes - zero) * input_scales[:, None, None, None])[None],
                       torch.from_numpy(input_scales), torch.from_numpy(((codes - zero) ** 2.0).mean((1, 2, 3))))
        module = torch.nn.Conv3d(6, 5, 3, padding=1).double()
        with torch.no_grad():
            y = fake.conv(f"conv{bits}", module, source)
            _, unit = fake.weights(f"conv{bits}", module.weight, source)
        folded = module.weight.detach().flatten(1) * source.scales.repeat_interleave(27)
        weights = weight_codes(folded, weight_scales(folded, source.energy.repeat_interleave(27))).numpy().astype(np.int64)
        out_zero = 100 if bits == 8 else 0
        out = settled("wide", [y.abs().max().item() / (100 if bits == 8 else 30000)], out_zero, bits)
        multiplier, shift = requantizers((unit / out.scales).tolist())
        bias = np.floor((module.bias.detach() / unit).numpy() + 0.5).astype(np.int64) - zero * weights.sum(1)
        expected = golden_conv.conv3d(
            codes.astype(np.uint8), weights.reshape(module.weight.shape).astype(np.int8), bias, multiplier, shift, stride=1,
            dilation=(1, 1, 1), padding=(1, 1, 1), input_zero_point=zero, output_zero_point=out_zero, output_bits=bits)
        coded = out.coded(y, 1).values[0]
        found = (coded / out.scales).round().numpy().astype(np.int64) + out_zero
        assert len(np.unique(found)) > 50 and np.array_equal(found, expected), (bits, np.abs(found - expected).max())
    # An activation by table of 4096 entries.
    scale, out = torch.tensor([4e-4], dtype=torch.float64), settled("tensor", [0.03], 20)
    fake.sites = {"silu.in": settled("wide", scale.tolist(), bits=16), "silu": out}
    wide = rng.integers(-2 ** 15, 2 ** 15, (3, 2, 4, 9)).astype(np.int16)
    middle = scale * (torch.arange(4096, dtype=torch.float64) * 16 - 2 ** 15 + 7.5)
    table = codes_of(F.silu(middle), out.scales, 20, 0, 255).numpy().astype(np.uint8)
    found = fake.table("silu", torch.from_numpy(wide)[None] * scale, F.silu, "tensor").values[0]
    assert np.array_equal((found / out.scales).round().numpy() + 20, golden.lookup_wide(wide, table))
    # The inputs of a spline layer.
    fc, knots = fake.net.stages[2].blocks[0].kan.fc1.double(), rng.integers(0, 256, (1, 50, 4))
    step = fc.limits[1] / 127
    source = Coded(torch.from_numpy((knots - 128) * step), torch.tensor([step]), None)
    seen = {}
    fake.linear = lambda name, weight, bias, coded: seen.update(coded=coded)
    fake.sites[".basis"] = settled("fixed", [2 / 3 / 255] * 8 + [(F.silu(torch.tensor(fc.limits[1])) + 0.278464543).item() / 255])
    fake.sites[".basis"].scales = fake.sites[".basis"].scales.repeat(4)
    fake.kan_linear("", fc, source)
    values = np.arange(-128, 128) * step
    basis = spline_basis(torch.from_numpy(values)[:, None], fc.grid[:1], 3)[:, 0].numpy()
    silu = values / (1 + np.exp(-values)) + 0.27846454276107374
    scales = fake.sites[".basis"].scales.numpy()[:9]
    table = np.floor(np.concatenate([basis, silu[:, None]], 1) / scales + 0.5).clip(0, 255).astype(np.uint8)
    expected = golden.kan_basis(knots[0].T[:, None, None].astype(np.uint8), table)[:, 0, 0].T
    assert np.array_equal((seen["coded"].values[0].detach() / fake.sites[".basis"].scales).round().numpy(), expected)


if __name__ == "__main__":
    torch.set_num_threads(1)
    for check in (check_scan, check_kan_basis, check_names, check_directions, check_quantized):
        check()
        print(check.__name__, "ok")
    nano = KMamba3D(load_config("nano", aux_heads=[]))
    print("nano parameters", sum(p.numel() for p in nano.parameters()))
