"""Models of the peers: int8, made the way their manuals say from one calibration volume, or float for ncnn; outside the repository.

    python peer_models.py openvino|onnxruntime|ncnn MODEL     (prints the path; a process of its own, because it takes memory)
"""
import logging
import sys

from common import CACHE, T1
from published import ncnn_file, onnx_file
from volumes import read

CROP = 128


def openvino_file(name):
    """NNCF post-training quantization with its defaults."""
    path = CACHE / f"{name}-nncf.xml"
    if not path.exists():
        import nncf
        import openvino as ov
        core = ov.Core()
        model = core.read_model(onnx_file(name))
        model.reshape([1, 1, CROP, CROP, CROP])
        quantized = nncf.quantize(model, nncf.Dataset([read(T1, CROP)[1]]), subset_size=1)
        ov.save_model(quantized, path, compress_to_fp16=False)
    return path


def onnxruntime_file(name):
    """Static quantization, QDQ, weights per channel, ranges by extremes."""
    path = CACHE / f"{name}-qdq.onnx"
    if not path.exists():
        from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
        from onnxruntime.quantization.shape_inference import quant_pre_process

        class Sample(CalibrationDataReader):
            items = iter([{"volume": read(T1, CROP)[1]}])

            def get_next(self):
                return next(self.items, None)

        plain = CACHE / f"{name}-prepared.onnx"
        quant_pre_process(onnx_file(name), plain, skip_symbolic_shape=True)
        quantize_static(plain, path, Sample(), quant_format=QuantFormat.QDQ, per_channel=True,
                        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
    return path


if __name__ == "__main__":
    logging.disable(logging.WARNING)
    print({"openvino": openvino_file, "onnxruntime": onnxruntime_file, "ncnn": ncnn_file}[sys.argv[1]](sys.argv[2]))
