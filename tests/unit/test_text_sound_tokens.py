"""Texts become tokens as the library's own tokeniser makes them, and its file travels in the bundle."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx  # noqa: TID251 - writes a file as another tool would
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import modelport
from modelport import transforms as T
from modelport.bundle.read import Bundle
from modelport.errors import (
    BundleFormatError,
    ChecksumError,
    DataError,
    EngineUnavailableError,
    FeedsError,
    UsageError,
)
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks.base import Context
from modelport.runtime.tasks.embedding import EmbeddingTask
from modelport.runtime.transforms.text import TextPreprocessor

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")

Array = np.ndarray[Any, Any]
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "sat", "on", "a", "mat", "dog", "ran")
PAD, UNKNOWN, CLS, SEP = range(4)

TEXTS = ["the cat sat", "A DOG", "the cat sat on the mat the cat sat on the mat", "on"]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokeniser of a dozen words, as its library writes it, with padding and truncation of its own."""
    made = tokenizers.Tokenizer(
        tokenizers.models.WordLevel(dict(zip(WORDS, range(12), strict=True)), unk_token="[UNK]")
    )
    made.normalizer = tokenizers.normalizers.Lowercase()
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", CLS), ("[SEP]", SEP)],
    )  # fmt: skip
    made.enable_padding(length=9)
    made.enable_truncation(3)
    path = tmp_path_factory.mktemp("tokens") / "tokenizer.json"
    made.save(str(path))
    return path


def preprocessor(file: Path, **fields: Any) -> TextPreprocessor:
    return TextPreprocessor([T.Tokenize(file=file, **{"max_length": 10, **fields})])


words = st.lists(st.sampled_from([*WORDS[4:], "Unheard", "of"]), min_size=1, max_size=20)


@settings(max_examples=40)
@given(
    texts=st.lists(words, min_size=1, max_size=4), most=st.integers(3, 16),
    multiple=st.sampled_from([1, 4]), side=st.sampled_from(["left", "right"]),
    cut=st.sampled_from(["left", "right"]),
)  # fmt: skip
def test_rows_equal_the_librarys(
    file: Path, texts: list[list[str]], most: int, multiple: int, side: Any, cut: Any
) -> None:
    given_texts = [" ".join(each) for each in texts]
    theirs = tokenizers.Tokenizer.from_file(str(file))
    theirs.enable_truncation(most, direction=cut)
    theirs.enable_padding(direction=side, pad_to_multiple_of=multiple, pad_id=PAD)
    ours = preprocessor(
        file, max_length=most, multiple=multiple, types="types", pad_side=side, cut_side=cut
    )
    for text in given_texts:
        wanted, found = theirs.encode_batch([text])[0], ours.prepare(text).tensors
        assert found["input_ids"].tolist() == [wanted.ids]
        assert found["attention_mask"].tolist() == [wanted.attention_mask]
        assert found["types"].tolist() == [wanted.type_ids]
    if side == "right":
        together = ours.together([ours.prepare(text) for text in given_texts])
        for wanted, even in zip(theirs.encode_batch(given_texts), together, strict=True):
            assert even.tensors["input_ids"].tolist() == [wanted.ids]
            assert even.tensors["attention_mask"].tolist() == [wanted.attention_mask]


def test_max_length_fills_up_and_only_named_inputs_are_made(file: Path) -> None:
    made = preprocessor(file, padding="max_length", mask=None, ids="tokens", dtype="int32")
    (name,) = made.prepare("the cat").tensors
    assert name == "tokens"
    assert made("the cat").dtype == np.int32
    assert made("the cat").tolist() == [[CLS, 4, 5, SEP, 0, 0, 0, 0, 0, 0]]


def test_pairs_and_special_tokens(file: Path) -> None:
    made = preprocessor(file, types="types").prepare({"text": "the cat", "pair": "a mat"})
    assert made.first.tolist() == [[CLS, 4, 5, SEP, 8, 9, SEP]]
    assert made.tensors["types"].tolist() == [[0, 0, 0, 0, 1, 1, 1]]
    assert preprocessor(file, special=False)("the cat").tolist() == [[4, 5]]


def test_without_a_mask_or_filled_on_the_left_rows_keep_their_lengths(file: Path) -> None:
    for fields in ({"mask": None}, {"pad_side": "left"}):
        made = preprocessor(file, **fields)
        rows = made.together([made.prepare("on"), made.prepare("on a mat")])
        assert [each.first.shape[1] for each in rows] == [3, 5]


