"""Libraries of operators in an artifact: files of the roles `operators_0` on, and packages by name.

They run as native code when a session opens. Who opens a bundle decides about that before; see
`runtime.trust`.
"""

from __future__ import annotations

import importlib
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from modelport.engines.files import as_file
from modelport.errors import EngineUnavailableError
from modelport.types import Artifact, Blob

OPERATORS = "operators_"
"""Beginning of the roles."""

OPERATOR_PACKAGES = "operator_packages"
"""Option of an artifact: names of packages whose `get_library_path` leads to their library."""


def operator_files(
    libraries: Sequence[str], directory: Path | None = None
) -> tuple[dict[str, Blob], list[str]]:
    """Files by role, copied into the directory where there is one, and the names of packages."""
    files: dict[str, Blob] = {}
    packages: list[str] = []
    for name in libraries:
        path = Path(name)
        if not path.is_absolute():
            packages.append(name)
            continue
        role = f"{OPERATORS}{len(files)}"
        if directory is not None:
            path = Path(shutil.copyfile(path, directory / f"{role}{path.suffix}"))
        files[role] = Blob(path)
    return files, packages


@contextmanager
def operator_libraries(artifact: Artifact) -> Iterator[list[str]]:
    """Paths to load the libraries from; those in an archive are files for as long as this is open.

    Raises:
        EngineUnavailableError: where a package is not installed.
    """
    roles = sorted(role for role in artifact.files if role.startswith(OPERATORS))
    names = artifact.options.get(OPERATOR_PACKAGES, ())
    with ExitStack() as stack:
        found = [str(as_file(artifact.files[role], role, stack)) for role in roles]
        yield found + [_library_of(str(name)) for name in names]


def _library_of(package: str) -> str:
    try:
        found: str = importlib.import_module(package).get_library_path()
    except (ImportError, AttributeError) as error:
        raise EngineUnavailableError(
            f"The model needs the operators of the package {package}, which cannot be used here "
            f"({error})",
            hint=f"Install it with: pip install {package}",
        ) from error
    return found
