"""The measures of scripts/evaluate_builtin on pictures and points whose answers are known."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from evaluation import measures
from evaluation.bench import fixed
from evaluation.faces import alternatives
from evaluation.measures import Figures, Summary, nearer, summary
from evaluation.tables import figures_table, verdict_table
from evaluation.tuning import Tuned, tune, tuned
from tests.detectors.photos import photo

NAN = math.nan


def face():
    """A real face, 128 x 128 px, and an ellipse in it."""
    picture = cv2.resize(photo("astronaut")[40:200, 140:300], (128, 128))
    ys, xs = np.mgrid[:128, :128]
    return picture, ((xs - 64) / 40) ** 2 + ((ys - 64) / 55) ** 2 < 1


def figures(landmarks=2.0, **more):
    known = {"psnr": 30.0, "ssim": 0.9, "sharpness": 1.0, "score": 0.9}
    return Figures(landmarks=landmarks, **known | more)


def means(**more):
    known = {"faces": 4, "psnr": 30.0, "ssim": 0.9, "landmarks": 2.0, "unseen": 0}
    return Summary(
        **known | {"sharpness": 1.0, "closeness": 0.0, "score": 0.9, "found": 1.0} | more
    )


def test_the_same_picture_is_perfect():
    picture, inside = face()
    assert measures.psnr(picture, picture, inside) == pytest.approx(100)
    assert measures.ssim(picture, picture, inside) == pytest.approx(1)
    assert measures.sharpness(picture, picture, inside) == pytest.approx(1)


def test_a_shift_of_ten_levels_has_the_psnr_of_the_formula():
    flat = np.full((40, 40, 3), 100, np.uint8)
    everywhere = np.ones((40, 40), bool)
    assert measures.psnr(flat + 10, flat, everywhere) == pytest.approx(20 * math.log10(25.5))
    picture, _ = face()
    other = cv2.GaussianBlur(picture, (0, 0), 2)
    expected = peak_signal_noise_ratio(picture, other, data_range=255)
    assert measures.psnr(other, picture, np.ones((128, 128), bool)) == pytest.approx(expected)


@pytest.mark.parametrize("measure", [measures.psnr, measures.sharpness])
def test_what_is_outside_the_face_does_not_count(measure):
    picture, inside = face()
    other = cv2.GaussianBlur(picture, (0, 0), 1)
    near = cv2.dilate(inside.astype(np.uint8), np.ones((5, 5)))
    scrawled = other * near[..., None]
    assert measure(scrawled, picture, inside) == measure(other, picture, inside)


def test_blur_lowers_all_measures_and_sharpening_raises_sharpness():
    picture, inside = face()
    soft, softer = (cv2.GaussianBlur(picture, (0, 0), sigma) for sigma in (1, 3))
    for measure in (measures.psnr, measures.ssim, measures.sharpness):
        assert measure(softer, picture, inside) < measure(soft, picture, inside)
    sharp = cv2.addWeighted(picture, 2, soft, -1, 0)
    assert measures.sharpness(sharp, picture, inside) > 1.1
    halved = (picture // 2 + 60).astype(np.uint8)
    assert measures.sharpness(halved, picture, inside) == pytest.approx(0.5, abs=0.02)


def test_landmark_error_is_in_per_cent_of_the_eye_distance():
    clean = np.array([(0, 0), (10, 0), (5, 8)], np.float32)
    assert measures.landmark_error(clean, clean, 10) == 0
    assert measures.landmark_error(clean + np.float32((3, 4)), clean, 50) == pytest.approx(10)
    one = clean.copy()
    one[2] += (0, 6)
    assert measures.landmark_error(one, clean, 20) == pytest.approx(10)


def test_a_summary_counts_what_could_not_be_measured():
    some = [
        figures(2, sharpness=0.8),
        figures(NAN, sharpness=1.2, score=NAN),
        figures(4, score=0.7),
    ]
    s = summary(some)
    assert (s.faces, s.unseen, s.landmarks) == (3, 1, 3)
    assert s.sharpness == pytest.approx(1)
    assert s.closeness == pytest.approx(0.4 / 3)
    assert s.score == pytest.approx(0.8)
    assert s.found == pytest.approx(2 / 3)
    nothing = summary([figures(NAN, score=NAN)])
    assert math.isnan(nothing.landmarks)
    assert math.isnan(nothing.score)


def test_nearer_counts_faces_and_an_unseen_face_loses():
    mine = [figures(each) for each in (1, 3, 2, NAN, NAN)]
    other = [figures(each) for each in (2, 2, NAN, 1, NAN)]
    assert nearer(mine, other) == pytest.approx(2 / 4)
    assert nearer(other, mine) == pytest.approx(2 / 4)
    assert math.isnan(nearer(mine[4:], other[4:]))


PLAIN = {
    "input": means(psnr=29.0, sharpness=0.8, landmarks=2.0),
    "unsharp": means(psnr=30.0, sharpness=1.5, landmarks=1.8),
}


def test_the_tuned_strength_is_the_greatest_that_beats_the_plain_alternatives():
    by_strength = {
        0.2: means(psnr=29.9, landmarks=1.0, sharpness=0.7),  # not sharper than the input
        0.3: means(psnr=29.8, landmarks=1.1),
        0.4: means(psnr=29.5, landmarks=1.5),  # just within the slack
        0.5: means(psnr=29.4, landmarks=1.1),  # too far from the original
        0.6: means(psnr=29.8, landmarks=1.9),  # no better than sharpening
    }
    assert tuned(by_strength, PLAIN) == Tuned(0.4, True)
    del by_strength[0.4]
    assert tuned(by_strength, PLAIN) == Tuned(0.3, True)
    del by_strength[0.3]
    assert tuned(by_strength, PLAIN) == Tuned(0.2, False)


@pytest.mark.parametrize("hidden", [means(landmarks=NAN, unseen=4), means(landmarks=0.1, unseen=1)])
def test_a_strength_that_hides_a_face_is_never_tuned(hidden):
    assert tuned({0.2: means(landmarks=1.0), 0.5: hidden}, PLAIN) == Tuned(0.2, True)


def test_tables_say_what_was_measured():
    measured = {
        "input": [figures(4, sharpness=0.8), figures(4, sharpness=0.8)],
        "unsharp": [figures(3), figures(5)],
        fixed(0.4): [figures(1), figures(2)],
    }
    choice = tune(measured, (0.4,))
    assert choice == Tuned(0.4, True)
    rows = figures_table({24.0: measured}).splitlines()
    assert len({row.count("|") for row in rows}) == 1
    assert rows[-1].startswith("| 24 px | fixed, 0.4 | 30.00 | 0.900 | 1.50 | 100% | 0 |")
    assert "| 24 px | 0.4 | holds | 1.50, 4.00, 4.00 |" in verdict_table(
        {24.0: choice}, {24.0: measured}
    )


def test_alternatives_are_of_working_size_and_do_what_they_are_called():
    picture, _ = face()
    small = cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA)
    noisy = np.clip(small + np.random.default_rng(0).normal(0, 4, small.shape), 0, 255)
    shown = alternatives(noisy.astype(np.uint8), 128)
    everywhere = np.ones((128, 128), bool)
    share = {n: measures.sharpness(p, shown["input"], everywhere) for n, p in shown.items()}
    assert {p.shape for p in shown.values()} == {(128, 128, 3)}
    assert share["unsharp"] > share["unsharp, large"] > 1.1
    assert share["denoised"] < 1
    assert share["bicubic"] < 1
    flat = np.random.default_rng(0).normal(128, 4, (48, 48, 3)).astype(np.uint8)
    smoothed = alternatives(flat, 128)
    assert smoothed["denoised"].std() < 0.5 * smoothed["input"].std()
    red = alternatives(np.full((48, 48, 3), (200, 30, 30), np.uint8), 128)
    for name, pixels in red.items():  # denoising goes by way of Lab
        assert np.abs(pixels[64, 64] - np.array((200, 30, 30))).max() <= 4, name
