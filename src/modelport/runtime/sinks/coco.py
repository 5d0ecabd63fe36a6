"""COCO's format of results, for detection, instance segmentation and keypoints."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from modelport.errors import DataError, UsageError
from modelport.runtime.decoding.rle import rle_from_mask
from modelport.runtime.failed import Failed
from modelport.runtime.sinks.base import FileSink
from modelport.runtime.sources.base import Item
from modelport.runtime.tasks.base import Result


@dataclass(frozen=True)
class Ids:
    """Numbers of pictures by the name of their file, and of categories by their name."""

    images: Mapping[str, int] = field(default_factory=dict)
    categories: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Ids:
        """Those of a file of COCO annotations.

        Raises:
            DataError: where it is none.
        """
        try:
            content = json.loads(path.read_bytes())
            images = {str(each["file_name"]): int(each["id"]) for each in content["images"]}
            names = {str(each["name"]): int(each["id"]) for each in content["categories"]}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} cannot be read as COCO annotations ({type(error).__name__}: {error})",
                expected="JSON with images and categories, such as instances_val2017.json",
            ) from error
        return cls(images, names)


class Coco(FileSink):
    """A list of results; each belongs to the picture `image_id`, and is of the class `category_id`.

    Args:
        ids: from the annotations that the results will be compared with. Without them a picture whose name
            is a number has that one, any other its name; and a class has its index.
    """

    _file: IO[str]

    def __init__(self, path: Path, ids: Ids | None = None) -> None:
        super().__init__(path)
        self._ids = ids

    def write(self, item: Item, result: Result) -> None:
        if isinstance(result, Failed):
            return
        image = self._image(item)
        for entry in entries_of(result):
            known = {"image_id": image, "category_id": self._category(entry)}
            line = json.dumps({**known, **entry["found"]})
            self._file.write(f"{',' if self._count else ''}\n{line}")
            self._count += 1

    def _open(self, part: Path) -> None:
        self._count = 0
        self._file = part.open("w", encoding="utf-8")
        self._file.write("[")

    def _finish(self, whole: bool) -> None:
        self._file.write("\n]\n")
        self._file.close()

    def _image(self, item: Item) -> int | str:
        if item.frame is not None:
            return item.frame
        name = Path(item.name)
        if self._ids is not None:
            if name.name not in self._ids.images:
                raise DataError(f"{item.name} is not among the pictures of the COCO annotations")
            return self._ids.images[name.name]
        return int(name.stem) if name.stem.isdecimal() else name.name

    def _category(self, entry: Mapping[str, Any]) -> int:
        if self._ids is None:
            return int(entry["index"])
        if entry["label"] not in self._ids.categories:
            first = next(iter(self._ids.categories), "none")
            raise DataError(
                f"The class {entry['label']!r} is not among the categories of the COCO annotations",
                expected=f"one of its {len(self._ids.categories)}, such as {first}",
            )
        return self._ids.categories[entry["label"]]


def entries_of(result: Result) -> list[dict[str, Any]]:
    """The objects of a result: `index` and `label` of the class, and `found` in COCO's words.

    Things without a class, such as people with keypoints, are of COCO's first one, `person`.

    Raises:
        UsageError: where a result has no objects with boxes or keypoints.
    """
    objects = getattr(result, "objects", None)
    if objects is None or not all(hasattr(each, "box") for each in objects):
        raise UsageError(
            f"A {type(result).__name__} has no place in COCO's format of results",
            expected="results of detection, instance segmentation or pose",
            hint="Use --jsonl or --csv",
        )
    return [
        {
            "index": getattr(each, "index", 1),
            "label": getattr(each, "label", None) or "person",
            "found": _found(each),
        }
        for each in objects
    ]


def _found(thing: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"score": round(float(thing.score), 6)}
    if thing.box is not None:
        left, top, right, bottom = (float(side) for side in thing.box)
        found["bbox"] = [round(value, 3) for value in (left, top, right - left, bottom - top)]
    if hasattr(thing, "mask"):
        found["segmentation"] = rle_from_mask(thing.mask)
    if hasattr(
        thing, "points"
    ):  # COCO numbers pixels by their middles, and ignores the third value
        found["keypoints"] = [
            number for x, y in thing.points for number in (_pixel(x), _pixel(y), 1)
        ]
    return found


def _pixel(place: float) -> float:
    return round(float(place) - 0.5, 3)