def test_a_path_is_a_file_of_text_and_a_str_is_the_text(file: Path, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("the cat", encoding="utf-8")
    made = preprocessor(file)
    assert made(tmp_path / "a.txt").tolist() == made("the cat").tolist()
    assert made(str(tmp_path / "a.txt")).tolist() != made("the cat").tolist()


@pytest.mark.parametrize(
    ("item", "said"),
    [
        (3, "A int is not a text"),
        (b"bytes", "A bytes is not a text"),
        ({"text": 3}, "A dict is not a text"),
        ({"pair": "a"}, "A dict is not a text"),
        (Path("nowhere.txt"), "nowhere.txt cannot be read as text"),
    ],
    ids=str,
)
def test_what_is_no_text_is_said(item: Any, said: str, file: Path) -> None:
    with pytest.raises(DataError) as caught:
        preprocessor(file).prepare(item)
    assert str(caught.value).startswith(said)


def test_a_text_without_tokens_is_said(file: Path) -> None:
    assert preprocessor(file)("").tolist() == [[CLS, SEP]]
    with pytest.raises(DataError, match="The text has no tokens"):
        preprocessor(file, special=False).prepare("")


def test_a_tokenizer_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"tokenize needs the file nowhere\.json, which cannot be"):
        preprocessor(Path("nowhere.json"))
    (tmp_path / "broken.json").write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match=r"broken\.json cannot be read as a tokenizer"):
        preprocessor(tmp_path / "broken.json")


