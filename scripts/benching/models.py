"""What `--model` names: a model that autofix takes, made where it has random weights."""

from __future__ import annotations

from pathlib import Path

from benching.pictures import ROOT

TRUE_SIZE = ("sd15", "sdxl")
RANDOM = ("tiny", *TRUE_SIZE)
"""Models whose pictures mean nothing: the check would refuse every one of them."""


def model_folder(name: str, cache: Path) -> str:
    """The model for a recipe's `model.name`; one with random weights is made once, in `cache`.

    tiny: Stable Diffusion 1.5's parts with few channels, native size 64. sd15, sdxl: its true
    shapes, in half precision. Any other name is what autofix itself takes.
    """
    if name not in RANDOM:
        return name
    folder = cache / name
    if not (folder / "model_index.json").is_file():  # written last
        if name == "tiny":
            from tests.engines.tiny import sd

            sd(folder)
        else:
            _make_true_size(name, folder)
    return str(folder)


def _make_true_size(name: str, folder: Path) -> None:
    """As a diffusers folder, which the plain loop can load as well."""
    import torch

    from autofix.engines.checkpoints.load import load_checkpoint
    from make_true_size import make_true_size

    made = make_true_size(name, folder, torch.float16)
    load_checkpoint(made, torch.float16).save_pretrained(folder)
    made.unlink()


def diffusers_folder(model: str) -> Path:
    """Where the model's files are, for a program that is not autofix."""
    return ROOT / "weights" / "builtin" / "face" if model == "builtin" else Path(model)
