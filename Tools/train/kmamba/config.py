"""Configuration of a KMamba-3D network; the same keys stand in model.json."""
import json
import math
import os
from dataclasses import asdict, dataclass, field


@dataclass
class Config:
    in_channels: int = 4
    classes: int = 4
    dims: list = field(default_factory=lambda: [16, 32, 64, 128])
    depths: list = field(default_factory=lambda: [1, 1, 1, 1])
    kan_stages: list = field(default_factory=lambda: [0, 0, 1, 1])
    d_state: int = 8
    d_conv: int = 4
    expand: int = 2
    dt_rank: list = None                       # per stage; ceil(C/16) if absent
    scan_dirs: list = field(default_factory=lambda: ["fwd", "bwd"])
    scan_chunk: int = 0                        # 0: the state runs through the whole sequence
    kan_grid: int = 5
    kan_order: int = 3
    kan_range: list = field(default_factory=lambda: [-1, 1])
    stem_kernel: int = 3
    full_width: int = 8
    conv_norm: str = "instance"                # or "batch"
    patch: list = field(default_factory=lambda: [64, 64, 64])
    aux_heads: list = field(default_factory=lambda: [1, 2, 3])

    def __post_init__(self):
        self.dt_rank = self.dt_rank or [math.ceil(c / 16) for c in self.dims]
        self.patch = [self.patch] * 3 if isinstance(self.patch, int) else list(self.patch)
        assert self.conv_norm in ("instance", "batch") and self.kan_order == 3
        assert self.scan_dirs[0] == "fwd" and set(self.scan_dirs) <= {"fwd", "bwd", "slice"}
        assert all(n % 16 == 0 for n in self.patch)

    def kan_clamp(self):
        """What an int8 code with a sixteenth of a knot interval per step can hold."""
        step = (self.kan_range[1] - self.kan_range[0]) / self.kan_grid / 16
        return -128 * step, 127 * step

    def as_dict(self):
        return asdict(self)


PRESETS = {
    "nano": {},
    "nano-t1": {"in_channels": 1, "classes": 18, "dims": [16, 32, 48, 64]},
    "small": {"dims": [24, 48, 96, 192], "depths": [1, 1, 2, 2]},
    "segmamba-width": {"dims": [48, 96, 192, 384], "depths": [2, 2, 2, 2], "d_state": 16, "stem_kernel": 7,
                       "full_width": 48, "scan_dirs": ["fwd", "bwd", "slice"]},
}


def load_setup(path):
    """What to train, from a JSON file. With "base" it changes another file: dicts are merged, null takes a key away."""
    with open(path) as file:
        changes = json.load(file)
    if "base" not in changes:
        return changes
    return merged(load_setup(os.path.join(os.path.dirname(path), changes.pop("base"))), changes)


def merged(base, changes):
    result = dict(base)
    for key, value in changes.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(base[key], value) if isinstance(value, dict) and key in base else value
    return result


def load_config(source, **changes):
    """A preset's name, a JSON file (a network's keys, or a training file with them under "network"), or a dict."""
    if isinstance(source, str):
        source = PRESETS[source] if source in PRESETS else json.load(open(source))
    source = source.get("network", source)
    if isinstance(source, str):
        source = PRESETS[source]
    known = {k: v for k, v in source.items() if k in Config.__dataclass_fields__}
    return Config(**{**known, **changes})
