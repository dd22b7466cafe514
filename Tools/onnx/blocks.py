"""Small pieces of networks that people use around a U-Net, exported from PyTorch as cases for ONNXNodeTests: operators that ONNX's own
cases lack, and orders of operators that need copies between 8 and 16 bits.

    python blocks.py FOLDER

Writes FOLDER/block-NAME.onnx, and an input and the scores that ONNX Runtime computes from it in block-NAME.safetensors.
"""
import argparse
import io
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file
from torch import nn


class Lambda(nn.Module):
    """Layers that are used by a function of them and the input."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function = function
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x):
        return self.function(self, x)


def last(layer, x):
    """A layer over the channels as the last axis."""
    return layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def written_out_norm(m, x):
    mean = x.mean(1, keepdim=True)
    variance = (x - mean).pow(2).mean(1, keepdim=True)
    return m.weight[:, None, None] * ((x - mean) / torch.sqrt(variance + 1e-6)) + m.bias[:, None, None]


def convnext(m, x):
    y = m.depthwise(x).permute(0, 2, 3, 1)
    y = m.narrow(F.gelu(m.wide(m.norm(y)))) * m.gamma
    return x + y.permute(0, 3, 1, 2)


def dense(m, x):
    both = torch.cat([x, torch.sigmoid(m.conv(x))], 1)
    return torch.cat([both, F.relu(m.norm(both))], 1)


def excitation(m, x):
    """Squeeze and excitation with pointwise convolutions."""
    x = F.relu(m.conv(x))
    return x * torch.sigmoid(m.wide(F.relu(m.narrow(m.pool(x)))))


def excitation_of_vectors(m, x):
    """The same with fully connected layers between reshapings of every kind."""
    x = m.conv(x)
    n, c = x.shape[:2]
    y = m.wide(F.silu(m.narrow(m.pool(x).view(n, c))))
    return x * F.hardsigmoid(y).view(n, c, 1, 1).expand_as(x)


def excitation_of_means(m, x):
    x = m.conv(x)
    y = m.wide(torch.relu(m.narrow(x.mean([-3, -2, -1]))))
    return torch.sigmoid(y)[:, :, None, None, None] * x


def residual_excitation(m, x):
    """Beside a trunk of 16 bits, with attention to voxels beside that to channels."""
    x = m.conv(x)
    y = F.relu(m.norm(x))
    y = y * torch.sigmoid(m.wide(F.leaky_relu(m.narrow(y.mean([2, 3, 4], keepdim=True))))) + y * torch.sigmoid(m.voxels(y))
    return m.last(F.relu(m.after(y) + x))


def image_pooling(m, x):
    """The image-level branch of atrous spatial pyramid pooling."""
    pooled = F.interpolate(F.relu(m.norm(m.image(m.pool(x)))), size=x.shape[2:], mode="bilinear", align_corners=False)
    return m.last(torch.cat([F.relu(m.conv(x)), pooled, m.dilated(x)], 1))


def rectified_sum(m, x):
    """A convolution whose ReLU goes into a sum that a normalization reads, so that it has 16 bits."""
    return m.last(F.relu(m.after(F.relu(m.before(m.conv(x))) + m.skip(x))))


def prelu(channels):
    layer = nn.PReLU(channels)
    layer.weight.data = torch.linspace(-0.2, 0.6, channels)
    return layer


BLOCKS = {
    # Name: (network of four channels, axes).
    "layer-norm": (lambda: Lambda(lambda m, x: last(m.norm, m.conv(x)), norm=nn.LayerNorm(4, 0.1), conv=nn.Conv2d(4, 4, 3, padding=1)), 2),
    "layer-norm-written-out": (lambda: Lambda(written_out_norm, weight=nn.Parameter(torch.tensor([1., 0.5, 2, -1])),
                                              bias=nn.Parameter(torch.tensor([0., 0.1, -0.2, 1]))), 2),
    "convnext": (lambda: Lambda(convnext, depthwise=nn.Conv2d(4, 4, 7, padding=3, groups=4), norm=nn.LayerNorm(4, 0.1), wide=nn.Linear(4, 8),
                                narrow=nn.Linear(8, 4), gamma=nn.Parameter(torch.tensor([0.5, 1., -1, 2]))), 2),
    "prelu": (lambda: nn.Sequential(nn.Conv3d(4, 5, 3, padding=1), prelu(5)), 3),
    "split": (lambda: Lambda(lambda m, x: torch.cat([F.relu(x[:, 2:]), *torch.split(m.conv(x), [1, 3], 1)][::-1], 1),
                             conv=nn.Conv2d(4, 4, 1)), 2),
    "difference": (lambda: Lambda(lambda m, x: m.a(x) - torch.tanh(m.b(x)), a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 3, padding=1)), 2),
    "quotient": (lambda: Lambda(lambda m, x: m.a(x) / (1 + torch.sigmoid(m.b(x))), a=nn.Conv2d(4, 4, 1), b=nn.Conv2d(4, 4, 1)), 2),
    "norm-of-concatenation": (lambda: Lambda(dense, conv=nn.Conv3d(4, 4, 3, padding=1), norm=nn.InstanceNorm3d(8, affine=True)), 3),
    "batch-norm-of-concatenation": (lambda: Lambda(dense, conv=nn.Conv2d(4, 4, 3, padding=1), norm=nn.BatchNorm2d(8)), 2),
    "norm-of-transposed": (lambda: nn.Sequential(nn.Conv3d(4, 6, 2, stride=2), nn.ConvTranspose3d(6, 4, 2, stride=2),
                                                 nn.InstanceNorm3d(4, affine=True), nn.LeakyReLU()), 3),
    "norm-first": (lambda: nn.Sequential(nn.GroupNorm(2, 4), nn.SiLU(), nn.Conv2d(4, 3, 3, padding=1)), 2),
    "norm-of-table": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU(), nn.GroupNorm(2, 4), nn.ReLU(), nn.Conv2d(4, 3, 1)), 2),
    "norm-of-sum": (lambda: Lambda(lambda m, x: m.norm(F.gelu(m.a(x)) + torch.cat([x[:, 2:], m.b(x)], 1)), a=nn.Conv2d(4, 4, 1),
                                   b=nn.Conv2d(4, 2, 1), norm=nn.InstanceNorm2d(4, affine=True)), 2),
    "depthwise-of-norm": (lambda: nn.Sequential(nn.Conv2d(4, 4, 1), nn.InstanceNorm2d(4), nn.Conv2d(4, 4, 3, padding=1, groups=4),
                                                nn.ReLU()), 2),
    "excitation": (lambda: Lambda(excitation, conv=nn.Conv3d(4, 6, 3, padding=1), pool=nn.AdaptiveAvgPool3d(1), narrow=nn.Conv3d(6, 2, 1),
                                  wide=nn.Conv3d(2, 6, 1)), 3),
    "excitation-of-vectors": (lambda: Lambda(excitation_of_vectors, conv=nn.Conv2d(4, 5, 3, padding=1), pool=nn.AdaptiveAvgPool2d(1),
                                             narrow=nn.Linear(5, 3), wide=nn.Linear(3, 5, bias=False)), 2),
    "excitation-of-means": (lambda: Lambda(excitation_of_means, conv=nn.Conv3d(4, 5, 3, padding=1), narrow=nn.Linear(5, 2), wide=nn.Linear(2, 5)), 3),
    "residual-excitation": (lambda: Lambda(residual_excitation, conv=nn.Conv3d(4, 6, 3, padding=1), norm=nn.InstanceNorm3d(6, affine=True),
                                           narrow=nn.Conv3d(6, 3, 1), wide=nn.Conv3d(3, 6, 1), voxels=nn.Conv3d(6, 1, 1),
                                           after=nn.Conv3d(6, 6, 3, padding=1), last=nn.Conv3d(6, 3, 1)), 3),
    "image-pooling": (lambda: Lambda(image_pooling, pool=nn.AdaptiveAvgPool2d(1), image=nn.Conv2d(4, 3, 1, bias=False), norm=nn.BatchNorm2d(3),
                                     conv=nn.Conv2d(4, 5, 1), dilated=nn.Conv2d(4, 4, 3, padding=2, dilation=2), last=nn.Conv2d(12, 3, 1)), 2),
    "rectified-sum": (lambda: Lambda(rectified_sum, conv=nn.Conv3d(4, 6, 3, padding=1), before=nn.BatchNorm3d(6), skip=nn.Conv3d(4, 6, 1),
                                     after=nn.BatchNorm3d(6), last=nn.Conv3d(6, 3, 1)), 3),
    "stem-of-residual-encoder": (lambda: nn.Sequential(nn.Conv2d(4, 6, 7, stride=2, padding=3), nn.ReLU(), nn.MaxPool2d(3, 2, 1),
                                                       nn.Upsample(scale_factor=2, mode="bilinear"), nn.Upsample(scale_factor=2)), 2),
    "anisotropic": (lambda: nn.Sequential(nn.Conv3d(4, 6, (1, 3, 3), (1, 2, 2), (0, 1, 1)), nn.LeakyReLU(), nn.MaxPool3d((1, 2, 2)),
                                          nn.ConvTranspose3d(6, 5, (1, 2, 2), (1, 2, 2)), nn.Upsample(scale_factor=(1, 2, 2), mode="trilinear")), 3),
}


OPEN = {"excitation-of-vectors", "image-pooling"}


def main():
    parser = argparse.ArgumentParser(description="Writes pieces of networks as test cases.")
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    for name, (make, dims) in BLOCKS.items():
        torch.manual_seed(1)
        net = make()
        for layer in net.modules():
            if isinstance(layer, (nn.BatchNorm2d, nn.BatchNorm3d)):
                layer.running_mean.uniform_(-0.5, 0.5)
                layer.running_var.uniform_(0.5, 2)
        example = torch.randn([1, 4, 8, 12] if dims == 2 else [1, 4, 4, 8, 8])
        file = io.BytesIO()
        # Sizes stay open where shapes are computed from them.
        sizes = {axis: f"s{axis}" for axis in [0, *range(2, dims + 2)]} if name in OPEN else None
        torch.onnx.export(net.eval(), (example,), file, input_names=["image"], output_names=["scores"], opset_version=17, dynamo=False,
                          dynamic_axes={"image": sizes, "scores": sizes} if sizes else None)
        model = file.getvalue()
        scores = onnxruntime.InferenceSession(model).run(None, {"image": example.numpy()})[0]
        shaped = [np.ascontiguousarray(a[0].reshape(a.shape[1], *[1] * (3 - dims), *a.shape[2:])) for a in (example.numpy(), scores)]
        (options.folder / f"block-{name}.onnx").write_bytes(model)
        save_file({"input": shaped[0], "scores": shaped[1]}, options.folder / f"block-{name}.safetensors")


if __name__ == "__main__":
    main()
