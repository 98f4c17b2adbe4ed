"""Masks, choice and crops through the whole pipeline."""

import math

import numpy as np
import pytest

from tests.build import detection, picture
from tests.engines.upscaler_files import esrgan
from tests.pipeline.fakes import Boxes, Painter, pipeline

APART = ((10, 10, 30, 34), (100, 20, 124, 44), (160, 90, 190, 120))


class Leaning(Boxes):
    """Finds faces that lean by so much, at those places."""

    def __init__(self, degrees, *boxes):
        super().__init__()
        cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        for x0, y0, x1, y1 in boxes:
            x, y, reach = (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) / 4
            eyes = (
                ("right_eye", (x - reach * cos, y - reach * sin)),
                ("left_eye", (x + reach * cos, y + reach * sin)),
            )
            self.found.append(detection((x0, y0, x1, y1), landmarks=eyes))


def fix(detector, engine, **settings):
    seen = picture(220, 140)
    (outcome,) = pipeline(detector, engine, check__enabled=False, **settings).fix([seen])
    return seen, outcome, (outcome.picture.pixels != seen.pixels).any(axis=2)


def statuses(outcome):
    return [result.status for result in outcome.results]


@pytest.mark.parametrize("degrees", [40, 90, 180])
def test_a_leaning_face_is_repainted_turned_and_only_within_its_mask(degrees):
    """Faces that lean, lie on their side or stand on their head."""

    class Arrow(Painter):
        """Paints the upper half of every crop white and the lower black."""

        def patch(self, crop):
            patch = super().patch(crop)
            patch.pixels[:] = np.linspace(1, 0, 64, dtype=np.float32)[:, None, None] > 0.5
            return patch

    box = (80, 40, 140, 100)
    _, outcome, changed = fix(
        Leaning(degrees, box), Arrow(), blend__match_grain=False, crop__min_scale=0.3
    )
    (result,) = outcome.results
    assert result.status == "fixed"
    assert result.window.degrees == pytest.approx(degrees)
    covered = result.region.mask.within((0, 0, 220, 140))
    assert not changed[covered == 0].any()
    up = np.array([math.sin(math.radians(degrees)), -math.cos(math.radians(degrees))])
    for side, value in ((1, 255), (-1, 0)):
        x, y = np.array([110, 70]) + side * 15 * up
        assert np.abs(outcome.picture.pixels[round(y), round(x)].astype(int) - value).max() < 4


def test_turned_windows_that_overlap_go_in_waves():
    """Upright these two would not meet; turned by 45 degrees their corners do."""
    boxes = ((40, 50, 60, 70), (80, 50, 100, 70))
    for degrees, waves in ((0, 1), (45, 2)):
        engine = Painter(0.0)
        fix(Leaning(degrees, *boxes), engine, crop__padding=4)
        assert len(engine.batches) == waves


def test_chosen_numbers_are_repainted_and_the_others_left():
    _, outcome, changed = fix(Boxes(*APART), Painter(), choose__faces=[1, 3])
    assert statuses(outcome) == ["fixed", "skipped", "fixed"]
    assert not changed[20:44, 100:124].any()
    assert changed[15:30, 15:25].any()


def test_merged_things_are_one_crop():
    engine = Painter()
    _, outcome, changed = fix(Boxes(*APART[:2]), engine, mask__merge="merge", crop__min_scale=0)
    assert statuses(outcome) == ["fixed", "skipped"]
    assert outcome.results[1].reason == "merged into region 1"
    assert [len(batch) for batch in engine.batches] == [1]
    assert changed[20, 20]
    assert changed[30, 110]
    assert not changed[20, 60]


def test_everything_but_the_things_found():
    _, outcome, changed = fix(
        Boxes(*APART), Painter(), mask__merge="merge-invert", crop__min_scale=0, mask__shape="box"
    )
    assert statuses(outcome) == ["fixed", "skipped", "skipped"]
    assert not changed[24:40, 104:120].any()
    assert changed[60:80, 40:90].mean() > 0.9


def test_the_whole_picture_is_one_crop_and_only_the_mask_changes():
    engine = Painter(native=1024)
    _, outcome, changed = fix(Boxes(APART[1]), engine, crop__area="whole-picture")
    ((crop,),) = engine.batches
    assert crop.window.size_wh == (224, 144)
    assert np.array_equal(crop.pixels[2:142, 2:222], picture(220, 140).pixels)
    covered = outcome.results[0].region.mask.within((0, 0, 220, 140)) > 0
    assert changed[covered].any()
    assert not changed[~covered].any()


def test_the_working_size_follows_the_box():
    engine = Painter()
    boxes = ((20, 20, 36, 60), (100, 20, 150, 45))
    fix(Boxes(*boxes), engine, crop__match="free", crop__min_scale=0)
    assert sorted(crop.window.size_wh for batch in engine.batches for crop in batch) == [
        (40, 104),
        (88, 48),
    ]


def test_crops_grow_by_the_upscaler(tmp_path):
    engine = Painter()
    made = pipeline(
        Boxes((20, 20, 28, 28)),
        engine,
        check__enabled=False,
        crop__upscaler=str(esrgan(tmp_path / "m.safetensors")),
        device__name="cpu",
        crop__padding=4,
        mask__dilate=0,
        mask__blur=0,
    )
    seen = picture(220, 140)
    made.fix([seen])
    ((crop,),) = engine.batches
    x0, y0, x1, y1 = crop.window.box_xyxy
    assert (x1 - x0, y1 - y0) == (16, 16)
    assert np.array_equal(crop.pixels, seen.pixels[y0:y1, x0:x1].repeat(4, 0).repeat(4, 1))
