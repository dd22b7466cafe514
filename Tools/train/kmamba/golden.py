"""Writes a small network with random weights and what PyTorch makes of a random input: the importer's test.

    python -m kmamba.golden FOLDER      (from Tools/train)
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from .model import Config, KMamba3D
from .scan import chunked_scan, naive_scan

EDGE = 32


def check_scan():
    """The chunked scan against the loop, with steps from tiny to large."""
    u, delta = torch.randn(2, 6, 77).double(), torch.rand(2, 6, 77).double() ** 4 * 3
    a, b, c = -torch.rand(6, 5).double() * 8 - 0.1, torch.randn(2, 5, 77).double(), torch.randn(2, 5, 77).double()
    difference = chunked_scan(u, delta, a, b, c, torch.ones(6)) - naive_scan(u, delta, a, b, c, torch.ones(6))
    print(f"chunked against plain scan: largest difference {difference.abs().max():.2e}")
    assert difference.abs().max() < 1e-10


def main():
    torch.manual_seed(7)
    check_scan()
    net = KMamba3D(Config(in_channels=2, classes=3, dims=[8, 8, 12, 12], d_state=4, full_width=4))
    for module in net.modules():  # running statistics and gains that are not the defaults
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, (torch.nn.InstanceNorm3d, torch.nn.LayerNorm)):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    net.eval()
    coarse = torch.nn.functional.interpolate(torch.randn(1, 2, 6, 6, 6), (EDGE,) * 3, mode="trilinear")
    x = coarse + 0.2 * torch.randn_like(coarse)
    with torch.no_grad():
        net.head.bias -= net(x).mean((0, 2, 3, 4))  # every class gets its share of the voxels
        scores = net(x)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    save_file({k: v.contiguous() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")},
              folder / "model.safetensors")
    (folder / "model.json").write_text(json.dumps(net.config.json(), indent=1) + "\n")
    # Half precision is exact enough for a check and keeps the file small.
    save_file({"input": x[0].half().contiguous(), "labels": scores[0].argmax(0).half().contiguous(),
               "scores": scores[0].half().contiguous()}, folder / "io.safetensors")
    print(f"{sum(p.numel() for p in net.parameters())} parameters, labels {scores[0].argmax(0).unique(return_counts=True)}")


main()
