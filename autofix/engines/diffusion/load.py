"""A model's files, its VAE among them -> a diffusers inpainting pipeline, not yet on its device."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from autofix.engines.base import ModelInfo
from autofix.engines.checkpoints.load import load_checkpoint
from autofix.engines.checkpoints.weight_file import check_kind
from autofix.engines.devices import device_and_dtype
from autofix.engines.diffusion.pipeline_adapter import Pipeline
from autofix.engines.hub import variant_in
from autofix.engines.locate import Source
from autofix.engines.model_info import identity, read_index
from autofix.errors import ModelError
from autofix.settings.model_folders import model_folders
from autofix.settings.recipe import Recipe

INPAINTING = ("FluxFillPipeline",)
"""Pipelines that inpaint and nothing else, which AutoPipelineForInpainting therefore ignores."""


def load_pipeline(source: Source, recipe: Recipe, vae: Path | None = None) -> Pipeline:
    """The pipeline, in memory, with this VAE if one is given. Raises ModelError."""
    _silence_libraries()
    pipe: Pipeline
    if source.kind == "checkpoint":
        pipe = load_checkpoint(
            source.path,
            device_and_dtype(recipe.device)[1],
            trust_pickle=recipe.model.trust_pickle,
            own_vae=vae is None,
        )
    else:
        pipe = load_folder(source.path, recipe)
    if vae:
        put_vae(pipe, vae)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_folder(folder: Path, recipe: Recipe) -> Pipeline:
    """The pipeline of a diffusers folder. Raises ModelError.

    Pickled weights are refused, for they could run code, unless model.trust_pickle is set.
    """
    import diffusers

    index = read_index(folder)
    _, dtype = device_and_dtype(recipe.device, transformer="unet" not in index)
    absent: dict[str, object] = {key: None for key, value in index.items() if value == [None, None]}
    if "safety_checker" in index:
        # It would replace a refused picture by a black one, which is no fix.
        absent |= {"safety_checker": None, "requires_safety_checker": False}
    made = index.get("_class_name")
    kind = getattr(diffusers, made if made in INPAINTING else "AutoPipelineForInpainting")
    try:
        pipe: Pipeline = kind.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            use_safetensors=None if recipe.model.trust_pickle else True,
            variant=variant_in(folder),
            **absent,
        )
        return pipe
    except (OSError, ValueError, KeyError, AttributeError, RuntimeError) as error:
        raise ModelError(
            f"the model in {str(folder)!r} cannot be loaded: {error}",
            "it must be a diffusers folder with safetensors weights that inpainting supports",
        ) from error


def _silence_libraries() -> None:
    """No progress bars of the libraries, and no warnings about what autofix does on purpose."""
    import transformers
    from diffusers.utils import logging

    for logs in (logging, transformers.utils.logging):
        logs.set_verbosity_error()
        logs.disable_progress_bar()


def inpainting_of(pipe: Pipeline) -> Pipeline:
    """The inpainting pipeline of the same components, without safety checker and ControlNet.

    Raises ModelError where diffusers has none for this kind of pipeline.
    """
    from diffusers import AutoPipelineForInpainting

    without: dict[str, object] = {
        name: None for name in ("controlnet", "safety_checker") if name in pipe.components
    }
    if "safety_checker" in without:
        without["requires_safety_checker"] = False
    try:
        made: Pipeline = AutoPipelineForInpainting.from_pipe(pipe, **without)
    except ValueError as error:
        raise ModelError(
            f"diffusers cannot inpaint with a {type(pipe).__name__}",
            "fix its pictures with autofix.Fixer(model=...) instead",
        ) from error
    made.set_progress_bar_config(disable=True)
    return made


def find_vae(given: str) -> Path:
    """A diffusers folder, a .safetensors file, or one of that name in the user's VAE folders.

    Raises ModelError for what is not there, and for a pickle.
    """
    path = Path(given).expanduser()
    path = path if path.exists() else model_folders().find_model("vae", given)
    if path.is_file():
        check_kind(path, trust_pickle=False)
    return path


def with_vae(info: ModelInfo, vae: Path | None) -> ModelInfo:
    """The model info with this VAE in the identity, if the model is given one."""
    return replace(info, identity=f"{info.identity} {identity(vae)}") if vae else info


def put_vae(pipe: Pipeline, path: Path) -> None:
    """Load a VAE into a pipeline that is not yet on its device. Raises ModelError.

    A file is read with the config of the model's own VAE, a folder with its own.
    """
    import safetensors

    old = pipe.vae
    try:
        vae = _vae_from_folder(path, old) if path.is_dir() else _vae_from_file(path, old)
    except (
        OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError,
        safetensors.SafetensorError,
    ) as error:  # fmt: skip
        reason = (str(error) or repr(error)).splitlines()[0]
        raise ModelError(
            f"the VAE {str(path)!r} cannot be used with this model: {reason}",
            "set model.vae to a VAE of the model's family, or leave it empty",
        ) from error
    for measure, wanted, found in (
        ("latent channels", _latent_channels(old), _latent_channels(vae)),
        ("halvings of the picture", _count_halvings(old), _count_halvings(vae)),
    ):
        if found != wanted:
            raise ModelError(
                f"the VAE {str(path)!r} has {found} {measure}, the model {wanted}",
                "set model.vae to a VAE of the model's family, or leave it empty",
            )
    pipe.register_modules(vae=vae.eval())


def _vae_from_folder(path: Path, old: Any) -> Any:
    from diffusers import AutoModel

    whole = (path / "model_index.json").is_file()  # a whole pipeline: its VAE alone
    return AutoModel.from_pretrained(
        str(path),
        subfolder="vae" if whole else None,
        dtype=old.dtype,
        local_files_only=True,
        use_safetensors=True,
    )


def _vae_from_file(path: Path, old: Any) -> Any:
    with tempfile.TemporaryDirectory() as config:
        old.save_config(config)
        return type(old).from_single_file(
            str(path), config=config, dtype=old.dtype, local_files_only=True
        )


def _latent_channels(vae: Any) -> int:
    return int(vae.config.get("latent_channels") or vae.config.get("z_dim") or 0)


def _count_halvings(vae: Any) -> int:
    """How often the picture's sides are halved on the way to the latents."""
    blocks = vae.config.get("block_out_channels") or vae.config.get("encoder_block_out_channels")
    return len(blocks or ()) - 1
