"""check: is a Patch fit to be pasted? Each test has a name, a measured value and a bound."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from autofix.geometry import Window, map_point
from autofix.imaging.similarity import (
    colour_difference,
    colour_drift,
    eyes_error,
    least_structure,
    measured_pair,
    peak_difference,
    rim_difference,
    seam_step,
)
from autofix.settings.region_sections import Check
from autofix.values import Finding, Patch, Pixels
from detectors.base import Detector
from detectors.detection import Box, Detection, Point
from detectors.overlap import iou

Identity = Callable[[Pixels, Box], NDArray[np.float32]]
"""An embedding of the face in a box of a crop: faces of one person give vectors of like direction.
None ships with autofix: a caller who has one hands it over."""

FACE_POINTS = ("right_eye", "left_eye", "nose_tip", "mouth_center")
EYES_IN_BOX = ((0.32, 0.42), (0.68, 0.42))
"""Where the eyes are in a face's box, where no landmarks say it: the mean of 147 portraits."""


def check(
    patches: Sequence[Patch],
    detectors: Mapping[str, Detector],
    settings: Check,
    *,
    identity: Identity | None = None,
) -> list[tuple[Finding, ...]]:
    """The findings of each Patch, in order; a patch is refused when one of them did not pass.

    Everything is measured on the crop as it would look after the paste, at working size. That the
    blend will first give the patch the ring's colour is allowed for. In this order:

    finite: the share of values that are numbers, all of them; without it nothing else is asked.
    spread: the standard deviation inside the mask, in levels: a black or flat patch has none.
    clipped: the share of the mask's pixels that are black or white at the end of the range, less
    the original's share.
    drift: how far the ring outside the mask, which shows the same content, is off in colour
    (CIEDE2000). The blend mends it, up to a bound; beyond that the patch is wrong.
    ring: what is still off in the mask's rim once it is mended, in the worst eighth of it.
    seam: the step across the rim that the paste adds, over the picture's own gradients there.
    colour, structure, peak, eyes (faces only, unless `likeness` is off): whether the face is the
    same once both are seen as coarsely as the original showed it: see their namesakes in
    `likeness`. A hand is redrawn because its shape is wrong.
    place, score, landmarks: the same detector finds the same label where it was (IoU), about as
    surely, with eyes, nose and mouth where they were (the greatest shift, in distances between the
    eyes, less one pixel of the picture, since a small face's landmarks are that uncertain). Not
    asked where it does not find it in the original crop either: structure carries those.
    identity: the cosine of both faces' embeddings, where `identity` is given.
    """
    if not settings.enabled:
        return [() for _ in patches]
    findings = [_measure_patch(patch, settings) for patch in patches]
    sound = [index for index, each in enumerate(findings) if each[0].passed]
    for name, detector in detectors.items():
        own = [i for i in sound if patches[i].crop.region.detection.detector == name]
        placed = _detect_again([patches[i] for i in own], detector, settings)
        for index, more in zip(own, placed, strict=True):
            findings[index] += more
    if identity is not None:
        for index in sound:
            findings[index] += (_identity_finding(patches[index], identity, settings),)
    return findings


def refusal(findings: Sequence[Finding]) -> str:
    """Why a patch with these findings is refused; empty where it is not."""
    return "; ".join(finding.reason for finding in findings if not finding.passed)


def score(findings: Sequence[Finding]) -> float:
    """How good a patch with these findings is, 0 to 1, to pick the best of several.

    The mean of the findings' margins: 1 far inside a bound, 0 at it. A refused patch has 0, and
    one of which nothing but `finite` was asked 1.
    """
    if not all(finding.passed for finding in findings):
        return 0.0
    margins = [_margin_of(finding) for finding in findings if finding.name != "finite"]
    return float(np.mean(margins)) if margins else 1.0


def _margin_of(finding: Finding) -> float:
    """How far a passed finding is from its bound, in parts of the greater of both, 0 to 1."""
    greatest = max(abs(finding.value), abs(finding.threshold))
    return min(abs(finding.value - finding.threshold) / greatest, 1.0) if greatest else 0.0


