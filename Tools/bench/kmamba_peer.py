"""PyTorch and the int8 runtimes on KMamba-3D windows; prints the seconds of the steps as JSON.

    python kmamba_peer.py window MODEL_FOLDER [ROUNDS]       one window of noise by PyTorch in float32, scan in chunks
    python kmamba_peer.py export MODEL_FOLDER OUTPUT.onnx    the network without its token blocks (scan, MLP, KAN): what others can run
    python kmamba_peer.py peers FILE.onnx [ROUNDS]           that by ONNX Runtime and OpenVINO, float32 and int8
"""
import json
import logging
import os
import sys
import time

os.environ["OMP_NUM_THREADS"] = "1"
import numpy as np

from common import ROOT

sys.path.append(str(ROOT / "Tools" / "train"))
SIDE = 64


def timed(infer, rounds):
    infer()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        infer()
        times.append(time.perf_counter() - start)
    return sorted(times)[rounds // 2]


def window(folder, rounds=5):
    import torch
    from kmamba.export import load_model
    torch.set_num_threads(1)
    net = load_model(folder)
    x = torch.randn(1, net.config.in_channels, SIDE, SIDE, SIDE).to(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        print(json.dumps({"torch": timed(lambda: net(x), int(rounds))}))


def export(folder, path):
    import torch
    from kmamba.export import load_model

    class Convolutions(torch.nn.Module):
        """KMamba3D.forward with every stage's tokens passed on as they are."""

        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, x):
            net, t, skips = self.net, self.net.stem(x), []
            for stage in net.stages:
                t = stage.gsc(stage.down(t) if hasattr(stage, "down") else t)
                skips.append(stage.out_norm(t))
            g = skips[3]
            for level in (2, 1, 0):
                g = net.dec[level](g, skips[level])
            return net.head(net.full(g, x))

    net = Convolutions(load_model(folder)).eval()
    with torch.no_grad():
        torch.onnx.export(net, torch.zeros(1, net.net.config.in_channels, SIDE, SIDE, SIDE), path, opset_version=17, dynamo=False,
                          input_names=["volume"], output_names=["scores"])


def peers(path, rounds=9):
    import nncf
    import onnxruntime as ort
    import openvino as ov
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process
    logging.disable(logging.WARNING)
    x = np.random.default_rng(0).random((1, 1, SIDE, SIDE, SIDE), dtype=np.float32)

    class Sample(CalibrationDataReader):
        items = iter([{"volume": x}])

        def get_next(self):
            return next(self.items, None)

    quantized, prepared = f"{path}-qdq.onnx", f"{path}-prepared.onnx"
    quant_pre_process(path, prepared, skip_symbolic_shape=True)
    quantize_static(prepared, quantized, Sample(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    core, settings = ov.Core(), {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    plain = core.read_model(path)
    found = {}
    for name, file in (("onnxruntime-f32", path), ("onnxruntime-int8", quantized)):
        session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        found[name] = timed(lambda: session.run(None, {"volume": x}), int(rounds))
    for name, model in (("openvino-f32", plain), ("openvino-int8", nncf.quantize(plain, nncf.Dataset([x]), subset_size=1))):
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        found[name] = timed(lambda: request.infer([x]), int(rounds))
    print(json.dumps(found))


if __name__ == "__main__":
    {"window": window, "export": export, "peers": peers}[sys.argv[1]](*sys.argv[2:])
