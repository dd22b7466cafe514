"""Network -> model.safetensors and model.json, and back; named intermediates of a run."""
import json
import os

from safetensors.torch import load_file, save_file

from .config import load_config
from .model import KMamba3D

T1_LABELS = ["background", "cerebral white matter", "cerebral cortex", "lateral ventricle",
             "inferior lateral ventricle", "cerebellum white matter", "cerebellum cortex", "thalamus", "caudate",
             "putamen", "pallidum", "third ventricle", "fourth ventricle", "brain stem", "hippocampus", "amygdala",
             "accumbens area", "ventral DC"]
T1_COLOURS = [(0, 0, 0), (245, 245, 245), (205, 62, 78), (120, 18, 134), (196, 58, 250), (220, 248, 164),
              (230, 148, 34), (0, 118, 14), (122, 186, 220), (236, 13, 176), (12, 48, 255), (204, 182, 142),
              (42, 204, 164), (119, 159, 176), (220, 216, 20), (103, 255, 255), (255, 165, 0), (165, 42, 42)]
TUMOUR_LABELS = ["background", "necrotic core", "edema", "enhancing tumour"]
TUMOUR_COLOURS = [(0, 0, 0), (220, 60, 60), (70, 180, 90), (240, 200, 40)]
QUANTILE = {"kind": "quantile", "low": 0.02, "high": 0.98, "epsilon": 0.001}


def labels_block(classes):
    named = {18: (T1_LABELS, T1_COLOURS), 4: (TUMOUR_LABELS, TUMOUR_COLOURS)}
    plain = [f"class {i}" for i in range(classes)], [(i * 40 % 256, 90, 160) for i in range(classes)]
    names, colours = named.get(classes, plain)
    return [{"value": i, "name": n, "rgb": list(c)} for i, (n, c) in enumerate(zip(names, colours))]


def model_json(config, name, channels, normalization=QUANTILE):
    keys = config.as_dict()
    keys.pop("aux_heads")                                  # training only; their tensors are not exported
    return {
        "header": "KMamba-3D, inspired by MSD-KMamba; made by the MKEdge project (see README.md beside this file)",
        "architecture": "kmamba3d", **keys,
        "mkedge": {
            "name": name, "axes": "xyz", "orientation": "RAS", "spacing_mm": [1, 1, 1],
            "normalization": normalization, "channels": channels, "labels": labels_block(config.classes),
            "window": {"patch": config.patch, "overlap": 0.5, "scheme": "monai", "weight": "gaussian"}}}


def save_readable(tensors, path):
    """safetensors makes files that only their owner can read."""
    save_file(tensors, path)
    os.chmod(path, 0o644)


def export(net, folder, name, channels, normalization=QUANTILE):
    os.makedirs(folder, exist_ok=True)
    tensors = {k: v.detach().float().cpu().contiguous() for k, v in net.state_dict().items()
               if not k.startswith("aux.") and not k.endswith("num_batches_tracked")}
    save_readable(tensors, os.path.join(folder, "model.safetensors"))
    with open(os.path.join(folder, "model.json"), "w") as file:
        json.dump(model_json(net.config, name, channels, normalization), file, indent=1)
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
