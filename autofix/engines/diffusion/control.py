"""ControlNets: they steer the denoiser by control images made from the crops."""

from __future__ import annotations

import contextlib
import itertools
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from autofix.engines.checkpoints.weight_file import check_kind
from autofix.engines.diffusion.control_load import load_controlnet
from autofix.engines.diffusion.control_preprocess import check_module, control_image
from autofix.engines.diffusion.pipeline_adapter import Pipeline, execution_device
from autofix.errors import ModelError
from autofix.settings.control_modules import module_of
from autofix.settings.model_folders import model_folders
from autofix.settings.model_sections import Control
from autofix.settings.recipe import Recipe
from autofix.values import Crop

_UNION = {
    "openpose": 0, "depth": 1, "softedge": 2, "scribble": 2, "t2ia": 2, "canny": 3, "lineart": 3,
    "tile": 6, "none": 6, "inpaint": 7,
}  # fmt: skip
"""The start of a module's name -> the number of its kind in a union ControlNet."""


class ControlNets:
    """The ControlNets of one engine, each loaded when first used."""

    def __init__(self) -> None:
        self._checked: set[Control] = set()
        self._paths: dict[str, Path] = {}
        self._nets: dict[Path, Any] = {}
        self._warned = False

    def check(self, recipe: Recipe, *, model: str, usable: bool) -> None:
        """Raises ModelError where one is missing or the model takes none, or as `check_module`.

        `usable`: the model is of a kind that ControlNets are made for.
        """
        for control in recipe.inpaint.control:
            if control in self._checked:
                continue
            if not usable:
                raise ModelError(
                    f"ControlNets do not work with {model}: they are for SD 1.x, 2.x and SDXL",
                    "take inpaint.control out, or another --model",
                )
            check_module(control)
            path = self._find_path(control.model)
            if not path.is_dir():
                check_kind(path, trust_pickle=recipe.model.trust_pickle)
            self._checked.add(control)

    @contextlib.contextmanager
    def apply_controlnets(
        self, pipe: Pipeline, crops: Sequence[Crop], recipe: Recipe
    ) -> Iterator[None]:
        """While this lasts, the ControlNets steer the pipeline's UNet for these crops.

        Before each step of the UNet their residuals are added to its arguments, so that any
        inpainting pipeline can be steered. A ControlNet acts at a step where start <= step number /
        steps <= end, as in the web UI's extension. Raises ModelError.
        """
        acting = [control for control in recipe.inpaint.control if control.weight > 0]
        if not acting:
            yield
            return
        import torch

        nets = [self._placed_net(control, pipe, recipe) for control in acting]
        images = [
            torch.from_numpy(np.stack([control_image(crop, control) for crop in crops]))
            for control in acting
        ]
        images = [image.permute(0, 3, 1, 2) for image in images]  # B x 3 x height x width
        numbers = itertools.count()

        def add_residuals(unet: Any, args: tuple[Any, ...], given: dict[str, Any]) -> Any:
            share = next(numbers) / pipe.num_timesteps
            residuals = [
                _residuals_of(net, control, image, args, given)
                for net, control, image in zip(nets, acting, images, strict=True)
                if control.start <= share <= control.end
            ]
            if not residuals:
                return None
            downs, mids = zip(*residuals, strict=True)
            added = {
                "down_block_additional_residuals": list(map(sum, zip(*downs, strict=True))),
                "mid_block_additional_residual": sum(mids),
            }
            return args, {**given, **added}

        try:
            with pipe.unet.register_forward_pre_hook(add_residuals, with_kwargs=True):
                yield
        finally:
            if recipe.device.vram == "low":
                for net in nets:
                    net.to("cpu")

    def close(self) -> None:
        """Drop the weights; a later use would load them again."""
        self._nets.clear()

    def _find_path(self, name: str) -> Path:
        if name not in self._paths:
            folders = model_folders()
            found = folders.path_or_model("controlnet", name) or folders.find_model(
                "controlnet", name
            )
            self._paths[name] = found
        return self._paths[name]

    def _placed_net(self, control: Control, pipe: Pipeline, recipe: Recipe) -> Any:
        """The ControlNet, loaded, on the UNet's device and in its precision."""
        path, unet, device = self._find_path(control.model), pipe.unet, execution_device(pipe)
        if not self._warned and unet.config.in_channels != unet.config.out_channels:
            self._warned = True
            logging.getLogger("autofix").warning(
                "ControlNets are made for common checkpoints: beside an inpainting model with %d "
                "channels they can do harm; use the checkpoint that it was made from",
                unet.config.in_channels,
            )
        by_layers = recipe.device.vram == "min" and device.type != "cpu"
        if path not in self._nets:
            net = self._nets[path] = load_controlnet(path, unet, recipe)
            if by_layers:
                from accelerate import cpu_offload

                cpu_offload(net.to(unet.dtype), device)
        net = self._nets[path]
        _union_kind(net, control)
        return net if by_layers else net.to(device, unet.dtype)


def _residuals_of(
    net: Any, control: Control, image: Any, args: tuple[Any, ...], given: Mapping[str, Any]
) -> Any:
    """The residuals that one ControlNet adds to the UNet: of its down blocks, and of its middle."""
    sample, timestep = args
    rows = len(sample) // len(image)  # 2 where guidance doubles the batch
    sample = sample[:, : net.config.in_channels]  # without an inpainting model's mask
    shown = image.to(sample).repeat(rows, 1, 1, 1)
    more: dict[str, Any] = {"controlnet_cond": shown}
    if (kind := _union_kind(net, control)) is not None:
        kinds = sample.new_zeros(len(sample), net.config.num_control_type)
        kinds[:, kind] = 1
        more = {"controlnet_cond": [shown], "control_type": kinds, "control_type_idx": [kind]}
    return net(
        sample,
        timestep,
        encoder_hidden_states=given["encoder_hidden_states"],
        added_cond_kwargs=given.get("added_cond_kwargs"),
        conditioning_scale=control.weight,
        return_dict=False,
        **more,
    )


def _union_kind(net: Any, control: Control) -> int | None:
    """The number of the control's kind, for a union ControlNet. Raises ModelError."""
    if "num_control_type" not in net.config:
        return None
    module = module_of(control)
    kind = _UNION[next(start for start in _UNION if module.startswith(start))]
    if kind >= net.config.num_control_type:
        raise ModelError(
            f"the union ControlNet {control.model!r} has no kind for the module {module!r}",
            "set inpaint.control's module to another, or take a ControlNet of that kind",
        )
    return kind
