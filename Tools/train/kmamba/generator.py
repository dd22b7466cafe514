"""Training patches: a random bent box of a labelled head, with its own intensities changed or with contrasts made up from
the labels (after SynthSeg, Billot et al. 2023)."""
import math

import torch
import torch.nn.functional as F


def uniform(low, high):
    return low + (high - low) * torch.rand(()).item()


def rotation(degrees):
    result = torch.eye(3)
    for i, j in ((1, 2), (0, 2), (0, 1)):
        angle = math.radians(uniform(-degrees, degrees))
        step = torch.eye(3)
        step[i, i] = step[j, j] = math.cos(angle)
        step[i, j], step[j, i] = -math.sin(angle), math.sin(angle)
        result = result @ step
    return result


def sampling_grid(size, centre, edge):
    """Source positions of a cube of `edge` voxels around `centre` in a volume of `size`, for grid_sample."""
    linear = rotation(15) @ torch.diag(torch.tensor([uniform(0.85, 1.15) for _ in range(3)]))
    if torch.rand(()) < 0.5:
        linear[:, 2] = -linear[:, 2]  # the last axis runs from right to left: labels are the same on both sides
    axis = torch.arange(edge) - (edge - 1) / 2
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1) @ linear.T + centre
    bend = torch.randn(1, 3, 4, 4, 4) * uniform(0, 3)
    points = points + F.interpolate(bend, (edge,) * 3, mode="trilinear", align_corners=True)[0].movedim(0, -1)
    return (2 * points / (torch.tensor(size) - 1) - 1).flip(-1)[None]


def made_up(labels, classes, image):
    """One grey level and spread per label; background keeps the real head outside the brain, with a level of its own."""
    means, spreads = torch.rand(classes), torch.rand(classes) * 0.08 + 0.01
    synthetic = means[labels] + spreads[labels] * torch.randn(labels.shape)
    return torch.where(labels > 0, synthetic, image * uniform(0.3, 1.3))


def intensities(image):
    """Gamma, bias field, noise, resolution; what a quantile normalization leaves lies in 0 ... 1."""
    field = F.interpolate(torch.randn(1, 1, 3, 3, 3) * uniform(0, 0.25), image.shape, mode="trilinear", align_corners=True)
    image = image.clamp(0, 1.5) ** math.exp(uniform(-0.4, 0.4)) * torch.exp(field[0, 0])
    if torch.rand(()) < 0.25:
        small = [max(8, int(n / uniform(1, 2.5))) for n in image.shape]
        image = F.interpolate(F.interpolate(image[None, None], small, mode="area"), image.shape, mode="trilinear")[0, 0]
    return (image * uniform(0.8, 1.2) + uniform(0, 0.05) * torch.randn(image.shape)).clamp(0, 1)


def patch(heads, edge, classes, synthetic=0.3):
    """(image [1, edge, edge, edge] in 0 ... 1, labels [edge, edge, edge]) from one of the (image, labels) heads."""
    image, labels = heads[int(uniform(0, len(heads)))]
    places = (labels > 0).nonzero()
    centre = places[int(uniform(0, len(places)))].float() + torch.randn(3) * 12
    grid = sampling_grid(image.shape, centre, edge)
    moved = F.grid_sample(image[None, None], grid, padding_mode="zeros", align_corners=True)[0, 0]
    truth = F.grid_sample(labels[None, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=True)
    truth = truth[0, 0].long()
    if torch.rand(()) < synthetic:
        moved = made_up(truth, classes, moved)
    return intensities(moved)[None], truth
