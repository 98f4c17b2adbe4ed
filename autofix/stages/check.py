"""check: is a Patch fit to be pasted? Each test has a name, a measured value and a bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from autofix.recipe import Check
from autofix.values import Finding, Patch, Pixels
from autofix.window import apply_box
from detectors.base import Detector
from detectors.detection import Box, Detection
from detectors.overlap import iou


def check(
    patches: Sequence[Patch], detectors: Mapping[str, Detector], settings: Check
) -> list[tuple[Finding, ...]]:
    """The findings of each Patch, in order; a patch is refused when one of them did not pass.

    finite: the share of values that are numbers, all of them.
    spread: the standard deviation inside the mask, in levels: a black or flat patch has none.
    place: the same detector finds the same label where it was, by IoU at working size. Not asked
    where it does not find it in the original crop either, as with boxes that came from a file.
    """
    if not settings.enabled:
        return [() for _ in patches]
    findings = [_measured(patch, settings) for patch in patches]
    sound = [index for index, each in enumerate(findings) if all(f.passed for f in each)]
    for name, detector in detectors.items():
        own = [i for i in sound if patches[i].crop.region.detection.detector == name]
        placed = _placed([patches[i] for i in own], detector, settings.min_iou)
        for index, finding in zip(own, placed, strict=True):
            findings[index] += finding
    return findings


def refusal(findings: Sequence[Finding]) -> str:
    """Why a patch with these findings is refused; empty where it is not."""
    return "; ".join(finding.reason for finding in findings if not finding.passed)


def _measured(patch: Patch, settings: Check) -> tuple[Finding, ...]:
    """The tests that need nothing but the patch's own values."""
    finite = float(np.isfinite(patch.pixels).mean())
    found = Finding("finite", finite, 1.0, finite == 1.0, f"{1 - finite:.1%} of it is not a number")
    if not found.passed:
        return (found,)
    inside = patch.pixels[patch.crop.mask > 127]
    levels = inside if len(inside) else patch.pixels.reshape(-1, 3)
    spread = float(levels.mean(axis=1).std()) * 255
    bound = settings.min_spread
    reason = f"it is flat (spread {spread:.1f} levels, under min_spread {bound:g})"
    return found, Finding("spread", spread, bound, spread >= bound, reason)


def _placed(
    patches: Sequence[Patch], detector: Detector, min_iou: float
) -> list[tuple[Finding, ...]]:
    """The place test of each patch: detection before and after, all pictures in one call."""
    pixels = [patch.crop.pixels for patch in patches] + [_preview(patch) for patch in patches]
    # Crops go by no name, so that boxes from a file, which go by names, are not found in them.
    found = detector.detect(pixels, names=[""] * len(pixels)) if pixels else []
    before, after = found[: len(patches)], found[len(patches) :]
    return [_place(*each, min_iou=min_iou) for each in zip(patches, before, after, strict=True)]


def _place(
    patch: Patch, before: Sequence[Detection], after: Sequence[Detection], *, min_iou: float
) -> tuple[Finding, ...]:
    detection, window = patch.crop.region.detection, patch.crop.window
    target = apply_box(window.to_working, detection.box_xyxy)
    seen = _nearest(before, target, detection.label)
    if seen is None or iou(seen, target) < min_iou:
        return ()
    again = _nearest(after, seen, detection.label)
    value = 0.0 if again is None else iou(again, seen)
    where = "not found again" if again is None else f"found elsewhere (IoU {value:.2f})"
    reason = f"{detection.label} {where}, min_iou is {min_iou:g}"
    return (Finding("place", value, min_iou, value >= min_iou, reason),)


def _nearest(detections: Sequence[Detection], target: Box, label: str) -> Box | None:
    """The box of that label that overlaps the target most."""
    boxes = [each.box_xyxy for each in detections if each.label == label]
    return max(boxes, key=lambda box: iou(box, target), default=None)


def _preview(patch: Patch) -> Pixels:
    """The crop as it would look after pasting, at working size."""
    alpha = patch.crop.mask[..., None].astype(np.float32) / np.float32(255)
    old = patch.crop.pixels.astype(np.float32)
    new = np.clip(patch.pixels, 0, 1) * 255
    return np.rint(old + (new - old) * alpha).astype(np.uint8)
