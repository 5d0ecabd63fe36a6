"""What is said of a file that is not what its name promises, or that cannot be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from modelport.errors import BundleFormatError


@contextmanager
def reading(
    path: Path, what: str, expected: str, damage: tuple[type[Exception], ...]
) -> Iterator[None]:
    """Around what reads the file.

    Args:
        what: the file is said to be none, as in `ONNX model`.
        damage: errors that show it.

    Raises:
        BundleFormatError: in place of those, and where the system does not give the file.
    """
    try:
        yield
    except damage as error:
        raise BundleFormatError(
            f"{path} is no {what} ({error})",
            expected=expected,
            hint="It was cut short or is something else: copy or export it again",
        ) from error
    except OSError as error:
        raise BundleFormatError(f"{path} cannot be read ({error.strerror})") from error
