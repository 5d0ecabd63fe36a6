"""Virtual environments of engines that cannot or should not live beside the others.

An engine names a file of exact versions; `install` makes an environment of them, whole or not at all.
A layered one sees the packages of this installation behind its own, so that large ones such as torch
are not installed twice; one that is not layered has nothing but its own and modelport.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import site
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from modelport.errors import EngineError, UsageError
from modelport.places import home

ABOUT = "modelport.json"
INSTALL_S = 3600.0


@dataclass(frozen=True)
class Environment:
    """A place for one engine; it exists once `installed` says so.

    Attributes:
        requirements: file with one pinned distribution to a line, dependencies among them.
        layered: whether the packages of this installation are seen behind those.
    """

    engine: str
    requirements: Path
    layered: bool

    @property
    def folder(self) -> Path:
        return home() / "engines" / f"{self.engine}-{self._key()}"

    @property
    def python(self) -> Path:
        return _python_of(self.folder)

    @property
    def installed(self) -> bool:
        return (self.folder / ABOUT).is_file()

    def version_of(self, distribution: str) -> str:
        """Version of a distribution in it; empty where there is none."""
        try:
            about = json.loads((self.folder / ABOUT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return ""
        found: str = about.get("versions", {}).get(_canonical(distribution), "")
        return found

    def install(self, announce: Callable[[str], None]) -> None:
        """Makes the environment; does nothing where it is there already.

        Raises:
            EngineError: with pip's own words where a package cannot be installed, or the system's where
                nothing can be written.
        """
        if self.installed:
            return
        try:
            self._make(announce)
        except OSError as error:
            raise EngineError(
                f"The environment for {self.engine} cannot be made at {self.folder}: "
                f"{error.strerror or error}",
                hint="Set MODELPORT_HOME to a folder that can be written and has room",
            ) from error

    def remove(self) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self, announce: Callable[[str], None]) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=f"{self.engine}-partial-", dir=self.folder.parent))
        try:
            announce(f"making an environment for {self.engine}")
            self._fill(scratch, announce)
            self._settle(scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _fill(self, folder: Path, announce: Callable[[str], None]) -> None:
        _run([sys.executable, "-m", "venv", str(folder)], self.engine)
        announce(f"installing {', '.join(self._pins())}")
        python = str(_python_of(folder))
        pip = [python, "-m", "pip", "install", "--quiet", "--no-deps", "--prefer-binary"]
        _run([*pip, "--disable-pip-version-check", "-r", str(self.requirements)], self.engine)
        packages = Path(_run([python, "-c", _WHERE], self.engine).strip())
        _lead_to(packages, self.layered)
        about = {
            "engine": self.engine,
            "pins": self._pins(),
            "versions": {
                _canonical(found.metadata["Name"]): found.version
                for found in distributions(path=[str(packages)])
            },
        }
        (folder / ABOUT).write_text(json.dumps(about, indent=2), encoding="utf-8")

    def _settle(self, scratch: Path) -> None:
        """Into its place; another process may have been faster, with the same content."""
        try:
            scratch.rename(self.folder)
        except OSError:
            if not self.installed:
                raise

    def _pins(self) -> list[str]:
        lines = self.requirements.read_text(encoding="utf-8").splitlines()
        return [line.strip() for line in lines if line.strip() and line.lstrip()[0] not in "#-"]

    def _key(self) -> str:
        """Other versions, another Python or another base are another environment."""
        base = sys.prefix if self.layered else ""
        told = [self.requirements.read_text(encoding="utf-8"), sys.version, base]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()[:12]


def environment_of(name: str, requirements: Path | None, layered: bool) -> Environment:
    """Raises UsageError where the engine has none."""
    if requirements is None:
        raise UsageError(
            f"The engine {name} has no environment of its own",
            hint="`modelport engines` says how each engine is installed",
        )
    return Environment(name, requirements, layered)


_WHERE = "import sysconfig; print(sysconfig.get_path('purelib'))"


def _python_of(folder: Path) -> Path:
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def _lead_to(packages: Path, layered: bool) -> None:
    """Lets the environment find modelport, and behind its own packages ours where it is layered.

    The first path is relative: the environment is still to be moved into its place.
    """
    alone = packages.parent / "modelport-alone"
    alone.mkdir()
    package = Path(__file__).resolve().parents[1]
    try:
        (alone / package.name).symlink_to(package, target_is_directory=True)
    except OSError:  # Windows allows links to few users
        shutil.copytree(package, alone / package.name)
    paths = [f"../{alone.name}", *(_our_packages() if layered else [])]
    (packages / "modelport-paths.pth").write_text("\n".join(paths) + "\n", encoding="utf-8")


def _our_packages() -> list[str]:
    known = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    return list(dict.fromkeys(path for path in known if os.path.isdir(path)))


def _run(command: list[str], engine: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603  (Python and pip, no shell)
            command, capture_output=True, text=True, timeout=INSTALL_S, check=False,
            stdin=subprocess.DEVNULL, env={**os.environ, "PYTHONPATH": ""},
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise EngineError(f"The environment for {engine} cannot be made: {error}") from error
    if done.returncode != 0:
        told = [line for line in done.stderr.splitlines() if "error" in line.lower()]
        words = " ".join((told or done.stderr.splitlines() or ["without a word"])[-3:])
        raise EngineError(
            f"The environment for {engine} cannot be made: {words[:500]}",
            hint="Look whether the package index can be reached and the disk has room",
        )
    return done.stdout


def _canonical(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")
