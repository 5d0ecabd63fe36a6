"""The documents agree with each other and with the source."""

from __future__ import annotations

import ast
import re
import runpy
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - parses a graph from text
import onnx_ir as ir
import pytest

import modelport
from documents import DOCUMENTS, anchors, blocks, headings, links, prose
from modelport import errors
from modelport.engines.scratch import opened
from modelport.passes import PASSES
from modelport.passes.pipelines import PORTABLE
from modelport.quantize import SCHEMES
from modelport.runtime.tasks.base import Context, Parameters
from modelport.types import Target
from modelport.verify.tolerances import TOLERANCES
from support import ROOT

README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
DOCS = ROOT / "docs"

every_document = pytest.mark.parametrize(
    "document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix()
)


def rows(document: Path) -> list[list[str]]:
    """The cells of every table row."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in prose(document)
        if line.startswith("|")
    ]


@every_document
def test_links_resolve(document: Path) -> None:
    for link in links(document):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), f"{document.name} links to {link}"
        if anchor:
            assert anchor in anchors(target), f"{document.name} links to {link}"


@every_document
def test_names_no_machine_and_no_host_of_packages(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for unwanted in ("/work/", "/tmp/", "/home/", "/root/", "pypi.", "pythonhosted", "index-url"):
        assert unwanted not in text


@every_document
def test_code_is_whole(document: Path) -> None:
    assert document.read_text(encoding="utf-8").count("\n```") % 2 == 0
    for block in blocks(document):
        assert block.language in ("bash", "console", "python", "text", "toml"), block.line
        if block.language == "python":
            ast.parse(block.code)


@every_document
def test_headings_begin_with_a_title_and_skip_no_level(document: Path) -> None:
    levels = [level for level, _ in headings(document)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))


def test_index_names_every_guide() -> None:
    named = {Path(link.partition("#")[0]).name for link in links(DOCS / "index.md")}
    assert {path.name for path in DOCS.glob("*.md")} - {"index.md"} <= named


def test_chinese_readme_says_the_same() -> None:
    assert [b.code for b in blocks(CHINESE)] == [b.code for b in blocks(README)]
    assert [b.skip is None for b in blocks(CHINESE)] == [b.skip is None for b in blocks(README)]
    assert [level for level, _ in headings(CHINESE)] == [level for level, _ in headings(README)]
    assert len(rows(CHINESE)) == len(rows(README))
    english, chinese = sorted(links(README)), sorted(links(CHINESE))
    assert [link for link in chinese if link not in english] == ["README.md"]
    assert [link for link in english if link not in chinese] == ["README.zh-CN.md"]


def test_readme_shows_a_source_with_all_that_belongs_to_it() -> None:
    (model_file,) = (block for block in blocks(README) if block.file == "model.py")
    for field in ("inputs=", "transforms=", "task=", "labels=", "output_names="):
        assert field in model_file.code
    commands = "".join(block.code for block in blocks(README) if block.language == "bash")
    for option in ("--weights", "--calibration", "--budget"):
        assert option in commands


def test_reference_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "reference.py"))
    assert script["PAGE"].read_text(encoding="utf-8") == script["page"](), "run scripts/docs"


def test_reference_names_everything_public() -> None:
    titles = {text for _, text in headings(DOCS / "reference.md")}
    names = set(modelport.__all__) - {"__version__", "graph", "rewrites", "transforms"}
    assert {f"modelport.{name}" for name in names} <= titles


def test_error_tree_is_that_of_the_source() -> None:
    tree = re.search(r"^( *)ModelportError\n(\1[├│└ ].*\n)+", errors.__doc__ or "", re.MULTILINE)
    assert tree is not None
    lines = [line.removeprefix(tree[1]) for line in tree[0].splitlines()]
    shown = next(b.code for b in blocks(DOCS / "errors.md") if b.code.startswith("ModelportError"))
    assert shown.splitlines() == lines


def test_tolerances_are_those_of_the_source() -> None:
    shown = {
        row[0]: tuple(float(cell.removesuffix(" dB")) for cell in row[1:])
        for row in rows(DOCS / "verify.md")
        if row[0] in TOLERANCES
    }
    assert shown == {name: tuple(vars(limits).values()) for name, limits in TOLERANCES.items()}


def test_passes_are_listed_in_the_order_they_run() -> None:
    shown = [row for row in rows(DOCS / "optimize.md") if row[0].startswith("`")]
    steps = [PASSES.get(name) for name, _ in PORTABLE]
    assert [row[0].strip("`") for row in shown] == [step.name for step in steps]
    assert [row[1] for row in shown] == [step.summary for step in steps]
    assert [row[2] == "exact" for row in shown] == [step.exact for step in steps]


def test_schemes_and_rooms_exist() -> None:
    deploy = (DOCS / "deploy.md").read_text(encoding="utf-8")
    assert "int8-mixed" in SCHEMES
    assert "int8-mixed" in deploy
    package = Path(modelport.__file__).parent
    for row in rows(DOCS / "architecture.md"):
        for name in re.findall(r"`([\w/.]+(?:/|\.py))`", row[0]):
            exists = (package / name).exists()
            assert exists or "(planned)" in row[0], f"there is no room {name}"
    rooms = {path.name for path in package.iterdir() if path.name != "__pycache__"}
    told = "".join(row[0] for row in rows(DOCS / "architecture.md"))
    assert {room for room in rooms if room not in told} <= {"py.typed"}


def test_contract_examples_work() -> None:
    """The examples of the architecture do what their contracts say."""
    namespace: dict[str, Any] = {"__name__": "architecture"}
    for block in blocks(DOCS / "architecture.md"):
        if block.language == "python":
            exec(compile(block.code, "architecture.md", "exec", dont_inherit=True), namespace)
    text = '<ir_version: 10, opset_import: ["" : 20]>\n'
    text += "m (float[1, 2] x) => (float[1, 2] y) { a = Neg (x) b = Neg (a) y = Relu (b) }"
    model = ir.from_proto(onnx.parser.parse_model(text))
    assert namespace["RemoveDoubleNeg"]()(model).modified
    PASSES.get("remove_unused")(model)  # the other Neg, which nothing reads now
    assert [node.op_type for node in model.graph] == ["Relu"]
    feeds = {"x": np.array([[-1, 7]], np.float32)}
    with opened(namespace["Evaluator"](), model, Target()) as session:
        outputs = session.run(feeds)
    np.testing.assert_array_equal(outputs["y"], [[0, 7]])
    task = namespace["AngleTask"]()
    result = task.decode({"angle": np.array([[30]], np.float32)}, Context(Parameters()))
    assert result.to_json() == {"degrees": 30.0}
    assert task.describe(result) == "30 degrees"
    assert namespace["INT8_PER_TENSOR"].to_json()["weights"] == "per_tensor"
