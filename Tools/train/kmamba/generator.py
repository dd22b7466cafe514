"""Training crops: augmented real heads, synthetic contrasts painted on label maps, tumour phantoms.

A head is a dict: image [X, Y, Z] in 0...1 (whole-head quantiles), labels [X, Y, Z] uint8, tissue [X, Y, Z] uint8
(0 air, else what lies outside the labels, by intensity), places {class: [n, 3] voxel positions}. All in RAS order."""
import math
import os

import nibabel
import numpy as np
import torch
import torch.nn.functional as F

from augment import (augment_intensity, lower_resolution, sample, sampling_grid, smooth_field, uniform,
                     with_neck)
from meshnet import normalize

IMAGES = {"ch2": "train/ch2_conformed.nii.gz", "icbm152": "train/icbm152_conformed.nii.gz",
          "t1_crop": "mri/t1_crop.nii.gz"}


def load_volume(path):
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return torch.from_numpy(np.asarray(image.dataobj, dtype=np.float32).copy())


def some(positions):
    return positions[torch.linspace(0, len(positions) - 1, min(len(positions), 3000), dtype=torch.float64).long()]


def load_head(folder, name, groups=None, neck=None):
    """groups: lists of teacher classes that become 1, 2, ...; without it the 18 classes stay. neck: seed of made-up anatomy
    below heads that end under the cerebellum."""
    image = normalize(load_volume(os.path.join(folder, IMAGES[name])))
    labels = load_volume(os.path.join(folder, f"train/{name}_labels18.nii.gz")).to(torch.uint8)
    if neck is not None:
        lowest = ((image > 0.1).float().mean((0, 1)) > 0.02).nonzero()[0].item()
        image, labels = image[:, :, lowest:], labels[:, :, lowest:]
        image, _ = with_neck(image, (labels > 0).float(), neck)
        labels = F.pad(labels, (image.shape[2] - labels.shape[2], 0))
    outside = (labels == 0) & (image > 0.06)
    tissue = ((image * 4).clamp(0, 3).to(torch.uint8) + 1) * outside
    places = {}
    for value in labels.unique().tolist():
        places[value] = some((labels == value).nonzero())
    if outside.any():
        places[0] = torch.cat([some(outside.nonzero()), places[0][::4]])      # air alone teaches little
    merge = torch.arange(18)
    if groups:
        merge = torch.zeros(18, dtype=torch.long)
        for value, members in enumerate(groups, 1):
            merge[members] = value
    return {"name": name, "image": image, "labels": labels, "tissue": tissue, "places": places, "merge": merge}


def pick(generator, items):
    return items[int(torch.randint(len(items), (), generator=generator))]


def chance(generator, probability):
    return torch.rand((), generator=generator).item() < probability


def crop_grid(generator, head, size):
    """Mostly around a voxel of a random class, so that small structures come up often enough."""
    place = pick(generator, list(head["places"])) if chance(generator, 0.7) else 0
    centre = pick(generator, head["places"][place]).float() + (torch.rand(3, generator=generator) - 0.5) * 32
    return sampling_grid(generator, head["labels"].shape, size, centre)


def nearest(volume, grid):
    return sample(volume.float(), grid, "nearest").to(torch.uint8)


def rescale(generator, image):
    """The spread of intensity windows that whole-head quantiles of other fields of view bring."""
    gain, offset = uniform(generator, 0.75, 1.25), uniform(generator, -0.04, 0.02)
    return ((image + offset) * gain).clamp(0, 1)


def real_crop(generator, head, size):
    grid = crop_grid(generator, head, size)
    labels = nearest(head["labels"], grid)
    image = augment_intensity(generator, sample(head["image"], grid, "bilinear"), labels)
    return rescale(generator, image)[None], labels.long()


def paint(generator, regions, means, spreads):
    """Every region gets a Gaussian: regions uint8 [X, Y, Z], means and spreads [regions]."""
    index = regions.long()
    return means[index] + spreads[index] * torch.randn(regions.shape, generator=generator)


def blobs(generator, size, count):
    """A random partition of space into `count` smooth regions, uint8 0...count-1."""
    fields = torch.stack([smooth_field(generator, size, int(uniform(generator, 3, 9)), 1) for _ in range(count)])
    return fields.argmax(0).to(torch.uint8)


def corrupt(generator, image):
    """Blur, bias field, gamma, resolution and noise, then the window."""
    image = F.avg_pool3d(image[None, None], 3, 1, 1)[0, 0] * 0.5 + image * 0.5
    image = image.clamp(0, 1.5) ** math.exp(uniform(generator, -0.4, 0.4))
    image = image * torch.exp(smooth_field(generator, image.shape, int(uniform(generator, 2, 5)), 0.25))
    if chance(generator, 0.5):
        image = lower_resolution(generator, image)
    image = image + uniform(generator, 0, 0.05) * torch.randn(image.shape, generator=generator)
    ordered = image.flatten()[::13].sort().values
    high = ordered[int(0.98 * (len(ordered) - 1))] * uniform(generator, 0.85, 1.4)
    return (image / (high + 0.001)).clamp(0, 1)


