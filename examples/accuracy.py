"""Counts right answers of a bundle on photos whose names end in their class: name_<class>.jpg.

python examples/accuracy.py build/mobilenet_v2 photos/
"""

import sys
from pathlib import Path

import modelport


def main(bundle: str, folder: str) -> None:
    photos = sorted(Path(folder).glob("*_*.*"))
    with modelport.load(bundle) as predictor:
        results = predictor(photos)
    right = sum(
        result.index == int(photo.stem.rsplit("_", 1)[1])
        for photo, result in zip(photos, results, strict=True)
    )
    print(f"{predictor.variant.name}: {right} of {len(photos)} photos right")


if __name__ == "__main__":
    main(*sys.argv[1:])
