"""What is listed exists, has the name it is listed under, and says what it is."""

from __future__ import annotations

import importlib
import inspect
import json
import re
import sys
from collections.abc import Callable
from importlib.metadata import metadata
from pathlib import Path
from typing import Any

import pytest

from modelport.codebases import CODEBASES
from modelport.codebases.base import Codebase
from modelport.deployment.edits import EDITS, Edit
from modelport.engines import ENGINES
from modelport.engines.base import Engine
from modelport.errors import UnknownNameError
from modelport.frontends.rewrites import REWRITES, Rewrite
from modelport.passes import PASSES
from modelport.passes.base import GraphPass
from modelport.passes.pipelines import PORTABLE, portable
from modelport.quantize import SCHEMES
from modelport.quantize.schemes import Scheme
from modelport.registry import Registry
from modelport.runtime.foreign import FOREIGN
from modelport.runtime.foreign.base import Opener
from modelport.runtime.tasks import TASKS
from modelport.runtime.tasks.base import Result, Task
from modelport.runtime.transforms import PREPROCESSORS, TRANSFORMS
from modelport.runtime.transforms.base import Preprocessor, Transform
from modelport.types import PRECISIONS
from support import Ran

REGISTRIES: dict[str, tuple[Registry[Any], type]] = {
    "codebases": (CODEBASES, Codebase),
    "edits": (EDITS, Edit),
    "engines": (ENGINES, Engine),
    "openers": (FOREIGN, Opener),
    "passes": (PASSES, GraphPass),
    "rewrites": (REWRITES, Rewrite),
    "schemes": (SCHEMES, Scheme),
    "tasks": (TASKS, Task),
}
EXTRAS = set(metadata("modelport").get_all("Provides-Extra") or [])
MEMBERS = [(kind, name) for kind, (registry, _) in REGISTRIES.items() for name in registry]


@pytest.mark.parametrize("kind", REGISTRIES)
def test_registry_lists_its_members_once(kind: str) -> None:
    names = list(REGISTRIES[kind][0])
    assert names
    assert len(names) == len(set(names))
    assert all(name in REGISTRIES[kind][0] for name in names)


@pytest.mark.parametrize("kind", REGISTRIES)
def test_registry_names_what_it_lacks(kind: str) -> None:
    registry, _ = REGISTRIES[kind]
    assert "no-such-member" not in registry
    with pytest.raises(UnknownNameError) as caught:
        registry.get("no-such-member")
    assert f"There is no {registry.kind} named 'no-such-member'" in str(caught.value)
    assert all(name in str(caught.value) for name in registry)


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_member_has_its_name_and_keeps_the_contract(kind: str, name: str) -> None:
    registry, contract = REGISTRIES[kind]
    member = registry.get(name)
    assert isinstance(member, contract)
    assert member.name == name
    assert registry.get(name) is member, "a member is made once"


@pytest.mark.parametrize(("kind", "name"), [each for each in MEMBERS if each[0] != "engines"])
def test_member_says_what_it_is(kind: str, name: str) -> None:
    summary = REGISTRIES[kind][0].get(name).summary
    assert summary
    assert summary == summary.strip()
    assert "\n" not in summary
    assert not summary.endswith(".")


@pytest.mark.parametrize(("kind", "name"), MEMBERS)
def test_member_is_documented(kind: str, name: str) -> None:
    member = REGISTRIES[kind][0].get(name)
    module = importlib.import_module(type(member).__module__)
    own = type(member).__dict__.get("__doc__") or ""
    assert own.strip() or (module.__doc__ or "").strip(), "neither class nor file has a docstring"


@pytest.mark.parametrize("kind", REGISTRIES)
def test_command_lists_the_registry(kind: str, cli: Callable[..., Ran]) -> None:
    rows = cli(kind, "--json").json
    assert {row["name"] for row in rows} == set(REGISTRIES[kind][0])


def test_command_lists_the_transforms(cli: Callable[..., Ran]) -> None:
    rows = cli("transforms", "--json").json
    assert {row["name"] for row in rows} == set(TRANSFORMS)
    assert all(row["does"] for row in rows)


