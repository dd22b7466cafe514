"""Compares training runs of the same length: a table of Dice on the held-out head, and a plot.

    python compare_runs.py PLOT.png NAME=STATE [NAME=STATE ...]      (STATE: what train_kmamba.py --state wrote)
"""
import sys

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")
import matplotlib.pyplot as plt

SMOOTH = 25


def main():
    plot, *runs = sys.argv[1:]
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3))
    print("| run | weights | steps | loss of the last quarter | mean Dice, held-out head |\n|---|---|---|---|---|")
    for run in runs:
        name, path = run.split("=", 1)
        state = torch.load(path, weights_only=True, map_location="cpu")
        history, steps = state["history"], state["step"]
        weights = sum(v.numel() for k, v in state["net"].items()
                      if not k.startswith("aux.") and "running_" not in k and not k.endswith(("grid", "num_batches_tracked")))
        loss = np.mean(history["loss"][-(steps // 4):])
        last = f"{history['dice'][-1][1]:.3f}" if history["dice"] else ""
        print(f"| {name} | {weights:,} | {steps} | {loss:.3f} | {last} |")
        left.plot(np.arange(SMOOTH - 1, steps), np.convolve(history["loss"], np.ones(SMOOTH) / SMOOTH, "valid"), label=name)
        right.plot(*zip(*history["dice"]), marker="o")
    left.set(xlabel="step", ylabel="Dice + cross-entropy, main head")
    left.legend(fontsize=7)
    right.set(xlabel="step", ylabel="mean Dice, held-out head", ylim=(0, None))
    figure.tight_layout()
    figure.savefig(plot, dpi=80)


if __name__ == "__main__":
    main()
