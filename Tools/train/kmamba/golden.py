"""Writes a small network with random weights and what PyTorch makes of a random input: the importer's test.

    python -m kmamba.golden FOLDER      (from Tools/train)
"""
import json
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from .config import Config
from .export import model_json, save_readable
from .model import InstanceNorm, KMamba3D

EDGE = 32


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
        if name.endswith((".D", ".D_b")):
            value.data.uniform_(0.5, 1.5)


@torch.no_grad()
def main():
    torch.manual_seed(7)
    net = KMamba3D(Config(in_channels=2, classes=3, dims=[8, 8, 12, 12], d_state=4, full_width=4, patch=EDGE,
                          dt_rank=[1, 2, 1, 1], aux_heads=[]))
    shake(net)
    net.eval()
    coarse = torch.nn.functional.interpolate(torch.randn(1, 2, 6, 6, 6), (EDGE,) * 3, mode="trilinear")
    x = coarse + 0.2 * torch.randn_like(coarse)
    net.head.bias -= net(x).mean((0, 2, 3, 4))  # every class gets its share of the voxels
    scores = net(x)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    save_readable({k: v.contiguous() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")},
                  folder / "model.safetensors")
    keys = {k: v for k, v in model_json(net.config, "kmamba-tiny", ["a", "b"]).items() if k != "mkedge"}
    (folder / "model.json").write_text(json.dumps(keys, indent=1) + "\n")
    # Half precision is exact enough for a check and keeps the file small.
    save_file({"input": x[0].half().contiguous(), "labels": scores[0].argmax(0).half().contiguous(),
               "scores": scores[0].half().contiguous()}, folder / "io.safetensors")
    print(f"{sum(p.numel() for p in net.parameters())} parameters, labels {scores[0].argmax(0).unique(return_counts=True)}")


main()
