"""Whole networks, file to file: ours against peers, wall time and peak memory of one process each.

    python networks.py [--models NAME,...] [--threads 1,2] [--peers openvino,onnxruntime,torch,ncnn] [--rounds 3]

In every round ours (8 bits; 8 and 16 bits as in ours.py; 8 bits within MEMORY) and the peer run one after the other, so that a drift of the
machine's speed meets both; figures are medians, ratios of what ran together. A peer's process reads NIfTI, normalizes, compiles, infers,
writes (segment_peer.py); `s` is its whole time, `without start` leaves imports and compilation out. Prints Markdown; rows that were not
asked for stay as out/bench/networks.json has them.
"""
import argparse
import json
import sys

from common import BENCH, BIN, CACHE, MESHNETS, T1, load, machine, measured, median, need_data, run, save, table, versions
from ours import model_file

# The least that each network's plan for 256^3 needs, rounded up, and not much slower than the fastest plan.
MEMORY = {"model5_gw_ae": "64MiB", "mindgrab": "320MiB", "model21_104class": "176MiB"}
PEERS = {"openvino": "OpenVINO int8", "onnxruntime": "ONNX Runtime int8", "torch": "PyTorch fp32", "ncnn": "ncnn fp32"}
OURS = {"int8": "8 bits", "mixed": "8 and 16 bits", "small": "8 bits, less memory"}


def ours(model, threads):
    for kind in OURS:
        limit = ["--memory", MEMORY[model]] if kind == "small" else []
        yield kind, [BIN / "mkrun", "segment", model_file(model, "mixed" if kind == "mixed" else "int8"), T1, "-o",
                     CACHE / "speed.nii.gz", "--threads", threads, "--overwrite", "--quiet", *limit]


def compare(model, threads, peer, rounds):
    """Samples of every one of ours and of the peer; why there are none."""
    if peer == "ncnn" and model != "model5_gw_ae":
        return {"absent": "not run: 3D convolution is a plain loop, no volume norm"}
    if peer != "torch":
        run(sys.executable, BENCH / "peer_models.py", peer, model)
    commands = dict(ours(model, threads))
    commands["peer"] = [sys.executable, BENCH / "segment_peer.py", peer, model, T1, CACHE / "speed-peer.nii.gz", threads]
    samples = {name: [] for name in commands}
    for _ in range(rounds):
        for name, command in commands.items():
            done = measured(command)
            if done["seconds"] is None and name == "peer":
                return {"absent": f"ended with status {done['status']} at {done['peak'] / 1024:.1f} GiB"}
            if done["seconds"] is None:
                sys.exit(f"{model}, {name}: {done['error']}")
            sample = {"seconds": done["seconds"], "peak": done["peak"]}
            if name == "peer":
                sample["steps"] = json.loads(done["output"].splitlines()[-1])
                sample["warm"] = done["seconds"] - sample["steps"]["import"] - sample["steps"]["compile"]
            samples[name].append(sample)
    return samples


def rows(model, threads, peer, samples):
    head = [model, threads, PEERS[peer]]
    if "absent" in samples:
        return [[*head, samples["absent"], *[""] * 8]]
    theirs = samples["peer"]
    seconds, warm, peak = (median(theirs, key) for key in ("seconds", "warm", "peak"))
    found = []
    for kind, title in OURS.items():
        mine, memory = median(samples[kind], "seconds"), median(samples[kind], "peak")
        found.append([*head, f"{seconds:.2f}", f"{warm:.2f}", f"{peak:.0f}", title, f"{mine:.2f}", f"{memory:.0f}",
                      f"{seconds / mine:.2f}", f"{warm / mine:.2f}", f"1/{peak / memory:.1f}"])
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, values in (("models", MESHNETS), ("threads", ("1", "2")), ("peers", PEERS)):
        parser.add_argument(f"--{name}", type=lambda text: text.split(","), default=list(values))
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    need_data()
    results = load("networks")
    for model in options.models:
        for threads in options.threads:
            for peer in options.peers:
                results[f"{model}/{threads}/{peer}"] = compare(model, threads, peer, options.rounds)
                for line in rows(model, threads, peer, results[f"{model}/{threads}/{peer}"]):
                    print(" | ".join(line), file=sys.stderr, flush=True)
    order = [f"{m}/{t}/{p}" for m in MESHNETS for t in ("1", "2") for p in PEERS]
    results = {key: results[key] for key in order if key in results}
    header = ["network", "threads", "peer", "s", "without start", "peak MiB", "ours", "s", "peak MiB", "faster by", "without start",
              "memory"]
    body = [line for key, samples in results.items() for line in rows(*key.split("/"), samples)]
    text = f"{machine()}; {versions('openvino', 'onnxruntime', 'torch')}; t1_crop, 256^3, file to file\n\n{table(header, body)}"
    save("networks", text, results)
    print(text)


if __name__ == "__main__":
    main()
