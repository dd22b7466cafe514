"""KMamba-3D against PyTorch float32 (scan in chunks), and its convolutions alone against ONNX Runtime and OpenVINO. One thread.

    python kmamba_speed.py [--rows window,phantom,convolutions] [--planes 155] [--rounds 3]

window: one window of 64^3 by kmamba-nano in memory (mkrun bench); PyTorch the forward pass alone.
phantom: kmamba-tumour on four channels of 240x240xPLANES, both file to file.
convolutions: kmamba-nano without scan, MLP and KAN on both sides (exported to ONNX), one window in memory. Medians, interleaved.
Prints Markdown.
"""
import argparse
import json
import statistics
import sys

from common import BENCH, BIN, CACHE, DATA, ROOT, T1, load, machine, measured, need_data, run, save, table, versions
from ours import convert, model_file, source

NANO, TUMOUR = ROOT / "Tools" / "models" / "kmamba-nano", ROOT / "Tools" / "models" / "kmamba-tumour"
CHANNELS = ("t1", "t1ce", "t2", "flair")


def python(*arguments):
    done = measured([sys.executable, *arguments])
    if done["seconds"] is None:
        sys.exit(f"{arguments[0]}: {done['error']}")
    return done


def segment(model, inputs):
    done = measured([BIN / "mkrun", "segment", model, *inputs, "-o", CACHE / "speed.nii.gz", "--overwrite", "--quiet"])
    if done["seconds"] is None:
        sys.exit(f"mkrun segment {model}: {done['error']}")
    return done


def window_seconds(model):
    report = json.loads(run(BIN / "mkrun", "bench", model, "--volume", "64x64x64", "--rounds", 5, "--quiet", "--json"))
    return report["median_seconds"]


def piece(image, name, *sides):
    path = CACHE / name
    if not path.exists():
        python(BENCH / "volumes.py", image, path, *sides)
    return path


def window(rounds, _):
    model = model_file("kmamba-nano")
    pairs = [(window_seconds(model), python(BENCH / "kmamba_peer.py", "window", NANO)["output"]) for _ in range(rounds)]
    mine = statistics.median(first for first, _ in pairs)
    theirs = statistics.median(json.loads(second.splitlines()[-1])["torch"] for _, second in pairs)
    return [["kmamba-nano, 64³", f"{mine:.3f}", "PyTorch fp32", f"{theirs:.3f}", f"{theirs / mine:.1f}", ""]]


def phantom(rounds, planes):
    folder = CACHE / "phantom"
    if not folder.exists():
        python(ROOT / "Tools/train/make_phantom.py", "--data", DATA, "--output", folder)
    images = [piece(folder / f"{name}.nii.gz", f"phantom-{name}-{planes}.nii.gz", 240, 240, planes) for name in CHANNELS]
    model = convert(*source("kmamba-tumour"), [folder / f"{name}.nii.gz" for name in CHANNELS])
    inputs = [part for name, image in zip(CHANNELS, images) for part in ("-i", f"{name}={image}")]
    pairs = [(segment(model, inputs), python(ROOT / "Tools/train/segment_float.py", TUMOUR, CACHE / "speed-peer.nii.gz", *images))
             for _ in range(rounds)]
    mine, theirs = ({key: statistics.median(pair[side][key] for pair in pairs) for key in ("seconds", "peak")} for side in (0, 1))
    return [[f"kmamba-tumour, 240×240×{planes}×4", f"{mine['seconds']:.2f}", "PyTorch fp32", f"{theirs['seconds']:.1f}",
             f"{theirs['seconds'] / mine['seconds']:.1f}", f"{mine['peak']:.0f} and {theirs['peak']:.0f} MiB"]]


def convolutions(rounds, _):
    graph, config = CACHE / "kmamba-convolutions.onnx", CACHE / "kmamba-convolutions.json"
    python(BENCH / "kmamba_peer.py", "export", NANO, graph)
    settings = json.loads((NANO / "model.json").read_text())["mkedge"]
    config.write_text(json.dumps({"architecture": "onnx", "mkedge": settings}))
    model = convert(graph, config, [T1])
    pairs = [(window_seconds(model), json.loads(python(BENCH / "kmamba_peer.py", "peers", graph)["output"].splitlines()[-1]))
             for _ in range(rounds)]
    mine = statistics.median(first for first, _ in pairs)
    names = {"onnxruntime-f32": "ONNX Runtime fp32", "onnxruntime-int8": "ONNX Runtime int8", "openvino-f32": "OpenVINO fp32",
             "openvino-int8": "OpenVINO int8"}
    theirs = {name: statistics.median(second[name] for _, second in pairs) for name in names}
    return [["its convolutions, 64³", f"{mine:.4f}", names[name], f"{seconds:.4f}", f"{seconds / mine:.2f}", ""]
            for name, seconds in theirs.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: text.split(","), default=["window", "phantom", "convolutions"])
    parser.add_argument("--planes", type=int, default=155)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    need_data()
    results = load("kmamba")
    for name in options.rows:
        results[name] = globals()[name](options.rounds, options.planes)
    lines = [line for name in ("window", "phantom", "convolutions") for line in results.get(name, [])]
    text = (f"{machine()}; {versions('openvino', 'onnxruntime', 'torch')}; one thread\n\n"
            + table(["what", "ours, s", "peer", "s", "faster by", "peak memory"], lines))
    save("kmamba", text, results)
    print(text)


if __name__ == "__main__":
    main()
