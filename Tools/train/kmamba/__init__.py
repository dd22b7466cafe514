"""KMamba-3D: a 3D segmentation network of convolutions, selective scans and spline layers, and what trains it."""
