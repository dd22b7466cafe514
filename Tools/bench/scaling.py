"""How time and memory grow: time against voxels, channels and tokens, memory against slices; fitted exponents and a plot.

    python scaling.py [--rounds 3] [--plot scaling.png]

Time: model5_gw_ae file to file on cubes of heads, one conv3d layer of 64^3 voxels, selective scan and KAN layer of 64 channels. Memory: peak
of the whole process on heads of 256x256xN, whole volume, slice by slice, and slice by slice with the volume on disk. The smallest sizes
include the start of the program. An exponent is the slope of the logarithms over all points; best of the rounds. Prints Markdown.
"""
import argparse
import json
import math
import sys

from common import BENCH, BIN, CACHE, OUT, T1, machine, measured, need_data, run, save, table
from ours import model_file

SIDES, CHANNELS, TOKENS, SLICES = (96, 128, 160, 192, 256, 320), (8, 16, 24, 32, 48, 64, 96), (16, 24, 32, 48, 64), (64, 128, 256, 512, 1024)
MODES = {"whole": ["--mode", "whole", "--storage", "memory"], "slices": ["--mode", "lines", "--storage", "memory"],
         "slices, volume on disk": ["--mode", "lines", "--storage", "disk"]}
PROGRAMS = BENCH / ".build" / "release"


def head(*sides):
    path = CACHE / f"head-{'x'.join(map(str, sides))}.nii.gz"
    if not path.exists():
        run(sys.executable, BENCH / "volumes.py", T1, path, *sides)
    return path


def segment(image, *options):
    done = measured([BIN / "mkrun", "segment", model_file("model5_gw_ae"), image, "-o", CACHE / "speed.nii.gz", "--overwrite",
                     "--quiet", *options])
    if done["seconds"] is None:
        sys.exit(done["error"])
    return done


def layer(channels, rounds):
    row = json.loads(run(PROGRAMS / "convbench", rounds, channels, 64, 64, 64, 1))["rows"][0]
    return 27 * channels ** 2 * 64 ** 3 / row["gmacs"] / 1e9


def exponent(points):
    """Slope of log(y) over log(x), least squares."""
    x, y = [math.log(a) for a, _ in points], [math.log(b) for _, b in points]
    mx, my = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mx) * (b - my) for a, b in zip(x, y)) / sum((a - mx) ** 2 for a in x)
    return round(slope, 2) + 0.0


def measure(rounds):
    best = lambda run: min(run() for _ in range(rounds))
    time = {"voxels": [(n ** 3, best(lambda: segment(head(n, n, n))["seconds"])) for n in SIDES],
            "multiply-adds of a layer": [(27 * c * c * 64 ** 3, layer(c, rounds)) for c in CHANNELS]}
    tokens = [(n ** 3, json.loads(run(PROGRAMS / "tokenbench", rounds, n))) for n in TOKENS]
    time["tokens of a scan"] = [(n, row["scan_ms"] / 1e3) for n, row in tokens]
    time["tokens of a KAN layer"] = [(n, row["kan_ms"] / 1e3) for n, row in tokens]
    memory = {name: [(n, segment(head(256, 256, n), *options)["peak"]) for n in SLICES] for name, options in MODES.items()}
    return {"time": time, "memory": memory}


def plot(numbers, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(1, 4, figsize=(15, 3.6), constrained_layout=True)
    groups = [["voxels"], ["multiply-adds of a layer"], ["tokens of a scan", "tokens of a KAN layer"]]
    for axis, names in zip(axes, groups):
        for name in names:
            points = numbers["time"][name]
            label = f"{'' if len(names) == 1 else name.removeprefix('tokens of a ') + ', '}exponent {exponent(points):.2f}"
            axis.loglog(*zip(*points), marker="o", label=label)
        axis.set(xlabel=names[0] if len(names) == 1 else "tokens", ylabel="seconds")
    titles = ["MeshNet, file to file", "conv3d, 8 to 96 channels", "scan, KAN layer"]
    for name, points in numbers["memory"].items():
        axes[3].loglog(*zip(*points), marker="o", label=f"{name}, exponent {exponent(points):.2f}")
    axes[3].set(xlabel="slices of 256×256", ylabel="peak MiB", ylim=(10, None))
    for axis, title in zip(axes, [*titles, "memory of the process"]):
        axis.set_title(title)
        axis.grid(True, which="both", alpha=0.25)
        axis.legend(fontsize=8)
    figure.savefig(path, dpi=80)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--plot", default=OUT / "scaling.png")
    options = parser.parse_args()
    need_data()
    numbers = measure(options.rounds)
    rows = [[f"seconds over {name}", f"{points[0][0]:.3g} … {points[-1][0]:.3g}", f"{points[0][1]:.3g} … {points[-1][1]:.3g}",
             f"{exponent(points):.2f}"] for name, points in numbers["time"].items()]
    rows += [[f"MiB over slices: {name}", f"{points[0][0]} … {points[-1][0]}", f"{points[0][1]:.0f} … {points[-1][1]:.0f}",
              f"{exponent(points):.2f}"] for name, points in numbers["memory"].items()]
    text = f"{machine()}; one thread\n\n{table(['what', 'from … to', 'takes', 'exponent'], rows)}"
    save("scaling", text, numbers)
    print(text)
    plot(numbers, options.plot)


if __name__ == "__main__":
    main()
