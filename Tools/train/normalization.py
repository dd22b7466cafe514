"""The rules by which a network's input is normalized, as model.json states them. NumPy only."""
import numpy as np

QUANTILE = {"kind": "quantile", "low": 0.02, "high": 0.98, "epsilon": 0.001}


def normalized(data, rule):
    """float32 of the same shape; `rule` as in model.json."""
    data = np.asarray(data, dtype=np.float64)
    if rule["kind"] == "zscore-nonzero":
        inside = data != 0
        scaled = np.where(inside, (data - data[inside].mean()) / data[inside].std(), 0)
        return np.clip(scaled, -rule["clip"], rule["clip"]).astype(np.float32)
    low, high = np.quantile(data, [rule["low"], rule["high"]])
    return np.clip((data - low) / (high - low + rule["epsilon"]), 0, 1).astype(np.float32)
