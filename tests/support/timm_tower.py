"""The bundled CLIP's image tower as timm builds it, under the name that the weights' configuration gives it."""

from __future__ import annotations

from typing import Any

from timm.models import build_model_with_cfg, register_model
from timm.models.resnet import BasicBlock, ResNet
from torch import nn


@register_model
def vqclip_resnet_s(pretrained: bool = False, **options: Any) -> ResNet:
    """timm's ResNet-D of the sizes of `vqclip.models.small_clip.SmallResNet`."""
    assert not pretrained
    options["pretrained_cfg"] = {
        "input_size": (3, 64, 64),
        "pool_size": (2, 2),
        "num_classes": 0,
        "first_conv": "conv1.0",
        "classifier": "fc",
    }
    sizes = {"block": BasicBlock, "layers": (1, 2, 2, 2), "channels": (48, 96, 192, 320)}
    stem = {"stem_type": "deep", "stem_width": 16, "replace_stem_pool": True, "avg_down": True}
    return build_model_with_cfg(ResNet, "vqclip_resnet_s", False, act_layer=nn.SiLU, **sizes, **stem, **options)


def register_narrow_siglip() -> None:
    """Add a SigLIP image tower to timm's list that is narrow and shallow, but like the published ones."""
    from timm.models.vision_transformer import VisionTransformer

    @register_model
    def vit_narrow_patch16_siglip_64(pretrained: bool = False, **options: Any) -> VisionTransformer:
        assert not pretrained
        sizes = {"img_size": 64, "patch_size": 16, "embed_dim": 64, "depth": 2, "num_heads": 4, "mlp_ratio": 2}
        options = {"class_token": False, "global_pool": "map"} | sizes | options
        return VisionTransformer(
            **{k: v for k, v in options.items() if k in (*sizes, "class_token", "global_pool", "num_classes")}
        )

    vit_narrow_patch16_siglip_64.__module__ = __name__
