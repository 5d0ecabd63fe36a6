"""Models of transformers, from a folder or by the name of a repository."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from modelport.codebases.base import Codebase, quiet, said
from modelport.codebases.processors import recipe_of
from modelport.codebases.recipes import Recipe
from modelport.codebases.transformers_inputs import inputs_of, picture_size
from modelport.codebases.transformers_tasks import meaning_of
from modelport.errors import SourceError, UsageError
from modelport.frontends.source import Source

TASKS = {
    "depth-estimation": "AutoModelForDepthEstimation",
    "feature-extraction": "AutoModel",
    "fill-mask": "AutoModelForMaskedLM",
    "image-classification": "AutoModelForImageClassification",
    "image-feature-extraction": "AutoModel",
    "image-segmentation": "AutoModelForImageSegmentation",
    "image-to-text": "AutoModelForImageTextToText",
    "object-detection": "AutoModelForObjectDetection",
    "question-answering": "AutoModelForQuestionAnswering",
    "semantic-segmentation": "AutoModelForSemanticSegmentation",
    "text-classification": "AutoModelForSequenceClassification",
    "text-generation": "AutoModelForCausalLM",
    "text2text-generation": "AutoModelForSeq2SeqLM",
    "token-classification": "AutoModelForTokenClassification",
    "zero-shot-image-classification": "AutoModelForZeroShotImageClassification",
}
"""The library's words for what a model is for, and its classes."""

_WEIGHTS = ("*.safetensors", "pytorch_model*.bin")


class Transformers(Codebase):
    name: ClassVar[str] = "transformers"
    package: ClassVar[str] = "transformers"
    summary: ClassVar[str] = "models for pictures and text, from a folder or a hub"
    example: ClassVar[str] = "transformers:FOLDER"

    def names(self) -> list[str]:
        """None: a model is a folder that `save_pretrained` wrote, or a repository of the hub."""
        return []

    def _check_name(self, name: str) -> None:
        if not _is_local(name):
            if name.startswith((".", "/", "~")):
                raise SourceError(
                    f"There is no folder {name}", hint="Check the path after the colon"
                )
        elif not (_path(name) / "config.json").is_file():
            raise SourceError(
                f"The folder {name} has no config.json",
                expected="a folder that save_pretrained wrote",
            )

    def build(self, name: str, options: Mapping[str, Any], pretrained: bool) -> Source:
        with _hushed(self.library().utils.logging):
            return super().build(name, options, pretrained)

    def _build(self, name: str, options: Mapping[str, Any], pretrained: bool) -> Source:
        where = str(_path(name)) if _is_local(name) else name
        given = dict(options)
        wanted = given.pop("task", None)
        # Eager attention exports everywhere, and to fewer nodes than the fused operator's translation.
        attention = given.pop("attn_implementation", "eager")
        config = self._config(where, given)
        kind, notes = self._class(config, wanted, name)
        how = {"attn_implementation": attention, "dtype": "float32"}
        if pretrained:
            _demand_weights(name, where)
            model, found = kind.from_pretrained(
                where,
                config=config,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                **how,
                **_only(where),
            )
            notes += _missing(name, found)
        else:
            model = (getattr(kind, "from_config", None) or kind._from_config)(config, **how)
        return self._source(where, model, config, pretrained, notes)

    def _config(self, where: str, given: Mapping[str, Any]) -> Any:
        read = self.library().AutoConfig.from_pretrained
        try:
            config = read(where, **{**given, **_only(where)})
        except OSError as error:
            if _is_local(where):
                raise
            raise SourceError(
                f"The configuration of {where} could not be downloaded: {said(error)}",
                hint="Download the repository elsewhere, and give the path of its folder",
            ) from error
        unknown = [key for key in given if not hasattr(config, key)]
        if unknown:
            known = ["num_labels", *(key for key in config.to_dict() if not key.startswith("_"))]
            raise self.unknown_option(where, unknown[0], known)
        for part in [config, *vars(config).values()]:
            # A cache is state between calls, which a graph of one call has no place for.
            if hasattr(part, "use_cache"):
                part.use_cache = False
        config.return_dict = True
        return config

    def _class(self, config: Any, task: Any, name: str) -> tuple[Any, list[str]]:
        """The class to build, and a note where the configuration does not name it."""
        library = self.library()
        if task is not None:
            if task not in TASKS:
                raise UsageError(
                    f"The task {task!r} of {name} is not known",
                    expected=f"one of {', '.join(TASKS)}",
                )
            return getattr(library, TASKS[task]), []
        named = (config.architectures or [None])[0]
        found = None if named is None else getattr(library, named, None)
        if hasattr(found, "main_input_name"):  # a model, not whatever else has that name
            return found, []
        said_so = (
            f"names the class {named}, which transformers lacks" if named else "names no class"
        )
        note = (
            f"the configuration {said_so}, so AutoModel was built; the option task= chooses another"
        )
        return library.AutoModel, [note]

    def _source(
        self, where: str, model: Any, config: Any, pretrained: bool, notes: list[str]
    ) -> Source:
        recipe = Recipe()
        if model.main_input_name == "pixel_values":
            recipe = self._recipe(where)
        size = recipe.size or picture_size(config)
        inputs = inputs_of(model, config, size)
        if inputs is not None and next(iter(inputs)) != "pixel_values":
            recipe = Recipe()
        recipe = recipe.fitting(size, "The image processor")
        task, parameters = meaning_of(model, config)
        named = task in ("classification", "semantic_segmentation", "detection")
        return Source(
            model=model,
            inputs=inputs,
            transforms=recipe.transforms,
            task=task,
            parameters=parameters,
            labels=_labels(config) if named else None,
            licence=_licence(where) if pretrained else None,
            name=Path(where).name,
            notes=(*notes, *recipe.notes),
        )

    def _recipe(self, where: str) -> Recipe:
        try:
            with quiet():
                processor = self.library().AutoImageProcessor.from_pretrained(
                    where, backend="pil", **_only(where)
                )
        except Exception as error:  # there is none, or it cannot be had
            return Recipe(
                notes=(
                    f"no image processor was found, so no transforms were declared: {said(error)}",
                )
            )
        with quiet():
            return recipe_of(processor)

    def _without_weights(self, name: str, error: Exception) -> SourceError:
        found = super()._without_weights(name, error)
        if not _is_local(name):
            # Files keep the keys of older versions, which only the library knows how to rename.
            found.hint = (
                "Download the repository elsewhere, and give the path of its folder, or write "
                f"transformers:{name}?pretrained=false for random weights"
            )
        return found


