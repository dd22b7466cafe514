"""Strong augmentation of one T1 head: the network must learn what a brain is, not what this head looks like."""
import math

import torch
import torch.nn.functional as F


def uniform(generator, low, high):
    return low + (high - low) * torch.rand((), generator=generator).item()


def rotation(generator, degrees):
    angles = [math.radians(uniform(generator, -degrees, degrees)) for _ in range(3)]
    result = torch.eye(3)
    for axis, angle in enumerate(angles):
        c, s = math.cos(angle), math.sin(angle)
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        step = torch.eye(3)
        step[i, i], step[i, j], step[j, i], step[j, j] = c, -s, s, c
        result = result @ step
    return result


def sampling_grid(generator, size, crop, centre):
    """Source positions (in voxels) of a crop: rotation, anisotropic scale, shear, left-right flip, elastic bending."""
    linear = rotation(generator, 20)
    scale = torch.tensor([uniform(generator, 0.82, 1.2) for _ in range(3)])
    shear = torch.eye(3) + 0.1 * (torch.rand(3, 3, generator=generator) - 0.5) * (1 - torch.eye(3))
    linear = linear @ torch.diag(scale) @ shear
    if torch.rand((), generator=generator) < 0.5:
        linear[:, 0] = -linear[:, 0]
    axes = [torch.arange(n) - (n - 1) / 2 for n in crop]
    points = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
    source = points @ linear.T + centre
    nodes = int(uniform(generator, 4, 8))
    bend = torch.randn(1, 3, nodes, nodes, nodes, generator=generator) * uniform(generator, 0, 4)
    source = source + F.interpolate(bend, size=crop, mode="trilinear", align_corners=True)[0].permute(1, 2, 3, 0)
    span = torch.tensor([n - 1 for n in size], dtype=torch.float32)
    return (2 * source / span - 1).flip(-1)[None]


def sample(volume, grid, mode):
    return F.grid_sample(volume[None, None], grid, mode=mode, padding_mode="zeros", align_corners=True)[0, 0]


def smooth_field(generator, crop, nodes, strength):
    field = torch.randn(1, 1, nodes, nodes, nodes, generator=generator) * strength
    return F.interpolate(field, size=crop, mode="trilinear", align_corners=True)[0, 0]


def lower_resolution(generator, image):
    """Thick slices: resampled to a coarser grid and back along random axes."""
    factors = [uniform(generator, 1, 3) if torch.rand((), generator=generator) < 0.5 else 1 for _ in range(3)]
    small = [max(8, int(n / f)) for n, f in zip(image.shape, factors)]
    coarse = F.interpolate(image[None, None], size=small, mode="area")
    return F.interpolate(coarse, size=image.shape, mode="trilinear", align_corners=False)[0, 0]


def remap_intensity(generator, image):
    """A random monotone or free curve through a few knots: other sequences, other scanners, inverted contrast."""
    knots = int(uniform(generator, 4, 9))
    if torch.rand((), generator=generator) < 0.7:
        values = torch.cumsum(torch.rand(knots, generator=generator) + 0.1, 0)
        values = (values - values[0]) / (values[-1] - values[0])
        if torch.rand((), generator=generator) < 0.1:
            values = 1 - values
    else:
        values = torch.rand(knots, generator=generator)
        values[0] = 0
    position = image * (knots - 1)
    below = position.floor().clamp(0, knots - 2).long()
    return values[below] + (values[below + 1] - values[below]) * (position - below)


def augment_intensity(generator, image, brain):
    """image in 0...1; air stays dark, as a magnitude image has it."""
    air = image < 0.03
    if torch.rand((), generator=generator) < 0.35:
        image = remap_intensity(generator, image)
        image = torch.where(air, image * 0.05, image)
    image = image.clamp(min=0) ** math.exp(uniform(generator, -0.5, 0.5))
    if torch.rand((), generator=generator) < 0.3:
        # Other heads have brighter or darker fat, muscle and bone around the brain.
        image = torch.where(brain > 0, image, image * uniform(generator, 0.4, 1.6))
    image = image * torch.exp(smooth_field(generator, image.shape, int(uniform(generator, 2, 5)), 0.25))
    if torch.rand((), generator=generator) < 0.4:
        image = lower_resolution(generator, image)
    noise = uniform(generator, 0, 0.06)
    real = image + noise * torch.randn(image.shape, generator=generator)
    imaginary = noise * torch.randn(image.shape, generator=generator)
    return torch.sqrt(real * real + imaginary * imaginary)


def window_intensity(generator, image):
    """What quantile normalization does to a whole head, with the spread that other fields of view bring."""
    low = uniform(generator, 0.0, 0.04) * image.max()
    ordered = image.flatten()[::17].sort().values
    high = ordered[int(uniform(generator, 0.96, 0.995) * (len(ordered) - 1))] * uniform(generator, 0.9, 1.3)
    return ((image - low) / (high - low + 0.001)).clamp(0, 1)


def training_crop(generator, image, mask, crop):
    """One augmented crop: ([X, Y, Z] image in 0...1, [X, Y, Z] mask)."""
    size = torch.tensor(image.shape, dtype=torch.float32)
    centre = torch.tensor([uniform(generator, 0.25, 0.75) for _ in range(3)]) * (size - 1)
    grid = sampling_grid(generator, image.shape, crop, centre)
    moved = sample(image, grid, "bilinear")
    truth = (sample(mask, grid, "bilinear") > 0.5).float()
    return window_intensity(generator, augment_intensity(generator, moved, truth)), truth
