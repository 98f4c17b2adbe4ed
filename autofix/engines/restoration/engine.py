"""The engine of face-restoration networks: GFPGAN, RestoreFormer and CodeFormer files.

They were trained on faces in FFHQ's alignment at 512 x 512. Where the detector found eyes and
mouth, the face is aligned so, restored, and pasted back into its crop.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from autofix.engines.base import ModelInfo, SizeRule
from autofix.engines.checkpoints.weight_file import check_kind
from autofix.engines.devices import device_and_dtype
from autofix.engines.model_info import identity
from autofix.engines.restoration.align import SIDE, Values, align_face, paste_face
from autofix.engines.restoration.spandrel_files import open_model_file, weight_names
from autofix.errors import EngineError, ModelError
from autofix.settings.recipe import Recipe
from autofix.values import Crop, Patch

_SIGNS = {
    "GFPGAN": ("toRGB.0.weight", "stylegan_decoder.style_mlp.1.weight"),
    "CodeFormer": ("position_emb", "idx_pred_layer.1.weight", "quantize.embedding.weight"),
    "RestoreFormer": (
        *("quantize.embedding.weight", "quant_conv.weight"),
        *("encoder.conv_in.weight", "decoder.conv_out.weight"),
    ),
}
"""Names of weights that each architecture has."""

_EXTRA = "spandrel_extra_arches"


def is_restoration(path: Path) -> bool:
    """Whether a .safetensors or .pth file is a face-restoration network, by its weights' names.

    No weight is read and nothing is unpickled. Whether a pickle may be loaded is another question.
    """
    return _architecture_of(path) is not None


class RestorationEngine:
    """Restores faces. Checks the file at once and loads it at the first inpaint. Raises ModelError.

    Strength, steps, seed and prompt have no effect: `visibility` is the restored face's opacity,
    `codeformer_weight` how close CodeFormer keeps to the face. A retry gives the same Patch.
    Computes in float32 unless bfloat16 is set; all these networks overflow in float16.
    """

    def __init__(self, path: Path, recipe: Recipe) -> None:
        architecture = _architecture_of(path)
        if architecture is None:
            raise ModelError(
                f"{str(path)!r} is no face-restoration network",
                f"--model takes files of {', '.join(_SIGNS)}",
            )
        check_kind(path, trust_pickle=recipe.model.trust_pickle)
        if architecture == "CodeFormer" and find_spec(_EXTRA) is None:
            raise ModelError(
                f"model {path.name!r} is a CodeFormer network, which needs {_EXTRA}",
                f"pip install {_EXTRA}, if its licence suits you: CodeFormer's (S-Lab 1.0) allows "
                "non-commercial use only",
            )
        self.path = path
        self.architecture = architecture
        self.info = ModelInfo(
            name=path.stem,
            identity=identity(path),
            size=SizeRule(SIDE),
            labels=frozenset({"face"}),
            reads_prompt=False,
            tuned=((0.0, 1.0),),
            steps=1,
            family=f"face restoration ({architecture})",
        )
        self._device, dtype = device_and_dtype(recipe.device)
        self._dtype = "bfloat16" if "bfloat16" in str(dtype) else "float32"
        self.network: Any = None
        """The loaded torch module; None before the first inpaint and after closing."""

    def check(self, recipe: Recipe) -> None:
        """See `Engine.check`: every setting is obeyed or has no effect."""

    def inpaint(self, crops: Sequence[Crop], recipe: Recipe) -> list[Patch]:
        """See `Engine.inpaint`. Raises ModelError where the weights cannot be loaded."""
        if self.network is None:
            self.network = self._load_network()
        restored = self._restore_batch(np.stack([align_face(crop) for crop in crops]), recipe)
        return [
            Patch(
                crop,
                paste_face(values, crop, recipe.restoration.visibility),
                seed=crop.region.seed,
                strength=crop.region.strength,
            )
            for crop, values in zip(crops, restored, strict=True)
        ]

    def close(self) -> None:
        """Drop the weights; a later inpaint would load them again."""
        self.network = None

    def _load_network(self) -> Any:
        import torch

        opened = open_model_file(
            self.path,
            "model",
            choose="choose a GFPGAN (1.2 to 1.4), RestoreFormer or CodeFormer file that is whole",
            instead="choose another --model",
            extra=self.architecture == "CodeFormer",
        )
        # The module itself: spandrel's own call feeds GFPGAN and CodeFormer values from 0 to 1,
        # where they were trained on -1 to 1, and takes one picture at a time.
        return opened.model.to(self._device, getattr(torch, self._dtype))

    def _restore_batch(self, faces: Values, recipe: Recipe) -> Values:
        """B x 512 x 512 x 3, 0 to 1, as one batch."""
        import torch

        arguments: dict[str, Any] = {}
        if self.architecture == "GFPGAN":
            arguments = {"return_rgb": False, "randomize_noise": False}  # the noise in its file
        elif self.architecture == "CodeFormer":
            arguments = {"weight": recipe.restoration.codeformer_weight}
        batch = torch.from_numpy(faces * 2 - 1).permute(0, 3, 1, 2).contiguous()
        try:
            with torch.inference_mode():
                given = batch.to(self._device, getattr(torch, self._dtype))
                answer = self.network(given, **arguments)[0].float().cpu()
        except (RuntimeError, ValueError) as error:
            raise EngineError(
                f"the model failed: {(str(error) or repr(error)).splitlines()[0]}",
                "try a smaller --batch-size, or --device cpu",
            ) from error
        values: Values = ((answer.permute(0, 2, 3, 1) + 1) / 2).clamp(0, 1).numpy()
        return values


def _architecture_of(path: Path) -> str | None:
    """The architecture of the network in a file; None where it holds none of these."""
    names = weight_names(path)
    for prefix in ("", "module.", "netG."):
        for architecture, signs in _SIGNS.items():
            if names.issuperset(prefix + sign for sign in signs):
                return architecture
    return None
