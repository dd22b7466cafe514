"""Published MeshNets (model.json with model.pth, which is safetensors or a torch zip) in PyTorch, and their export to ONNX."""
import json

import torch
import torch.nn.functional as F
from safetensors.torch import load
from torch import nn

from common import CACHE, DATA


class MeshNet(nn.Module):
    """[1, 1, X, Y, Z] -> scores [1, classes, X, Y, Z]. Channel counts come from the weights: configurations hold placeholders.
    `bnorm` stands for a normalization of every channel over the whole volume, without scale or shift."""

    def __init__(self, name):
        super().__init__()
        folder = DATA / "meshnet" / name
        config = json.loads((folder / "model.json").read_text())
        tensors = _tensors(folder / "model.pth")
        self.norm, self.activation = config["bnorm"], F.gelu if config.get("gelu") else F.relu_
        self.layers = nn.ModuleList()
        for layer, key in zip(config["layers"], [k for k in tensors if k.endswith("weight")], strict=True):
            weight, bias = tensors[key], tensors.get(key.removesuffix("weight") + "bias")
            conv = nn.Conv3d(weight.shape[1], weight.shape[0], weight.shape[2], padding=layer["padding"],
                             dilation=layer["dilation"], bias=bias is not None)
            conv.load_state_dict({"weight": weight} | ({} if bias is None else {"bias": bias}))
            self.layers.append(conv)
        self.eval().requires_grad_(False)

    def features(self, x):
        """All but the last layer, which works voxel by voxel and is the largest."""
        for conv in self.layers[:-1]:
            x = conv(x)
            x = self.activation(F.instance_norm(x, eps=1e-5) if self.norm else x)
        return x

    def forward(self, x):
        return self.layers[-1](self.features(x))

    def labels(self, x, slab=16):
        """uint8 [X, Y, Z]; the scores exist for `slab` planes at a time."""
        features = self.features(x)
        parts = [self.layers[-1](features[:, :, i:i + slab]).argmax(1)[0].to(torch.uint8) for i in range(0, x.shape[2], slab)]
        return torch.cat(parts)


class Labels(nn.Module):
    """A network with argmax at its end, for runtimes that would otherwise hand over all scores."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x).argmax(1)


def onnx_file(name):
    """Float ONNX of any volume size, from scores to labels; kept outside the repository."""
    path = CACHE / f"{name}.onnx"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        axes = {2: "x", 3: "y", 4: "z"}
        torch.onnx.export(Labels(MeshNet(name)), torch.zeros(1, 1, 40, 40, 40), path, opset_version=17, dynamo=False,
                          input_names=["volume"], output_names=["labels"],
                          dynamic_axes={"volume": axes, "labels": {1: "x", 2: "y", 3: "z"}})
    return path


def ncnn_file(name):
    """Float network of ncnn (`.param`, with its `.bin`) for a MeshNet of convolutions and ReLU."""
    net, path = MeshNet(name), CACHE / f"{name}.param"
    lines, weights = ["Input volume 0 1 volume"], []
    for index, conv in enumerate(net.layers):
        source, target = f"b{index - 1}" if index else "volume", f"b{index}" if index + 1 < len(net.layers) else "scores"
        # Outputs, kernel, dilation, stride, padding, bias, weights, ReLU.
        lines.append(f"Convolution3D c{index} 1 1 {source} {target} 0={conv.out_channels} 1={conv.kernel_size[0]} "
                     f"2={conv.dilation[0]} 3=1 4={conv.padding[0]} 5=1 6={conv.weight.numel()} 9={int(target != 'scores')}")
        weights += [bytes(4), conv.weight.numpy().tobytes(), conv.bias.numpy().tobytes()]
    CACHE.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines]) + "\n")
    path.with_suffix(".bin").write_bytes(b"".join(weights))
    return path


def _tensors(path):
    data = path.read_bytes()
    if data[8:9] == b"{":
        found = load(data)
        return {key: found[key] for key in sorted(found, key=lambda k: int(k.split(".")[1]))}
    return torch.load(path, map_location="cpu", weights_only=True)
