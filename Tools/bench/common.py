"""What the benchmarks share: where things lie, what machine this is, a command measured from outside, tables. Standard library only:
a process that starts others must stay small, because a child's peak memory counts from its parent's size at the fork."""
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

BENCH = Path(__file__).resolve().parent
ROOT = BENCH.parent.parent
BIN = ROOT / ".build" / "release"
DATA = Path(os.environ.get("MKEDGE_BENCH_DATA", ROOT.parent / "shared" / "data"))
CACHE = Path(os.environ.get("MKEDGE_BENCH_CACHE", Path.home() / ".cache" / "mkedge-bench" / "files"))
OUT = ROOT / "out" / "bench"
MESHNETS = ("model5_gw_ae", "mindgrab", "model21_104class")
T1, CH2 = DATA / "mri" / "t1_crop.nii.gz", DATA / "train" / "ch2_conformed.nii.gz"


def need_data():
    if not T1.exists():
        sys.exit(f"{T1} is absent: MKEDGE_BENCH_DATA names a folder with mri/, meshnet/ and train/")


def machine():
    with open("/proc/cpuinfo") as file:
        lines = file.read().splitlines()
    info = {key: next((l.split(": ", 1)[1] for l in lines if l.startswith(key)), "?") for key in ("model name", "model\t", "flags")}
    isa = [name for name in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if name in info["flags"].split()]
    return (f"{info['model name']}, model {info['model	']}, {os.cpu_count()} cores ({', '.join(isa)}), "
            f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') / 2 ** 30:.0f} GiB")


def versions(*packages):
    return ", ".join(f"{name} {metadata.version(name)}" for name in packages)


def run(*command, **options):
    """Standard output of a program of ours; its message ends us if it fails."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"{Path(str(command[0])).name}: status {done.returncode}\n{done.stderr.strip()[-2000:]}")
    return done.stdout


def measured(command, **environment):
    """Wall seconds (None if it failed), peak resident MiB, standard output and the end of the messages of one process."""
    with tempfile.TemporaryFile("w+") as messages:
        start = time.perf_counter()
        child = subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, stderr=messages, text=True,
                                 env={**os.environ, **environment})
        output = child.stdout.read()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        messages.seek(0)
        child.returncode = os.waitstatus_to_exitcode(status)
        # The system's figure survives an exec: of a small process it is this one's. Our programs print their own.
        own = re.search(r"peak resident ([0-9.]+) MiB", output)
        peak = float(own[1]) if own else usage.ru_maxrss / 1024
        return {"seconds": None if status else seconds, "peak": peak, "output": output, "status": child.returncode,
                "error": messages.read()[-400:].strip()}


def median(rows, key):
    return statistics.median(row[key] for row in rows)


def table(header, rows):
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def save(name, text, numbers):
    """NAME.md and NAME.json in out/bench."""
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / f"{name}.md").write_text(text + "\n")
    (OUT / f"{name}.json").write_text(json.dumps(numbers, indent=1) + "\n")
    print(f"written: {OUT / name}.md, {name}.json", file=sys.stderr)


def load(name):
    """The numbers of an earlier run, if there was one."""
    path = OUT / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else {}
