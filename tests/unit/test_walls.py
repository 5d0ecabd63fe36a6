"""The import walls of the architecture, read from the source with `ast`."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import modelport
from modelport.engines import ENGINES
from modelport.engines.base import Engine

ROOT = Path(modelport.__file__).parent
COMPILER_SIDE = {"torch", "onnx", "onnx_ir", "onnxscript"} | {
    f"modelport.{room}" for room in ("passes", "graph", "frontends", "quantize")
}


class _Imports(ast.NodeVisitor):
    """Absolute names of what a module imports; imports for type checkers do not count."""

    def __init__(self, path: Path) -> None:
        self.package = ["modelport", *path.relative_to(ROOT).parts[:-1]]
        self.names: set[str] = set()
        self.visit(ast.parse(path.read_text(encoding="utf-8")))

    def visit_If(self, node: ast.If) -> None:
        if "TYPE_CHECKING" not in ast.unparse(node.test):
            self.generic_visit(node)
        for child in node.orelse:
            self.visit(child)

    def visit_Import(self, node: ast.Import) -> None:
        self.names |= {alias.name for alias in node.names}

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        above = self.package[: len(self.package) + 1 - node.level] if node.level else []
        base = ".".join([*above, *([node.module] if node.module else [])])
        self.names |= {f"{base}.{alias.name}" for alias in node.names}


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


IMPORTS = {_relative(path): _Imports(path).names for path in sorted(ROOT.rglob("*.py"))}


def _under(*rooms: str) -> dict[str, set[str]]:
    return {path: names for path, names in IMPORTS.items() if path.startswith(rooms)}


def _is(name: str, *modules: str) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def _ours(names: set[str]) -> set[str]:
    return {name for name in names if _is(name, "modelport")}


@pytest.mark.parametrize(
    ("rooms", "allowed"),
    [
        (("errors.py",), ()),
        (("types.py",), ("errors",)),
        (("registry.py",), ("errors",)),
        (("graph/",), ("types", "errors", "graph")),
        (("passes/",), ("types", "errors", "registry", "graph", "passes")),
        (("closing.py", "cores.py"), ()),
        (("staging.py",), ("errors",)),
        (("bundle/",), ("types", "errors", "staging", "bundle")),
    ],
)
def test_room_sees_only(rooms: tuple[str, ...], allowed: tuple[str, ...]) -> None:
    assert _under(*rooms)
    modules = [f"modelport.{room}" for room in allowed]
    broken = {
        path: sorted(name for name in _ours(names) if not _is(name, *modules))
        for path, names in _under(*rooms).items()
    }
    assert not {path: names for path, names in broken.items() if names}


def test_torch_only_where_modules_are_read() -> None:
    engines = {
        "/".join(type(engine).__module__.split(".")[1:]) + "/"
        for engine in map(ENGINES.get, ENGINES)
        if engine.module == "torch" or "torch" in engine.also_imports
    }
    rooms = ("frontends/", "codebases/", "quantize/qat.py", "compress/", "engines/torch_programs/")
    allowed = (*rooms, *engines)
    users = {path for path, names in IMPORTS.items() if any(_is(n, "torch") for n in names)}
    assert users
    assert {path for path in users if not path.startswith(allowed)} == set()


@pytest.mark.parametrize("room", ["runtime/", "bundle/", "serve/"])
def test_production_side_never_sees_the_compiler(room: str) -> None:
    assert _under(room) or room == "serve/"
    broken = {
        (path, name)
        for path, names in _under(room).items()
        for name in names
        if _is(name, *COMPILER_SIDE)
    }
    assert broken == set()


CONTRACT = (
    "base",
    "libraries",
    "files",
    "routes",
    "conversion",
    "converting",
    "gpu",
    "torch_programs",
)
"""Modules of `engines` that belong to no engine and that each may use."""


INSIDE = ("batches", "cache", "environments", "native", "preparing", "refusals", "workers")
"""Modules of `engines` behind the contract."""


def test_sessions_see_only_the_contract_and_their_library() -> None:
    """Converters too: both may run in an environment that has nothing but the engine."""
    found = {
        path: names
        for path, names in _under("engines/").items()
        if path.endswith(("/session.py", "/convert.py"))
    }
    assert found
    for path, names in found.items():
        own = f"modelport.engines.{path.split('/')[1]}"
        libraries = {(engine.module or "").split(".")[0] for engine in _engines_in(own)}
        allowed = (
            "modelport.types",
            "modelport.errors",
            "modelport.cores",
            own,
            *(f"modelport.engines.{name}" for name in CONTRACT),
            *libraries,
            *(name for engine in _engines_in(own) for name in engine.also_imports),
            "numpy",
        )
        foreign = {
            name
            for name in names
            if not _is(name, *allowed) and name.split(".")[0] not in sys.stdlib_module_names
        }
        assert foreign == set(), path


def test_engine_libraries_are_imported_on_use() -> None:
    """The files that an engine is found by must import on a machine that lacks its library."""
    for path in _under("engines/"):
        if path.count("/") == 1 or path.endswith("/__init__.py"):
            top = _top_level(ROOT / path)
            libraries = {"onnx", "onnx_ir", "onnxruntime", "openvino", "torch"}
            assert not {name for name in top if name.split(".")[0] in libraries}, path


def test_engines_never_see_each_other() -> None:
    for path, names in _under("engines/").items():
        own = path.removeprefix("engines/").split("/")[0].removesuffix(".py")
        for name in names:
            if _is(name, "modelport.engines"):
                other = name.removeprefix("modelport.engines").strip(".").split(".")[0]
                shared = (*CONTRACT, *INSIDE)
                assert other in (*shared, "Engine", "ENGINES", own), f"{path} imports {name}"


def _engines_in(package: str) -> list[Engine]:
    members = [ENGINES.get(name) for name in ENGINES]
    return [each for each in members if type(each).__module__.startswith(package)]


@pytest.mark.parametrize("room", ["verify", "profile", "tune"])
def test_measuring_rooms_speak_through_the_contract(room: str) -> None:
    allowed = ("modelport.engines.base", "modelport.engines.ENGINES", "modelport.engines.Engine")
    for path, names in _under(f"{room}/", f"{room}.py").items():
        wrong = [n for n in names if _is(n, "modelport.engines") and not _is(n, *allowed)]
        assert not wrong, f"{path} imports {wrong}"


def _top_level(path: Path) -> set[str]:
    """Names imported when the module itself is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def _python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_modelport_loads_no_library() -> None:
    heavy = ["torch", "onnx", "onnx_ir", "onnxruntime", "openvino", "pydantic", "numpy", "PIL"]
    code = (
        f"import json, sys, modelport; print(json.dumps([m for m in {heavy} if m in sys.modules]))"
    )
    assert json.loads(_python(code)) == []


def test_runtime_imports_without_the_compiler() -> None:
    modules = [
        "modelport." + path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for path in _under("runtime/", "bundle/", "serve/")
    ]
    assert "modelport.bundle.read" in modules
    blocked = ["torch", "onnx", "onnx_ir", "onnxscript", "nncf"]
    code = (
        f"import importlib, sys\nfor name in {blocked}: sys.modules[name] = None\n"
        f"for name in {modules}: importlib.import_module(name)\n"
        "inside = [n for n in sys.modules if n.startswith(('modelport.graph', 'modelport.passes'))]\n"
        "assert not inside, inside"
    )
    _python(code)
