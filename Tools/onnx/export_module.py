"""Exports a PyTorch network to ONNX in the form that `mkquant convert` reads, and says what cannot be imported.

    python export_module.py MODULE:NAME --shape 1x1x96x96x96 -o net.onnx [--weights w.pth] [--arguments '{"n_class": 3}']
                            [--mkquant .build/release/mkquant]

MODULE is a Python file or an importable module, NAME a class or function that makes the network (or the network itself). The network
is put into evaluation mode and traced at the shape given ([1, channels, depth, height, width], or [1, channels, height, width] for a
network of slices); the size of a volume stays open unless --fixed. The file is checked by onnx, run by ONNX Runtime against
PyTorch, and shown to `mkquant inspect` where its path is given. Exit status: 0 ok, 2 usage, 1 the network cannot be exported, 6 it
cannot be imported.
"""
import argparse
import importlib
import importlib.util
import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch


class Failure(Exception):
    """A message for the person who called."""


def load(target, arguments):
    """The network that MODULE:NAME names."""
    module_name, _, name = target.rpartition(":")
    if not module_name:
        raise Failure(f"{target}: must be MODULE:NAME")
    if module_name.endswith(".py"):
        path = Path(module_name)
        if not path.is_file():
            raise Failure(f"{path}: no such file")
        sys.path.insert(0, str(path.parent.resolve()))
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    else:
        sys.path.insert(0, ".")
        module = importlib.import_module(module_name)
    found = getattr(module, name, None)
    if found is None:
        raise Failure(f"{module_name}: there is no {name}")
    net = found if isinstance(found, torch.nn.Module) else found(**arguments)
    if not isinstance(net, torch.nn.Module):
        raise Failure(f"{target}: makes a {type(net).__name__}, not a torch.nn.Module")
    return net


def restore(net, path):
    """Weights from a checkpoint, below the usual keys too, with or without the prefix of DataParallel."""
    state = torch.load(path, map_location="cpu", weights_only=True)
    for key in ("state_dict", "model_state_dict", "network_weights", "model", "net"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    state = {name.removeprefix("module."): value for name, value in state.items()}
    missing, unexpected = net.load_state_dict(state, strict=False)
    if missing or unexpected:
        raise Failure(f"{path}: weights are missing for {missing[:5]}, {unexpected[:5]} are not of this network")


class First(torch.nn.Module):
    """Networks with deep supervision give a list: the first one is the full resolution."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        y = self.net(x)
        while isinstance(y, (list, tuple)):
            y = y[0]
        return next(iter(y.values())) if isinstance(y, dict) else y


def export(net, example, path, fixed, opset):
    """By the tracer, which keeps every operator as the network calls it; by the newer exporter where that fails."""
    names = {"input_names": ["image"], "output_names": ["scores"], "opset_version": opset}
    sizes = {axis: "dhw"[axis - example.ndim] for axis in range(2, example.ndim)}
    axes = {} if fixed else {"dynamic_axes": {"image": sizes, "scores": sizes}}
    attempts = [("the tracing exporter", {"dynamo": False, **axes}), ("torch.export", {"dynamo": True})]
    messages = []
    for what, options in attempts:
        try:
            torch.onnx.export(net, (example,), str(path), **names, **options)
            return what
        except Exception as error:  # whatever an exporter throws is what it cannot do
            messages.append(f"{what}: {str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__}")
    raise Failure("the network cannot be exported:\n  " + "\n  ".join(messages))


def compare(net, example, path):
    """Largest difference from PyTorch as a share of the largest score; None without ONNX Runtime."""
    try:
        import onnxruntime
    except ImportError:
        return None
    scores = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"]).run(None, {"image": example.numpy()})[0]
    with torch.no_grad():
        wanted = net(example).numpy()
    return float(np.abs(scores - wanted).max() / max(np.abs(wanted).max(), 1e-30))


def main():
    parser = argparse.ArgumentParser(description="Exports a PyTorch network to ONNX for mkquant.",
                                     formatter_class=argparse.RawDescriptionHelpFormatter, epilog=__doc__.split("\n\n", 1)[1])
    parser.add_argument("network", metavar="MODULE:NAME")
    parser.add_argument("--shape", required=True, help="of the input, e.g. 1x1x96x96x96")
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="checkpoint (state dict) to load")
    parser.add_argument("--arguments", type=json.loads, default={}, help="JSON object of arguments that make the network")
    parser.add_argument("--opset", type=int, default=17)
    parser.add_argument("--fixed", action="store_true", help="fix the size of the volume, for networks that compute with it")
    parser.add_argument("--mkquant", help="path of mkquant, to say what cannot be imported")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    try:
        shape = [int(side) for side in options.shape.split("x")]
        if not 3 <= len(shape) <= 5 or shape[0] != 1 or min(shape) < 1:
            raise Failure(f"--shape {options.shape}: must be 1xCHANNELSxSIDES with one to three sides")
        net = load(options.network, options.arguments)
        if options.weights:
            restore(net, options.weights)
        net = First(net).eval()
        torch.manual_seed(0)
        example = torch.rand(shape)
        how = export(net, example, options.output, options.fixed, options.opset)
        onnx.checker.check_model(str(options.output), full_check=True)
        error = compare(net, example, options.output)
        said = "ONNX Runtime is not installed, scores unchecked" if error is None else f"scores within {error:.1e} of PyTorch's peak"
        print(f"{options.output}: {options.output.stat().st_size} bytes by {how}, {said}")
        if error is not None and error > 1e-3:
            raise Failure(f"{options.output}: computes something else than PyTorch (difference {error:.3f} of the peak)")
    except (Failure, onnx.checker.ValidationError, OSError) as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
    if options.mkquant:
        sys.exit(subprocess.run([options.mkquant, "inspect", str(options.output)]).returncode)


if __name__ == "__main__":
    main()
