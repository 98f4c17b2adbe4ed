"""A sheet of examples: each as crop, repaint and the worst of its findings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from autofix.values import Finding
from checking.cases import Labelled

SIDE, TEXT, COLUMNS, EACH = 144, 34, 5, 20

Case = tuple[Labelled, tuple[Finding, ...]]
Judged = tuple[Labelled, tuple[Finding, ...], bool]


def sheet(cases: Sequence[Case]) -> Image.Image:
    """Every mistake first (up to `EACH` of a sort), then one broken patch of each kind, refused."""
    judged = [(case, findings, _refused(findings)) for case, findings in cases]
    good = [each for each in judged if each[0].good and each[2]]
    bad = [each for each in judged if each[0].good is False and not each[2]]
    caught: dict[str, list[Judged]] = defaultdict(list)
    for each in judged:
        if each[0].good is False and each[2]:
            caught[each[0].kind].append(each)
    # One of each kind, of as many different people.
    right = [group[n % len(group)] for n, group in enumerate(caught.values())]
    fine = [each for each in judged if each[0].good and not each[2]]
    parts = [
        (f"good, and refused all the same ({len(good)} in all)", good[:EACH]),
        (f"broken, and let pass ({len(bad)} in all)", bad[:EACH]),
        ("broken and refused: one of each kind", right),
        ("good and let pass", fine[:: max(len(fine) // 10, 1)][:10]),
    ]
    high = sum(24 + -(-len(each) // COLUMNS) * (SIDE + TEXT) for _, each in parts)
    page = Image.new("RGB", (COLUMNS * (2 * SIDE + 8), high), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=11)
    y = 0
    for title, part in parts:
        pen.text((4, y + 4), title, fill="black", font=ImageFont.load_default(size=14))
        y += 24
        for place, (case, findings, _) in enumerate(part):
            left = place % COLUMNS * (2 * SIDE + 8)
            top = y + place // COLUMNS * (SIDE + TEXT)
            _draw(page, case, (left, top))
            pen.text((left, top + SIDE + 1), _said(case, findings), fill="black", font=font)
        y += -(-len(part) // COLUMNS) * (SIDE + TEXT)
    return page


def _refused(findings: Sequence[Finding]) -> bool:
    return any(not finding.passed for finding in findings)


def _said(case: Labelled, findings: Sequence[Finding]) -> str:
    failed = [f"{f.name} {f.value:.2f} ({f.threshold:g})" for f in findings if not f.passed]
    subject = case.subject
    return f"{case.kind}; {subject.face_px} px, {subject.spoilt}\n{', '.join(failed[:3])}"


def _draw(page: Image.Image, case: Labelled, at: tuple[int, int]) -> None:
    """The crop, and what a paste would make of it; NaN is drawn magenta. The face fills both."""
    old = case.patch.crop.pixels.astype(np.float32) / 255
    alpha = case.patch.crop.mask[..., None].astype(np.float32) / 255
    new = np.where(np.isfinite(case.patch.pixels), case.patch.pixels, (1, 0, 1))
    pasted = old + (np.clip(new, 0, 1) - old) * alpha
    ys, xs = np.nonzero(alpha[..., 0] > 0)
    half = max(int(np.ptp(xs)), int(np.ptp(ys))) // 2 + 6
    x, y = int(xs.min() + xs.max()) // 2, int(ys.min() + ys.max()) // 2
    box = (x - half, y - half, x + half, y + half)
    for index, pixels in enumerate((old, pasted)):
        picture = Image.fromarray(np.uint8(np.rint(pixels * 255))).crop(box)
        shown = picture.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
        page.paste(shown, (at[0] + index * (SIDE + 2), at[1]))
