"""Generation text in picture files: read, and written together with what was fixed.

infotext            AUTOMATIC1111's text, parsed and formatted
readers             the generation text of every program, as one GenerationText
comfyui             the prompts in a ComfyUI graph
provenance          our own record inside a picture
recipe_import       recipes from records, infotexts and ADetailer's arguments
adetailer_infotext  ADetailer's arguments as infotext keys, and back
adetailer_recipe    ADetailer's arguments as a recipe, and back
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
