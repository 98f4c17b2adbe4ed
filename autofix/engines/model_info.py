"""Reads a model's info from its files, without loading any weights."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autofix.engines.base import ModelInfo, SizeRule
from autofix.engines.checkpoints.families import FAMILIES, Checkpoint, Family, family_of
from autofix.errors import ModelError
from autofix.settings.region_sections import PADDING
from autofix.settings.units import Share, parse_length

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OWN_TOML = "autofix.toml"
"""Name of a file beside model_index.json with a model's own settings for autofix."""

_CHUNK_BYTES = 64 * 1024


def read_index(folder: Path) -> dict[str, Any]:
    """The folder's model_index.json. Raises ModelError where it is no diffusers folder."""
    index = folder / "model_index.json"
    if not index.is_file():
        raise ModelError(
            f"{str(folder)!r} is no diffusers model: it has no model_index.json",
            "--model takes builtin, null, or a folder written by diffusers' save_pretrained",
        )
    return _read_json(index)


def read_folder_info(folder: Path, name: str = "") -> ModelInfo:
    """The info of the model in a diffusers folder. Raises ModelError."""
    index = read_index(folder)
    own = read_own_toml(folder)
    name = own.get("name") or name or folder.resolve().name
    denoiser = _read_config(folder, "unet" if "unet" in index else "transformer")
    # One with its own autofix.toml is not of the family that its pipeline was made for.
    family = None if own else family_of(str(index.get("_class_name")), denoiser, name)
    scale = _latent_scale(_read_config(folder, "vae"))
    side = denoiser.get("sample_size") or (family.native // scale if family else 64)
    side = min(side) if isinstance(side, list) else side
    given = _family_defaults(family) | {
        key: own[key] for key in ("steps", "sampler") if own.get(key)
    }
    if own.get("strength"):
        given["tuned"] = _parse_strengths(own["strength"], folder / OWN_TOML)
    return ModelInfo(
        name=name,
        identity=identity(folder),
        size=SizeRule(own.get("native_size", side * scale), max(8, 2 * scale)),
        scale=scale,
        prediction=read_prediction(folder),
        labels=frozenset(own.get("labels", ())),
        reads_prompt=own.get("prompt", True),
        faithful=own.get("conditioning") == "crop",
        # A model that is conditioned on the crop has strengths tuned by diffusers' step count.
        step_count=own.get(
            "step_count", "diffusers" if own.get("conditioning") == "crop" else "a1111"
        ),
        padding=_parse_padding(own.get("padding", PADDING), folder / OWN_TOML),
        **given,
    )


def checkpoint_info(path: Path, found: Checkpoint) -> ModelInfo:
    """The info of a checkpoint file."""
    family = FAMILIES[found.family]
    return ModelInfo(
        name=path.stem,
        identity=identity(path),
        size=SizeRule(found.native, 16),
        prediction=found.prediction,
        **_family_defaults(family) | {"family": found.title},
    )


def pipeline_info(pipe: Any) -> ModelInfo:
    """The info of a loaded pipeline, by its configs. Raises ModelError for one without a VAE."""
    denoiser = getattr(pipe, "unet", None) or getattr(pipe, "transformer", None)
    scale = getattr(pipe, "vae_scale_factor", None)
    if denoiser is None or scale is None or not hasattr(pipe, "scheduler"):
        raise ModelError(
            f"a {type(pipe).__name__} is no latent diffusion pipeline",
            "give a loaded text-to-image or image-to-image pipeline of diffusers",
        )
    side = getattr(pipe, "default_sample_size", None) or denoiser.config.get("sample_size", 64)
    side = min(side) if isinstance(side, list | tuple) else side
    name = Path(str(pipe.config.get("_name_or_path") or "")).name or type(pipe).__name__
    return ModelInfo(
        name=name,
        identity=f"{type(pipe).__name__} {name}",
        size=SizeRule(side * scale, max(8, 2 * scale)),
        scale=scale,
        prediction=_prediction_of(pipe.scheduler.config, type(pipe.scheduler).__name__),
        **_family_defaults(family_of(type(pipe).__name__, denoiser.config, name)),
    )


def _family_defaults(family: Family | None) -> dict[str, Any]:
    """The fields of ModelInfo that a family decides; none for an unknown one."""
    if family is None:
        return {}
    defaults: dict[str, Any] = {"family": family.title, "encoders": family.encoders}
    defaults |= {"cfg": family.cfg, "steps": family.steps}
    return defaults | ({"sampler": "auto"} if family.own_sampler else {})


def _latent_scale(vae: Mapping[str, Any]) -> int:
    """Pixels of a latent's side: twice as many for each time that the VAE halves the picture."""
    if halvings := vae.get("temperal_downsample"):  # Qwen-Image's, made from a video's
        return int(2 ** len(halvings))
    return int(2 ** (len(vae.get("block_out_channels", [0] * 4)) - 1))


def _parse_strengths(strength: Any, path: Path) -> tuple[tuple[float, float], ...]:
    """ModelInfo.tuned from one strength, or from pairs [face px, strength]."""
    try:
        pairs = strength if isinstance(strength, list) else [[0, strength]]
        table = tuple(sorted((float(px), float(value)) for px, value in pairs))
    except (TypeError, ValueError):
        table = ()
    if not table or not all(0 <= value <= 1 for _, value in table):
        raise ModelError(
            f"{path} sets strength to {strength!r}",
            "it must be 0..1, or a list of pairs of face px and strength: [[24, 0.5], [64, 0.4]]",
        )
    return table


def _parse_padding(given: Any, path: Path) -> Share:
    try:
        return parse_length(given)
    except ValueError as error:
        raise ModelError(
            f"{path} sets padding to {given!r}, which {error}", 'write it as "8%"'
        ) from error


def read_own_toml(folder: Path) -> Mapping[str, Any]:
    """The folder's autofix.toml; empty where it has none."""
    path = folder / OWN_TOML
    try:
        return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "mend or remove the file") from error


def read_prediction(folder: Path) -> str:
    """The `ModelInfo.prediction` of the model in a diffusers folder."""
    path = folder / "scheduler" / "scheduler_config.json"
    config = _read_json(path) if path.is_file() else {}
    return _prediction_of(config, str(config.get("_class_name")))


def _prediction_of(config: Mapping[str, Any], kind: str) -> str:
    return "flow" if kind.startswith("FlowMatch") else str(config.get("prediction_type", "epsilon"))


def identity(path: Path) -> str:
    """16 hex digits from the name, size, first and last 64 KiB of every file in a folder.

    Of a single file from its size and 64 KiB at 17 places: two checkpoints may begin and end alike.
    Reading gigabytes of weights to tell two models apart would take longer than fixing a picture.
    """
    digest = hashlib.sha256()
    files = [path] if path.is_file() else sorted(one for one in path.rglob("*") if one.is_file())
    parts = 16 if path.is_file() else 1
    for one in files:
        size = one.stat().st_size
        digest.update(f"{one.relative_to(path).as_posix()}\0{size}\0".encode())
        with one.open("rb") as file:
            digest.update(file.read(_CHUNK_BYTES))
            for part in range(1, parts + 1) if size > _CHUNK_BYTES else ():
                file.seek((size - _CHUNK_BYTES) * part // parts)
                digest.update(file.read(_CHUNK_BYTES))
    return digest.hexdigest()[:16]


def _read_config(folder: Path, component: str) -> dict[str, Any]:
    path = folder / component / "config.json"
    return _read_json(path) if path.is_file() else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}", "download the model again") from error
    if not isinstance(data, dict):
        raise ModelError(f"{path} holds no JSON object", "download the model again")
    return data
