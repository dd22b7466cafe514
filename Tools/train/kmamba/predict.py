"""Sliding-window prediction of a float network, and Dice per class."""
import torch


def window_weight(patch):
    """Separable Gaussian, deviation 1/8 of the side, not below 0.001."""
    sides = []
    for n in patch:
        x = torch.arange(n) - (n - 1) / 2
        sides.append(torch.exp(-0.5 * (x / (n / 8)) ** 2))
    weight = sides[0][:, None, None] * sides[1][:, None] * sides[2]
    return (weight / weight.max()).clamp(min=1e-3)


def starts(length, patch, overlap):
    step = max(1, int(patch * (1 - overlap)))
    positions = list(range(0, max(1, length - patch + 1), step))
    if positions[-1] + patch < length:
        positions.append(length - patch)
    return positions


@torch.no_grad()
def predict(net, image, overlap=0.5):
    """image [channels, X, Y, Z], sides not below the patch -> class numbers [X, Y, Z]; logits are blended."""
    patch, size = net.config.patch, image.shape[1:]
    device = next(net.parameters()).device
    weight = window_weight(patch)
    total = torch.zeros(net.config.classes, *size)
    training = net.training
    net.eval()
    for x in starts(size[0], patch[0], overlap):
        for y in starts(size[1], patch[1], overlap):
            for z in starts(size[2], patch[2], overlap):
                where = (slice(None), slice(x, x + patch[0]), slice(y, y + patch[1]), slice(z, z + patch[2]))
                logits = net(to_device(image[where][None], device))[0]
                total[where] += logits.float().cpu() * weight
    net.train(training)
    return total.argmax(0)


def to_device(x, device):
    return x.to(device).to(memory_format=torch.channels_last_3d)


def dice_per_class(found, truth, classes):
    """{class: Dice}; classes absent from both are left out, background too."""
    scores = {}
    for value in range(1, classes):
        a, b = found == value, truth == value
        size = (a.sum() + b.sum()).item()
        if size:
            scores[value] = 2 * (a & b).sum().item() / size
    return scores


def box_of(labels, margin, minimum):
    """Slices around the labelled voxels, `margin` wider, at least `minimum` voxels per side."""
    places, slices = (labels > 0).nonzero(), []
    for axis, size in enumerate(labels.shape):
        low, high = places[:, axis].min().item() - margin, places[:, axis].max().item() + margin + 1
        low = max(0, min(low, size - minimum[axis]))
        slices.append(slice(low, max(min(high, size), low + minimum[axis])))
    return tuple(slices)
