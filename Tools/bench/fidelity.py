"""How close integers come to the float network: ours and the peers', on the head they calibrated on and on one they never saw.

    python fidelity.py [--models NAME,...] [--heads t1_crop,ch2] [--kinds int8,mixed,openvino,onnxruntime]

All calibrate on the central 128^3 of t1_crop; kmamba-nano, whose windows need the normalization of a whole head, on windows of t1_crop.
Float labels are PyTorch's. They and the models are kept outside the repository. Prints Markdown; rows that were not asked for stay
as out/bench/fidelity.json has them from an earlier run.
"""
import argparse
import sys

from common import BENCH, BIN, CACHE, CH2, DATA, MESHNETS, ROOT, T1, load, machine, measured, need_data, run, save, table, versions
from ours import MIXED, model_file
from volumes import labels_of, scores

HEADS = {"t1_crop": T1, "ch2": CH2}
TITLES = {"int8": "ours, int8", "mixed": "ours, 8 and 16 bits", "openvino": "OpenVINO int8 (NNCF)",
          "onnxruntime": "ONNX Runtime int8 (QDQ)"}
ABSENT = "cannot run: no selective scan, no KAN layer"


def peer(runtime, model, image, output):
    return measured([sys.executable, BENCH / "segment_peer.py", runtime, model, image, output, 2])


def float_labels(model, head):
    stored = DATA / "meshnet" / "reference" / f"{model}_{head}_full.nii.gz"
    path = stored if stored.exists() else CACHE / f"{model}-{head}-float.nii.gz"
    if not path.exists():
        script, folder = ROOT / "Tools" / "train" / "segment_float.py", ROOT / "Tools" / "models" / model
        done = (peer("torch-slabs", model, HEADS[head], path) if model in MESHNETS
                else measured([sys.executable, script, folder, path, HEADS[head]]))
        if done["seconds"] is None:
            sys.exit(f"float labels of {model} on {head}: {done['error']}")
    return labels_of(path)


def labels(kind, model, head):
    """Label volume, or why there is none."""
    output = CACHE / "labels.nii.gz"
    if kind in ("int8", "mixed"):
        run(BIN / "mkrun", "segment", model_file(model, kind), HEADS[head], "-o", output, "--threads", 2, "--overwrite", "--quiet")
        return labels_of(output)
    if model not in MESHNETS:
        return ABSENT
    run(sys.executable, BENCH / "peer_models.py", kind, model)
    done = peer(kind, model, HEADS[head], output)
    return labels_of(output) if done["seconds"] else f"ended with status {done['status']} at {done['peak'] / 1024:.1f} GiB"


def row(model, head, kind, result):
    if isinstance(result, str):
        return [model, head, TITLES[kind], result, "", "", "", ""]
    return [model, head, TITLES[kind], f"{result['agreement']:.5f}", f"{result['dice']:.4f}",
            f"{result['smallest']:.3f} ({result['smallest_voxels']} voxels)",
            f"{result['worst']:.3f} (label {result['worst_label']}, {result['worst_voxels']} voxels)",
            f"{len(result['below_0.97'])} of {len(result['per_label'])}"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, values in (("models", MIXED), ("heads", HEADS), ("kinds", TITLES)):
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=list(values))
    options = parser.parse_args()
    need_data()
    results = {tuple(key.split("/")): value for key, value in load("fidelity").items()}
    for model in options.models:
        for head in options.heads:
            reference = float_labels(model, head)
            for kind in options.kinds:
                found = labels(kind, model, head)
                results[model, head, kind] = found if isinstance(found, str) else scores(reference, found)
                print(" | ".join(row(model, head, kind, results[model, head, kind])), file=sys.stderr, flush=True)
    header = ["network", "head", "integers by", "agreement", "mean Dice", "smallest structure", "worst structure", "below 0.97"]
    order = [(model, head, kind) for model in MIXED for head in HEADS for kind in TITLES]
    rows = [row(*key, results[key]) for key in order if key in results]
    mixed = "; ".join(f"{name}: `{' '.join(MIXED[name])}`" for name in MIXED)
    text = (f"{machine()}; {versions('openvino', 'nncf', 'onnxruntime', 'torch')}. Against labels of the float network, whole volume; "
            f"calibrated on t1_crop only. 8 and 16 bits: {mixed}\n\n{table(header, rows)}")
    save("fidelity", text, {"/".join(key): results[key] for key in order if key in results})
    print(text)


if __name__ == "__main__":
    main()
