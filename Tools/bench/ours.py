"""Networks converted by this project's mkquant: what the benchmarks of whole networks run."""
import zlib

from common import BIN, CACHE, DATA, MESHNETS, ROOT, T1, run

# Options that bring the mean Dice to float to 0.99 and every structure to 0.97 at the least cost (README.md says how they were found).
MIXED = {name: ["--int16", "all"] for name in (*MESHNETS, "kmamba-nano")}


def source(model):
    """Checkpoint and configuration."""
    if model in MESHNETS:
        return DATA / "meshnet" / model / "model.pth", DATA / "meshnet" / model / "model.json"
    folder = ROOT / "Tools" / "models" / model
    return folder / "model.safetensors", folder / "model.json"


def convert(checkpoint, config, calibrate, *options):
    """The model file; made again when mkquant, the checkpoint or an option is another one."""
    key = repr([str(o) for o in (checkpoint, *calibrate, *options)]).encode()
    mark = zlib.crc32(key + checkpoint.read_bytes() + (BIN / "mkquant").read_bytes())
    path = CACHE / f"{checkpoint.parent.name}-{checkpoint.stem}-{mark:08x}.mkq"
    if not path.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        run(BIN / "mkquant", "convert", checkpoint, "--config", config, "--calibrate", *calibrate, "-o", path, "--quiet", *options)
    return path


def model_file(model, kind="int8"):
    return convert(*source(model), [T1], *(MIXED[model] if kind == "mixed" else []))
