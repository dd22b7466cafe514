"""Small U-Nets of the kinds that people train, taught for a minute on made-up volumes and exported to ONNX: what tests of the importer
run, and an example of how to export a network of one's own.

    python export_unet.py FOLDER [--steps 150] [--variant NAME ...]

Writes FOLDER/NAME.onnx, FOLDER/NAME.json (configuration) and FOLDER/NAME.safetensors: an input, and the scores that ONNX Runtime
computes from it; networks of two axes see each slice by itself.
"""
import argparse
import json
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from safetensors.numpy import save_file
from torch import nn

SIDE, CLASSES = 32, 3
# Axes, normalization, activation, upsampling, residual blocks, attention gates, squeeze and excitation, kernel and step of the grid from each level to the next
# where they are not 3 and 2 along all axes, steps by strided convolutions.
STANDARD = {"dims": 3, "norm": "batch", "activation": nn.ReLU, "up": "transposed", "residual": False, "attention": False, "excitation": False,
            "kernels": None, "factors": None, "strided": False, "quantized": False, "margin": 4}
VARIANTS = {
    "unet-transposed-batch": {"quantized": True},
    "unet-resize-instance": {"norm": "instance", "activation": nn.LeakyReLU, "up": "nearest"},
    "unet-residual-group": {"norm": "group", "activation": nn.SiLU, "residual": True},
    "unet-resize-batch-gelu": {"activation": nn.GELU, "up": "nearest", "residual": True},
    "unet-attention-batch": {"attention": True},
    "unet-trilinear-instance": {"norm": "instance", "up": "trilinear", "margin": 8},
    "unet-anisotropic-instance": {"norm": "instance", "activation": nn.LeakyReLU, "kernels": [(1, 3, 3), 3, 3], "strided": True,
                                  "factors": [(1, 2, 2), (2, 2, 2)], "margin": 8},
    "unet-excitation-batch": {"excitation": True},
    "unet2d-excitation-residual-instance": {"dims": 2, "norm": "instance", "activation": nn.LeakyReLU, "residual": True, "excitation": True,
                                            "up": "bilinear"},
    "unet2d-transposed-batch": {"dims": 2, "quantized": True},
    "unet2d-bilinear-instance": {"dims": 2, "norm": "instance", "activation": nn.LeakyReLU, "up": "bilinear"},
    "unet2d-residual-strided-group": {"dims": 2, "norm": "group", "activation": nn.SiLU, "residual": True, "up": "nearest", "strided": True},
    "unet2d-attention-bilinear-batch": {"dims": 2, "up": "bilinear", "attention": True},
}


class Layers:
    """torch's layers for so many axes."""

    def __init__(self, dims):
        def get(name):
            return getattr(nn, f"{name}{dims}d")
        self.conv, self.transposed, self.batch, self.instance = map(get, ["Conv", "ConvTranspose", "BatchNorm", "InstanceNorm"])
        self.pool = {2: F.max_pool2d, 3: F.max_pool3d}[dims]

    def normalization(self, kind, channels):
        return {"batch": lambda: self.batch(channels), "instance": lambda: self.instance(channels, affine=True),
                "group": lambda: nn.GroupNorm(4, channels)}[kind]()


def same(kernel):
    return kernel // 2 if isinstance(kernel, int) else tuple(k // 2 for k in kernel)


