"""Trains a KMamba-3D for T1 heads on labelled heads, validates on one that training never sees, writes what mkquant reads.

    python train_kmamba.py --train IMAGE LABELS --train IMAGE LABELS --validate IMAGE LABELS --minutes 60 --output FOLDER
"""
import argparse
import json
import os
import time

import nibabel
import numpy as np
import torch
from safetensors.torch import load_file, save_file

from kmamba.generator import patch
from kmamba.loss import total_loss
from kmamba.model import Config, KMamba3D

NAMES = ["background", "cerebral white matter", "cerebral cortex", "lateral ventricle", "inferior lateral ventricle",
         "cerebellum white matter", "cerebellum cortex", "thalamus", "caudate", "putamen", "pallidum", "third ventricle",
         "fourth ventricle", "brain stem", "hippocampus", "amygdala", "accumbens area", "ventral DC"]
EDGE = 64


def load(paths):
    """(image in 0 ... 1, labels), axes [z, y, x] of RAS orientation: the order in which mkrun stores them."""
    image, labels = (np.asarray(nibabel.as_closest_canonical(nibabel.load(p)).dataobj).T for p in paths)
    low, high = np.quantile(image, (0.02, 0.98))
    image = np.clip((image - low) / (high - low + 0.001), 0, 1).astype(np.float32)
    return torch.from_numpy(image.copy()), torch.from_numpy(labels.astype(np.int64).copy())


@torch.no_grad()
def dice_by_class(net, image, labels, classes):
    """Windows without overlap over the box of the labels: quick, and a little worse than the overlapping ones of mkrun."""
    net.eval()
    places = labels.nonzero()
    starts = [range(max(0, int(lo) - 4), int(hi) + 4, EDGE) for lo, hi in zip(places.amin(0), places.amax(0))]
    both, total = torch.zeros(classes), torch.zeros(classes)
    for z in starts[0]:
        for y in starts[1]:
            for x in starts[2]:
                box = tuple(slice(min(s, n - EDGE), min(s, n - EDGE) + EDGE) for s, n in zip((z, y, x), image.shape))
                found, truth = net(image[box][None, None]).argmax(1)[0], labels[box]
                for c in range(classes):
                    a, b = found == c, truth == c
                    both[c] += (a & b).sum()
                    total[c] += a.sum() + b.sum()
    net.train()
    return (2 * both / total.clamp(min=1)).tolist()


def save(net, options, history):
    os.makedirs(options.output, exist_ok=True)
    tensors = {k: v.contiguous() for k, v in net.state_dict().items()
               if not k.startswith("aux.") and not k.endswith("num_batches_tracked")}
    save_file(tensors, os.path.join(options.output, "model.safetensors"))
    config = net.config.json() | {"mkedge": {
        "name": os.path.basename(os.path.normpath(options.output)), "axes": "zyx", "orientation": "RAS",
        "spacing_mm": [1, 1, 1], "channels": ["t1"],
        "normalization": {"kind": "quantile", "low": 0.02, "high": 0.98, "epsilon": 0.001},
        "labels": [{"value": i, "name": name, "rgb": [0, 0, 0] if i == 0 else [(67 * i) % 200 + 55, (131 * i) % 200 + 55,
                                                                              (29 * i) % 200 + 55]}
                   for i, name in enumerate(NAMES)],
        "window": {"patch": [EDGE] * 3, "overlap": 0.5, "scheme": "monai", "weight": "gaussian"}}}
    with open(os.path.join(options.output, "model.json"), "w") as file:
        json.dump(config, file, indent=1)
        file.write("\n")
    plot(history, options.output)


def plot(history, folder):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    width = max(1, len(history["loss"]) // 60)
    left.plot(np.convolve(history["loss"], np.ones(width) / width, "valid"))
    left.set(xlabel="step", ylabel="loss", title="training")
    right.plot(*zip(*history["dice"]), marker="o") if history["dice"] else None
    right.set(xlabel="step", ylabel="mean foreground Dice", title="head that training never sees")
    figure.tight_layout()
    figure.savefig(os.path.join(folder, "training.png"), dpi=80)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", nargs=2, action="append", required=True, metavar=("IMAGE", "LABELS"))
    parser.add_argument("--validate", nargs=2, required=True, metavar=("IMAGE", "LABELS"))
    parser.add_argument("--output", required=True)
    parser.add_argument("--dims", type=int, nargs=4, default=[16, 32, 48, 64])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--every", type=float, default=10, help="minutes between scores of the validation head")
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--beta", type=float, default=0.1, help="weight of the self-distillation, 0 for none")
    parser.add_argument("--resume", help="folder of an earlier run to start from")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


def train(net, heads, validation, options):
    classes = net.config.classes
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=1e-3)
    history, spent, scored, last = {"loss": [], "dice": []}, 0.0, 0.0, time.time()
    limit = 60 * options.minutes
    while spent < limit:
        share = spent / limit
        for group in optimizer.param_groups:
            group["lr"] = options.rate * min(1, 0.05 + share / 0.03) * max(0.01, 0.5 * (1 + np.cos(np.pi * share)))
        image, truth = patch(heads, EDGE, classes)
        scores, aux = net(image[None].contiguous(memory_format=torch.channels_last_3d))
        loss = total_loss(scores, aux, truth[None], beta=options.beta)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        history["loss"].append(loss.item())
        now = time.time()
        spent, last = spent + min(now - last, 30), now  # a paused machine does not train
        step = len(history["loss"])
        if step % 20 == 0:
            print(f"step {step} {spent / 60:.1f} min loss {np.mean(history['loss'][-20:]):.3f}", flush=True)
        if spent - scored >= 60 * options.every or spent >= limit:
            scored = spent
            dice = dice_by_class(net, *validation, classes)
            history["dice"].append((step, float(np.mean(dice[1:]))))
            print(f"step {step}: mean foreground Dice {history['dice'][-1][1]:.4f}: "
                  + ", ".join(f"{n} {d:.3f}" for n, d in zip(NAMES, dice)), flush=True)
            save(net, options, history)
            last = time.time()  # scoring is not training time


def main():
    options = arguments()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    net = KMamba3D(Config(in_channels=1, classes=len(NAMES), dims=options.dims, aux_heads=[1, 2]))
    if options.resume:
        net.load_state_dict(load_file(os.path.join(options.resume, "model.safetensors")), strict=False)
    net = net.to(memory_format=torch.channels_last_3d)
    train(net, [load(pair) for pair in options.train], load(options.validate), options)


if __name__ == "__main__":
    main()
