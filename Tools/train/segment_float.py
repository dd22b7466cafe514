"""Labels a NIfTI volume with an exported network in PyTorch float32: what `mkrun segment` is compared with.

    python segment_float.py MODEL_FOLDER OUTPUT.nii.gz IMAGE [IMAGE ...]     (one image per input channel)
"""
import json
import os
import sys

import nibabel
import numpy as np
import torch

from kmamba.export import load_model
from kmamba.predict import predict
from normalization import normalized


def main():
    folder, output, *paths = sys.argv[1:]
    with open(os.path.join(folder, "model.json")) as file:
        rules = json.load(file)["mkedge"]
    net = load_model(folder)
    images = [nibabel.as_closest_canonical(nibabel.load(path)) for path in paths]
    volume = np.stack([normalized(image.dataobj, rules["normalization"]) for image in images])
    size = volume.shape[1:]
    # A side shorter than the patch is padded evenly with zeros, as the runtime does.
    wider = [max(0, p - n) for p, n in zip(net.config.patch, size)]
    volume = np.pad(volume, [(0, 0)] + [(w // 2, w - w // 2) for w in wider])
    labels = predict(net, torch.from_numpy(volume), rules["window"]["overlap"]).to(torch.uint8).numpy()
    labels = labels[tuple(slice(w // 2, w // 2 + n) for w, n in zip(wider, size))]
    original = nibabel.load(paths[0])
    back = nibabel.orientations.ornt_transform(nibabel.io_orientation(images[0].affine),
                                               nibabel.io_orientation(original.affine))
    labels = nibabel.orientations.apply_orientation(labels, back)
    nibabel.save(nibabel.Nifti1Image(labels, original.affine), output)


if __name__ == "__main__":
    main()
