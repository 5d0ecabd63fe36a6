"""Re-proves a bundle on this machine from its own golden cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from modelport.bundle.manifest import CaseEntry, VariantEntry
from modelport.bundle.read import Bundle
from modelport.engines import ENGINES
from modelport.errors import EngineUnavailableError, ModelportError, VerificationError
from modelport.runtime.one_tile import one_tile
from modelport.runtime.predictor import open_variant, preprocessor_of
from modelport.runtime.tasks import TASKS
from modelport.runtime.transforms.base import Preprocessor
from modelport.runtime.trust import refusal
from modelport.types import Array, Outputs, Running
from modelport.verify.compare import Fidelity, compare, run_all

if TYPE_CHECKING:
    from typing_extensions import Unpack


@dataclass(frozen=True)
class VariantCheck:
    """One variant on this machine; `skipped` says why it could not be run."""

    name: str
    fidelity: Fidelity | None = None
    skipped: str | None = None
    failed: str | None = None

    @property
    def passed(self) -> bool:
        return self.failed is None and self.fidelity is not None and self.fidelity.passed


@dataclass(frozen=True)
class BundleCheck:
    """What `verify` found.

    Attributes:
        files: how many files matched their checksums.
        cases: how many golden cases there are.
        grey_levels: largest difference between a stored feed and the one made again from its picture,
            in grey levels of 0..255; None where no case has a picture.
    """

    path: str
    files: int
    cases: int
    grey_levels: float | None
    variants: tuple[VariantCheck, ...]

    @property
    def problems(self) -> list[str]:
        found = [
            f"{check.name}: {check.failed or '; '.join(check.fidelity.reasons if check.fidelity else [])}"
            for check in self.variants
            if not check.passed and check.skipped is None
        ]
        if self.grey_levels is not None and self.grey_levels > 1.0:
            found.append(
                f"the transforms differ by {self.grey_levels:.1f} grey levels from the golden feeds"
            )
        if not any(check.passed for check in self.variants):
            found.append("no variant could be run on this machine")
        return found

    @property
    def passed(self) -> bool:
        return not self.problems

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passed": self.passed, "problems": self.problems}


def verify(path: str | Path, *, trust: bool = False, **running: Unpack[Running]) -> BundleCheck:
    """Checks every file of a bundle, its transforms, and every variant this machine can run.

    Args:
        trust: whether native code that the bundle brings may run; without it, variants with some are
            skipped.
        running: how the engines run; see `Predictor`.

    Raises:
        BundleError: where the bundle is damaged.
        VerificationError: where the bundle has no golden cases to prove anything with.
    """
    bundle = Bundle(path)
    files = bundle.check_files()
    if not bundle.cases:
        raise VerificationError(
            f"{path} has no golden cases", hint="Deploy the model again with --calibration data"
        )
    feeds = [bundle.arrays(case.feeds) for case in bundle.cases]
    expected = [bundle.arrays(case.outputs) for case in bundle.cases]
    checks = tuple(
        _check_variant(bundle, variant, feeds, expected, running, trust)
        for variant in bundle.variants
    )
    return BundleCheck(str(path), files, len(feeds), _grey_levels(bundle, feeds), checks)


def _check_variant(
    bundle: Bundle,
    variant: VariantEntry,
    feeds: Sequence[dict[str, Array]],
    expected: Sequence[Outputs],
    running: Running,
    trust: bool,
) -> VariantCheck:
    engine = ENGINES.get(variant.engine)
    reason = engine.available() or engine.cannot_run() or refusal(bundle, variant, trust)
    if reason is not None:
        return VariantCheck(variant.name, skipped=str(reason))
    try:
        with open_variant(bundle, variant, trust=trust, **running) as session:
            outputs = run_all(session, feeds)
    except EngineUnavailableError as error:
        return VariantCheck(variant.name, skipped=str(error))
    except ModelportError as error:
        return VariantCheck(variant.name, failed=str(error))
    classes = TASKS.get(bundle.manifest.task.name).has_classes
    fidelity = compare(expected, outputs, bundle.signature, variant.precision, classes=classes)
    return VariantCheck(variant.name, fidelity=fidelity)


def _grey_levels(bundle: Bundle, feeds: Sequence[dict[str, Array]]) -> float | None:
    task = bundle.manifest.task
    parameters = TASKS.get(task.name).parameters(task.parameters)
    preprocess = one_tile(preprocessor_of(bundle), parameters, bundle.signature.inputs)
    pairs = [
        (case, feed)
        for case, feed in zip(bundle.cases, feeds, strict=True)
        if case.picture is not None
    ]
    if preprocess is None or not pairs:
        return None
    return max(_difference(bundle, preprocess, case, feed) for case, feed in pairs)


def _difference(
    bundle: Bundle, preprocess: Preprocessor, case: CaseEntry, feed: dict[str, Array]
) -> float:
    assert case.picture is not None
    stored = feed[bundle.signature.inputs[0].name]
    made = preprocess(bytes(bundle.blob(case.picture).view()))
    if made.shape != stored.shape:
        return 255.0
    return float(np.abs(made.astype(np.float64) - stored).max() / preprocess.unit)
