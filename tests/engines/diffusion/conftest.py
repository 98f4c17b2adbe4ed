"""A models folder with LoRAs, embeddings and VAEs, and engines that use it."""

from __future__ import annotations

import pytest
from safetensors.torch import save_file

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.settings.recipe import Recipe
from tests.engines.controlled import build_nets
from tests.engines.lora_files import ENCODERS, as_diffusers, lora


@pytest.fixture(scope="session")
def _home(folders, tmp_path_factory):
    root = tmp_path_factory.mktemp("home")
    for name in ("Lora", "embeddings", "VAE"):
        (root / "models" / name).mkdir(parents=True)
    (root / "config.toml").write_text('[models]\nfolders = ["models"]\n', encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOFIX_CONFIG", str(root / "config.toml"))
        for kind, encoders in ENCODERS.items():
            pipe = DiffusionEngine(folders[kind], Recipe()).load().pipe
            kohya = root / "models/Lora" / f"{kind} style v1.5.safetensors"
            save_file(lora(pipe, encoders), kohya)
            save_file(lora(pipe, encoders, unet=False), kohya.with_name(f"{kind}-te.safetensors"))
            save_file(lora(pipe, {}, seed=2), kohya.with_name(f"{kind}-unet.safetensors"))
            pipe.save_lora_weights(
                kohya.parent,
                weight_name=f"{kind}-diffusers.safetensors",
                **as_diffusers(lora(pipe, encoders), pipe, kind),
            )
    return root


@pytest.fixture
def home(_home, monkeypatch):
    """A folder with a models folder as A1111 has it, which the user's config file names."""
    monkeypatch.setenv("AUTOFIX_CONFIG", str(_home / "config.toml"))
    return _home


@pytest.fixture(scope="session")
def _shared(folders):
    return {
        kind: DiffusionEngine(folders[kind], Recipe(sampling={"steps": 3})) for kind in ENCODERS
    }


@pytest.fixture
def shared(home, _shared):
    """One engine of each kind, for tests that need none of their own."""
    return _shared


@pytest.fixture(scope="session")
def nets(folders, tmp_path_factory):
    """Folders of ControlNets, for SD and for SDXL."""
    return build_nets(folders, tmp_path_factory.mktemp("nets"))
