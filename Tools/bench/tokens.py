"""Selective scan and KAN layer of this runtime beside PyTorch fp32 and C, one thread. Markdown on standard output and in
out/bench.

    python tokens.py PATH_TO_tokenbench [ROUNDS]
"""
import json
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"

import torch
import torch.nn.functional as F

import common

TOKENS, CHANNELS, STATES, GRID, ORDER = 32768, 64, 16, 5, 3


def best(run, rounds):
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def scan():
    """The recurrence token by token, as the reference implementation of Mamba writes it."""
    u, delta = torch.randn(CHANNELS, TOKENS), torch.rand(CHANNELS, TOKENS) * 0.05
    a, b, c = -torch.arange(1.0, STATES + 1).expand(CHANNELS, -1), torch.randn(STATES, TOKENS), torch.randn(STATES, TOKENS)

    def run():
        decay = torch.exp(delta[:, :, None] * a[:, None])
        injected = (delta * u)[:, :, None] * b.T
        state, out = torch.zeros(CHANNELS, STATES), []
        for t in range(TOKENS):
            state = decay[:, t] * state + injected[:, t]
            out.append(state @ c[:, t])
        return torch.stack(out, 1)
    return run


def kan():
    """A layer as efficient-kan has it: cubic B-splines by recursion, then two matrix products."""
    x = torch.rand(TOKENS, CHANNELS) * 2 - 1
    knots = ((torch.arange(-ORDER, GRID + ORDER + 1) * (2 / GRID)) - 1).expand(CHANNELS, -1).contiguous()
    base, spline = torch.randn(CHANNELS, CHANNELS), torch.randn(CHANNELS, CHANNELS * (GRID + ORDER))

    def run():
        value = x[..., None]
        basis = ((value >= knots[:, :-1]) & (value < knots[:, 1:])).to(x.dtype)
        for k in range(1, ORDER + 1):
            left = (value - knots[:, :-(k + 1)]) / (knots[:, k:-1] - knots[:, :-(k + 1)])
            right = (knots[:, k + 1:] - value) / (knots[:, k + 1:] - knots[:, 1:-k])
            basis = left * basis[..., :-1] + right * basis[..., 1:]
        return F.linear(F.silu(x), base) + F.linear(basis.flatten(1), spline)
    return run


@torch.no_grad()
def main():
    torch.set_num_threads(1)
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 9
    peers = {"scan": best(scan(), 2), "kan": best(kan(), rounds)}
    ours = json.loads(common.run(sys.argv[1], rounds))
    rows = [("ours, int16 and int32, with softplus and both layouts", ours["scan_ms"]),
            ("C, AVX-512 fp32, chunks of 128 tokens", ours["scan_avx512_f32_ms"]),
            ("C, AVX-512 fp32, whole sequence", ours["scan_avx512_f32_whole_ms"]),
            ("C, `expf`", ours["scan_plain_f32_ms"]), (f"PyTorch {torch.__version__} fp32, reference", peers["scan"])]
    scans = [[name, f"{ms:.1f}", f"{ours['state_updates'] / ms / 1e6:.2f}", f"{ms / ours['scan_ms']:.2f}"] for name, ms in rows if ms > 0]
    rows = [("ours, int16 tables per edge", ours["kan_tables_ms"]), ("ours, basis and int8 convolution", ours["kan_ms"]),
            (f"efficient-kan style, PyTorch {torch.__version__} fp32", peers["kan"])]
    kans = [[name, f"{ms:.1f}", f"{ours['kan_edges'] / ms / 1e6:.2f}", f"{ms / ours['kan_tables_ms']:.1f}"] for name, ms in rows]
    scan_title = f"selective scan, {CHANNELS} channels, {STATES} states, {TOKENS} tokens"
    text = "\n\n".join([f"{common.machine()}; {ours['isa']}, one thread",
                        common.table([scan_title, "ms", "G updates/s", "ours is faster by"], scans),
                        common.table([f"KAN layer, {CHANNELS} to {CHANNELS}, {TOKENS} tokens", "ms", "G edges/s", "ours is faster by"], kans)])
    common.save("tokens", text, {"ours": ours, "torch_ms": peers})
    print(text)


main()
