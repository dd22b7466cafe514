"""Reading, normalizing and writing NIfTI volumes for the peers: axes as stored, X first. NumPy and nibabel only.

    python volumes.py IMAGE OUTPUT X Y Z       its central part; a side longer than the image's repeats the image
"""
import sys

import nibabel
import numpy as np

from common import ROOT

sys.path.append(str(ROOT / "Tools" / "train"))
from normalization import QUANTILE, normalized


def read(path, crop=0):
    """Image and float32 [1, 1, X, Y, Z]; with `crop`, its central cube as a volume of its own."""
    image = nibabel.load(path)
    data = np.asarray(image.dataobj)
    if crop:
        data = data[tuple(slice((n - crop) // 2, (n - crop) // 2 + crop) for n in data.shape)]
    return image, np.ascontiguousarray(normalized(data, QUANTILE))[None, None]


def labels_of(path):
    return np.asarray(nibabel.load(path).dataobj).astype(np.uint8)


def write(labels, image, path):
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), path)


def scores(reference, found):
    """Agreement, and Dice of every label but 0 that occurs in either."""
    count = int(max(reference.max(), found.max())) + 1
    both = np.bincount(reference.ravel().astype(np.int64) * count + found.ravel(), minlength=count * count).reshape(count, count)
    sizes, hits = both.sum(0) + both.sum(1), np.diag(both)
    dice = {label: float(2 * hits[label] / sizes[label]) for label in range(1, count) if sizes[label]}
    worst = min(dice, key=dice.get)
    small = min((label for label in dice if both.sum(1)[label]), key=lambda label: both.sum(1)[label])
    return {"agreement": float(hits.sum() / reference.size), "dice": sum(dice.values()) / len(dice),
            "worst": dice[worst], "worst_label": worst, "worst_voxels": int(both.sum(1)[worst]),
            "smallest": dice[small], "smallest_label": small, "smallest_voxels": int(both.sum(1)[small]),
            "below_0.97": {label: round(value, 4) for label, value in dice.items() if value < 0.97}, "per_label": dice}


def cut(path, output, *sides):
    image = nibabel.load(path)
    data = np.asarray(image.dataobj)
    for axis, side in enumerate(map(int, sides)):
        start = max(0, (data.shape[axis] - side) // 2)
        data = np.take(data, np.arange(start, start + side), axis, mode="wrap")
    nibabel.save(nibabel.Nifti1Image(data, image.affine), output)


if __name__ == "__main__":
    cut(*sys.argv[1:])
