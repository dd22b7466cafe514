"""Writes a four-modality head with a tumour, in the size and order of BraTS volumes, and its labels.

    python make_phantom.py --data FOLDER --head t1_crop --seed 1 --output phantom     # t1, t1ce, t2, flair, labels .nii.gz

FOLDER as for train_kmamba.py. The anatomy is a label map, bent at random; the intensities are drawn for every tissue. It
looks like a tumour to a network and to nobody else.
"""
import argparse
import os

import nibabel
import numpy as np
import torch

from augment import sampling_grid
from kmamba.generator import MODALITIES, load_head, tumour_images

SIZE = (240, 240, 155)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--head", default="t1_crop")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", required=True)
    options = parser.parse_args()
    generator = torch.Generator().manual_seed(options.seed)
    head = load_head(options.data, options.head)
    inside = (head["labels"] > 0).nonzero().float()
    centre = (inside.min(0).values + inside.max(0).values) / 2
    grid = sampling_grid(generator, head["labels"].shape, SIZE, centre)
    channels, labels = tumour_images(generator, head, grid, probability=1)
    os.makedirs(options.output, exist_ok=True)
    affine = np.diag([1.0, 1, 1, 1])
    affine[:3, 3] = [-n / 2 for n in SIZE]
    for name, image in zip(MODALITIES, channels):
        data = np.rint(image.numpy() * 2000).astype(np.int16)
        nibabel.save(nibabel.Nifti1Image(data, affine), os.path.join(options.output, f"{name}.nii.gz"))
    nibabel.save(nibabel.Nifti1Image(labels.numpy().astype(np.uint8), affine),
                 os.path.join(options.output, "labels.nii.gz"))


if __name__ == "__main__":
    main()