@pytest.mark.parametrize("name", list(ENGINES))
def test_engine_states_its_rules(name: str) -> None:
    engine = ENGINES.get(name)
    assert set(engine.precisions) <= set(PRECISIONS)
    assert engine.precisions
    oldest, newest = engine.rules.opsets
    assert 1 <= oldest <= newest
    assert engine.rules.source
    assert set(engine.rules.legalize) <= set(PASSES)
    assert (engine.rules.quantization is not None) or "int8" not in engine.precisions
    assert (engine.package is None) == (engine.module is None)
    assert engine.extra is None or engine.extra in EXTRAS


@pytest.mark.parametrize("name", [name for name in ENGINES if ENGINES.get(name).package])
def test_engine_that_is_missing_says_what_to_install(
    name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    engine = ENGINES.get(name)
    assert engine.module is not None
    monkeypatch.setitem(sys.modules, engine.module, None)
    monkeypatch.setenv("MODELPORT_HOME", str(tmp_path))
    wanted = f'"modelport[{engine.extra}]"' if engine.extra else engine.package
    ways = [f"pip install {wanted}"] if engine.extra or engine.requirements is None else []
    if engine.requirements is not None:
        ways.append(f"modelport engines install {name}")
    assert engine.available() == f"{engine.package} is not installed: {', or '.join(ways)}"


@pytest.mark.parametrize("name", [name for name in ENGINES if ENGINES.get(name).requirements])
def test_environments_are_pinned(name: str) -> None:
    """Every line is one distribution in one version; the engine's own is among them."""
    engine = ENGINES.get(name)
    assert engine.requirements is not None
    lines = engine.requirements.read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line.strip() and line[0] not in "#-"]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+!-]+", pin) for pin in pins), pins
    assert (engine.package or "").lower() in {pin.partition("==")[0].lower() for pin in pins}


@pytest.mark.parametrize("name", list(SCHEMES))
def test_scheme_is_plain_data(name: str) -> None:
    scheme = SCHEMES.get(name)
    content = json.loads(json.dumps(scheme.to_json()))
    assert Scheme(**{**content, "keep_float": tuple(content["keep_float"])}) == scheme


def test_portable_pipeline_is_made_of_passes_with_reasons() -> None:
    names = [name for name, _ in PORTABLE]
    assert len(names) == len(set(names))
    assert all(name in PASSES for name in names)
    assert all(reason for _, reason in PORTABLE)
    assert [step.name for step in portable()] == names


@pytest.mark.parametrize("name", list(PASSES))
def test_pass_takes_no_arguments_and_is_stated_exact_or_not(name: str) -> None:
    step = PASSES.get(name)
    assert isinstance(step.exact, bool)
    assert not [
        parameter
        for parameter in inspect.signature(type(step)).parameters.values()
        if parameter.default is parameter.empty
    ]


@pytest.mark.parametrize("name", list(TASKS))
def test_task_results_are_results(name: str) -> None:
    task = TASKS.get(name)
    module = importlib.import_module(type(task).__module__)
    results = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Result) and value is not Result
    ]
    assert results, "a task has a result of its own"
    assert all(result.to_json is not Result.to_json for result in results)
    assert all(result.__doc__ for result in results)


@pytest.mark.parametrize("name", list(TRANSFORMS))
def test_transform_is_data_of_its_kind(name: str) -> None:
    kind = TRANSFORMS.get(name)
    assert issubclass(kind, Transform)
    assert kind.model_fields["kind"].default == name
    assert kind.model_config["frozen"]
    assert kind.model_config["extra"] == "forbid"
    assert kind.medium in PREPROCESSORS


@pytest.mark.parametrize("medium", list(PREPROCESSORS))
def test_preprocessor_is_of_its_medium(medium: str) -> None:
    kind = PREPROCESSORS.get(medium)
    assert issubclass(kind, Preprocessor)
    assert kind.medium == medium
