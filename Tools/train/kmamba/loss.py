"""The training loss: Dice plus cross-entropy on the main head and on every auxiliary head, and the auxiliary heads learn the
main head's soft labels (self-distillation over scales; after Dual Self-Distillation, arXiv 2306.03271, with the
full-resolution head as the teacher)."""
import torch
import torch.nn.functional as F


def dice_and_entropy(scores, truth):
    """scores [batch, classes, D, H, W], truth [batch, D, H, W]. Dice over the classes that occur, background left out."""
    entropy = F.cross_entropy(scores, truth)
    shares = torch.softmax(scores, 1)
    wanted = F.one_hot(truth, scores.shape[1]).movedim(-1, 1).to(shares.dtype)
    overlap, total = ((x.sum((0, 2, 3, 4))[1:]) for x in (shares * wanted, shares + wanted))
    present = wanted.sum((0, 2, 3, 4))[1:] > 0
    if not present.any():
        return entropy
    return entropy + 1 - ((2 * overlap + 10) / (total + 10))[present].mean()


def distillation(student, teacher, temperature):
    target = torch.softmax(teacher.detach() / temperature, 1)
    return temperature ** 2 * F.kl_div(torch.log_softmax(student / temperature, 1), target, reduction="none").sum(1).mean()


def total_loss(scores, heads, truth, weights=(0.5, 0.25, 0.125), beta=0.1, temperature=2.0):
    loss = dice_and_entropy(scores, truth)
    for head, weight in zip(heads, weights):
        loss = loss + weight * dice_and_entropy(head, truth)
        if beta > 0:
            loss = loss + beta * distillation(head, scores, temperature)
    return loss