class Excitation(nn.Module):
    """Channels weighted by what they are on the whole (Hu et al. 2018, arXiv 1709.01507)."""

    def __init__(self, channels):
        super().__init__()
        self.narrow, self.wide = nn.Linear(channels, channels // 4), nn.Linear(channels // 4, channels)

    def forward(self, x):
        y = x.mean(dim=tuple(range(2, x.ndim)))
        y = torch.sigmoid(self.wide(torch.relu(self.narrow(y))))
        return x * y.view(*y.shape, *[1] * (x.ndim - 2))


class Block(nn.Module):
    def __init__(self, layers, inputs, outputs, options, kernel, stride=1):
        super().__init__()
        norm = lambda: layers.normalization(options["norm"], outputs)
        self.body = nn.Sequential(
            layers.conv(inputs, outputs, kernel, stride=stride, padding=same(kernel)), norm(), options["activation"](),
            layers.conv(outputs, outputs, kernel, padding=same(kernel)), norm())
        if options["excitation"]:
            self.body.append(Excitation(outputs))
        self.skip = layers.conv(inputs, outputs, 1, stride=stride) if options["residual"] else None
        self.activation = options["activation"]()

    def forward(self, x):
        y = self.body(x)
        return self.activation(y if self.skip is None else y + self.skip(x))


class Gate(nn.Module):
    """What of the skip connection passes, by the coarser features (Oktay et al. 2018, arXiv 1804.03999, without resampling)."""

    def __init__(self, layers, channels, inner):
        super().__init__()
        self.skip, self.up, self.pass_ = (layers.conv(channels, inner, 1), layers.conv(channels, inner, 1), layers.conv(inner, 1, 1))

    def forward(self, skip, up):
        return skip * torch.sigmoid(self.pass_(torch.relu(self.skip(skip) + self.up(up))))


class UNet(nn.Module):
    def __init__(self, options, widths=(8, 12, 16)):
        super().__init__()
        layers = Layers(options["dims"])
        kernels = options["kernels"] or [3] * 3
        self.factors = options["factors"] or [(2,) * options["dims"]] * 2
        self.pool = None if options["strided"] else layers.pool
        steps = [1, *(self.factors if options["strided"] else [1, 1])]
        self.down = nn.ModuleList(Block(layers, a, b, options, kernel, step)
                                  for a, b, kernel, step in zip((1, *widths), widths, kernels, steps))
        if options["up"] == "transposed":
            self.up = nn.ModuleList(layers.transposed(b, a, f, stride=f) for a, b, f in zip(widths, widths[1:], self.factors))
        else:
            self.up = nn.ModuleList(nn.Sequential(nn.Upsample(scale_factor=f, mode=options["up"]), layers.conv(b, a, 1))
                                    for a, b, f in zip(widths, widths[1:], self.factors))
        self.gates = nn.ModuleList(Gate(layers, a, a // 2) for a in widths[:-1]) if options["attention"] else None
        self.join = nn.ModuleList(Block(layers, 2 * a, a, options, kernel) for a, kernel in zip(widths, kernels[:-1]))
        self.head = layers.conv(widths[0], CLASSES, 1)

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x, self.factors[level - 1]) if level and self.pool else x)
            skips.append(x)
        for level in reversed(range(len(self.join))):
            up = self.up[level](x)
            skip = self.gates[level](skips[level], up) if self.gates else skips[level]
            x = self.join[level](torch.cat([up, skip], dim=1))
        return self.head(x)


def volume(generator):
    """A bright ball and a darker box on noise, and their labels."""
    axes = np.stack(np.meshgrid(*[np.arange(SIDE)] * 3, indexing="ij"))
    labels = np.zeros([SIDE] * 3, np.int64)
    centre = generator.uniform(8, SIDE - 8, 3)
    low = generator.integers(0, SIDE - 14, 3)
    labels[tuple(slice(a, a + generator.integers(6, 14)) for a in low)] = 2
    labels[((axes - centre[:, None, None, None]) ** 2).sum(0) < generator.uniform(4, 9) ** 2] = 1
    image = np.choose(labels, [0.2, 0.75, 0.45]) + generator.normal(0, 0.08, labels.shape)
    return np.clip(image, 0, 1).astype(np.float32), labels


def batch(pairs, dims, generator):
    """[N, 1, …] images and [N, …] labels; of networks of two axes, every other slice."""
    images, labels = (np.stack(values) for values in zip(*pairs))
    if dims == 2:
        chosen = slice(int(generator.integers(2)), None, 2)
        images, labels = (values.reshape(-1, SIDE, SIDE)[chosen] for values in (images, labels))
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)


def train(net, steps, dims, generator):
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    for _ in range(steps):
        images, labels = batch([volume(generator) for _ in range(2)], dims, generator)
        loss = F.cross_entropy(net(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()


class OneImage(CalibrationDataReader):
    def __init__(self, image):
        self.images = iter([{"image": image}])

    def get_next(self):
        return next(self.images, None)


def quantize(path, image):
    """The same network as ONNX Runtime quantizes it, with QuantizeLinear and DequantizeLinear around every operator."""
    quantize_static(str(path), str(path.with_name(f"{path.stem}-qdq.onnx")), OneImage(image), quant_format=QuantFormat.QDQ,
                    per_channel=True, weight_type=QuantType.QInt8, activation_type=QuantType.QUInt8)


def export(net, example, path):
    """Every size but the channels stays open."""
    sizes = {0: "n", **{axis: "dhw"[axis - example.ndim] for axis in range(2, example.ndim)}}
    torch.onnx.export(net, (example,), str(path), input_names=["image"], output_names=["scores"], opset_version=17, dynamo=False,
                      dynamic_axes={"image": sizes, "scores": sizes})


def main():
    parser = argparse.ArgumentParser(description="Trains and exports small U-Nets.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--variant", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    for name in options.variant:
        variant = {**STANDARD, **VARIANTS[name]}
        torch.manual_seed(0)
        generator = np.random.default_rng(0)
        net = UNet(variant)
        loss = train(net, options.steps, variant["dims"], generator)
        net.eval()
        path = options.folder / f"{name}.onnx"
        image, labels = volume(generator)
        example = torch.from_numpy(image)
        export(net, example[None, None] if variant["dims"] == 3 else example[:1, None], path)
        margin = slice(variant["margin"], -variant["margin"])
        # Of networks of two axes, six slices.
        part = (margin,) * 3 if variant["dims"] == 3 else (slice(8, 26, 3), slice(None), slice(None))
        image, labels = image[part].copy(), labels[part]
        shaped = image[None, None] if variant["dims"] == 3 else image[:, None]
        scores = onnxruntime.InferenceSession(str(path)).run(None, {"image": shaped})[0]
        scores = np.ascontiguousarray(scores[0] if variant["dims"] == 3 else np.moveaxis(scores, 0, 1))
        save_file({"input": image[None], "scores": scores}, options.folder / f"{name}.safetensors")
        if variant["quantized"]:
            quantize(path, shaped)
        config = {"architecture": "onnx", "mkedge": {"name": name, "axes": "xyz", "orientation": "SAR", "spacing_mm": [0, 0, 0],
                  "normalization": {"kind": "none"}}}
        (options.folder / f"{name}.json").write_text(json.dumps(config, indent=1) + "\n")
        print(f"{name}: loss {loss:.4f}, {np.mean(scores.argmax(0) == labels):.4f} of the voxels right, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
