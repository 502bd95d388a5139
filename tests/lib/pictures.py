"""Pictures that tests leave in VMRUN_PICTURES, and what can be told about a screen."""
import collections
import os
import tempfile

PICTURES = os.environ.get("VMRUN_PICTURES", tempfile.gettempdir())


def picture(name):
    os.makedirs(PICTURES, exist_ok=True)
    return os.path.join(PICTURES, name + ".png")


def shares(screen):
    """The colours of a screen and the share of the pixels that each has."""
    width, height, data = screen
    count = collections.Counter(data[i:i + 3] for i in range(0, width * height * 3, 3))
    return {tuple(colour): number / (width * height) for colour, number in count.items()}


def changed(before, after):
    """The share of the pixels that differ."""
    if before[:2] != after[:2]:
        return 1.0
    pairs = zip(*(iter(before[2]),) * 3), zip(*(iter(after[2]),) * 3)
    return sum(a != b for a, b in zip(*pairs)) / (before[0] * before[1])