def _bounded_finding(name: str, value: float, setting: str, settings: Check, what: str) -> Finding:
    """A finding against a setting whose own name says which way it bounds: min_... or max_..."""
    bound = float(getattr(settings, setting))
    passed = value >= bound if setting.startswith("min_") else value <= bound
    return Finding(name, value, bound, passed, f"{what} ({name} {value:.2f}, {setting} {bound:g})")


def _measure_patch(patch: Patch, settings: Check) -> tuple[Finding, ...]:
    """The tests that need nothing but the patch's own values and the crop's."""
    finite = float(np.isfinite(patch.pixels).mean())
    found = Finding("finite", finite, 1.0, finite == 1.0, f"{1 - finite:.1%} of it is not a number")
    if not found.passed:
        return (found,)
    return (found, *_level_findings(patch, settings), *_likeness_findings(patch, settings))


def _level_findings(patch: Patch, settings: Check) -> tuple[Finding, ...]:
    inside = patch.paste_mask > 127
    inside = inside if inside.any() else np.ones_like(inside)
    new, old = np.clip(patch.pixels[inside], 0, 1) * 255, patch.crop.pixels[inside]
    spread = float(new.mean(axis=1).std())
    clipped = max(_clipped_share(new) - _clipped_share(old), 0.0)
    return (
        _bounded_finding("spread", spread, "min_spread", settings, "it is flat or black"),
        _bounded_finding("clipped", clipped, "max_clipped", settings, "it is burnt out or black"),
    )


def _clipped_share(levels: NDArray[Any]) -> float:
    """The share of values at either end of the range."""
    return float(((levels < 2) | (levels > 253)).mean())


def _likeness_findings(patch: Patch, settings: Check) -> tuple[Finding, ...]:
    """Colour, seam and structure, against the crop."""
    box = _box_at_work(patch.crop.window, patch.crop.region.detection.box_xyxy)
    raw, scale = measured_pair(patch, box[2] - box[0])
    change, off = colour_drift(raw)
    pair = raw.shift_colour(change)
    findings = (
        _bounded_finding("drift", off, "max_drift", settings, "its colours are off"),
        _bounded_finding(
            "ring", rim_difference(pair), "max_ring", settings, "its rim has other colours"
        ),
        _bounded_finding("seam", seam_step(pair), "max_seam", settings, "its rim would show"),
    )
    if not _same_face(patch, settings):
        return findings
    eyes = np.array(_eye_positions(patch, box)) * scale
    colour = colour_difference(pair)
    return (
        *findings,
        _bounded_finding(
            "colour", colour, "max_colour", settings, "a part of it has another colour"
        ),
        _bounded_finding(
            "structure", least_structure(pair), "min_structure", settings, "it is another face"
        ),
        _bounded_finding(
            "peak", peak_difference(pair), "max_peak", settings, "one part of it became another"
        ),
        _bounded_finding(
            "eyes", eyes_error(pair, eyes), "max_eyes", settings, "its eyes are others"
        ),
    )


def _same_face(patch: Patch, settings: Check) -> bool:
    """Whether it is a face, and must stay itself."""
    return settings.likeness != "off" and "face" in patch.crop.region.detection.label.lower()


def _eye_positions(patch: Patch, box: Box) -> tuple[Point, Point]:
    """Where the original's eyes are at working size: by its landmarks, else as most faces'."""
    detection, window = patch.crop.region.detection, patch.crop.window
    right, left = detection.landmark("right_eye"), detection.landmark("left_eye")
    if right and left:
        return map_point(window.to_working, *right), map_point(window.to_working, *left)
    (right_x, y), (left_x, _) = EYES_IN_BOX
    wide, down = box[2] - box[0], box[1] + y * (box[3] - box[1])
    return (box[0] + right_x * wide, down), (box[0] + left_x * wide, down)


