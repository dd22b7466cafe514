"""Self-checks of the network's parts:  python -m kmamba.check   (in Tools/train)"""
import numpy as np
import torch
from scipy.interpolate import BSpline

from .config import Config, load_config
from .kan import spline_basis, uniform_grid
from .mixer import Mixer
from .model import KMamba3D
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


if __name__ == "__main__":
    torch.set_num_threads(1)
    for check in (check_scan, check_kan_basis, check_names, check_directions):
        check()
        print(check.__name__, "ok")
    nano = KMamba3D(load_config("nano", aux_heads=[]))
    print("nano parameters", sum(p.numel() for p in nano.parameters()))
