"""Writes small networks with random weights and what PyTorch makes of a random input: the importer's tests.

    python -m kmamba.golden ../../Tests/Goldens      (from Tools/train)
"""
import json
import sys
from pathlib import Path

import torch

from .config import Config
from .export import model_json, save_readable
from .model import InstanceNorm, KMamba3D

VARIANTS = {
    "kmamba-tiny": {"patch": 32},
    "kmamba-tiny-batch": {"patch": [32, 16, 32], "conv_norm": "batch", "scan_dirs": ["fwd"]},
    "kmamba-tiny-slices": {"patch": [32, 16, 48], "scan_dirs": ["fwd", "bwd", "slice"]},
}


def shake(net):
    """Running statistics, gains and skips that are not the defaults."""
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, (InstanceNorm, torch.nn.LayerNorm)):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.2)
    for name, value in net.named_parameters():
        if name.endswith((".D", ".D_b", ".D_s")):
            value.data.uniform_(0.5, 1.5)


@torch.no_grad()
def write(folder, name, changes):
    torch.manual_seed(7)
    net = KMamba3D(Config(in_channels=2, classes=3, dims=[8, 8, 12, 12], d_state=4, full_width=4, dt_rank=[1, 2, 1, 1],
                          aux_heads=[], **changes))
    shake(net)
    net.eval()
    size = net.config.patch
    coarse = torch.nn.functional.interpolate(torch.randn(1, 2, 6, 6, 6), size, mode="trilinear")
    x = coarse + 0.2 * torch.randn_like(coarse)
    net.head.bias -= net(x).mean((0, 2, 3, 4))  # every class gets its share of the voxels
    scores = net(x)
    folder.mkdir(parents=True, exist_ok=True)
    save_readable({k: v.contiguous() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")},
                  folder / "model.safetensors")
    keys = {k: v for k, v in model_json(net.config, name, ["a", "b"]).items() if k != "mkedge"}
    (folder / "model.json").write_text(json.dumps(keys, indent=1) + "\n")
    # Half precision is exact enough for a check and keeps the file small.
    save_readable({"input": x[0].half().contiguous(), "labels": scores[0].argmax(0).half().contiguous(),
                   "scores": scores[0].half().contiguous()}, folder / "io.safetensors")
    print(f"{name}: {sum(p.numel() for p in net.parameters())} parameters, "
          f"labels {scores[0].argmax(0).unique(return_counts=True)[1].tolist()}")


if __name__ == "__main__":
    for name, changes in VARIANTS.items():
        write(Path(sys.argv[1]) / name, name, changes)
