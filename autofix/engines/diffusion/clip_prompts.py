"""A1111's prompt syntax for CLIP: attention weights, BREAK, and more than 75 tokens."""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

from autofix.engines.diffusion.lora import Loras
from autofix.engines.diffusion.pipeline_adapter import Pipeline, execution_device
from autofix.engines.diffusion.textual_inversion import Embeddings
from autofix.prompts.attention import parse_attention

Chunk = tuple[list[int], list[float]]
"""Up to 75 tokens, and the weight of each."""

CHUNK = 75
"""Tokens in a chunk: what CLIP reads at once, less its start and its end."""

COMMA_REACH = 20
"""A chunk ends after its last comma where that is at most so many tokens before its end."""


def prompt_chunks(prompt: str, tokenizer: Any, embeddings: Embeddings | None = None) -> list[Chunk]:
    """The prompt's tokens in chunks, at least one; BREAK begins a new one."""
    inner = embeddings.inner if embeddings else set()
    comma = tokenizer.convert_tokens_to_ids(",</w>")
    chunks: list[Chunk] = []
    for part in parse_attention(prompt):
        ids: list[int] = []
        weights: list[float] = []
        for text, weight in part:
            tokens = _token_ids(text, tokenizer, embeddings)
            ids += tokens
            weights += [weight] * len(tokens)
        while len(ids) > CHUNK:
            cut = _first_chunk_length(ids, comma, inner)
            chunks.append((ids[:cut], weights[:cut]))
            ids, weights = ids[cut:], weights[cut:]
        chunks.append((ids, weights))
    return chunks[:-1] if len(chunks) > 1 and not chunks[-1][0] else chunks


def _token_ids(text: str, tokenizer: Any, embeddings: Embeddings | None) -> list[int]:
    ids: list[int] = []
    for piece in embeddings.split_names(text) if embeddings else [text]:
        if isinstance(piece, str):
            piece = tokenizer(piece, add_special_tokens=False, truncation=False).input_ids
        ids += piece
    return ids


def _first_chunk_length(ids: list[int], comma: int, inner: set[int]) -> int:
    """Tokens in the first chunk: all that fit, or those up to a comma near its end.

    An embedding stays whole, unless it is longer than a chunk.
    """
    near = ids[CHUNK - COMMA_REACH : CHUNK]
    if ids[CHUNK] != comma and comma in near:
        return CHUNK - near[::-1].index(comma)
    cut = CHUNK
    while cut and ids[cut] in inner:
        cut -= 1
    return cut or CHUNK


def reads_clip(pipe: Pipeline) -> bool:
    """Whether CLIP alone reads the pipeline's prompts, as in SD 1.x, 2.x and SDXL."""
    encoders = [encoder for _, encoder in _clip_encoders(pipe)]
    return (
        hasattr(pipe, "unet")
        and bool(encoders)
        and all(encoder.config.model_type == "clip_text_model" for encoder in encoders)
    )


def prompt_encoder(
    pipe: Pipeline, *, user_embeddings: bool = False, trust_pickle: bool = False
) -> PromptEncoder | None:
    """The encoder for a pipeline whose prompts CLIP alone reads; None for any other.

    `user_embeddings`: prompts may name embeddings of the user's folders, beside those that the
    pipeline itself has.
    """
    if not reads_clip(pipe):
        return None
    if not user_embeddings:
        return PromptEncoder(pipe)
    layers = [encoder.get_input_embeddings() for _, encoder in _clip_encoders(pipe)]
    widths = [layer.weight.shape[-1] for layer in layers]
    return PromptEncoder(pipe, Embeddings(widths, trust_pickle=trust_pickle))


def _clip_encoders(pipe: Pipeline) -> list[tuple[Any, Any]]:
    """Each tokenizer with its text encoder."""
    pairs = [
        (getattr(pipe, f"tokenizer{number}", None), getattr(pipe, f"text_encoder{number}", None))
        for number in ("", "_2", "_3")
    ]
    return [pair for pair in pairs if None not in pair]


def _is_xl(pipe: Pipeline) -> bool:
    return hasattr(pipe, "text_encoder_2")


