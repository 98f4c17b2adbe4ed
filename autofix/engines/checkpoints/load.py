"""A single-file checkpoint of SD 1.x, SD 2.x or SDXL -> its inpainting pipeline, offline."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from autofix.engines.checkpoints.clip import CONFIGS, text_encoder, tokenizer
from autofix.engines.checkpoints.configs_from_shapes import unet_config, vae_config
from autofix.engines.checkpoints.families import UNET, Checkpoint, sniff
from autofix.engines.checkpoints.weight_file import VAES, tensor_reader
from autofix.errors import ModelError

Read = Callable[[str], dict[str, Any]]
"""Reads the tensors whose keys start with a prefix."""

_TOKENS_2 = "conditioner.embedders.1.model.token_embedding.weight"
"""Key of SDXL's second text encoder, whose pooled prompt is as wide as its tokens."""


def load_checkpoint(
    path: Path, dtype: Any, *, trust_pickle: bool = False, own_vae: bool = True
) -> Any:
    """The diffusers inpainting pipeline of a checkpoint file, on the CPU.

    Its configs come from its shapes, and otherwise from the family. Without `own_vae` the VAE is
    left empty for the caller to replace, and the file needs none. Raises ModelError.
    """
    found = sniff(path, trust_pickle=trust_pickle)
    if own_vae and not found.has_vae:
        raise ModelError(
            f"{path.name!r} holds no VAE", "give one: --vae FILE (model.vae in a recipe)"
        )
    try:
        read = tensor_reader(path, trust_pickle=trust_pickle)
        # The largest part first, since a part is in memory twice while it is converted.
        parts = {"unet": _load_unet(found, read, dtype), "scheduler": _build_scheduler(found)}
        parts["vae"] = _load_vae(found, read, dtype) if own_vae else _empty_vae(found, dtype)
        parts |= _load_encoders(found, read, dtype)
        return _build_pipeline(found, parts)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(
            f"{path.name!r} ({found.title}) cannot be loaded: {error}",
            "take another checkpoint, or download it again",
        ) from error
    except ModelError as error:
        raise ModelError(
            f"{path.name!r} ({found.title}) cannot be loaded: {error.problem}", error.advice
        ) from error


def _build_pipeline(found: Checkpoint, parts: dict[str, Any]) -> Any:
    from diffusers import StableDiffusionInpaintPipeline, StableDiffusionXLInpaintPipeline

    if found.family == "sdxl":
        return StableDiffusionXLInpaintPipeline(**parts)
    return StableDiffusionInpaintPipeline(
        **parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False
    )


def _load_unet(found: Checkpoint, read: Read, dtype: Any) -> Any:
    from diffusers import UNet2DConditionModel

    config = unet_config(found.header.under(UNET), found.family)
    if found.family == "sdxl":
        pooled = found.header.shapes[_TOKENS_2][1]
        # Six numbers (sizes and crop) are embedded beside the pooled prompt.
        width = config["projection_class_embeddings_input_dim"] - pooled
        config["addition_time_embed_dim"] = width // 6
    return _fill_model(UNet2DConditionModel, read(UNET), found, "unet", dtype, config)


def _load_vae(found: Checkpoint, read: Read, dtype: Any) -> Any:
    from diffusers import AutoencoderKL

    prefix = next(start for start in VAES if f"{start}decoder.conv_in.weight" in found.header)
    config = vae_config(found.header.under(prefix))
    return _fill_model(AutoencoderKL, read(prefix), found, "vae", dtype, config)


def _empty_vae(found: Checkpoint, dtype: Any) -> Any:
    """The family's VAE without weights, for the caller to replace."""
    import accelerate
    from diffusers import AutoencoderKL

    config = AutoencoderKL.load_config(str(CONFIGS / found.family / "vae"))
    with accelerate.init_empty_weights():
        return AutoencoderKL.from_config(config).to(dtype)


def _fill_model(
    kind: Any,
    own: dict[str, Any],
    found: Checkpoint,
    part: str,
    dtype: Any,
    config: Mapping[str, Any],
) -> Any:
    """A diffusers model from its tensors. Raises ModelError where some are missing."""
    try:
        return kind.from_single_file(
            own, config=str(CONFIGS / found.family), subfolder=part, dtype=dtype,
            local_files_only=True, **config,
        )  # fmt: skip
    except NotImplementedError as error:  # torch raises it for weights that were never filled
        raise ModelError(
            f"its {part} lacks some of its weights", "take another checkpoint, or download it again"
        ) from error


def _load_encoders(found: Checkpoint, read: Read, dtype: Any) -> dict[str, Any]:
    """Text encoders and tokenizers by the pipeline's names of them."""
    configs = {
        name: CONFIGS / found.family / name / "config.json"
        for name in ("text_encoder", "text_encoder_2")
    }
    if found.family == "sd1":
        prefix = "cond_stage_model.transformer."
        encoder = text_encoder(read(prefix), prefix, configs["text_encoder"], dtype)
        return {"text_encoder": encoder, "tokenizer": tokenizer()}
    if found.family == "sd2":
        prefix = "cond_stage_model.model."
        encoder = text_encoder(read(prefix), prefix, configs["text_encoder"], dtype, open_clip=True)
        return {"text_encoder": encoder, "tokenizer": tokenizer(pad="!")}
    first, second = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."
    return {
        "text_encoder": text_encoder(read(first), first, configs["text_encoder"], dtype),
        "text_encoder_2": text_encoder(
            read(second), second, configs["text_encoder_2"], dtype, open_clip=True
        ),
        "tokenizer": tokenizer(),
        "tokenizer_2": tokenizer(pad="!"),
    }


def _build_scheduler(found: Checkpoint) -> Any:
    """The family's scheduler, with the file's prediction and noise schedule."""
    import diffusers

    kind = diffusers.EulerDiscreteScheduler if found.family == "sdxl" else diffusers.DDIMScheduler
    config = kind.load_config(str(CONFIGS / found.family / "scheduler"))
    changes: dict[str, Any] = {"prediction_type": found.prediction}
    if found.zero_snr:
        changes |= {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    return kind.from_config(config, **changes)
