"""One architecture of every timm family, and of the named designs that share a family's file.

A family is a module of timm. Its member with the fewest parameters stands for it, at the smallest
picture that it takes. The table was made by trying; a family that is new in the installed timm
is found at run time, at its own default size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from zoo_models.case import Case, pictures
from zoo_models.torchvision_shim import prepare


@dataclass(frozen=True)
class Choice:
    """An architecture with the side of its pictures.

    Attributes:
        resized: whether the network is built for that side, since it holds a table of positions.
        depth: number of blocks, where the published one has too many for a test.
    """

    name: str
    side: int = 64
    resized: bool = False
    depth: int | None = None


FAMILIES = {
    "beit": Choice("beit_base_patch16_224", resized=True),
    "byoanet": Choice("halonet_h1", side=256, resized=True),
    "byobnet": Choice("mobileone_s1", resized=True),
    "cait": Choice("cait_xxs24_224", resized=True),
    "coat": Choice("coat_tiny", resized=True),
    "convit": Choice("convit_tiny", resized=True),
    "convmixer": Choice("convmixer_768_32"),
    "convnext": Choice("convnext_zepto_rms"),
    "cpubone": Choice("cpubone_nano"),
    "crossvit": Choice("crossvit_tiny_240"),
    "csatv2": Choice("csatv2"),
    "cspnet": Choice("cs3darknet_focus_s"),
    "cspnext": Choice("cspnext_tiny"),
    "davit": Choice("davit_tiny"),
    "deepseek_vit": Choice("deepseek_vit_412m", side=224, resized=True, depth=2),
    "deit": Choice("deit_tiny_patch16_224", resized=True),
    "densenet": Choice("densenet121"),
    "dla": Choice("dla46x_c"),
    "dpn": Choice("dpn48b"),
    "edgenext": Choice("edgenext_xx_small"),
    "efficientformer": Choice("efficientformer_l1", side=224, resized=True),
    "efficientformer_v2": Choice("efficientformerv2_s0", resized=True),
    "efficientnet": Choice("mobilenetv2_035"),
    "efficientvim": Choice("efficientvim_m1"),
    "efficientvit_mit": Choice("efficientvit_b0"),
    "efficientvit_msra": Choice("efficientvit_m0", resized=True),
    "eva": Choice("vit_tiny_patch16_dinov3_qkvb", resized=True),
    "fasternet": Choice("fasternet_t0"),
    "fastvit": Choice("fastvit_t8"),
    "focalnet": Choice("focalnet_tiny_srf"),
    "gcvit": Choice("gcvit_xxtiny", resized=True),
    "gemma4_vit": Choice("gemma4_vit_167m", resized=True, depth=4),
    "ghostnet": Choice("ghostnet_050"),
    "hardcorenas": Choice("hardcorenas_b"),
    "hgnet": Choice("hgnetv2_b0"),
    "hiera": Choice("hiera_tiny_224", resized=True),
    "hieradet_sam2": Choice("sam2_hiera_tiny"),
    "hrnet": Choice("hrnet_w18_small"),
    "iformer": Choice("iformer_t"),
    "inception_next": Choice("inception_next_atto"),
    "inception_resnet_v2": Choice("inception_resnet_v2", side=96),
    "inception_v3": Choice("inception_v3", side=96),
    "inception_v4": Choice("inception_v4", side=96),
    "lcnetv2": Choice("lcnetv2_small"),
    "levit": Choice("levit_128s", resized=True),
    "lowformer": Choice("lowformer_b0"),
    "mambaout": Choice("mambaout_femto"),
    "maxxvit": Choice("maxvit_pico_rw_256", resized=True),
    "metaformer": Choice("poolformerv2_s12"),
    "mlp_mixer": Choice("gmlp_ti16_224", resized=True),
    "mobilenetv3": Choice("mobilenetv3_small_050"),
    "mobilenetv5": Choice("mobilenetv5_base"),
    "mobilevit": Choice("mobilevit_xxs", resized=True),
    "mvitv2": Choice("mvitv2_tiny", resized=True),
    "naflexvit": Choice("naflexvit_base_patch16_parfac_gap", resized=True),
    "nasnet": Choice("nasnetalarge"),
    "nest": Choice("nest_tiny", resized=True),
    "nextvit": Choice("nextvit_small"),
    "nfnet": Choice("nf_regnet_b0"),
    "pit": Choice("pit_ti_224", resized=True),
    "pnasnet": Choice("pnasnet5large"),
    "pvt_v2": Choice("pvt_v2_b0"),
    "qwen3_vit": Choice("qwen3_vit_88m", resized=True, depth=4),
    "rdnet": Choice("rdnet_tiny"),
    "regnet": Choice("regnetx_002"),
    "repghost": Choice("repghostnet_050"),
    "repvit": Choice("repvit_m1", resized=True),
    "res2net": Choice("res2next50"),
    "resnest": Choice("resnest14d"),
    "resnet": Choice("resnet10t"),
    "resnetv2": Choice("resnetv2_18"),
    "rexnet": Choice("rexnet_100"),
    "selecsls": Choice("selecsls42"),
    "senet": Choice("legacy_seresnet18"),
    "sequencer": Choice("sequencer2d_s", resized=True),
    "shvit": Choice("shvit_s1"),
    "sknet": Choice("skresnet18"),
    "starnet": Choice("starnet_s050"),
    "swiftformer": Choice("swiftformer_xs", resized=True),
    "swin_transformer": Choice("swin_tiny_patch4_window7_224", resized=True),
    "swin_transformer_v2": Choice("swinv2_tiny_window8_256", resized=True),
    "swin_transformer_v2_cr": Choice("swinv2_cr_tiny_224", resized=True),
    "tiny_vit": Choice("tiny_vit_5m_224"),
    "tnt": Choice("tnt_s_legacy_patch16_224", resized=True),
    "tresnet": Choice("tresnet_m"),
    "twins": Choice("twins_svt_small", resized=True),
    "vgg": Choice("vgg11"),
    "visformer": Choice("visformer_tiny", resized=True),
    "vision_transformer": Choice("vit_tiny_patch16_224", resized=True),
    "vision_transformer_hybrid": Choice("vit_tiny_r_s16_p8_224", resized=True),
    "vision_transformer_relpos": Choice("vit_srelpos_small_patch16_224", resized=True),
    "vision_transformer_sam": Choice("samvit_base_patch16_224", resized=True),
    "vitamin": Choice("vitamin_small_224", resized=True),
    "volo": Choice("volo_d1_224", resized=True),
    "vovnet": Choice("ese_vovnet19b_slim_dw"),
    "xception": Choice("legacy_xception"),
    "xception_aligned": Choice("xception41p"),
    "xcit": Choice("xcit_nano_12_p8_224", resized=True),
}
ALSO = (
    Choice("repvgg_a0", resized=True),
    Choice("gernet_s", resized=True),
    Choice("bat_resnext26ts", side=256),
    Choice("regnetz_b16", resized=True),
    Choice("gcresnet33ts", resized=True),
    Choice("botnet26t_256", resized=True),
    Choice("lambda_resnet26t", resized=True),
    Choice("eca_botnext26ts_256", resized=True),
    Choice("lamhalobotnet50ts_256", side=128, resized=True),
    Choice("efficientnet_b0"),
    Choice("tf_efficientnet_b0"),
    Choice("mixnet_s"),
    Choice("tf_mixnet_s"),
    Choice("mnasnet_050"),
    Choice("fbnetc_100"),
    Choice("spnasnet_100"),
    Choice("tinynet_e"),
    Choice("tf_efficientnetv2_b0"),
    Choice("mobilenetv1_100"),
    Choice("mobilenetv4_conv_small"),
    Choice("mobilenetv4_hybrid_medium"),
    Choice("coatnet_pico_rw_224", resized=True),
    Choice("coatnet_nano_rw_224", resized=True),
    Choice("maxxvit_rmlp_nano_rw_256", resized=True),
    Choice("maxxvitv2_nano_rw_256", resized=True),
    Choice("coatnext_nano_rw_224", resized=True),
    Choice("caformer_s18"),
    Choice("convformer_s18"),
    Choice("poolformer_s12"),
    Choice("mixer_s32_224", resized=True),
    Choice("gmixer_12_224", resized=True),
    Choice("gmixer_24_224", resized=True),
    Choice("resmlp_12_224", resized=True),
    Choice("lcnet_050"),
    Choice("tf_mobilenetv3_small_100"),
    Choice("fbnetv3_b"),
    Choice("dm_nfnet_f0"),
    Choice("eca_nfnet_l0"),
    Choice("nf_resnet26"),
    Choice("regnety_002"),
    Choice("regnetz_040"),
    Choice("regnetv_040"),
    Choice("resnet18"),
    Choice("seresnet33ts", resized=True),
    Choice("resnetrs50"),
    Choice("ecaresnet26t"),
    Choice("resnetblur50"),
    Choice("resnetaa50"),
    Choice("resnext50_32x4d"),
    Choice("wide_resnet50_2"),
    Choice("convnextv2_atto"),
    Choice("flexivit_small", resized=True),
    Choice("vit_small_patch14_dinov2", resized=True),
    Choice("vit_xsmall_patch16_clip_224", resized=True),
    Choice("cspresnet50"),
    Choice("darknet53"),
    Choice("cspdarknet53"),
    Choice("ecaresnext26t_32x4d"),
    Choice("ese_vovnet19b_dw"),
)
"""More designs from the families whose module holds several."""


def cases() -> list[Case]:
    prepare()
    import timm

    families = timm.list_modules()
    known = [FAMILIES[family] for family in families if family in FAMILIES]
    new = [_smallest(family) for family in families if family not in FAMILIES]
    installed = set(timm.list_models())
    return [_case(choice) for choice in (*known, *new, *ALSO) if choice.name in installed]


def _case(choice: Choice) -> Case:
    shape = (3, choice.side, choice.side)
    return Case(
        name=choice.name,
        build=lambda: build(choice),
        inputs={"x": pictures((2, *shape), (3, *shape))},
        liven=True,
        shorten=True,
    )


def build(choice: Choice) -> nn.Module:
    prepare()
    import timm

    settings: dict[str, Any] = {"img_size": choice.side} if choice.resized else {}
    if choice.depth is not None:
        settings["depth"] = choice.depth
    return timm.create_model(choice.name, pretrained=False, **settings)


def _smallest(family: str) -> Choice:
    """The member with the fewest parameters, at its own size; built without memory to count."""
    import timm
    import torch

    counts = {}
    for name in timm.list_models(module=family):
        with torch.device("meta"):
            parameters = timm.create_model(name, pretrained=False).parameters()
        counts[name] = sum(parameter.numel() for parameter in parameters)
    name = min(counts, key=lambda name: counts[name])
    return Choice(name, side=timm.get_pretrained_cfg(name).input_size[-1])
