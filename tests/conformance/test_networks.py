"""Every engine that this machine has, on real networks: equal to PyTorch by every route it offers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import torch
from networks import NETWORKS
from torch import nn

from modelport.engines import ENGINES
from modelport.engines.base import Engine
from modelport.engines.routes import PROGRAM
from modelport.frontends import ExportOptions, open_source
from modelport.graph.query import signature_of
from modelport.optimization import optimize
from modelport.quantize import SCHEMES
from modelport.quantize.nncf import available as nncf_missing
from modelport.quantize.nncf import quantize
from modelport.tailoring import Tailor
from modelport.types import PRECISIONS, QUANTIZED, Artifact, Feeds, Outputs, Signature, Target
from modelport.verify.compare import compare, run_all

pytestmark = pytest.mark.timeout(1200)  # some compile C++, which takes minutes on a busy machine

CALIBRATION = 16
TESTED = [name for name in ENGINES if not ENGINES.get(name).for_tests]


KNOWN = {
    (
        "caffe",
        "graph",
        "fp32",
        "vit",
    ): "Caffe has no product of two values, no LayerNormalization and no Erf, which it says",
}
"""What an engine cannot do, by engine, route, precision and network, and why."""

SCHEME = {"mobilenetv3": "int8-mixed"}
"""Where plain int8 leaves nothing of an untrained network to compare."""


@dataclass
class Exported:
    """A network with its graph and its program."""

    module: nn.Module
    graph: object
    program: Path
    folder: TemporaryDirectory[str]

    @property
    def signature(self) -> Signature:
        return signature_of(self.graph)

    def want(self, feeds: list[Feeds]) -> list[Outputs]:
        names = [spec.name for spec in self.signature.outputs]
        found = []
        for feed in feeds:
            with torch.no_grad():
                results = self.module(torch.from_numpy(np.array(feed["x"])))
            results = results if isinstance(results, tuple) else (results,)
            found.append({n: r.numpy() for n, r in zip(names, results, strict=True)})
        return found


@cache
def exported(name: str, spec: str) -> Exported:
    network = NETWORKS[name]
    module = network.module()
    loaded = open_source(module, inputs=spec, options=ExportOptions())
    graph = optimize(loaded.to_graph()).model
    folder = TemporaryDirectory(prefix="modelport-")
    program = Path(folder.name) / "model.pt2"
    assert loaded.write_program(program)
    return Exported(module, graph, program, folder)


@cache
def quantized(name: str, precision: str = "int8") -> object:
    network = NETWORKS[name]
    made = exported(name, network.fixed)
    return quantize(
        made.graph,
        SCHEMES.get(SCHEME.get(name, "int8") if precision == "int8" else precision),
        pictures(network.side, 1, range(CALIBRATION)),
    )


def pictures(side: int, batch: int, seeds: range) -> list[Feeds]:
    """Smooth random pictures in several contrasts: noise alone has no structure to move outputs."""
    feeds = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.rand(batch, 3, 8, 8, generator=generator) * (0.5 + seed % 3)
        picture = nn.functional.interpolate(coarse, (side, side), mode="bilinear")
        noise = torch.rand(picture.shape, generator=generator) * 0.2
        feeds.append({"x": (picture + noise).numpy()})
    return feeds


CASES = [
    pytest.param(name, route, precision, network, id=f"{name}-{route}-{precision}-{network}")
    for name in TESTED
    for route in ENGINES.get(name).routes
    for precision in PRECISIONS
    if precision in ENGINES.get(name).precisions
    for network in NETWORKS
]


def usable(name: str, precision: str, route: str) -> Engine:
    engine = ENGINES.get(name)
    reason = engine.refuses(Target(precision=precision))
    if reason is not None:
        pytest.skip(f"{name} at {precision}: {reason}")
    if precision in QUANTIZED and engine.rules.quantization != "own":
        if route == PROGRAM:
            pytest.skip(f"{name}: int8 is made in the graph, not in the program")
        if reason := nncf_missing():
            pytest.skip(reason)
    return engine


def skip_where_it_only_compiles(engine: Engine) -> None:
    if reason := engine.cannot_run():
        pytest.skip(f"{engine.name} compiled it; {reason}")


def compiled(
    engine: Engine, network: str, spec: str, route: str, precision: str, folder: Path
) -> Artifact:
    made = exported(network, spec)
    target = Target(precision=precision, threads=1)
    own = precision in QUANTIZED and engine.rules.quantization == "own"
    feeds = pictures(NETWORKS[network].side, 1, range(CALIBRATION)) if own else []
    if route == PROGRAM:
        return engine.compile_program(made.program, made.signature, target, folder, feeds)
    graph = quantized(network, precision) if precision in QUANTIZED and not own else made.graph
    fitted = Tailor().fit(graph, engine, engine.rules.legalize)
    return engine.compile(fitted, target, folder, feeds)


@pytest.mark.parametrize(("name", "route", "precision", "network"), CASES)
def test_engine_equals_pytorch(
    name: str, route: str, precision: str, network: str, tmp_path: Path
) -> None:
    engine = usable(name, precision, route)
    if (name, route, precision, network) in KNOWN:
        pytest.skip(KNOWN[name, route, precision, network])
    spec = NETWORKS[network].fixed
    artifact = compiled(engine, network, spec, route, precision, tmp_path)
    skip_where_it_only_compiles(engine)
    made = exported(network, spec)
    feeds = pictures(NETWORKS[network].side, 1, range(100, 104))
    ours = precision in QUANTIZED and engine.rules.quantization != "own"
    want = emulated(network, feeds) if ours else made.want(feeds)
    assert moves(want)
    with engine.load(artifact, threads=1) as session:
        got = run_all(session, feeds)
    fidelity = compare(want, got, made.signature, precision, classes=False)
    assert fidelity.passed, fidelity.reasons


@pytest.mark.parametrize("network", ["resnet18", "vit"])
@pytest.mark.parametrize(
    ("name", "layout"),
    [(name, layout) for name in TESTED for layout in ENGINES.get(name).layouts],
)
def test_layouts(name: str, layout: str, network: str, tmp_path: Path) -> None:
    """In every layout that one may choose it is the same model."""
    engine = ENGINES.get(name)
    usable(name, "fp32", engine.routes[0])
    spec = NETWORKS[network].fixed
    made, target = exported(network, spec), Target(threads=1, layout=layout)
    if engine.routes[0] == PROGRAM:
        artifact = engine.compile_program(made.program, made.signature, target, tmp_path)
    else:
        artifact = engine.compile(made.graph, target, tmp_path)
    feeds = pictures(NETWORKS[network].side, 1, range(100, 102))
    with engine.load(artifact, threads=1) as session:
        fidelity = compare(
            made.want(feeds), run_all(session, feeds), made.signature, "fp32", classes=False
        )
    assert fidelity.passed, fidelity.reasons


@pytest.mark.parametrize("name", TESTED)
def test_a_layout_that_it_has_not_is_refused(name: str) -> None:
    reason = ENGINES.get(name).refuses(Target(ENGINES.get(name).precisions[0], layout="spiral"))
    assert reason is not None
    if ENGINES.get(name).available() is None and "layout" not in reason:
        pytest.skip(f"{name}: {reason}")


def emulated(network: str, feeds: list[Feeds]) -> list[Outputs]:
    """The quantized graph in float arithmetic: the engine is judged, not what int8 does to the network."""
    engine = ENGINES.get("onnxruntime")
    with TemporaryDirectory(prefix="modelport-") as folder:
        artifact = engine.compile(quantized(network), Target(), Path(folder))
        plain = replace(artifact, options={**artifact.options, "optimize": False})
        with engine.load(plain, threads=1) as session:
            return run_all(session, feeds)


def moves(outputs: list[Outputs]) -> bool:
    first, second, *_ = outputs
    return all(np.abs(first[n] - second[n]).max() > 1e-2 * np.abs(first[n]).max() for n in first)


@pytest.mark.parametrize("network", ["resnet18", "vit"])
@pytest.mark.parametrize(
    ("name", "route"),
    [(n, r) for n in TESTED for r in ENGINES.get(n).routes],
    ids=lambda value: str(value),
)
def test_free_batches(name: str, route: str, network: str, tmp_path: Path) -> None:
    """Sizes that are free stay free, or the engine says that it takes fixed ones alone."""
    precision = ENGINES.get(name).precisions[0]
    engine = usable(name, precision, route)
    if not engine.rules.free_sizes:
        with pytest.raises(Exception, match="fixed sizes"):
            compiled(engine, network, NETWORKS[network].free, route, precision, tmp_path)
        return
    artifact = compiled(engine, network, NETWORKS[network].free, route, precision, tmp_path)
    skip_where_it_only_compiles(engine)
    made = exported(network, NETWORKS[network].free)
    feeds = [
        pictures(NETWORKS[network].side, batch, range(batch, batch + 1))[0] for batch in (1, 4, 3)
    ]
    want = made.want(feeds)
    with engine.load(artifact, threads=1) as session:
        got = run_all(session, feeds)
        together = session.run_batch([feeds[0], feeds[2]])
    assert compare(want, got, made.signature, precision, classes=False).passed
    pairs = zip((want[0], want[2]), together, strict=True)
    assert all(np.allclose(a[n], b[n], atol=1e-3) for a, b in pairs for n in a)