@contextlib.contextmanager
def _hushed(logging: Any) -> Iterator[None]:
    """Without the library's progress bars and reports; what they tell becomes notes."""
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _path(name: str) -> Path:
    return Path(name).expanduser()


def _is_local(name: str) -> bool:
    return _path(name).is_dir()


def _only(where: str) -> dict[str, bool]:
    """Never code from a repository; and no question to a hub about a folder."""
    return {"trust_remote_code": False, "local_files_only": _is_local(where)}


def _demand_weights(name: str, where: str) -> None:
    if not _is_local(where) or any(list(Path(where).glob(pattern)) for pattern in _WEIGHTS):
        return
    raise SourceError(
        f"The folder {name} has no weights",
        expected="model.safetensors or pytorch_model.bin beside config.json",
        hint=f"Copy them there, or write transformers:{name}?pretrained=false for random weights",
    )


def _missing(name: str, found: Mapping[str, Any]) -> list[str]:
    """A note on the weights that the folder lacks; raises SourceError where some do not fit."""
    misfits = [
        f"{key} is {'x'.join(map(str, theirs))}, the model has {'x'.join(map(str, own))}"
        for key, theirs, own in found["mismatched_keys"]
    ]
    if misfits:
        raise SourceError(
            f"The weights of {name} do not fit the model: {'; '.join(sorted(misfits)[:5])}",
            hint="Leave out the options that change its sizes, or write ?pretrained=false",
        )
    missing = sorted(found["missing_keys"])
    if not missing:
        return []
    more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
    return [f"{name} lacks some weights, and these are random: {', '.join(missing[:5])}{more}"]


def _labels(config: Any) -> list[str] | None:
    """Names by index; None where they are only numbered."""
    names = [str(config.id2label.get(index, "")) for index in range(config.num_labels)]
    return None if all(re.fullmatch(r"LABEL_\d+", name) for name in names) or "" in names else names


def _licence(where: str) -> str | None:
    """From the head of the model card."""
    card = Path(where) / "README.md"
    if not card.is_file():
        return None
    head = re.match(r"---\n(.*?)\n---", card.read_text(encoding="utf-8"), re.DOTALL)
    found = head and re.search(r"^license:\s*([\w.+-]+)\s*$", head[1], re.MULTILINE)
    return found[1] if found else None