def synthetic_crop(generator, head, size):
    """Random contrast: a Gaussian per label; what lies outside is tissue of the real head, blobs, or air."""
    grid = crop_grid(generator, head, size)
    labels, tissue = nearest(head["labels"], grid), nearest(head["tissue"], grid)
    outside = torch.where(tissue > 0, tissue, 0)
    if chance(generator, 0.3):
        outside = torch.where(outside > 0, blobs(generator, size, 4) + 1, 0).to(torch.uint8)
    elif chance(generator, 0.3):
        outside = torch.zeros_like(outside)                # skull-stripped
    regions = torch.where(labels > 0, labels, outside + torch.where(outside > 0, 17, 0)).to(torch.uint8)
    means = torch.rand(22, generator=generator)
    spreads = 0.01 + 0.06 * torch.rand(22, generator=generator)
    means[0] = uniform(generator, 0, 0.05) if chance(generator, 0.9) else means[0]
    return corrupt(generator, paint(generator, regions, means, spreads))[None], labels.long()


# Mean intensity of each modality by tissue: cerebrospinal fluid, grey, white, necrosis, edema, enhancing.
MODALITIES = {"t1": [.2, .5, .75, .3, .45, .5], "t1ce": [.2, .5, .72, .3, .45, .95],
              "t2": [.95, .6, .45, .85, .8, .65], "flair": [.15, .6, .45, .4, .9, .7]}
FLUID, WHITE = (3, 4, 11, 12), (1, 5, 7, 10, 13, 17)


def tissue_classes(labels):
    """18 labels -> 0 air, 1 fluid, 2 grey, 3 white."""
    table = torch.full((18,), 2, dtype=torch.uint8)
    table[0] = 0
    table[list(FLUID)], table[list(WHITE)] = 1, 3
    return table[labels.long()]


def nested_tumour(generator, tissue):
    """0, 1 necrotic core, 2 edema, 3 enhancing rim: three nested level sets of one bent distance."""
    result = torch.zeros_like(tissue)
    inside = (tissue > 1).nonzero()
    if len(inside) == 0:
        return result
    centre = pick(generator, inside).float()
    axes = torch.stack(torch.meshgrid(*[torch.arange(n).float() for n in tissue.shape], indexing="ij"), -1)
    stretch = torch.tensor([uniform(generator, 0.7, 1.4) for _ in range(3)])
    distance = ((axes - centre) * stretch).norm(dim=-1)
    radius = uniform(generator, 6, 20)
    outer = distance + smooth_field(generator, tissue.shape, 10, 0.25 * radius)
    inner = distance + smooth_field(generator, tissue.shape, 12, 0.12 * radius)
    rim = radius * uniform(generator, 0.4, 0.75)
    result[(outer < radius) & (tissue > 0)] = 2
    result[(inner < rim) & (result > 0)] = 3
    if chance(generator, 0.8):
        result[(inner < rim * uniform(generator, 0.3, 0.75)) & (result > 0)] = 1
    return result


def tumour_images(generator, head, grid, probability=0.9):
    """Four modalities [X, Y, Z] of a skull-stripped head, 0 outside and positive inside, and labels 0...3."""
    tissue = tissue_classes(nearest(head["labels"], grid))
    tumour = nested_tumour(generator, tissue) if chance(generator, probability) else torch.zeros_like(tissue)
    regions = torch.where(tumour > 0, tumour + 3, tissue)
    channels = []
    for means in MODALITIES.values():
        jitter = 0.08 * torch.randn(7, generator=generator)
        table = torch.tensor([0.0] + means) + jitter
        image = paint(generator, regions, table, 0.02 + 0.05 * torch.rand(7, generator=generator))
        channels.append(corrupt(generator, image).clamp(min=0.001) * (tissue > 0))
    return channels, tumour.long()


def tumour_crop(generator, head, size):
    """Four z-scored modalities [4, X, Y, Z] and labels 0...3."""
    channels, labels = tumour_images(generator, head, crop_grid(generator, head, size))
    return torch.stack([z_score(channel) for channel in channels]), labels


def z_score(image):
    """Over the non-zero voxels, clipped to six deviations; air stays 0."""
    inside = image != 0
    if inside.sum() < 2:
        return image
    values = image[inside]
    return torch.where(inside, ((image - values.mean()) / (values.std() + 1e-6)).clamp(-6, 6), 0)


def training_crop(seed, heads, size, task="anatomy", synthetic=0.35):
    """The crop of one seed, always the same: ([channels, X, Y, Z] float32, [X, Y, Z] class numbers)."""
    generator = torch.Generator().manual_seed(seed)
    head = pick(generator, heads)
    if task == "tumour":
        return tumour_crop(generator, head, size)
    make = synthetic_crop if chance(generator, synthetic) else real_crop
    image, labels = make(generator, head, size)
    return image, head["merge"][labels]
