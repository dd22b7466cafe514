"""KMamba-3D: the PyTorch reference of the network that mkquant converts."""
