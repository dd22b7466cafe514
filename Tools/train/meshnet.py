"""MeshNet: a chain of dilated 3x3x3 convolutions that keeps full resolution (Fedorov et al. 2017, arXiv 1612.00940)."""
import json

import numpy as np
from torch import nn

DILATIONS = (1, 2, 4, 8, 16, 8, 4, 2, 1)


class MeshNet(nn.Module):
    """[1, 1, X, Y, Z] -> [1, classes, X, Y, Z]; X is the first NIfTI axis of a volume in RAS orientation."""

    def __init__(self, channels=8, classes=2, dilations=DILATIONS):
        super().__init__()
        self.channels, self.classes, self.dilations = channels, classes, tuple(dilations)
        blocks, previous = [], 1
        for dilation in dilations:
            blocks.append(nn.Sequential(
                nn.Conv3d(previous, channels, 3, padding=dilation, dilation=dilation, bias=False),
                nn.BatchNorm3d(channels), nn.ReLU(inplace=True)))
            previous = channels
        blocks.append(nn.Conv3d(channels, classes, 1))
        self.model = nn.Sequential(*blocks)

    def forward(self, x):
        return self.model(x)

    def set_spacing(self, spacing):
        """Runs the same weights on a grid of `spacing` mm: the dilations shrink so that the taps stay where they were
        in the head (the layers of dilation 1 cannot shrink and reach further)."""
        for block, dilation in zip(self.model, self.dilations):
            block[0].dilation = block[0].padding = (max(1, dilation // spacing),) * 3

    def config(self, name):
        """The model.json that goes with the weights."""
        layers, previous = [], 1
        for dilation in self.dilations:
            layers.append(_layer(previous, self.channels, 3, dilation))
            previous = self.channels
        layers.append(_layer(previous, self.classes, 1, 1))
        return {
            "header": "Brain mask MeshNet, trained by the MKEdge project (see README.md beside this file)",
            "bnorm": True, "gelu": False, "dropout_p": 0, "layers": layers,
            "mkedge": {
                "name": name, "axes": "xyz", "orientation": "RAS", "spacing_mm": [1, 1, 1],
                "normalization": {"kind": "quantile", "low": 0.02, "high": 0.98, "epsilon": 0.001},
                "channels": ["t1"],
                "labels": [{"value": 0, "name": "background", "rgb": [0, 0, 0]},
                           {"value": 1, "name": "brain", "rgb": [230, 90, 60]}],
                "window": {"patch": [128, 128, 128], "overlap": 0.5, "scheme": "monai", "weight": "gaussian"}}}


def _layer(inputs, outputs, kernel, dilation):
    return {"in_channels": inputs, "out_channels": outputs, "kernel_size": kernel,
            "padding": dilation * (kernel - 1) // 2, "stride": 1, "dilation": dilation}


def write_config(net, name, path):
    with open(path, "w") as file:
        json.dump(net.config(name), file, indent=1)
        file.write("\n")


def normalize(volume):
    """Quantile normalization of the model file: over all voxels, zeros included."""
    low, high = (float(q) for q in np.quantile(volume.numpy(), (0.02, 0.98)))
    return ((volume - low) / (high - low + 0.001)).clamp(0, 1)