def test_without_the_library_it_says_what_to_install(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(EngineUnavailableError) as caught:
        preprocessor(file)
    assert str(caught.value) == (
        "This model reads tokens, and the package tokenizers is not installed. "
        'Install it with: pip install "modelport[text]".'
    )


def test_other_transforms_do_not_read_texts(file: Path) -> None:
    tokenize = T.Tokenize(file=file, max_length=4)
    with pytest.raises(UsageError, match="The transforms are tokenize, tokenize"):
        T.preprocessor([tokenize, tokenize])
    with pytest.raises(UsageError, match="The transforms are tokenize, resize"):
        T.preprocessor([tokenize, T.Resize(4)])


# --- in a bundle --------------------------------------------------------------------------------

TABLE = np.random.default_rng(0).standard_normal((100, 4)).astype(np.float32)
MODEL = """<ir_version: 10, opset_import: ["" : 20]>
words (int64[n, tokens] input_ids, int64[n, tokens] attention_mask) => (float[n, tokens, 4] vectors)
<float[100, 4] table = {%s}>
{
    found = Gather (table, input_ids)
    mask = Cast <to = 1> (attention_mask)
    axes = Constant <value_ints = [2]> ()
    column = Unsqueeze (mask, axes)
    half = Constant <value_float = 0.5> ()
    faint = Mul (column, half)
    vectors = Sub (found, faint)
}"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, file: Path) -> Path:
    folder = tmp_path_factory.mktemp("words")
    text = MODEL % ", ".join(map(str, TABLE.reshape(-1).tolist()))
    onnx.save_model(onnx.parser.parse_model(text), str(folder / "model.onnx"))
    (folder / "texts").mkdir()
    (folder / "texts" / "a.txt").write_text("\n".join(TEXTS) + "\n\n", encoding="utf-8")
    (folder / "texts" / "b.txt").write_text("the dog ran", encoding="utf-8")
    shutil.copy(file, folder / "mine.json")
    source = modelport.Source(
        folder / "model.onnx",
        transforms=[T.Tokenize(file=folder / "mine.json", max_length=10)],
        task="embedding",
        parameters={"pooling": "mean", "mask": "attention_mask", "normalise": False},
    )
    modelport.deploy(
        source, output=folder / "bundle", verification=folder / "texts", engines=["onnxruntime"],
        precisions=["fp32"], threads=1, report=False,
    )  # fmt: skip
    (folder / "mine.json").unlink()  # the bundle has its own
    return folder / "bundle"


@pytest.fixture(scope="module")
def predictor(bundle: Path) -> Predictor:
    return modelport.load(bundle, threads=1)


def wanted(file: Path, text: str) -> Array:
    """The mean over the words that are there."""
    theirs = tokenizers.Tokenizer.from_file(str(file))
    theirs.no_padding()
    theirs.enable_truncation(10)
    return np.asarray(TABLE[theirs.encode(text).ids].mean(0) - 0.5)


def test_a_text_goes_in_and_a_vector_comes_out(predictor: Predictor, file: Path) -> None:
    for text in TEXTS:
        result = predictor(text)
        np.testing.assert_allclose(result.vector, wanted(file, text), atol=1e-6)
        assert list(result.timing_ms) == ["tokenize", "inference", "result"]


def test_texts_of_many_lengths_run_together(
    predictor: Predictor, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes: list[tuple[int, ...]] = []
    run = predictor.session.run

    def counting(feeds: Any) -> Any:
        shapes.append(feeds["input_ids"].shape)
        return run(feeds)

    monkeypatch.setattr(predictor.session, "run", counting)
    for results in (predictor(TEXTS), list(predictor.map(TEXTS, workers=2))):
        for text, result in zip(TEXTS, results, strict=True):
            np.testing.assert_allclose(result.vector, wanted(file, text), atol=1e-6)
    assert shapes == [(4, 10)] * 2


def test_the_tokenizer_is_a_file_of_the_bundle(bundle: Path, file: Path) -> None:
    manifest = Bundle(bundle).manifest
    path = manifest.transforms[0]["file"]
    assert path.startswith("transforms/")
    assert path.endswith("/mine.json")
    assert (bundle / path).read_bytes() == file.read_bytes()
    assert manifest.file(path).size_bytes == file.stat().st_size


def test_each_line_of_a_text_is_a_sample(bundle: Path) -> None:
    opened = Bundle(bundle)
    assert opened.manifest.provenance.verification_samples == 5
    assert opened.manifest.provenance.verification_data == "texts or feeds in texts"
    assert [case.name for case in opened.cases] == ["a.txt:1", "a.txt:2", "a.txt:3", "b.txt:1"]
    assert modelport.verify(bundle).passed


def test_an_archive_has_the_file_inside(bundle: Path, tmp_path: Path, file: Path) -> None:
    from modelport.bundle.write import put

    stage = tmp_path / "stage"
    shutil.copytree(bundle, stage)
    put(stage, tmp_path / "words.zip")
    with modelport.load(tmp_path / "words.zip", threads=1) as packed:
        np.testing.assert_allclose(packed("a dog").vector, wanted(file, "a dog"), atol=1e-6)


def test_an_altered_or_unlisted_file_is_refused(bundle: Path, tmp_path: Path) -> None:
    own = Path(shutil.copytree(bundle, tmp_path / "own"))
    manifest = Bundle(own).manifest
    path = own / manifest.transforms[0]["file"]
    path.write_bytes(path.read_bytes().replace(b'"cat"', b'"dot"'))
    with pytest.raises(ChecksumError, match="does not match its sha256"):
        modelport.load(own)
    with pytest.raises(BundleFormatError, match="refers to '/etc/hostname' but does not list it"):
        T.preprocessor(
            T.parse(
                [{**manifest.transforms[0], "file": "/etc/hostname"}],
                lambda path: bytes(Bundle(bundle).blob(path).view()),
            )
        )


def test_an_input_that_the_model_lacks_is_said(
    predictor: Predictor, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "preprocessor", preprocessor(file, types="token_type_ids"))
    with pytest.raises(FeedsError) as caught:
        predictor("the cat")
    assert str(caught.value) == (
        "There is a tensor for the input 'token_type_ids', which the model does not have. "
        "Expected tensors for 'input_ids', 'attention_mask'. "
        "Change the name in the transforms, or set it to null."
    )


def test_data_without_a_text_is_said(bundle: Path, tmp_path: Path, file: Path) -> None:
    from modelport.feeds import read_samples, sample_files

    (tmp_path / "blank.txt").write_text("\n \n", encoding="utf-8")
    made, signature = preprocessor(file), Bundle(bundle).signature
    assert list(read_samples(tmp_path, signature, made)) == []
    with pytest.raises(DataError, match=r"files ending in \.npy, \.npz, \.wav|\.flac"):
        sample_files(tmp_path, "sound")


# --- pooling ------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(data=st.data(), pooling=st.sampled_from(["cls", "last", "max", "mean", "patches"]))
def test_fillers_change_no_vector(data: Any, pooling: str) -> None:
    mask = data.draw(st.lists(st.booleans(), min_size=2, max_size=9).filter(lambda m: sum(m) > 1))
    beyond = data.draw(st.integers(0, 3))
    tokens = np.random.default_rng(len(mask)).standard_normal((1, len(mask) + beyond, 3))
    real = tokens[:, : len(mask)][:, np.array(mask)]
    parameters = EmbeddingTask().parameters({"pooling": pooling, "mask": "m", "normalise": False})
    context = Context(parameters, feeds={"m": np.array([mask], np.int64)})
    found = EmbeddingTask().decode({"y": tokens.astype(np.float32)}, context).vector
    by_hand = {
        "cls": real[0, 0], "last": real[0, -1], "max": real[0].max(0), "mean": real[0].mean(0),
        "patches": real[0, 1:].mean(0),
    }  # fmt: skip
    np.testing.assert_allclose(found, by_hand[pooling], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("feeds", "said"),
    [
        (None, "The mask 'm' is not among the feeds. Expected one of them."),
        ({"x": np.ones((1, 2))}, "The mask 'm' is not among the feeds. Expected one of 'x'."),
        ({"m": np.ones((1, 5))}, "The mask has 5 places, 5 of them real, and the output 4 tokens."),
        ({"m": np.zeros((1, 4))}, "The mask has 4 places, 0 of them real"),
    ],
)
def test_wrong_masks_are_said(feeds: Any, said: str) -> None:
    parameters = EmbeddingTask().parameters({"pooling": "mean", "mask": "m"})
    with pytest.raises(FeedsError) as caught:
        EmbeddingTask().decode(
            {"y": np.ones((1, 4, 3), np.float32)}, Context(parameters, feeds=feeds)
        )
    assert said in str(caught.value)


def test_a_tokenizer_is_json(file: Path) -> None:
    transforms = [T.Tokenize(file=file, max_length=10, types="t", pad_side="left")]
    assert T.parse(json.loads(json.dumps(T.dump(transforms)))) == transforms
