"""Runs a context binary on the HTP, or on its emulator."""

from __future__ import annotations

from modelport.engines.base import Session
from modelport.engines.qnn.chips import CHIPS
from modelport.engines.qnn.provider import on_htp
from modelport.types import Artifact, Feeds, Outputs


class QnnSession(Session):
    """The emulator has one thread, and no setting for more."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(artifact.signature, artifact.engine)
        chip = CHIPS[str(artifact.options["chip"])]
        floats = artifact.options["precision"] == "fp16"
        self._session = on_htp(bytes(artifact.files["model"].view()), chip, floats=floats)
        self._names = [spec.name for spec in artifact.signature.outputs]

    def _run(self, feeds: Feeds) -> Outputs:
        return dict(zip(self._names, self._session.run(self._names, feeds), strict=True))

    def _close(self) -> None:
        del self._session
