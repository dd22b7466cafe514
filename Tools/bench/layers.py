"""conv3d int8 of OpenVINO and ONNX Runtime beside ours, one thread, interleaved: our program is called between the peers, so
that a drift of the machine's speed meets all of them. Every figure is the best round: neighbours only ever slow a round down.
Prints a Markdown table; out/bench gets it, too, with the numbers and a plot.

    python layers.py PATH_TO_convbench [ROUNDS]
"""
import json
import logging
import os
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import onnx
import onnxruntime as ort
import openvino as ov
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

import common

SHAPES = [(20, (64, 64, 64), 1), (32, (64, 64, 64), 1), (48, (64, 64, 64), 1), (64, (64, 64, 64), 1),
          (20, (64, 64, 64), 4), (20, (37, 54, 45), 1), (32, (37, 54, 45), 1), (48, (37, 54, 45), 1),
          (64, (37, 54, 45), 1), (20, (45, 54, 37), 1)]
LAYERS = 5  # the peers convert float input and output once per stack; more layers make that matter less
logging.disable(logging.WARNING)  # the quantizer's advice about preprocessing, which a stack of convolutions does not need


def network(channels, size, dilation, path):
    """A stack of convolutions with ReLU, as float ONNX."""
    random = np.random.default_rng(1)
    nodes, weights, value = [], [], "x"
    for layer in range(LAYERS):
        kernel = random.normal(0, (2 / (27 * channels)) ** 0.5, (channels, channels, 3, 3, 3)).astype(np.float32)
        weights += [numpy_helper.from_array(kernel, f"w{layer}"),
                    numpy_helper.from_array(np.zeros(channels, np.float32), f"b{layer}")]
        nodes.append(helper.make_node("Conv", [value, f"w{layer}", f"b{layer}"], [f"c{layer}"],
                                      pads=[dilation] * 6, dilations=[dilation] * 3, kernel_shape=[3, 3, 3]))
        nodes.append(helper.make_node("Relu", [f"c{layer}"], [f"r{layer}"]))
        value = f"r{layer}"
    shape = [1, channels, *size]
    graph = helper.make_graph(nodes, "stack", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info(value, TensorProto.FLOAT, shape)], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return random.random(shape).astype(np.float32)


class Sample(CalibrationDataReader):
    def __init__(self, x):
        self.items = iter([{"x": x}])

    def get_next(self):
        return next(self.items, None)


def runners(folder, channels, size, dilation):
    plain, quantized = os.path.join(folder, "float.onnx"), os.path.join(folder, "int8.onnx")
    x = network(channels, size, dilation, plain)
    quantize_static(plain, quantized, Sample(x), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(quantized, options, providers=["CPUExecutionProvider"])
    settings = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = ov.Core().compile_model(quantized, "CPU", settings).create_infer_request()
    return {"OpenVINO": lambda: request.infer([x]), "ONNX Runtime": lambda: session.run(None, {"x": x})}


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def bandwidth():
    """GB/s of a copy that no cache holds, read and written bytes counted."""
    source = np.ones(2 ** 28, np.uint8)
    target = np.zeros_like(source)
    return max(2 * source.size / seconds(lambda: np.copyto(target, source)) / 1e9 for _ in range(5))


def measure(convbench, rounds):
    for channels, size, dilation in SHAPES:
        with tempfile.TemporaryDirectory() as folder:
            peers = runners(folder, channels, size, dilation)
            work = LAYERS * 27 * channels * channels * np.prod(size) / 1e9
            for run in peers.values():
                run()
            row = {"channels": channels, "size": "×".join(map(str, reversed(size))), "dilation": dilation}
            speeds = {name: [] for name in ("limit", "ours", *peers)}
            for _ in range(rounds):
                ours = json.loads(common.run(convbench, 5, channels, *size, dilation))["rows"][0]
                speeds["limit"].append(ours["limit"])
                speeds["ours"].append(ours["gmacs"])
                for name, run in peers.items():
                    speeds[name].append(work / seconds(run))
            yield row | {name: max(values) for name, values in speeds.items()}


def plot(rows, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axis = pyplot.subplots(figsize=(9, 3.6), constrained_layout=True)
    names = ("limit", "ours", "OpenVINO", "ONNX Runtime")
    for index, name in enumerate(names):
        axis.bar([x + 0.2 * index for x in range(len(rows))], [row[name] for row in rows], 0.2, label=name)
    axis.set_xticks([x + 0.3 for x in range(len(rows))],
                    [f"{row['channels']} channels\n{row['size']}" + (f"\ndilation {row['dilation']}" if row["dilation"] > 1 else "")
                     for row in rows], fontsize=7)
    axis.set(ylabel="GMAC/s", ylim=(0, 1.25 * max(row["limit"] for row in rows)), title="conv3d 3³, int8, one thread")
    axis.legend(ncols=4, fontsize=8)
    figure.savefig(path, dpi=80)


def main():
    convbench, rounds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 9
    rows = list(measure(convbench, rounds))
    cells = [[row["channels"], row["size"], row["dilation"], f"{row['limit']:.0f}", f"{row['ours']:.0f}",
              f"{row['ours'] / row['limit']:.2f}", f"{row['OpenVINO']:.0f}", f"{row['ours'] / row['OpenVINO']:.2f}",
              f"{row['ONNX Runtime']:.0f}", f"{row['ours'] / row['ONNX Runtime']:.2f}"] for row in rows]
    copy = bandwidth()
    text = (f"{common.machine()}; {common.versions('openvino', 'onnxruntime')}; one thread, GMAC/s, best of {rounds} rounds; memory copy "
            f"{copy:.1f} GB/s\n\n" + common.table(["channels", "size", "dilation", "limit", "ours", "of limit", "OpenVINO int8", "ours / it",
                                                  "ONNX Runtime int8", "ours / it"], cells))
    common.save("layers", text, {"copy_gb_s": copy, "rows": rows})
    print(text)
    plot(rows, common.OUT / "layers.png")


main()
