"""Records of what was done to a picture: the JSON objects of --jsonl, --json and the journal."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence
from typing import Any

from autofix.geometry import Window
from autofix.values import Outcome, Region, RegionResult


def version() -> str:
    """The installed version of autofix."""
    return importlib.metadata.version("autofix")


def picture_record(
    *,
    input: str,
    output: str | None,
    status: str,
    regions: Sequence[dict[str, Any]] = (),
    reason: str = "",
    notes: Sequence[str] = (),
    seconds: float = 0.0,
    recipe: str = "",
    model: str = "",
) -> dict[str, Any]:
    """One picture: its files, what became of it, and its regions.

    `status` is fixed (some region was inpainted), unchanged (nothing was, so the file was copied),
    failed (with a reason), done (by an earlier run), or found (by detection alone). `notes` list
    what of the file could not be kept.
    """
    return {
        "input": input,
        "output": output,
        "status": status,
        "reason": reason,
        "notes": list(notes),
        "regions": list(regions),
        "seconds": round(seconds, 3),
        "recipe": recipe,
        "model": model,
        "version": version(),
    }


def outcome_record(outcome: Outcome, **more: Any) -> dict[str, Any]:
    """The `picture_record` of a picture that was fixed; `more` holds its other fields.

    It is failed where any region is, with the reason of each.
    """
    status = "failed" if outcome.failed else "fixed" if outcome.changed else "unchanged"
    return picture_record(
        **{
            "status": status,
            "reason": "; ".join(r.reason for r in outcome.results if r.status == "failed"),
            "notes": outcome.picture.source.notes if outcome.changed else (),
            "regions": [_result_record(result) for result in outcome.results],
            "seconds": outcome.seconds,
            **more,
        }
    )


def region_record(region: Region, window: Window | None) -> dict[str, Any]:
    """One region before inpainting: `result` is None, and `reason` is that of a skipped one.

    Boxes are half-open pixel edges of the upright picture; `index` and `pass` count from 1, as they
    are drawn.
    """
    detection = region.detection
    return {
        "index": region.index + 1,
        "pass": region.pass_index + 1,
        "label": detection.label,
        "score": round(detection.score, 4),
        "box": [round(edge, 2) for edge in detection.box_xyxy],
        "detector": detection.detector,
        "mask_area": round(region.mask.area, 1),
        "mask_box": list(region.mask.box_xyxy),
        "crop": list(window.box_xyxy) if window else None,
        "turned": round(window.degrees, 1) if window else None,
        "size": list(window.size_wh) if window else None,
        "strength": region.strength,
        "seed": region.seed,
        "prompt": region.prompt,
        "result": None,
        "reason": region.skip,
    }


def _result_record(result: RegionResult) -> dict[str, Any]:
    record = region_record(result.region, result.window)
    record["result"] = result.status
    record["reason"] = result.reason
    record["checks"] = [
        {"name": f.name, "value": round(f.value, 4), "threshold": f.threshold, "passed": f.passed}
        for f in result.findings
    ]
    return record
