"""A VAE in place of the model's own."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from autofix.engines.base import ModelInfo
from autofix.engines.checkpoints.weight_file import check_kind
from autofix.engines.model_info import identity
from autofix.errors import ModelError
from autofix.settings.model_folders import model_folders


def find_vae(given: str) -> Path:
    """A diffusers folder, a .safetensors file, or one of that name in the user's VAE folders.

    Raises ModelError for what is not there, and for a pickle.
    """
    path = Path(given).expanduser()
    path = path if path.exists() else model_folders().find_model("vae", given)
    if path.is_file():
        check_kind(path, trust_pickle=False)
    return path


def with_vae(facts: ModelInfo, path: Path | None) -> ModelInfo:
    """The facts of a model that is given this VAE, if it is given one."""
    return replace(facts, identity=f"{facts.identity} {identity(path)}") if path else facts


def put_vae(pipe: Any, path: Path) -> None:
    """Load a VAE into a pipeline that is not yet on its device. Raises ModelError.

    A file has the shapes and the scaling of the model's own VAE; a folder says its own.
    """
    import safetensors

    old = pipe.vae
    try:
        vae = _from_folder(path, old) if path.is_dir() else _from_file(path, old)
    except (
        OSError, ValueError, RuntimeError, KeyError, TypeError, AttributeError,
        safetensors.SafetensorError,
    ) as error:  # fmt: skip
        said = (str(error) or repr(error)).splitlines()[0]
        raise ModelError(
            f"the VAE {str(path)!r} cannot be used with this model: {said}",
            "set model.vae to a VAE of the model's family, or leave it empty",
        ) from error
    for what, mine, theirs in (
        ("latent channels", _latent_channels(old), _latent_channels(vae)),
        ("halvings of the picture", _count_halvings(old), _count_halvings(vae)),
    ):
        if mine != theirs:
            raise ModelError(
                f"the VAE {str(path)!r} has {theirs} {what}, the model {mine}",
                "set model.vae to a VAE of the model's family, or leave it empty",
            )
    pipe.register_modules(vae=vae.eval())


def _from_folder(path: Path, old: Any) -> Any:
    from diffusers import AutoModel

    whole = (path / "model_index.json").is_file()  # a whole pipeline: its VAE alone
    return AutoModel.from_pretrained(
        str(path),
        subfolder="vae" if whole else None,
        dtype=old.dtype,
        local_files_only=True,
        use_safetensors=True,
    )


def _from_file(path: Path, old: Any) -> Any:
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