def _detect_again(
    patches: Sequence[Patch], detector: Detector, settings: Check
) -> list[tuple[Finding, ...]]:
    """What the detector says of each patch: it looks before and after, all in one call."""
    pixels = [patch.crop.pixels for patch in patches] + [_paste_preview(patch) for patch in patches]
    # Crops go by no name, so that boxes from a file, which go by names, are not found in them.
    found = detector.detect(pixels, names=[""] * len(pixels)) if pixels else []
    before, after = found[: len(patches)], found[len(patches) :]
    return [_place_findings(*each, settings) for each in zip(patches, before, after, strict=True)]


def _place_findings(
    patch: Patch, before: Sequence[Detection], after: Sequence[Detection], settings: Check
) -> tuple[Finding, ...]:
    detection = patch.crop.region.detection
    target = _box_at_work(patch.crop.window, detection.box_xyxy)
    seen = _nearest_detection(before, target, detection.label)
    if seen is None or iou(seen.box_xyxy, target) < settings.min_iou:
        return ()
    again = _nearest_detection(after, seen.box_xyxy, detection.label)
    if again is None:
        gone = f"{detection.label} not found again"
        return (_bounded_finding("place", 0.0, "min_iou", settings, gone),)
    place, fall = iou(again.box_xyxy, seen.box_xyxy), seen.score - again.score
    findings = (
        _bounded_finding("place", place, "min_iou", settings, f"{detection.label} found elsewhere"),
        _bounded_finding(
            "score", max(fall, 0.0), "max_score_drop", settings, "the detector is less sure of it"
        ),
    )
    shift = _landmark_shift(seen, again, patch.crop.window.scale)
    if shift is None or not _same_face(patch, settings):
        return findings
    return (
        *findings,
        _bounded_finding(
            "landmarks", shift, "max_landmarks", settings, "eyes, nose or mouth moved"
        ),
    )


def _landmark_shift(seen: Detection, again: Detection, pixel: float) -> float | None:
    """The greatest shift of eyes, nose or mouth, less `pixel`, in distances between the eyes."""
    spots = [(seen.landmark(name), again.landmark(name)) for name in FACE_POINTS]
    known = [(old, new) for old, new in spots if old and new]
    if len(known) < len(spots):
        return None
    apart = math.dist(known[0][0], known[1][0])
    farthest = max(math.dist(*each) for each in known)
    return max(farthest - pixel, 0.0) / max(apart, 1.0)


def _identity_finding(patch: Patch, identity: Identity, settings: Check) -> Finding:
    box = _box_at_work(patch.crop.window, patch.crop.region.detection.box_xyxy)
    old, new = identity(patch.crop.pixels, box), identity(_paste_preview(patch), box)
    cosine = float(old @ new / max(float(np.linalg.norm(old) * np.linalg.norm(new)), 1e-9))
    return _bounded_finding("identity", cosine, "min_identity", settings, "it is another person")


def _nearest_detection(
    detections: Sequence[Detection], target: Box, label: str
) -> Detection | None:
    """The detection of that label that overlaps the target most."""
    alike = [each for each in detections if each.label == label]
    return max(alike, key=lambda each: iou(each.box_xyxy, target), default=None)


def _box_at_work(window: Window, box_xyxy: Box) -> Box:
    """A box of the picture at working size, as upright there as it was here."""
    x0, y0, x1, y1 = box_xyxy
    x, y = map_point(window.to_working, (x0 + x1) / 2, (y0 + y1) / 2)
    half_x, half_y = (x1 - x0) / 2 * window.scale, (y1 - y0) / 2 * window.scale
    return x - half_x, y - half_y, x + half_x, y + half_y


def _paste_preview(patch: Patch) -> Pixels:
    """The crop as it would look after pasting, at working size."""
    alpha = patch.paste_mask[..., None].astype(np.float32) / np.float32(255)
    old = patch.crop.pixels.astype(np.float32)
    new = np.clip(patch.pixels, 0, 1) * 255
    return np.rint(old + (new - old) * alpha).astype(np.uint8)
