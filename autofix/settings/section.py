"""What every section of a recipe is made of: frozen, checked, and the kinds of its values."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from autofix.settings.units import Share, parse_length, parse_padding, parse_share, parse_size

Auto = Literal["auto"]


def _show_length(length: Share | str) -> str | float:
    if isinstance(length, str):
        return length
    return str(length) if length.relative else length.value


def _show_size(size: tuple[int, int] | str) -> str:
    return size if isinstance(size, str) else f"{size[0]}x{size[1]}"


Signed = Annotated[Share, BeforeValidator(parse_share), PlainSerializer(_show_length)]
Length = Annotated[Share, BeforeValidator(parse_length), PlainSerializer(_show_length)]
Padding = Annotated[Share | Auto, BeforeValidator(parse_padding), PlainSerializer(_show_length)]
Side = Annotated[int, Field(ge=64, le=4096)]
Size = Annotated[Auto | tuple[Side, Side], BeforeValidator(parse_size), PlainSerializer(_show_size)]
Part = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """One stage's settings."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
