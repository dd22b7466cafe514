"""Small U-Nets of the kinds that people train, taught for a minute on made-up volumes and exported to ONNX: what tests of the importer
run, and an example of how to export a network of one's own.

    python export_unet.py FOLDER [--steps 150] [--variant NAME ...]

Writes FOLDER/NAME.onnx, FOLDER/NAME.json (configuration) and FOLDER/NAME.safetensors: an input, and the scores that ONNX Runtime
computes from it.
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
# Name: normalization, activation, upsampling, residual blocks, attention gates.
VARIANTS = {
    "unet-transposed-batch": ("batch", nn.ReLU, "transposed", False, False),
    "unet-resize-instance": ("instance", nn.LeakyReLU, "resize", False, False),
    "unet-residual-group": ("group", nn.SiLU, "transposed", True, False),
    "unet-resize-batch-gelu": ("batch", nn.GELU, "resize", True, False),
    "unet-attention-batch": ("batch", nn.ReLU, "transposed", False, True),
}


def normalization(kind, channels):
    return {"batch": nn.BatchNorm3d(channels), "instance": nn.InstanceNorm3d(channels, affine=True),
            "group": nn.GroupNorm(4, channels)}[kind]


class Block(nn.Module):
    def __init__(self, inputs, outputs, norm, activation, residual):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv3d(inputs, outputs, 3, padding=1), normalization(norm, outputs), activation(),
            nn.Conv3d(outputs, outputs, 3, padding=1), normalization(norm, outputs))
        self.skip = nn.Conv3d(inputs, outputs, 1) if residual else None
        self.activation = activation()

    def forward(self, x):
        y = self.body(x)
        return self.activation(y if self.skip is None else y + self.skip(x))


class Gate(nn.Module):
    """What of the skip connection passes, by the coarser features (Oktay et al. 2018, arXiv 1804.03999, without resampling)."""

    def __init__(self, channels, inner):
        super().__init__()
        self.skip, self.up, self.pass_ = nn.Conv3d(channels, inner, 1), nn.Conv3d(channels, inner, 1), nn.Conv3d(inner, 1, 1)

    def forward(self, skip, up):
        return skip * torch.sigmoid(self.pass_(torch.relu(self.skip(skip) + self.up(up))))


class UNet(nn.Module):
    def __init__(self, norm, activation, up, residual, attention, widths=(8, 12, 16)):
        super().__init__()
        blocks = lambda a, b: Block(a, b, norm, activation, residual)
        self.down = nn.ModuleList([blocks(1, widths[0]), blocks(widths[0], widths[1]), blocks(widths[1], widths[2])])
        if up == "transposed":
            self.up = nn.ModuleList(nn.ConvTranspose3d(b, a, 2, stride=2) for a, b in zip(widths, widths[1:]))
        else:
            self.up = nn.ModuleList(
                nn.Sequential(nn.Upsample(scale_factor=2, mode="nearest"), nn.Conv3d(b, a, 1)) for a, b in zip(widths, widths[1:]))
        self.gates = nn.ModuleList(Gate(a, a // 2) for a in widths[:-1]) if attention else None
        self.join = nn.ModuleList(blocks(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv3d(widths[0], CLASSES, 1)

    def forward(self, x):
        skips = []
        for level, block in enumerate(self.down):
            x = block(F.max_pool3d(x, 2) if level else x)
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


def train(net, steps, generator):
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    for _ in range(steps):
        images, labels = zip(*(volume(generator) for _ in range(2)))
        scores = net(torch.from_numpy(np.stack(images))[:, None])
        loss = F.cross_entropy(scores, torch.from_numpy(np.stack(labels)))
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


def main():
    parser = argparse.ArgumentParser(description="Trains and exports small U-Nets.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--variant", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    for name in options.variant:
        torch.manual_seed(0)
        generator = np.random.default_rng(0)
        net = UNet(*VARIANTS[name])
        loss = train(net, options.steps, generator)
        net.eval()
        path = options.folder / f"{name}.onnx"
        image, labels = volume(generator)
        example = torch.from_numpy(image)[None, None]
        torch.onnx.export(net, (example,), str(path), input_names=["image"], output_names=["scores"], opset_version=17, dynamo=False,
                          dynamic_axes={"image": {2: "d", 3: "h", 4: "w"}, "scores": {2: "d", 3: "h", 4: "w"}})
        image = image[4:-4, 4:-4, 4:-4].copy()
        scores = onnxruntime.InferenceSession(str(path)).run(None, {"image": image[None, None]})[0]
        save_file({"input": image[None], "scores": scores[0]}, options.folder / f"{name}.safetensors")
        if name == "unet-transposed-batch":
            quantize(path, image[None, None])
        config = {"architecture": "onnx", "mkedge": {"name": name, "axes": "xyz", "orientation": "SAR", "spacing_mm": [0, 0, 0],
                  "normalization": {"kind": "none"}}}
        (options.folder / f"{name}.json").write_text(json.dumps(config, indent=1) + "\n")
        print(f"{name}: loss {loss:.4f}, {np.mean(scores[0].argmax(0) == labels[4:-4, 4:-4, 4:-4]):.4f} of the voxels right, {path.stat().st_size} bytes")


if __name__ == "__main__":
    main()
