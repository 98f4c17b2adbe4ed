"""LoRAs beside a pipeline's own weights: loaded once, switched on and off between batches."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from autofix.engines.base import LOADING
from autofix.engines.diffusion.lora_load import load_lora
from autofix.engines.diffusion.lora_tags import find_lora, read_tag, split_tags
from autofix.engines.diffusion.pipeline_adapter import (
    Pipeline,
    activate_adapters,
    adaptable_parts,
    adapters_of,
    delete_adapter,
)
from autofix.errors import ModelError
from autofix.settings.model_folders import model_folders

KEPT = 8
"""So many LoRAs stay loaded, the latest used; those of the present batch always do."""

_log = logging.getLogger("autofix")


class Active(NamedTuple):
    """A LoRA file, and how strongly it acts on the text encoders and on the UNet."""

    path: Path
    te: float
    unet: float


Loras = tuple[Active, ...]
"""The LoRAs that are active together, in the order of their paths."""


class LoraSwitch:
    """The LoRAs of one loaded pipeline. With none active its pictures are as before, to the bit.

    Weights stay beside the model's own (peft), so that nothing is ever undone by subtraction.
    """

    def __init__(self, pipe: Pipeline, *, frozen: bool = False) -> None:
        """`frozen`: the pipeline and its LoRAs are left as they are; tags are only taken out."""
        self._pipe = pipe
        self._frozen = frozen
        self._paths: dict[str, Path | ModelError] = {}
        self._unfit: dict[Path, ModelError] = {}
        self._names: dict[Path, str] = {}  # adapters by file, the least lately used first
        self._count = 0
        self._warned: set[str] = set()

    def activate_sets(
        self, prompts: Sequence[str], *, own: str = ""
    ) -> Iterator[tuple[list[int], list[str], Loras]]:
        """Activate one set of LoRAs after another, and yield the prompts that name it.

        Yields the prompts' places, their texts without tags, and the set.

        The set is active until the next one is asked for. A LoRA that is missing or does not fit
        is left out, with one warning, for the prompt may be the picture's; where the tag stands in
        `own`, the recipe's prompt, ModelError is raised.
        """
        groups: dict[Loras, list[tuple[int, str]]] = defaultdict(list)
        for place, prompt in enumerate(prompts):
            text, tags = split_tags(prompt)
            groups[self._wanted_loras(tags, own)].append((place, text))
        for loras, group in groups.items():
            if not self._frozen:
                self._activate_set(loras)
            places, texts = zip(*group, strict=True)
            yield list(places), list(texts), loras

    def _wanted_loras(self, tags: Iterable[str], own: str) -> Loras:
        """The LoRAs that the tags name: weights of one file are added up, weight 0 is left out."""
        weights: dict[Path, tuple[float, float]] = {}
        for tag in () if self._frozen else tags:
            try:
                name, te, unet = read_tag(tag)
                path = self._find_path(name)
                self._load_adapter(path)
            except ModelError as error:
                if tag in own:
                    raise
                if tag not in self._warned:
                    self._warned.add(tag)
                    _log.warning("%s is left out: %s", tag, error)
            else:
                before = weights.get(path, (0.0, 0.0))
                weights[path] = (before[0] + te, before[1] + unet)
        return tuple(Active(path, *both) for path, both in sorted(weights.items()) if any(both))

    def _find_path(self, name: str) -> Path:
        if name not in self._paths:
            try:
                self._paths[name] = find_lora(name, model_folders())
            except ModelError as error:
                self._paths[name] = _without_traceback(error)
        found = self._paths[name]
        if isinstance(found, ModelError):
            raise _without_traceback(found)
        return found

    def _load_adapter(self, path: Path) -> str:
        """The file's adapter, now the latest used. Raises ModelError where it does not fit."""
        if path in self._unfit:
            raise _without_traceback(self._unfit[path])
        name = self._names.pop(path, "")
        if not name:
            self._count += 1
            name = f"autofix{self._count:06}"  # peft wants no dots, and no name within another
            try:
                with LOADING:
                    load_lora(self._pipe, path, name)
            except (ModelError, RuntimeError) as error:  # out of memory may pass
                delete_adapter(self._pipe, name)
                if isinstance(error, ModelError):
                    self._unfit[path] = _without_traceback(error)
                raise
        self._names[path] = name
        return name

    def _activate_set(self, loras: Loras) -> None:
        adapters = {self._load_adapter(lora.path): lora for lora in loras}
        for path, name in list(self._names.items())[: max(0, len(self._names) - KEPT)]:
            if name not in adapters:
                del self._names[path]
                delete_adapter(self._pipe, name)
        for part_name, part in adaptable_parts(self._pipe):
            known = adapters_of(part)
            reads_text = part_name.startswith("text_encoder")
            scales = {
                name: lora.te if reads_text else lora.unet
                for name, lora in adapters.items()
                if name in known
            }
            activate_adapters(part, {name: scale for name, scale in scales.items() if scale})


def _without_traceback(error: ModelError) -> ModelError:
    """The same error, to keep or to raise again: a traceback would keep tensors in memory."""
    return ModelError(error.problem, error.advice)
