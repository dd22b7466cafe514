"""Float reference values for checking another implementation.

    python dump_reference.py volume --model FOLDER --image HEAD.nii.gz --crop 64 --output reference.npz
    python dump_reference.py tiny --output ../../Tests/Goldens/kmamba-tiny
"""
import argparse
import os
import re

import nibabel
import numpy as np
import torch

from kmamba.config import Config
from kmamba.export import export, load_model, save_readable, run_with_intermediates
from kmamba.model import KMamba3D

STEPS = re.compile(r"stem|stages\.\d\.(down|gsc|out_norm)|stages\.\d\.blocks\.\d+(\.(mixer|ffn|kan))?"
                   r"|stages\.\d\.blocks\.\d+\.kan\.(fc|dw)\d|dec\.\d|full\.skip_norm")


def tiny(folder):
    """A small network with random weights in which every kind of operation occurs."""
    torch.manual_seed(20)
    config = Config(in_channels=2, classes=3, dims=[6, 8, 8, 10], depths=[1, 2, 1, 1], kan_stages=[0, 1, 1, 0],
                    d_state=4, full_width=4, dt_rank=[2, 1, 3, 1], patch=16, aux_heads=[])
    net = KMamba3D(config).eval()
    with torch.no_grad():
        for name, value in net.state_dict().items():
            if not value.is_floating_point():
                continue
            if "norm" in name or ".bn." in name or name.endswith((".D", ".D_b", "_log", "running_var")):
                value.add_(0.2 * torch.rand_like(value))
            if name.endswith("spline_weight"):
                value.copy_(torch.randn_like(value))
            if name.endswith("out_proj.weight"):
                value.mul_(6)                              # the scan must weigh as much as the convolutions
            if re.search(r"dt_proj(_b)?\.bias$", name):
                value.add_(2)
            if name.endswith("running_mean"):
                value.copy_(0.2 * torch.randn_like(value))
    export(net, folder, "kmamba-tiny", ["a", "b"])
    for file, size in (("io", (16, 16, 16)), ("io_16x16x32", (16, 16, 32))):
        x = torch.randn(1, 2, *size)
        logits, steps = run_with_intermediates(net, x, lambda name: file == "io" and STEPS.fullmatch(name))
        save_readable({"input": x, "logits": logits.contiguous(), **steps}, os.path.join(folder, file + ".safetensors"))
        print(file, "logits", logits.mean().item(), logits.std().item())


def central_crop(path, size):
    """float32 [X, Y, Z] in RAS, quantile-normalized over the crop."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    data = np.asarray(image.dataobj, dtype=np.float64)
    start = [(n - size) // 2 for n in data.shape]
    crop = data[tuple(slice(s, s + size) for s in start)]
    low, high = np.quantile(crop, [0.02, 0.98])
    return np.clip((crop - low) / (high - low + 0.001), 0, 1).astype(np.float32)


def volume(options):
    net, crop = load_model(options.model), central_crop(options.image, options.crop)
    logits, steps = run_with_intermediates(net, torch.from_numpy(crop)[None, None], STEPS.fullmatch)
    labels = logits.argmax(1)[0].to(torch.uint8)
    np.savez_compressed(options.output, input=crop, logits=logits[0].numpy(), labels=labels.numpy(),
                        **{k: v.numpy() for k, v in steps.items()})
    print("labels", dict(zip(*[v.tolist() for v in labels.unique(return_counts=True)])))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["tiny", "volume"])
    parser.add_argument("--model", help="folder with model.safetensors and model.json")
    parser.add_argument("--image")
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    with torch.no_grad():
        tiny(options.output) if options.what == "tiny" else volume(options)


if __name__ == "__main__":
    main()
