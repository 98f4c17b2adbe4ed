"""Textual inversion: words of a prompt that stand for vectors from the user's embeddings folder."""

from __future__ import annotations

import contextlib
import logging
import math
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from pickle import PickleError
from typing import Any

from autofix.engines.checkpoints.weight_file import SAFE, check_kind, read_header, read_tensors
from autofix.errors import ModelError
from autofix.settings.model_folders import ModelFolders, model_folders

_FIRST = 10_000_000
"""Ids from here on are vectors of embeddings; no tokenizer has so many tokens."""

_MOST_VALUES = 2**22
"""Values of the largest tensor that can be an embedding: checkpoints may lie in the same folder."""

_log = logging.getLogger("autofix")


class Embeddings:
    """The user's embeddings for one model, each loaded when a prompt first names it.

    Nothing is added to the model: a name is read as ids of its own, and `place_vectors` puts the
    vectors in their places, so that a prompt that names none is encoded as if there were none.
    """

    def __init__(
        self,
        widths: Sequence[int],
        *,
        trust_pickle: bool = False,
        folders: ModelFolders | None = None,
    ) -> None:
        """`widths` are those of the text encoders' tokens, SDXL's clip_l and then clip_g."""
        self._widths = tuple(widths)
        self._trust_pickle = trust_pickle
        self._folders = folders
        self._ids: dict[str, list[int]] = {}
        self._vectors: list[tuple[Any, ...]] = []
        self.inner: set[int] = set()
        """Ids of an embedding's later vectors: no chunk of a prompt may begin with one."""

    def split_names(self, text: str) -> Iterator[str | list[int]]:
        """The text in pieces, an embedding's ids in place of its name. Capitals do not matter."""
        at = 0
        for found in self._name_pattern.finditer(text) if self._name_pattern else ():
            if ids := self._read_ids(found[0].casefold()):
                yield text[at : found.start()]
                yield ids
                at = found.end()
        yield text[at:]

    @contextlib.contextmanager
    def place_vectors(
        self, encoder: Any, number: int, ids: list[list[int]]
    ) -> Iterator[list[list[int]]]:
        """Yields the ids with 0 for each vector; while this lasts the encoder puts it there."""
        places = [
            (row, column, self._vectors[token - _FIRST][number])
            for row, chunk in enumerate(ids)
            for column, token in enumerate(chunk)
            if token >= _FIRST
        ]

        def put_vectors(_layer: Any, _given: Any, embedded: Any) -> Any:
            embedded = embedded.clone()
            for row, column, vector in places:
                embedded[row, column] = vector.to(embedded)
            return embedded

        layer = encoder.get_input_embeddings()
        with layer.register_forward_hook(put_vectors) if places else contextlib.nullcontext():
            yield [[0 if token >= _FIRST else token for token in chunk] for chunk in ids]

    @cached_property
    def _name_pattern(self) -> re.Pattern[str] | None:
        """Finds any embedding's name as a word, the longest first."""
        if self._folders is None:
            self._folders = model_folders()
        names = sorted(self._folders.known_names("embedding"), key=len, reverse=True)
        any_of = "|".join(map(re.escape, names))
        return re.compile(rf"(?<!\w)(?:{any_of})(?!\w)", re.IGNORECASE) if names else None

    def _read_ids(self, name: str) -> list[int]:
        """The ids of an embedding; none where it cannot be used, with a warning the first time."""
        if name not in self._ids:
            self._ids[name] = []
            assert self._folders is not None
            path = ModelFolders(folders=self._folders.folders).find_model("embedding", name)
            try:
                tensors = read_embedding(path, trust_pickle=self._trust_pickle)
            except ModelError as error:
                _log.warning("the word %r stays a word: %s", name, error)
                return []
            if tensors is None:
                return []
            widths = tuple(tensor.shape[-1] for tensor in tensors)
            if widths != self._widths:
                _log.warning(
                    "the word %r stays a word: the embedding %s is %s wide, the model %s",
                    name, path, "+".join(map(str, widths)), "+".join(map(str, self._widths)),
                )  # fmt: skip
                return []
            first = _FIRST + len(self._vectors)
            self._vectors += zip(*tensors, strict=True)
            self._ids[name] = list(range(first, _FIRST + len(self._vectors)))
            self.inner |= set(self._ids[name][1:])
        return self._ids[name]


def read_embedding(path: Path, *, trust_pickle: bool) -> tuple[Any, ...] | None:
    """The vectors, count x width, for each text encoder: one tensor, or SDXL's clip_l and clip_g.

    None for a file that is something else. A1111's and diffusers' layouts are read. Raises
    ModelError for a file that cannot be read, and for a pickle that is not to be trusted.
    """
    if path.is_dir():
        return None
    check_kind(path, trust_pickle=trust_pickle)
    if path.suffix.lower() != SAFE:
        return _per_encoder(_read_pickle(path))
    shapes = read_header(path).shapes.values()
    if len(shapes) > 4 or any(math.prod(shape) > _MOST_VALUES for shape in shapes):
        return None
    return _per_encoder(read_tensors(path))


def _read_pickle(path: Path) -> dict[str, Any]:
    """The tensors of a trusted pickle in A1111's layout, or diffusers' old one."""
    import torch

    try:
        held = torch.load(path, map_location="cpu", weights_only=False)
    except (OSError, RuntimeError, EOFError, AttributeError, ImportError, PickleError) as error:
        raise ModelError(f"{path.name!r} cannot be read: {error}", "download it again") from error
    held = held.get("string_to_param", held) if isinstance(held, dict) else {}
    return {key: value for key, value in held.items() if isinstance(value, torch.Tensor)}


def _per_encoder(tensors: dict[str, Any]) -> tuple[Any, ...] | None:
    wanted = ("clip_l", "clip_g") if "clip_g" in tensors else tuple(tensors)[:1]
    held = [tensors[key].detach() for key in wanted if key in tensors]
    held = [vectors[None] if vectors.ndim == 1 else vectors for vectors in held]
    fits = bool(held) and all(vectors.ndim == 2 and vectors.is_floating_point() for vectors in held)
    return tuple(held) if fits and len(set(map(len, held))) == 1 else None
