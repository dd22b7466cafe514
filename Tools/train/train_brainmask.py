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

from augment import training_crop
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
    return entropy + 1 - (2 * overlap + 1) / (brain.sum() + truth.sum() + 1)


def dice(a, b):
    return (2 * (a & b).sum() / max(1, a.sum() + b.sum())).item()


@torch.no_grad()
def predict(net, image):
    net.eval()
    mask = net(normalize(image)[None, None]).argmax(1)[0].bool()
    net.train()
    return mask


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
    parser.add_argument("--output", default=os.path.join(os.path.dirname(__file__), "..", "models", "brainmask8"))
    parser.add_argument("--state", help="checkpoint to resume from and to write to")
    parser.add_argument("--minutes", type=float, default=35, help="length of training; the learning rate follows it")
    parser.add_argument("--crop", type=int, nargs=3, default=[96, 96, 96])
    parser.add_argument("--rate", type=float, default=0.005)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def evaluate(net, heads, step, history):
    for name, (image, truth) in heads.items():
        score = dice(predict(net, image), truth)
        history["dice"].setdefault(name, []).append((step, score))
        print(f"step {step}: {name} Dice {score:.4f}", flush=True)


def train(net, image, mask, heads, options):
    generator = torch.Generator().manual_seed(options.seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=1e-4)
    history, step, spent = {"loss": [], "dice": {}}, 0, 0.0
    if options.state and os.path.exists(options.state):
        state = torch.load(options.state, weights_only=True)
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        generator.set_state(state["generator"])
        history, step, spent = state["history"], state["step"], state["spent"]
    image = image / image.flatten().sort().values[int(0.995 * image.numel())]
    image, limit, last = image.clamp(0, 1), options.minutes * 60, time.time()
    next_check = spent + 300
    while spent < limit:
        share = spent / limit
        warm = min(1, (step + 1) / 30)
        for group in optimizer.param_groups:
            group["lr"] = float(options.rate * warm * max(0.01, 0.5 * (1 + np.cos(np.pi * share))))
        x, truth = training_crop(generator, image, mask, options.crop)
        loss = loss_of(net(x[None, None]), truth[None])
        if not torch.isfinite(loss):
            raise SystemExit(f"step {step}: the loss is {loss.item()}")
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        history["loss"].append(loss.item())
        step += 1
        now = time.time()
        spent, last = spent + now - last, now
        if step % 20 == 0:
            print(f"step {step} {spent / 60:.1f} min loss {np.mean(history['loss'][-20:]):.4f}", flush=True)
        if spent >= next_check:
            next_check = spent + 300
            evaluate(net, heads, step, history)
            save(net, options.output)
            plot(history, options.output)
            if options.state:
                torch.save({"net": net.state_dict(), "optimizer": optimizer.state_dict(), "history": history,
                            "generator": generator.get_state(), "step": step, "spent": spent}, options.state)
            last = time.time()  # scoring is not training time
    return history, step


def main():
    options = arguments()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    net = MeshNet()
    image, mask = load(options.image), (load(options.mask) > 0).float()
    heads = {"training head": (image, mask > 0)}
    if options.validate:
        heads["unseen head"] = (load(options.validate[0]), load(options.validate[1]) > 0)
    if options.minutes > 0:
        history, step = train(net, image, mask, heads, options)
        evaluate(net, heads, step, history)
        save(net, options.output)
        plot(history, options.output)
    else:
        net.load_state_dict(load_file(os.path.join(options.output, "model.safetensors")), strict=False)
        evaluate(net, heads, 0, {"dice": {}})


if __name__ == "__main__":
    main()
