"""What a picture says about how it was generated, read, and written together with what was fixed.

infotext    AUTOMATIC1111's text, taken apart and put together
readers     every program's way of saying it, as one GenerationText
graph       the prompts in a ComfyUI graph
adetailer   ADetailer's arguments and its infotext keys, from and to a recipe
written     our own record inside a picture
"""

from __future__ import annotations

from autofix.metadata.infotext import (
    NEGATIVE_PREFIX,
    PARAMETERS_KEY,
    GenerationText,
    format_generation,
    parse_generation,
    read_infotext,
)
from autofix.metadata.provenance import RECORD_KEY, read_record, record_fix
from autofix.metadata.readers import read_generation

__all__ = [
    "NEGATIVE_PREFIX",
    "PARAMETERS_KEY",
    "RECORD_KEY",
    "GenerationText",
    "format_generation",
    "parse_generation",
    "read_generation",
    "read_infotext",
    "read_record",
    "record_fix",
]
