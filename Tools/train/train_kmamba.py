"""Trains a KMamba-3D network on conformed heads with label maps.

    python train_kmamba.py --config configs/nano-t1.json --data FOLDER --validate t1_crop \\
        --minutes 60 --state state.pt --output ../models/kmamba-nano
    python train_kmamba.py ... --steps 500           # as long as it takes: what fair comparisons need
    python train_kmamba.py ... --minutes 0           # scores the stored weights on the whole held-out head

FOLDER holds train/NAME_conformed.nii.gz, train/NAME_labels18.nii.gz and mri/t1_crop.nii.gz.
"""
import argparse
import os
import time

import numpy as np
import torch

from kmamba.config import load_config, load_setup
from kmamba.export import QUANTILE, export, load_model
from kmamba.generator import load_head, training_crop
from kmamba.loss import LossConfig, total_loss
from kmamba.model import KMamba3D
from kmamba.predict import box_of, dice_per_class, predict, to_device

Z_SCORE = {"kind": "zscore-nonzero", "clip": 6}


class Run:
    """Everything that a checkpoint holds, and where it goes."""

    def __init__(self, options, setup):
        self.options, self.setup = options, setup
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        torch.manual_seed(options.seed)
        self.net = KMamba3D(load_config(setup)).to(self.device).to(memory_format=torch.channels_last_3d)
        self.optimizer = torch.optim.AdamW(self.net.parameters(), lr=setup["rate"], weight_decay=1e-4)
        self.loss_config = LossConfig(**setup.get("loss", {}))
        self.history, self.step, self.spent = {"loss": [], "dice": []}, 0, 0.0
        source = options.resume or options.state
        if source and os.path.exists(source):
            state = torch.load(source, weights_only=True)
            self.net.load_state_dict(state["net"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.history, self.step, self.spent = state["history"], state["step"], state["spent"]

    def save(self):
        normalization = Z_SCORE if self.setup["task"] == "tumour" else QUANTILE
        export(self.net, self.options.output, self.setup["name"], self.setup["channels"], normalization,
               self.setup.get("labels"))
        plot(self.history, self.options.output)
        if self.options.state:
            torch.save({"net": self.net.state_dict(), "optimizer": self.optimizer.state_dict(), "step": self.step,
                        "history": self.history, "spent": self.spent}, self.options.state + ".new")
            os.replace(self.options.state + ".new", self.options.state)

    def share(self):
        """How much of the training is over, 0 ... 1 and more."""
        if self.options.steps:
            return self.step / self.options.steps
        return self.spent / (self.options.minutes * 60)

    def next_checkpoint(self):
        """The share at which the next score and checkpoint are due."""
        if self.options.steps:
            return min(1, self.share() + 0.25)
        return min(1, self.share() + self.options.every / self.options.minutes)

    def set_rate(self, share):
        warm = min(1, (self.step + 1) / 30)
        for group in self.optimizer.param_groups:
            group["lr"] = float(self.setup["rate"] * warm * max(0.01, 0.5 * (1 + np.cos(np.pi * share))))

    def one_step(self, heads, share):
        count = self.setup.get("batch", 1)
        seeds = [self.options.seed * 10_000_019 + self.step * count + i for i in range(count)]
        small = self.setup.get("small_patch")              # {"size", "until"}: more steps early on
        size = small["size"] if small and share < small["until"] else self.net.config.patch
        crops = [training_crop(s, heads, size, self.setup["task"], self.setup.get("synthetic", 0.35))
                 for s in seeds]
        x = to_device(torch.stack([c[0] for c in crops]), self.device)
        truth = torch.stack([c[1] for c in crops]).to(self.device)
        self.set_rate(share)
        logits, aux = self.net(x, with_aux=True)
        loss, parts = total_loss(logits, aux, truth, self.loss_config, share)
        if not torch.isfinite(loss):
            raise SystemExit(f"step {self.step}: the loss is {loss.item()}")
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.history["loss"].append(parts["main"])
        self.step += 1


def open_head(options, setup, name, neck=None):
    groups = [label["from"] for label in setup["labels"]] if setup["task"] == "anatomy" else None
    return load_head(options.data, name, groups, neck)


def held_out(options, setup, patch):
    """[(image [C, X, Y, Z], labels)] of what is scored: the box around a head's labels, or phantoms."""
    head = open_head(options, setup, options.validate)
    if setup["task"] == "tumour":
        return [training_crop(10 ** 9 + i, [head], patch, "tumour") for i in range(8)]
    box = box_of(head["labels"], 8, patch)
    return [(head["image"][box][None], head["merge"][head["labels"][box].long()])]


def score(net, cases, overlap):
    """Dice per class, the mean over the cases in which the class occurs."""
    found = [dice_per_class(predict(net, image, overlap), truth, net.config.classes) for image, truth in cases]
    return {k: float(np.mean([f[k] for f in found if k in f])) for k in sorted(set().union(*found))}


def report(scores, step):
    text = " ".join(f"{k}:{v:.3f}" for k, v in scores.items())
    print(f"step {step}: mean Dice {np.mean(list(scores.values())):.4f}  {text}", flush=True)


def train(run):
    options = run.options
    names = [name for name in run.setup["heads"] if name != options.validate]
    heads = [open_head(options, run.setup, name) for name in names]
    heads += [open_head(options, run.setup, name, neck) for neck in range(run.setup.get("necks", 0)) for name in names]
    cases = held_out(options, run.setup, run.net.config.patch) if options.validate else []
    last, next_check = time.time(), run.next_checkpoint()
    while run.share() < 1:
        run.one_step(heads, run.share())
        now = time.time()
        run.spent, last = run.spent + now - last, now
        if run.step % 20 == 0:
            recent = np.mean(run.history["loss"][-20:])
            print(f"step {run.step} {run.spent / 60:.1f} min loss {recent:.4f}", flush=True)
        if run.share() >= next_check:
            next_check = run.next_checkpoint()
            run.save()
            if cases:
                scores = score(run.net, cases, 0.25)
                run.history["dice"].append((run.step, float(np.mean(list(scores.values())))))
                report(scores, run.step)
                run.save()
            last = time.time()                             # scoring is not training time


def plot(history, folder):
    import matplotlib
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    width = max(1, len(history["loss"]) // 50)
    left.plot(np.convolve(history["loss"], np.ones(width) / width, "valid"))
    left.set(xlabel="step", ylabel="Dice + cross-entropy, main head", title="training (random crops)")
    if history["dice"]:
        right.plot(*zip(*history["dice"]), marker="o")
    right.set(xlabel="step", ylabel="mean foreground Dice", title="held-out head", ylim=(0, 1))
    figure.tight_layout()
    figure.savefig(os.path.join(folder, "training.png"), dpi=80)
    plt.close(figure)


def score_stored(options, setup):
    """The exported network on the whole held-out head, windows as in model.json."""
    net = load_model(options.output).to(memory_format=torch.channels_last_3d)
    head = open_head(options, setup, options.validate)
    whole = [(head["image"][None], head["merge"][head["labels"].long()])]
    cases = held_out(options, setup, net.config.patch) if setup["task"] == "tumour" or options.box else whole
    report(score(net, cases, 0.5), "stored")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", required=True, help="JSON file as in configs")
    parser.add_argument("--data", required=True, help="folder of the heads")
    parser.add_argument("--validate", help="head that training does not see")
    parser.add_argument("--output", required=True, help="folder for model.safetensors, model.json, training.png")
    parser.add_argument("--state", help="checkpoint to go on from and to write to")
    parser.add_argument("--resume", help="checkpoint to go on from, if it is another file")
    parser.add_argument("--minutes", type=float, default=60, help="length of training; the rate follows it")
    parser.add_argument("--steps", type=int, help="length of training in steps instead, with four checkpoints")
    parser.add_argument("--every", type=float, default=5, help="minutes between two checkpoints")
    parser.add_argument("--box", action="store_true", help="score only the box around the labels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    setup = load_setup(options.config)
    os.makedirs(options.output, exist_ok=True)
    if options.steps or options.minutes > 0:
        train(Run(options, setup))
    else:
        score_stored(options, setup)


if __name__ == "__main__":
    main()
