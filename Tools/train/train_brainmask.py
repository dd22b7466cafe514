"""Trains the brain-mask MeshNet of Tools/models/brainmask8 on one head, `ch2` of the Debian package mricron-data.

    python train_brainmask.py --minutes 35 --output ../models/brainmask8 --state state.pt
    python train_brainmask.py --minutes 0 --validate IMAGE MASK      # scores the stored weights on another head
"""
import argparse
import os
import time

import nibabel
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file

from augment import training_crop, with_neck
from meshnet import MeshNet, normalize, write_config

TEMPLATES = "/usr/share/mricron/templates"


def load(path):
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32).copy())


def loss_of(logits, truth):
    """Cross-entropy plus soft Dice of the brain."""
    entropy = F.cross_entropy(logits, truth.long())
    brain = torch.softmax(logits.float(), 1)[:, 1]
    overlap = (brain * truth).sum()
    return entropy + 1 - (2 * overlap + 1000) / (brain.sum() + truth.sum() + 1000)


def dice(a, b):
    return (2 * (a & b).sum() / max(1, a.sum() + b.sum())).item()


@torch.no_grad()
def predict(net, image):
    net.eval()
    x = normalize(image)[None, None].contiguous(memory_format=torch.channels_last_3d)
    return net(x).argmax(1)[0].bool()


def save(net, folder):
    os.makedirs(folder, exist_ok=True)
    tensors = {k: v.float().contiguous() for k, v in net.state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(tensors, os.path.join(folder, "model.safetensors"))
    write_config(net, os.path.basename(os.path.normpath(folder)), os.path.join(folder, "model.json"))


def plot(history, folder):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    loss = np.array(history["loss"])
    width = max(1, len(loss) // 100)
    left.plot(np.convolve(loss, np.ones(width) / width, "valid"))
    left.set(xlabel="step", ylabel="cross-entropy + Dice loss", title="training (augmented crops)")
    for name, points in history["dice"].items():
        right.plot(*zip(*points), marker="o", label=name)
    right.set(xlabel="step", ylabel="Dice", title="whole heads, not augmented")
    if history["dice"]:
        right.legend()
    figure.tight_layout()
    figure.savefig(os.path.join(folder, "training.png"), dpi=80)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--image", default=f"{TEMPLATES}/ch2.nii.gz")
    parser.add_argument("--mask", default=f"{TEMPLATES}/ch2bet.nii.gz", help="brain where > 0")
    parser.add_argument("--validate", nargs=2, metavar=("IMAGE", "MASK"), help="a head that training never sees")
    parser.add_argument("--output", default=os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "models", "brainmask8"))
    parser.add_argument("--state", help="checkpoint file to write")
    parser.add_argument("--resume", metavar="STATE", help="checkpoint file to go on from")
    parser.add_argument("--minutes", type=float, default=30, help="length of training; the learning rate follows it")
    parser.add_argument("--coarse", type=float, default=0.5, help="share of the time on a 2 mm grid, before 1 mm")
    parser.add_argument("--every", type=float, default=5, help="minutes between checkpoints")
    parser.add_argument("--coarse-crop", type=int, nargs=3, default=[56, 64, 56], help="voxels, two crops a step")
    parser.add_argument("--fine-crop", type=int, nargs=3, default=[88, 96, 88], help="voxels, one crop a step")
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def evaluate(net, heads, spacing, step, history):
    """Whole heads in one pass; during the coarse stage on every second voxel."""
    for name, (image, truth) in heads.items():
        every = (slice(None, None, spacing),) * 3
        score = dice(predict(net, image[every]), truth[every])
        history["dice"].setdefault(f"{name}, {spacing} mm", []).append((step, score))
        print(f"step {step}: {name} at {spacing} mm Dice {score:.4f}", flush=True)


def plan(share, coarse):
    """Stage of the training at a share of its time: (grid spacing in mm, share of the stage)."""
    return (2, share / coarse) if share < coarse else (1, (share - coarse) / (1 - coarse))


def train(net, image, mask, heads, options):
    generator = torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=1e-4)
    history, step, spent, saved = {"loss": [], "dice": {}}, 0, 0.0, 0.0
    if options.resume:
        state = torch.load(options.resume, weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        history, step, spent = state["history"], state["step"], state["spent"]
        saved = spent
    image = (image / float(np.quantile(image.numpy(), 0.995))).clamp(0, 1)
    sources = [(image, mask)] + [with_neck(image, mask, options.seed + i) for i in range(4)]
    limit, last = options.minutes * 60, time.time()
    while spent < limit:
        spacing, share = plan(spent / limit, options.coarse)
        net.set_spacing(spacing)
        # Batch statistics settle the network first; then it learns with the running ones it will be used with.
        net.train(share < (0.6 if spacing == 2 else 0.1))
        peak = options.rate if spacing == 2 else 0.4 * options.rate
        rate = peak * min(1, 0.1 + share / 0.1) * max(0.02, 0.5 * (1 + np.cos(np.pi * share)))
        for group in optimizer.param_groups:
            group["lr"] = float(rate)
        crop, batch = (options.coarse_crop, 2) if spacing == 2 else (options.fine_crop, 1)
        crops = [training_crop(generator, sources, crop, spacing) for _ in range(batch)]
        x, truth = (torch.stack(part) for part in zip(*crops))
        logits = net(x[:, None].contiguous(memory_format=torch.channels_last_3d))
        loss = loss_of(logits, truth)
        if not torch.isfinite(loss):
            raise SystemExit(f"step {step}: the loss is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        history["loss"].append(loss.item())
        step += 1
        now = time.time()
        spent, last = spent + min(now - last, 20), now  # a paused machine does not train
        if step % 20 == 0:
            print(f"step {step} {spent / 60:.1f} min, {spacing} mm, loss {np.mean(history['loss'][-20:]):.4f}", flush=True)
        if spent - saved >= 60 * options.every:
            saved = spent
            checkpoint(net, optimizer, generator, heads, spacing, history, step, spent, options)
            last = time.time()  # scoring is not training time
    return history, step, spent


def checkpoint(net, optimizer, generator, heads, spacing, history, step, spent, options):
    evaluate(net, heads, spacing, step, history)
    save(net, options.output)
    plot(history, options.output)
    if options.state:
        torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "history": history,
                    "generator": generator.get_state(), "step": step, "spent": spent}, options.state)


def main():
    options = arguments()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    net = MeshNet().to(memory_format=torch.channels_last_3d)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = 0.05
    image, mask = load(options.image), (load(options.mask) > 0).float()
    heads = {"training head": (image, mask > 0)}
    if options.validate:
        heads["unseen head"] = (load(options.validate[0]), load(options.validate[1]) > 0)
    if options.minutes > 0:
        history, step, spent = train(net, image, mask, heads, options)
        print(f"{step} steps in {spent / 60:.1f} min")
        net.set_spacing(1)
        evaluate(net, heads, 1, step, history)
        save(net, options.output)
        plot(history, options.output)
    else:
        net.load_state_dict(load_file(os.path.join(options.output, "model.safetensors")), strict=False)
        evaluate(net, heads, 1, 0, {"dice": {}})


if __name__ == "__main__":
    main()
