"""The main text encoders of transformers, two layers deep, with random weights."""

from __future__ import annotations

from typing import Any

from torch import nn

from zoo_models.case import Case, ints
from zoo_models.torchvision_shim import prepare

VOCABULARY = 1000
SMALL: dict[str, Any] = {
    "num_hidden_layers": 2,
    "num_layers": 2,
    "n_layers": 2,
    "n_layer": 2,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "num_decoder_layers": 2,
    "vocab_size": VOCABULARY,
}
"""Set wherever the default config has such an attribute."""

ENCODERS = {
    "albert": "AlbertModel",
    "bart": "BartModel",
    "bert": "BertForSequenceClassification",
    "big_bird": "BigBirdModel",
    "camembert": "CamembertModel",
    "canine": "CanineModel",
    "clip_text_model": "CLIPTextModel",
    "convbert": "ConvBertModel",
    "deberta": "DebertaModel",
    "deberta-v2": "DebertaV2ForTokenClassification",
    "distilbert": "DistilBertForSequenceClassification",
    "electra": "ElectraModel",
    "ernie": "ErnieModel",
    "esm": "EsmModel",
    "flaubert": "FlaubertModel",
    "fnet": "FNetModel",
    "funnel": "FunnelModel",
    "gpt2": "GPT2Model",
    "gpt_neo": "GPTNeoModel",
    "ibert": "IBertModel",
    "layoutlm": "LayoutLMModel",
    "llama": "LlamaModel",
    "longformer": "LongformerModel",
    "longt5": "LongT5EncoderModel",
    "markuplm": "MarkupLMModel",
    "megatron-bert": "MegatronBertModel",
    "mobilebert": "MobileBertModel",
    "modernbert": "ModernBertForMaskedLM",
    "mpnet": "MPNetModel",
    "mra": "MraModel",
    "mt5": "MT5EncoderModel",
    "nomic_bert": "NomicBertModel",
    "nystromformer": "NystromformerModel",
    "opt": "OPTModel",
    "qwen3": "Qwen3Model",
    "rembert": "RemBertModel",
    "roberta": "RobertaForSequenceClassification",
    "roformer": "RoFormerModel",
    "siglip_text_model": "SiglipTextModel",
    "splinter": "SplinterModel",
    "squeezebert": "SqueezeBertModel",
    "t5": "T5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "xlm": "XLMModel",
    "xlm-roberta": "XLMRobertaModel",
    "xlnet": "XLNetModel",
    "xmod": "XmodModel",
    "yoso": "YosoModel",
}

NARROW = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 8}
SETTINGS: dict[str, dict[str, Any]] = {
    "albert": NARROW,
    "big_bird": {"attention_type": "original_full"},
    "esm": {"pad_token_id": 1, "mask_token_id": 32},
    "flaubert": {"emb_dim": 256, "n_heads": 8},
    "funnel": {"block_sizes": [1, 1], "block_repeats": [1, 1]},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "ibert": {"quant_mode": False},
    "llama": NARROW,
    "longformer": {"attention_window": [4, 4]},
    "qwen3": {**NARROW, "num_key_value_heads": 4, "head_dim": 32},
    "xlm": {"emb_dim": 256, "n_heads": 8},
    "xmod": {"default_language": "en_XX"},
}
"""What a config needs beside `SMALL`."""

LENGTHS = {"longformer": (8, 16), "longt5": (16, 32), "siglip_text_model": (8, 12)}
CAUSAL = ("gpt2", "gpt_neo", "llama", "opt", "qwen3")
"""Decoders, which would return their caches too."""

UNMASKED = ("fnet",)
PAIRED = ("bart",)


def cases() -> list[Case]:
    prepare()
    return [case_of(kind, name) for kind, name in ENCODERS.items()]


def case_of(kind: str, name: str) -> Case:
    return Case(
        f"{kind} {name}",
        lambda: build(kind, name),
        inputs_of(kind),
        liven=True,
        picky=kind in PICKY,
    )


PICKY = ("layoutlm",)
"""Boxes must end right of where they begin."""


def inputs_of(kind: str) -> dict[str, Any]:
    """Tokens of a free length in a free batch, with a mask that hides none of them."""
    short, long = LENGTHS.get(kind, (8, 12))
    shapes = (2, short), (3, long)
    inputs: dict[str, Any] = {"input_ids": ints(VOCABULARY - 1, *shapes, low=5)}
    if kind not in UNMASKED:
        inputs["attention_mask"] = ints(2, *shapes, low=1)
    if kind in PAIRED:
        inputs["decoder_input_ids"] = ints(VOCABULARY - 1, (2, 6), (3, 7), low=5)
    if kind == "layoutlm":
        inputs["bbox"] = ints(1, (2, short, 4), (3, long, 4))  # boxes of no size are in order
    return inputs


def build(kind: str, name: str) -> nn.Module:
    import transformers
    from transformers import CONFIG_MAPPING

    config_class = CONFIG_MAPPING[kind]
    default = config_class()
    settings = {key: value for key, value in SMALL.items() if hasattr(default, key)}
    settings.update(SETTINGS.get(kind, {}))
    if kind == "funnel":
        settings.pop("num_hidden_layers", None)
    config = config_class(**settings)
    _keep_special_tokens_inside(config)
    if kind in (*CAUSAL, *PAIRED):
        config.use_cache = False
    return getattr(transformers, name)(config)


def _keep_special_tokens_inside(config: Any) -> None:
    """The vocabulary is cut, and some defaults name its last tokens."""
    for key in ("bos_token_id", "eos_token_id", "pad_token_id", "sep_token_id", "cls_token_id"):
        value = getattr(config, key, None)
        if isinstance(value, int) and value >= VOCABULARY:
            setattr(config, key, VOCABULARY - 1)
