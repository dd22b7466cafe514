"""Compares `mkrun eval --json` with MONAI, MedPy and NumPy on random anisotropic label volumes.

    python -m venv venv && venv/bin/pip install -r Tools/check/requirements.txt
    venv/bin/python Tools/check/eval.py .build/release/mkrun --cases 40

Dice and HD95 are compared with MONAI (single precision distances), HD95 also with the larger 95th percentile of MedPy's
two directed distance sets (double precision), volumes with NumPy counts, empty regions with MONAI's own values under
`--empty monai`. Exits with 1 when a figure differs by more than the tolerance. How far MedPy's own `hd95` (one
percentile of both sets pooled) lies from ours is printed too: that is a difference of definition.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import nibabel
import numpy as np
import torch
from medpy.metric import binary as medpy
from monai.metrics import compute_dice, compute_hausdorff_distance
from scipy import ndimage

REGIONS = {"WT": [1, 2, 3], "TC": [1, 3], "ET": [3], "odd": [2, 7]}
surface_distances = getattr(medpy, "__surface_distances")


def random_labels(rng, shape, kind):
    """Smooth blobs, loose voxels, or boxes that touch the border; some labels may be absent."""
    if kind == "noise":
        return rng.choice([0, 1, 2, 3, 7], size=shape, p=[0.9, 0.04, 0.03, 0.02, 0.01]).astype(np.uint8)
    if kind == "boxes":
        labels = np.zeros(shape, np.uint8)
        for label in rng.permutation([1, 2, 3]):
            low = [rng.integers(0, n) for n in shape]
            high = [rng.integers(a + 1, n + 1) for a, n in zip(low, shape)]
            labels[tuple(slice(a, b) for a, b in zip(low, high))] = label
        return labels
    field = ndimage.gaussian_filter(rng.normal(size=shape), rng.uniform(1, 3))
    edges = np.quantile(field, [0.6, 0.75, 0.9])
    return np.digitize(field, edges).astype(np.uint8)


def random_pair(rng, kind, shape):
    """A reference and a prediction that is a worse version of it, or (boxes, noise) another draw."""
    reference = random_labels(rng, shape, kind)
    prediction = random_labels(rng, shape, kind)
    if kind == "blobs":
        prediction = np.roll(reference, rng.integers(-3, 4, 3), (0, 1, 2))
        spots = rng.random(shape) < 0.002
        prediction[spots] = rng.integers(0, 4, spots.sum())
    # Empty cases are rare by chance: remove a label from one or both maps.
    for volume in (reference, prediction):
        if rng.random() < 0.3:
            volume[volume == 3] = 0
    return reference, prediction


def random_affine(rng):
    """Anisotropic voxels, and a rotation, so that the spacing is not on the diagonal."""
    spacing = rng.uniform(0.4, 5, 3)
    angle = rng.uniform(-0.3, 0.3)
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag(spacing)
    affine[:3, 3] = rng.uniform(-100, 100, 3)
    return affine.astype(np.float32).astype(np.float64)


def run(program, folder, reference, prediction, affine):
    paths = []
    for name, volume in (("reference", reference), ("prediction", prediction)):
        image = nibabel.Nifti1Image(volume, affine)
        # The sform alone: a qform rounds the same matrix differently.
        image.set_sform(affine, 1)
        image.set_qform(None, 0)
        paths.append(str(folder / f"{name}.nii.gz"))
        nibabel.save(image, paths[-1])
    command = [program, "eval", *paths, "--labels", "1,2,3,7", "--empty", "monai", "--json", "-"]
    for name, labels in REGIONS.items():
        command += ["--region", f"{name}={','.join(map(str, labels))}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)


def batch(mask):
    return torch.from_numpy(mask[None, None])


def expected(reference, prediction, spacing):
    """Dice and HD95 by MONAI, HD95 by MedPy's directed sets, MedPy's pooled HD95; NaN where undefined."""
    dice = float(compute_dice(batch(prediction), batch(reference)))
    hd95 = float(
        compute_hausdorff_distance(
            batch(prediction), batch(reference), include_background=True, percentile=95, spacing=list(spacing)))
    if not reference.any() or not prediction.any():
        return dice, hd95, math.nan, math.nan
    there = surface_distances(prediction, reference, spacing, 1)
    back = surface_distances(reference, prediction, spacing, 1)
    exact = max(np.percentile(there, 95), np.percentile(back, 95))
    return dice, hd95, exact, float(np.percentile(np.hstack((there, back)), 95))


class Tally:
    """The largest difference of each kind, and failures."""

    def __init__(self):
        self.worst, self.count, self.failures = {}, {}, []

    def add(self, kind, ours, theirs, tolerance, where):
        difference = abs(ours - theirs) / max(1.0, abs(theirs))
        self.worst[kind] = max(self.worst.get(kind, 0.0), difference)
        self.count[kind] = self.count.get(kind, 0) + 1
        if not difference <= tolerance:
            self.failures.append(f"{where}: {kind} {ours} (must be {theirs})")

    def same(self, kind, ours, theirs, where):
        self.add(kind, 0.0 if ours == theirs else 1.0, 0.0, 0.0, f"{where}: {ours} against {theirs}")


def compare(tally, pooled, entry, reference, prediction, affine, where):
    r, p = (np.isin(volume, entry["labels"]) for volume in (reference, prediction))
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    dice, hd95, exact, pool = expected(r, p, spacing)
    voxel_ml = abs(np.linalg.det(affine[:3, :3])) / 1000
    for key, count in (("reference", r.sum()), ("prediction", p.sum()), ("both", (r & p).sum())):
        tally.same("voxels", entry[f"{key}_voxels"], int(count), where)
    tally.add("difference ml", entry["difference_ml"], (int(p.sum()) - int(r.sum())) * voxel_ml, 1e-12, where)
    empty = {(False, False): "none", (True, False): "reference", (False, True): "prediction"}.get(
        (not r.any(), not p.any()), "both")
    tally.same("empty", entry["empty"], empty, where)
    if r.any():
        percent = 100 * (int(p.sum()) - int(r.sum())) / int(r.sum())
        tally.add("difference %", entry["difference_percent"], percent, 1e-12, where)
    if math.isnan(dice):
        tally.same("no Dice", entry["dice"], None, where)
    else:
        tally.add("Dice, MONAI", entry["dice"], dice, 1e-6, where)
    if not math.isnan(hd95):
        # torch.quantile finds the rank in single precision: on a steep part of the set that moves the result.
        tally.add("HD95, MONAI", entry["hd95_mm"], hd95, 1e-5, where)
        tally.add("HD95, MedPy sets", entry["hd95_mm"], exact, 1e-12, where)
        pooled.append(entry["hd95_mm"] - pool)
    else:
        tally.same("no HD95", entry["hd95_mm"], None, where)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program", help="the built mkrun")
    parser.add_argument("--cases", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    tally, pooled = Tally(), []
    with tempfile.TemporaryDirectory() as name:
        for case in range(options.cases):
            kind = ["blobs", "noise", "boxes"][case % 3]
            shape = tuple(int(n) for n in rng.integers(1 if kind == "boxes" else 6, 48, 3))
            reference, prediction = random_pair(rng, kind, shape)
            affine = random_affine(rng)
            scores = run(options.program, pathlib.Path(name), reference, prediction, affine)
            agreement = float((reference == prediction).mean())
            tally.add("voxel agreement", scores["voxel_agreement"], agreement, 1e-12, f"case {case}")
            for entry in scores["labels"] + scores["regions"]:
                where = f"case {case} {kind} {shape} {entry.get('name', entry.get('label'))}"
                compare(tally, pooled, entry, reference, prediction, affine, where)
    for kind in sorted(tally.worst):
        print(f"{kind:18} {tally.count[kind]:5} compared, largest difference {tally.worst[kind]:.3g}")
    print(f"HD95 minus MedPy's pooled hd95: {min(pooled):.3f} ... {max(pooled):.3f} mm over {len(pooled)}")
    for failure in tally.failures[:20]:
        print(failure, file=sys.stderr)
    sys.exit(1 if tally.failures else 0)


if __name__ == "__main__":
    main()
