"""Quantization-aware fine-tuning of a stored KMamba-3D network: trains it as the integer runtime will compute it.

    python finetune_kmamba.py --model ../models/kmamba-nano --config configs/nano-t1.json --data FOLDER --validate t1_crop \\
        --steps 200 --output FOLDER

Prints, on crops of the head that training does not see, loss and labels of the float and the fake-quantized network before and
after. The ranges come from calibration on training crops, again every quarter of the steps.
"""
import argparse
import copy

import numpy as np
import torch

from kmamba.config import load_setup
from kmamba.export import QUANTILE, export, load_model
from kmamba.generator import training_crop
from kmamba.loss import LossConfig, dice_entropy, distillation
from kmamba.qat import FakeQuantized
from train_kmamba import open_head

CALIBRATION_SEED, VALIDATION_SEED = 3 * 10 ** 9, 2 * 10 ** 9


def crops_of(setup, heads, seed, count, size, synthetic):
    crops = [training_crop(seed + i, heads, size, setup["task"], synthetic) for i in range(count)]
    return [(image[None], truth[None]) for image, truth in crops]


@torch.no_grad()
def measure(name, original, net, quantized, crops):
    """Means over the crops: loss of both forms, and how far the fake-quantized one is from the float networks."""
    rows = []
    for image, truth in crops:
        first, own, integer = original(image), net(image), quantized(image)
        error = ((integer - own) ** 2).sum()
        rows.append([dice_entropy(own, truth, LossConfig()).item(), dice_entropy(integer, truth, LossConfig()).item(),
                     10 * torch.log10((own ** 2).sum() / error).item(),
                     (integer.argmax(1) == own.argmax(1)).float().mean().item(),
                     (integer.argmax(1) == first.argmax(1)).float().mean().item()])
    loss, quantized_loss, sqnr, agreement, same = np.mean(rows, 0)
    print(f"{name}: loss float {loss:.4f}, fake-quantized {quantized_loss:.4f}; fake-quantized against the float network "
          f"{sqnr:.2f} dB, labels {agreement:.4f}; against the original float network, labels {same:.4f}", flush=True)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of the network to start from")
    parser.add_argument("--config", required=True, help="JSON file as in configs")
    parser.add_argument("--data", required=True, help="folder of the heads")
    parser.add_argument("--validate", required=True, help="head that training does not see")
    parser.add_argument("--output", required=True, help="folder for the result")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--size", type=int, help="side of the training crops, if not that of the windows")
    parser.add_argument("--rate", type=float, default=2e-4)
    parser.add_argument("--labels", type=float, default=1.0, help="weight of the true labels")
    parser.add_argument("--teacher", type=float, default=1.0, help="weight of the original network's soft labels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    return parser.parse_args()


def main():
    options = arguments()
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    setup = load_setup(options.config)
    net = load_model(options.model)                        # batch statistics stay frozen: the runtime folds them
    original, patch = copy.deepcopy(net), net.config.patch
    heads = [open_head(options, setup, name) for name in setup["heads"] if name != options.validate]
    unseen = crops_of(setup, [open_head(options, setup, options.validate)], VALIDATION_SEED, 8, patch, 0)
    calibration = [image for image, _ in crops_of(setup, heads, CALIBRATION_SEED, 6, patch, 0)]
    quantized = FakeQuantized(net)
    quantized.calibrate(calibration)
    measure("before", original, net, quantized, unseen)
    optimizer = torch.optim.AdamW(net.parameters(), lr=options.rate, weight_decay=0)
    losses = []
    for step in range(options.steps):
        if step and step % max(1, options.steps // 4) == 0:
            quantized.calibrate(calibration)
        rate = options.rate * min(1, (step + 1) / 10) * max(0.02, 0.5 * (1 + np.cos(np.pi * step / options.steps)))
        optimizer.param_groups[0]["lr"] = float(rate)
        seed = options.seed * 10_000_019 + 5 * 10 ** 8 + step
        size = [options.size] * 3 if options.size else patch
        image, truth = crops_of(setup, heads, seed, 1, size, setup.get("synthetic", 0.35))[0]
        with torch.no_grad():
            teacher = original(image)
        logits = quantized(image)
        loss = options.teacher * distillation(logits, teacher, 2.0)
        if options.labels > 0:
            loss = loss + options.labels * dice_entropy(logits, truth, LossConfig())
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 10 == 0:
            print(f"step {step + 1} loss {np.mean(losses[-10:]):.4f}", flush=True)
            export(net, options.output, setup["name"], setup["channels"], QUANTILE, setup.get("labels"))
    quantized.calibrate(calibration)
    measure("after", original, net, quantized, unseen)
    export(net, options.output, setup["name"], setup["channels"], QUANTILE, setup.get("labels"))


if __name__ == "__main__":
    main()
