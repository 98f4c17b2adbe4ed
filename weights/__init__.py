"""Model files: name -> verified path. Knows neither autofix nor the detectors."""

from __future__ import annotations

import os

DISTRIBUTION = "autofix"
"""`import autofix` looks for this line: another distribution's package may have the same name."""

# huggingface_hub reads this when it is imported, by whichever library: it then reports to nobody.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
