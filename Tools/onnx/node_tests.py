"""Runs the test cases of ONNX's own operators (in the onnx package) through the importer and compares float results.

    python node_tests.py MKQUANT [--match conv] [--cases FOLDER]

Inputs but the first become constants, cases with a batch are run one by one, and the output is concatenated with itself so that even
one channel makes two classes. An output of one voxel for all is multiplied by the input first. Prints what passed, what was refused and what came out wrong; fails if anything is wrong. With --cases,
each case that passed is written to FOLDER (NAME.onnx, and an input and the scores in NAME.safetensors), for
`MKEDGE_ONNX_CASES=FOLDER swift test --filter ONNXNodeTests`, which converts them and holds the integers against a derived bound.
"""
import argparse
import collections
import json
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from safetensors.numpy import save_file

OPERATORS = set("""Conv ConvTranspose MaxPool AveragePool Resize Upsample BatchNormalization InstanceNormalization GroupNormalization
LayerNormalization Relu LeakyRelu PRelu Elu Celu Selu Sigmoid HardSigmoid HardSwish Tanh Softplus Softsign Mish Swish Gelu Abs Neg Exp
Log Sqrt Erf Floor Ceil Reciprocal Clip Add Sub Mul Div Pow Min Max Sum Concat Pad Split Slice MatMul ReduceMean GlobalAveragePool
Transpose Identity Dropout Cast DequantizeLinear QuantizeLinear Softmax LogSoftmax Reshape""".split())


def case_model(case, inputs, output):
    """The case's nodes with constants in place of all inputs but the first, or None where it does not fit."""
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    graph = model.graph
    if not 3 <= inputs[0].ndim <= 5 or inputs[0].dtype != np.float32 or output.dtype != np.float32 or output.ndim != inputs[0].ndim:
        return None
    for info, value in zip(list(graph.input)[1:], inputs[1:]):
        graph.initializer.append(numpy_helper.from_array(np.asarray(value), info.name))
        graph.input.remove(info)
    first = graph.output[0].name
    if is_pooled(inputs[0], output):
        graph.node.append(helper.make_node("Mul", [graph.input[0].name, first], ["product"]))
        first = "product"
    graph.node.append(helper.make_node("Concat", [first, first], ["two_of_it"], axis=1))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("two_of_it", onnx.TensorProto.FLOAT, None))
    return model


def is_pooled(image, output):
    """Whether the output has one voxel for all of the input's."""
    return output.shape == image.shape[:2] + (1,) * (image.ndim - 2) != image.shape


def spatial(array):
    """[C, …] with three axes behind the channels."""
    return np.ascontiguousarray(array.reshape(array.shape[0], *[1] * (4 - array.ndim), *array.shape[1:]))


def run(mkquant, model, x, y, folder):
    """Exit status, messages and the tensors of the last of the batch."""
    tensors = {}
    (folder / "net.onnx").write_bytes(model.SerializeToString())
    (folder / "net.json").write_text(json.dumps({"architecture": "onnx"}))
    for image, wanted in zip(x, y):
        tensors = {"input": spatial(image), "scores": spatial(np.concatenate([wanted, wanted]))}
        save_file(tensors, folder / "io.safetensors")
        result = subprocess.run([mkquant, "compare", folder / "net.onnx", "--config", folder / "net.json", "--reference",
                                 folder / "io.safetensors", "--max-error", "1e-5", "--quiet"], capture_output=True, text=True)
        if result.returncode:
            return result.returncode, result.stderr.strip().splitlines(), {}
    return 0, [], tensors


def reason(lines):
    """Operator and reason of the last message, without the node's name and inputs."""
    found = re.match(r"\s*[^:]*: (\w+: .*?)(?: \(inputs.*)?$", lines[-1]) if lines else None
    return found.group(1)[:110] if found else lines[-1][-110:] if lines else "?"


def main():
    parser = argparse.ArgumentParser(description="Runs ONNX's own operator tests through the importer.")
    parser.add_argument("mkquant")
    parser.add_argument("--match", default="", help="part of the names of the cases to run")
    parser.add_argument("--cases", type=Path, help="folder for the cases that passed")
    parser.add_argument("--largest", type=int, default=1 << 20, help="bytes of a case that is still written there")
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    if options.cases:
        options.cases.mkdir(parents=True, exist_ok=True)
    counts, reasons, wrong = collections.Counter(), collections.Counter(), []
    passed = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        # The package keeps the first list it collects, so it has to be that of all operators.
        for case in collect_testcases(None):
            operator = case.model.graph.node[0].op_type if case.model else ""
            if options.match not in case.name or not case.data_sets or operator not in OPERATORS or "_expanded" in case.name:
                continue
            inputs, outputs = case.data_sets[0]
            inputs, output = [np.asarray(i) for i in inputs if i is not None], np.asarray(outputs[0])
            model = case_model(case, inputs, output) if inputs else None
            if model is None or inputs[0].size == 0:
                counts["not a network of one to three axes"] += 1
                continue
            if is_pooled(inputs[0], output):
                output = inputs[0] * output
            status, lines, tensors = run(options.mkquant, model, inputs[0], output, Path(name))
            if status == 0:
                counts["passed"] += 1
                passed[operator] += 1
                if options.cases:
                    contents = model.SerializeToString()
                    if len(contents) + sum(values.nbytes for values in tensors.values()) <= options.largest:
                        file = options.cases / case.name.removeprefix("test_")
                        file.with_suffix(".onnx").write_bytes(contents)
                        save_file(tensors, file.with_suffix(".safetensors"))
            elif status == 6:
                counts["refused"] += 1
                reasons[reason(lines)] += 1
            else:
                wrong.append(f"{case.name}: {' '.join(lines)}")
    for what, count in counts.items():
        print(f"{count:4} {what}")
    print("passed: " + ", ".join(f"{op} {count}" for op, count in sorted(passed.items())))
    print("refused:")
    for reason_, count in sorted(reasons.items()):
        print(f"  {count:3} {reason_}")
    print(f"{len(wrong)} wrong")
    print("\n".join(wrong))
    sys.exit(bool(wrong) or not passed)


if __name__ == "__main__":
    main()
