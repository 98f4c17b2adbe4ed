"""CLIP's text encoders from a checkpoint's tensors, and its tokenizer from our vocabulary."""

from __future__ import annotations

import functools
import gzip
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from autofix.engines.checkpoints.configs_from_shapes import clip_config
from autofix.engines.checkpoints.weight_file import Header
from autofix.engines.diffusion.pipeline_adapter import convert_open_clip
from autofix.errors import ModelError

CONFIGS = Path(__file__).parent / "configs"


def tokenizer(*, pad: str | None = None) -> Any:
    """CLIP's tokenizer; OpenCLIP's pads with "!" where OpenAI's pads with the end of text."""
    from transformers import CLIPTokenizer

    words, merges = _read_vocabulary()
    with tempfile.TemporaryDirectory() as folder:
        files = Path(folder, "vocab.json"), Path(folder, "merges.txt")
        files[0].write_text(json.dumps(words), encoding="utf-8")
        files[1].write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
        return CLIPTokenizer(
            *map(str, files),
            model_max_length=77,
            unk_token="<|endoftext|>",
            pad_token=pad or "<|endoftext|>",
        )


@functools.cache
def _read_vocabulary() -> tuple[dict[str, int], list[str]]:
    """Tokens with their numbers, and merges: bytes, bytes that end a word, merged pairs, two marks.

    The bytes are in GPT-2's order: printable ones first, then the others as letters above them.
    """
    merges = gzip.decompress((CONFIGS / "clip" / "merges.txt.gz").read_bytes()).decode()
    pairs = merges.split("\n")
    prints = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [chr(256 + number) for number in range(256 - len(prints))]
    bytes_ = [*map(chr, prints), *others]
    ends = [f"{byte}</w>" for byte in bytes_]
    words = [*bytes_, *ends, *("".join(pair.split()) for pair in pairs)]
    marks = ["<|startoftext|>", "<|endoftext|>"]
    return {word: number for number, word in enumerate([*words, *marks])}, pairs


def text_encoder(
    tensors: Mapping[str, Any], prefix: str, config: Path, dtype: Any, *, open_clip: bool = False
) -> Any:
    """The text encoder whose keys start with `prefix`, with its projection if it has one.

    `config` is its config.json of the family. Raises ModelError where tensors are missing.
    """
    import transformers

    own = (_from_open_clip if open_clip else _from_clip)(tensors, prefix)
    projection = own.get("text_projection.weight")
    shapes = Header({key: tuple(tensor.shape) for key, tensor in own.items()}, {})
    derived = clip_config(shapes, () if projection is None else tuple(projection.shape))
    settings = transformers.CLIPTextConfig(**json.loads(config.read_text()) | derived)
    kind = transformers.CLIPTextModel
    if projection is not None:
        kind = transformers.CLIPTextModelWithProjection
    named = {
        key if key.startswith("text_projection") else f"text_model.{key}": tensor
        for key, tensor in own.items()
    }
    model, found = kind.from_pretrained(
        None, config=settings, state_dict=named, dtype=dtype, output_loading_info=True
    )
    if missing := sorted(found["missing_keys"]):
        raise ModelError(
            f"its text encoder lacks {missing[0]!r} and {len(missing) - 1} more",
            "take another checkpoint, or download it again",
        )
    return model.eval()


def _from_clip(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """OpenAI's CLIP under the names of transformers: some old merges lack "text_model."."""
    named = {
        key.removeprefix(prefix).removeprefix("text_model."): tensor
        for key, tensor in tensors.items()
        if key.startswith(prefix) and not key.endswith("position_ids")
    }
    return {key: tensor for key, tensor in named.items() if not key.startswith("text_projection")}


def _from_open_clip(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """OpenCLIP's tensors under the names of transformers; queries, keys and values split.

    Without ViT-H's last layer: SD 2.x was trained on the output of the one before.
    """
    named = convert_open_clip(tensors, prefix)
    return {key.removeprefix("text_model."): tensor for key, tensor in named.items()}
