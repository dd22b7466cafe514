"""Dice + cross-entropy on the main and the auxiliary heads, and distillation from one head to the others."""
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F


@dataclass
class LossConfig:
    dice: float = 1.0
    cross_entropy: float = 1.0
    aux_weights: list = field(default_factory=lambda: [0.5, 0.25, 0.125])   # levels 1, 2, 3
    distillation: float = 0.1
    temperature: float = 2.0
    teacher: str = "main"              # or "aux1", "aux2", "aux3"
    ramp: float = 0.2                  # share of training over which distillation grows to its full weight
    aux_resolution: str = "full"       # students are enlarged; "own": truth and teacher are reduced (faster)
    background_dice: bool = False


def dice_entropy(logits, truth, config):
    """logits [B, K, X, Y, Z], truth [B, X, Y, Z] of class numbers. Dice only of the classes that occur."""
    entropy = F.cross_entropy(logits, truth)
    shares = torch.softmax(logits, 1).flatten(2)
    present = F.one_hot(truth.flatten(1), logits.shape[1]).transpose(1, 2).to(shares.dtype)
    overlap = (shares * present).sum((0, 2))
    size, predicted = present.sum((0, 2)), shares.sum((0, 2))
    score = (2 * overlap + 1) / (size + predicted + 1)
    chosen = size > 0
    if not config.background_dice:
        chosen[0] = False
    dice = 1 - score[chosen].mean() if chosen.any() else score.sum() * 0
    return config.cross_entropy * entropy + config.dice * dice


def distillation(student, teacher, temperature):
    """T^2 KL(teacher || student) per voxel, softened; no gradient to the teacher."""
    target = F.log_softmax(teacher.detach() / temperature, 1)
    found = F.log_softmax(student / temperature, 1)
    return temperature ** 2 * (target.exp() * (target - found)).sum(1).mean()


def resize_truth(truth, size):
    return F.interpolate(truth[:, None].float(), size=size, mode="nearest")[:, 0].long()


def total_loss(logits, aux, truth, config, progress):
    """aux {level: logits at 1/2^(level+1)}; progress 0...1 of the training -> (loss, its parts as numbers)."""
    supervised = dice_entropy(logits, truth, config)
    parts, loss = {"main": supervised.item()}, supervised
    heads = {"main": logits, **{f"aux{k}": v for k, v in aux.items()}}
    share = config.distillation * (min(1, progress / config.ramp) if config.ramp > 0 else 1)
    for level, student in aux.items():
        own = config.aux_resolution == "own"
        size = student.shape[2:] if own else logits.shape[2:]
        fitted = student if own else enlarged(student, size)
        target = truth if size == truth.shape[1:] else resize_truth(truth, size)
        loss = loss + config.aux_weights[level - 1] * dice_entropy(fitted, target, config)
        if share > 0 and config.teacher != f"aux{level}":
            teacher = heads[config.teacher].detach()
            soft = distillation(fitted, teacher if teacher.shape[2:] == size else enlarged(teacher, size),
                                config.temperature)
            loss, parts[f"kl{level}"] = loss + share * soft, soft.item()
    return loss, parts


def enlarged(x, size):
    """Trilinear to another size; the mean of the voxels when it shrinks by a whole factor."""
    if x.shape[2] > size[0]:
        return F.avg_pool3d(x, x.shape[2] // size[0])
    return F.interpolate(x, size=size, mode="trilinear", align_corners=False)
