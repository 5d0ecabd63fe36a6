"""Edits that cannot be meant, and files that are not what they are said to be: errors that help."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from modelport.errors import DataError, ModelportError, WeightsError
from modelport.graph import find, io, recipe, weights
from support import Ran, entries

Cli = Callable[..., Ran]

TEXT = """
<ir_version: 10, opset_import: ["" : 20]>
main (float[1,3] x) => (float[1,3] y) {
    a = Mul (x, w)
    y = Relu (a)
}
"""


def model() -> ir.Model:
    return ir.from_onnx_text(TEXT, initializers=[ir.tensor(np.ones(3, np.float32), name="w")])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    io.save(model(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def safetensors(header: Any, body: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + body


def entry(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12], **changes}}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x01",
        safetensors(entry(), bytes(12), length=2**63),
        safetensors(entry(), bytes(11)),
        safetensors(b"{", bytes(12)),
        safetensors(b"\xff\xfe", bytes(12)),
        safetensors([], bytes(12)),
        safetensors({"w": 3}, bytes(12)),
        safetensors({"w": {}}, bytes(12)),
        safetensors(entry(dtype="F31"), bytes(12)),
        safetensors(entry(dtype=["F32"]), bytes(12)),
        safetensors(entry(shape=[2**40, 2**40]), bytes(12)),
        safetensors(entry(shape=[-3]), bytes(12)),
        safetensors(entry(shape="3"), bytes(12)),
        safetensors(entry(shape=[4]), bytes(12)),
        safetensors(entry(data_offsets=[0, 99]), bytes(12)),
        safetensors(entry(data_offsets=[12, 0]), bytes(12)),
        safetensors(entry(data_offsets=[-12, 0]), bytes(12)),
        safetensors(entry(data_offsets=[0.5, 12]), bytes(12)),
        safetensors(entry(data_offsets=7), bytes(12)),
        safetensors(b'{"w":' + b"[" * 100_000, bytes(12)),
    ],
)
def test_damaged_safetensors(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(content)
    whole = model()
    with pytest.raises(WeightsError) as caught:
        weights.load(whole, path)
    assert "w.safetensors" in str(caught.value)
    assert len(str(caught.value)) < 600
    np.testing.assert_array_equal(weights.get(whole, "w"), np.ones(3))


@given(content=st.binary(max_size=200))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_as_weights(content: bytes, tmp_path: Path) -> None:
    for suffix in (".npy", ".safetensors"):  # any twelve bytes are three numbers
        path = tmp_path / f"w{suffix}"
        path.write_bytes(content)
        with pytest.raises(ModelportError):
            weights.put(model(), "w", file=path)


def test_pickles_are_never_opened(tmp_path: Path) -> None:
    touched = tmp_path / "touched"

    class Bomb:
        def __reduce__(self) -> Any:
            return (Path.touch, (touched,))

    path = tmp_path / "w.npy"
    np.save(path, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="without Python objects"):
        weights.put(model(), "w", file=path)
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(DataError):
        weights.put(model(), "w", file=path)
    (tmp_path / "r.yaml").write_text(
        "edits:\n- set_weight: {value: w, data: !!python/object/apply:os.mkdir [touched]}\n"
    )
    with pytest.raises(ModelportError, match="could not determine a constructor"):
        recipe.load(tmp_path / "r.yaml")
    assert not touched.exists()


def test_a_recipe_that_would_fill_the_memory() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    with pytest.raises(ModelportError, match="an alias of YAML"):
        recipe.loads("\n".join(lines))


def refusal(call: Callable[[], Any]) -> str:
    """What is said against it; nothing where it can be done. Another kind of error fails the test."""
    try:
        call()
    except ModelportError as error:
        return str(error) or "nothing said"
    return ""


@given(text=st.text(alphabet="abcdeint_sr:->{}[]\"' \n*&!#01", max_size=120))
def test_any_text_as_a_recipe(text: str) -> None:
    for content in (text, f"edits:\n- {text}", f"edits:\n- bypass: {text}"):
        assert "\n" not in refusal(lambda content=content: recipe.loads(content))


@given(
    operation=st.sampled_from(list(recipe.OPERATIONS)),
    text=st.text(alphabet="xwya:=./*?[]\\\"' \n01-", max_size=40),
)
def test_any_words_as_an_edit(operation: str, text: str) -> None:
    said = refusal(lambda: recipe.apply(model(), [recipe.parse(operation, text)]))
    assert said != "nothing said"


@given(selector=st.text(max_size=30))
def test_any_text_as_a_selector(selector: str) -> None:
    assert len(refusal(lambda: find.places(model(), selector))) < 600


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "o.onnx"], "There is no edit"),
        (["-o", "m.onnx", "--bypass", "op:Relu"], "is the original, which stays as it is"),
        (["-o", "o.txt", "--bypass", "op:Relu"], "is no ONNX file"),
        (
            ["-o", "o.onnx", "--bypass", "op:Relo"],
            "bypass: Nothing in the graph is 'op:Relo'. Perhaps",
        ),
        (["-o", "o.onnx", "--recipe", "none.yaml"], "There is no recipe none.yaml"),
        (["-o", "o.onnx", "--bypas", "op:Relu"], "No such option"),
        (["-o", "o.onnx", "--bypass", "op:Relu", "--weights-in", "hell"], "cannot go 'hell'"),
        (["-o", "m.onnx/o.onnx", "--bypass", "op:Relu"], "m.onnx"),
    ],
)
def test_commands_that_cannot_be_meant(
    arguments: list[str], words: str, file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    before = file.read_bytes()
    done = cli("edit", "m.onnx", *arguments)
    assert done.status == 2
    assert words in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert file.read_bytes() == before
    assert list(entries(file.parent)) == ["m.onnx"], "nothing is left behind"


def test_a_failing_edit_leaves_an_earlier_result(file: Path, cli: Cli) -> None:
    out = file.parent / "o.onnx"
    assert cli("edit", file, "-o", out, "--bypass", "op:Relu").status == 0
    before = out.read_bytes()
    assert cli("edit", file, "-o", out, "--bypass", "op:Relu", "--rename", "x w").status == 2
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["extract", "m.onnx", "-o", "o.onnx"], "It is not clear what to extract"),
        (["extract", "m.onnx", "-o", "o.onnx", "--split"], "is no folder"),
        (["extract", "m.onnx", "-o", "parts", "--split"], "has no marks"),
        (["extract", "m.onnx", "-o", "o.onnx", "--module", "a", "--inputs", "x"], "not clear"),
        (["extract", "m.onnx", "-o", "m.onnx", "--outputs", "a"], "is the original"),
        (["merge", "m.onnx", "-o", "o.onnx"], "1 models were given"),
        (["merge", "m.onnx", "m.onnx", "-o", "o.onnx"], "Two models have an output 'y'"),
        (["merge", "m.onnx", "m.onnx", "-o", "o.onnx", "--map", "x"], "cannot be read"),
        (["merge", "m.onnx", "m.onnx", "-o", "o.onnx", "--share", "x"], "Add --beside"),
        (["diff", "m.onnx", "none.onnx"], "There is no file none.onnx"),
        (["inspect", "m.onnx", "--nodes", "op:Conv"], "Nothing in the graph is"),
        (["inspect", "m.onnx", "--save-weights", "w.npy"], "wants --nodes"),
        (["view", "m.onnx", "--save", "m.onnx"], "is the original"),
    ],
)
def test_other_commands_that_cannot_be_meant(
    arguments: list[str], words: str, file: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(file.parent)
    done = cli(*arguments)
    assert done.status == 2
    assert words in done.stderr
    assert list(entries(file.parent)) == ["m.onnx"]
