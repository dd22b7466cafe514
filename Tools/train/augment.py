"""Strong augmentation of one T1 head: the network must learn what a brain is, not what this head looks like."""
import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import binary_dilation, gaussian_filter


NECK = 64


def with_neck(image, mask, seed):
    """The training head ends just under the cerebellum; most heads do not. Below it goes its own mirror image, where
    everything near the mirrored brain is replaced by blobs of made-up tissue, all of it background."""
    head, brain = image[:, :, :NECK].numpy()[:, :, ::-1], mask[:, :, :NECK].numpy()[:, :, ::-1] > 0
    rng = np.random.default_rng(seed)
    coarse, fine = (gaussian_filter(rng.standard_normal(head.shape).astype(np.float32), s) for s in (5, 1.5))
    blobs = coarse / coarse.std() + 0.5 * fine / fine.std()
    levels = rng.uniform(0.05, 0.9, 5).astype(np.float32)
    tissue = levels[np.digitize(blobs, (-1.2, -0.4, 0.4, 1.2))]
    tissue = gaussian_filter(tissue, 0.7) * np.where(gaussian_filter(head, 4) > 0.08, 1, 0)
    neck = np.where(binary_dilation(brain, iterations=4), tissue, head).astype(np.float32)
    return (torch.cat([torch.from_numpy(neck), image], 2).contiguous(),
            torch.cat([torch.zeros(neck.shape), mask], 2).contiguous())


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


def sampling_grid(generator, size, crop, centre, spacing=1):
    """Source positions (in voxels) of a crop: rotation, anisotropic scale, shear, left-right flip, elastic bending."""
    linear = rotation(generator, 20)
    scale = torch.tensor([uniform(generator, 0.82, 1.2) for _ in range(3)])
    shear = torch.eye(3) + 0.1 * (torch.rand(3, 3, generator=generator) - 0.5) * (1 - torch.eye(3))
    linear = linear @ torch.diag(scale) @ shear
    if torch.rand((), generator=generator) < 0.5:
        linear[:, 0] = -linear[:, 0]
    axes = [(torch.arange(n) - (n - 1) / 2) * spacing for n in crop]
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
    if torch.rand((), generator=generator) < 0.85:
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
    if torch.rand((), generator=generator) < 0.2:
        image = remap_intensity(generator, image)
        image = torch.where(air, image * 0.05, image)
    image = image.clamp(min=0) ** math.exp(uniform(generator, -0.35, 0.35))
    if torch.rand((), generator=generator) < 0.6:
        # Other heads have brighter or darker fat, muscle and bone around the brain, and not the same everywhere.
        factor = uniform(generator, 0.5, 1.6) * torch.exp(smooth_field(generator, image.shape, 5, 0.3))
        image = torch.where(brain > 0, image, image * factor)
    image = image * torch.exp(smooth_field(generator, image.shape, int(uniform(generator, 2, 5)), 0.2))
    if torch.rand((), generator=generator) < 0.3:
        image = lower_resolution(generator, image)
    noise = uniform(generator, 0, 0.04)
    real = image + noise * torch.randn(image.shape, generator=generator)
    imaginary = noise * torch.randn(image.shape, generator=generator)
    return torch.sqrt(real * real + imaginary * imaginary)


def window_intensity(generator, image, brain):
    """What quantile normalization does to a whole head: how far the brain saturates depends on how much of the field
    of view is air, so the level of the bright brain tissue is drawn at random."""
    inside = image[brain > 0]
    if len(inside) < 200:
        inside = image[image > 0.1] if (image > 0.1).any() else image.flatten()
    bright = inside.sort().values[int(0.9 * (len(inside) - 1))]
    low = uniform(generator, 0.0, 0.03) * bright
    return ((image - low) / (bright - low + 0.001) * uniform(generator, 0.6, 1.25)).clamp(0, 1)


def cut_field_of_view(generator, image, truth):
    """Slabs of the crop go black, as where the field of view ends."""
    for axis in range(3):
        if torch.rand((), generator=generator) < 0.06:
            depth = int(uniform(generator, 0.05, 0.3) * image.shape[axis])
            start = 0 if torch.rand((), generator=generator) < 0.5 else image.shape[axis] - depth
            image.narrow(axis, start, depth).zero_()
            truth.narrow(axis, start, depth).zero_()


def training_crop(generator, heads, crop, spacing):
    """One augmented crop of `spacing` mm: ([X, Y, Z] image in 0...1, [X, Y, Z] mask)."""
    image, mask = heads[int(uniform(generator, 0, len(heads)))]
    size = torch.tensor(image.shape, dtype=torch.float32)
    centre = torch.tensor([uniform(generator, 0.15, 0.85) for _ in range(3)]) * (size - 1)
    grid = sampling_grid(generator, image.shape, crop, centre, spacing)
    moved = sample(image, grid, "bilinear")
    truth = (sample(mask, grid, "bilinear") > 0.5).float()
    cut_field_of_view(generator, moved, truth)
    return window_intensity(generator, augment_intensity(generator, moved, truth), truth), truth
