"""Network -> model.safetensors and model.json, and back; named intermediates of a run."""
import json
import os

from safetensors.torch import load_file, save_file

from .config import load_config
from .model import KMamba3D
from normalization import QUANTILE


def labels_block(classes, labels):
    labels = labels or [{"name": f"class {i}", "rgb": [i * 40 % 256, 90, 160]} for i in range(1, classes)]
    assert len(labels) == classes - 1, f"{len(labels)} labels for {classes} classes, one of them background"
    labels = [{"name": "background", "rgb": [0, 0, 0]}] + labels
    return [{"value": i, "name": label["name"], "rgb": label["rgb"]} for i, label in enumerate(labels)]


def model_json(config, name, channels, normalization=QUANTILE, labels=None):
    keys = config.as_dict()
    keys.pop("aux_heads")                                  # training only; their tensors are not exported
    return {
        "header": "KMamba-3D, inspired by MSD-KMamba; made by the MKEdge project (see README.md beside this file)",
        "architecture": "kmamba3d", **keys,
        "mkedge": {
            "name": name, "axes": "xyz", "orientation": "RAS", "spacing_mm": [1, 1, 1],
            "normalization": normalization, "channels": channels, "labels": labels_block(config.classes, labels),
            "window": {"patch": config.patch, "overlap": 0.5, "scheme": "monai", "weight": "gaussian"}}}


def save_readable(tensors, path):
    """safetensors makes files that only their owner can read."""
    save_file(tensors, path)
    os.chmod(path, 0o644)


def export(net, folder, name, channels, normalization=QUANTILE, labels=None):
    os.makedirs(folder, exist_ok=True)
    # Half precision: int8 weights follow from it, and the file stays small. Knots must stay exactly uniform.
    tensors = {k: (v if k.endswith("grid") else v.half()).detach().cpu().contiguous() for k, v in net.state_dict().items()
               if not k.startswith("aux.") and not k.endswith("num_batches_tracked")}
    save_readable(tensors, os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "model.json"), "w") as file:
        json.dump(model_json(net.config, name, channels, normalization, labels), file, indent=1)
        file.write("\n")


def load_model(folder):
    """The network of an exported folder, ready to predict."""
    net = KMamba3D(load_config(os.path.join(folder, "model.json"), aux_heads=[]))
    missing, unknown = net.load_state_dict(load_file(os.path.join(folder, "model.safetensors")), strict=False)
    assert not unknown and all(k.endswith("num_batches_tracked") for k in missing), (missing, unknown)
    return net.eval()


def run_with_intermediates(net, x, wanted):
    """Logits and {module name: output}; volumes [1, C, X, Y, Z], tokens [1, L, C]. A stage gives its trunk."""
    found, hooks = {}, []
    for name, module in net.named_modules():
        if wanted(name):
            def keep(_, __, output, name=name):
                found[name] = (output[0] if isinstance(output, tuple) else output).detach().contiguous().clone()
            hooks.append(module.register_forward_hook(keep))
    logits = net(x)
    for hook in hooks:
        hook.remove()
    return logits, found
