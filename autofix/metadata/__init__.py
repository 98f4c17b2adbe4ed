"""What a picture says about how it was generated, read, and written together with what was fixed.

infotext    AUTOMATIC1111's text, taken apart and put together
readers     every program's way of saying it, as one GenerationText
comfyui     the prompts in a ComfyUI graph
provenance  our own record inside a picture
adetailer_infotext, adetailer_recipe: ADetailer's arguments, its infotext keys, from and to a recipe
"""

from __future__ import annotations

from autofix.metadata.infotext import (
    NEGATIVE_PREFIX,
    GenerationText,
    format_generation,
    parse_generation,
    read_infotext,
)
from autofix.metadata.provenance import read_record, record_fix
from autofix.metadata.readers import read_generation

__all__ = [
    "NEGATIVE_PREFIX",
    "GenerationText",
    "format_generation",
    "parse_generation",
    "read_generation",
    "read_infotext",
    "read_record",
    "record_fix",
]