class PromptEncoder:
    """Turns prompts into a CLIP pipeline's embeddings, each distinct prompt once.

    `skip` is A1111's CLIP skip: 2 leaves out CLIP's last layer. As there it is for SD 1.x alone:
    SD 2.x and SDXL were trained with one layer that is not the last. `loras` are those that are
    active: since they may change the text encoders, embeddings are remembered with them.
    """

    def __init__(
        self, pipe: Pipeline, embeddings: Embeddings | None = None, *, remembered: int = 64
    ) -> None:
        """`embeddings` are words with vectors of their own, beside those that the pipeline has."""
        self._pipe = pipe
        self._encode_prompt = functools.lru_cache(remembered)(
            lambda prompt, skip, loras: _encode_prompt(pipe, embeddings, prompt, skip)
        )

    def prompt_arguments(
        self, prompt: str, negative: str | None, *, skip: int = 1, loras: Loras = ()
    ) -> dict[str, Any]:
        """The pipeline's arguments for one prompt and its negative prompt, if there is one.

        The embeddings are 1 x (77 times the number of chunks) x width, both equally long: the
        shorter is filled up with empty chunks.
        """
        import torch

        read = tuple((lora.path, lora.te) for lora in loras if lora.te)
        texts = {"": prompt} if negative is None else {"": prompt, "negative_": negative}
        encoded = {name: self._encode_prompt(text, skip, read) for name, text in texts.items()}
        chunks = max(len(embeds) for embeds, _ in encoded.values())
        # SDXL was trained with zeros, and not with an encoded "", where it had no prompt.
        zeroes_empty = getattr(self._pipe.config, "force_zeros_for_empty_prompt", False)
        arguments = {}
        for name, (embeds, pooled) in encoded.items():
            zero = name and not negative and zeroes_empty
            if missing := chunks - len(embeds):
                embeds = torch.cat([embeds, *[self._encode_prompt("", skip, read)[0]] * missing])
            embeds = embeds.flatten(0, 1)[None]
            arguments[f"{name}prompt_embeds"] = embeds * 0 if zero else embeds
            if _is_xl(self._pipe):
                arguments[f"{name}pooled_prompt_embeds"] = pooled * 0 if zero else pooled
        return arguments

    def batch_arguments(
        self,
        prompts: Sequence[str],
        negatives: Sequence[str] | None,
        *,
        skip: int = 1,
        loras: Loras = (),
    ) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """The places of prompts that fill equally many chunks, and the pipeline's arguments.

        `negatives` is None where the guidance scale asks for none.
        """
        import torch

        groups: dict[int, list[tuple[int, dict[str, Any]]]] = defaultdict(list)
        for place, prompt in enumerate(prompts):
            negative = None if negatives is None else negatives[place]
            encoded = self.prompt_arguments(prompt, negative, skip=skip, loras=loras)
            groups[encoded["prompt_embeds"].shape[1]].append((place, encoded))
        for group in groups.values():
            places, arguments = zip(*group, strict=True)
            names = arguments[0]
            yield list(places), {name: torch.cat([a[name] for a in arguments]) for name in names}


def _encode_prompt(
    pipe: Pipeline, embeddings: Embeddings | None, prompt: str, skip: int
) -> tuple[Any, Any]:
    """The embeddings, chunks x 77 x width, and SDXL's pooled one of the first chunk, else None."""
    import torch

    widths, pooled = [], None
    is_xl = _is_xl(pipe)
    for number, (tokenizer, encoder) in enumerate(_clip_encoders(pipe)):
        text = pipe.maybe_convert_prompt(prompt, tokenizer)  # the pipeline's own textual inversion
        chunks = prompt_chunks(text, tokenizer, embeddings)
        framed = [_frame_chunk(ids, tokenizer) for ids, _ in chunks]
        filled = (
            embeddings.place_vectors(encoder, number, framed) if embeddings else nullcontext(framed)
        )
        with filled as plain:
            ids = torch.tensor(plain, device=execution_device(pipe))
            answer = encoder(ids, output_hidden_states=True)
        if is_xl and answer[0].ndim == 2:
            pooled = answer[0][:1]
        hidden = answer.hidden_states[-2] if is_xl else _last_hidden(encoder, answer, skip)
        parts = zip(hidden, chunks, strict=True)
        widths.append(torch.stack([weigh_tokens(part, weights) for part, (_, weights) in parts]))
    return torch.cat(widths, dim=-1), pooled


def _last_hidden(encoder: Any, answer: Any, skip: int) -> Any:
    """The hidden states of the last layer but `skip` - 1, normalised as the last one's are.

    OpenCLIP (SD 2.x, known by its activation) comes without the layers that are to be skipped.
    """
    if skip <= 1 or encoder.config.hidden_act == "gelu":
        return answer[0]
    norm = getattr(encoder, "text_model", encoder).final_layer_norm
    return norm(answer.hidden_states[-min(skip, len(answer.hidden_states))])


def _frame_chunk(ids: list[int], tokenizer: Any) -> list[int]:
    """A chunk's 77 tokens: start, its own, end, and padding."""
    framed = [tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]
    return framed + [tokenizer.pad_token_id] * (CHUNK + 2 - len(framed))


def weigh_tokens(hidden: Any, weights: list[float]) -> Any:
    """One chunk's 77 x width with its tokens multiplied by their weights and its mean restored.

    A1111's emphasis "Original". Where the mean is so near to 0 that it changes its sign, nothing
    is restored.
    """
    if all(weight == 1 for weight in weights):
        return hidden
    factors = [1.0, *weights] + [1.0] * (CHUNK + 1 - len(weights))
    plain = hidden.float()
    emphasised = plain * plain.new_tensor(factors)[:, None]
    ratio = float(plain.mean() / emphasised.mean())
    return (emphasised * (ratio if 0 < ratio < float("inf") else 1)).to(hidden.dtype)
