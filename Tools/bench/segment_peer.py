"""A whole segmentation by a peer in one process, as a short script of its user would do it: read NIfTI, normalize, infer, argmax, write
labels. Prints the seconds of every step as JSON.

    python segment_peer.py openvino|openvino-f32|onnxruntime|ncnn|torch|torch-slabs MODEL IMAGE OUTPUT [THREADS]

torch-slabs makes the scores of a few planes at a time: the same labels in less memory, for references.
"""
import time

begin = time.perf_counter()
import json
import os
import sys

runtime, model, image, output = sys.argv[1:5]
threads = int(sys.argv[5]) if len(sys.argv) > 5 else 1
os.environ["OMP_NUM_THREADS"] = str(threads)

import numpy as np

from common import CACHE
from volumes import read, write


def openvino(path):
    def load(shape):
        core = ov.Core()
        net = core.read_model(path)
        net.reshape(list(shape))
        request = core.compile_model(net, "CPU", {
            "INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}).create_infer_request()
        return lambda x: request.infer([x])[0][0]
    import openvino as ov
    return load


def onnxruntime():
    def load(_):
        options = ort.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        session = ort.InferenceSession(CACHE / f"{model}-qdq.onnx", options, providers=["CPUExecutionProvider"])
        return lambda x: session.run(None, {"volume": x})[0][0]
    import onnxruntime as ort
    return load


def pytorch(slabs=False):
    def load(_):
        torch.set_num_threads(threads)
        net = MeshNet(model)

        def infer(x):
            with torch.inference_mode():
                x = torch.from_numpy(x)
                return (net.labels(x) if slabs else net(x).argmax(1)[0]).numpy()
        return infer
    import torch

    from published import MeshNet
    return load


def ncnn_network():
    def load(_):
        net = ncnn.Net()
        net.opt.num_threads, net.opt.use_fp16_storage = threads, False
        net.load_param(str(CACHE / f"{model}.param"))
        net.load_model(str(CACHE / f"{model}.bin"))

        def infer(x):
            extractor = net.create_extractor()
            extractor.input("volume", ncnn.Mat(x[0]))
            return np.array(extractor.extract("scores")[1]).argmax(0)
        return infer
    import ncnn
    return load


load = {"openvino": lambda: openvino(CACHE / f"{model}-nncf.xml"), "openvino-f32": lambda: openvino(CACHE / f"{model}.onnx"),
        "onnxruntime": onnxruntime, "ncnn": ncnn_network, "torch": pytorch, "torch-slabs": lambda: pytorch(slabs=True)}[runtime]()
steps = [("import", time.perf_counter())]
header, volume = read(image)
steps.append(("read", time.perf_counter()))
infer = load(volume.shape)
steps.append(("compile", time.perf_counter()))
labels = infer(volume).astype(np.uint8)
steps.append(("infer", time.perf_counter()))
write(labels, header, output)
steps.append(("write", time.perf_counter()))
print(json.dumps({name: end - start for (name, end), start in zip(steps, [begin] + [end for _, end in steps])}))
