import functools
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from autofix.engines.diffusion.control_preprocess import check_module, control_image
from autofix.errors import ModelError
from autofix.settings.model_sections import Control
from tests.engines.controlled import photo_crops


def test_the_crop_itself_is_the_control_image_of_tile_and_of_none():
    one = photo_crops(1, size=(512, 512))[0]
    for module in ("none", "tile_resample", "tile"):
        image = control_image(one, Control(model="m", module=module))
        assert image.dtype == np.float32
        assert np.abs(image * 255 - one.pixels).max() < 1e-4


def test_down_sampling_takes_detail_and_leaves_colour_and_size():
    one = photo_crops(1, size=(512, 448))[0]
    whole, coarse = (
        control_image(one, Control(model="m", module="tile_resample", down_sampling=times))
        for times in (1, 8)
    )
    assert coarse.shape == (448, 512, 3)
    assert 0 <= coarse.min() <= coarse.max() <= 1
    assert np.abs((whole - coarse).mean(axis=(0, 1))).max() < 0.01
    detail = [cv2.Laplacian(image, cv2.CV_32F).std() for image in (whole, coarse)]
    assert detail[1] < 0.3 * detail[0]
    blurred = cv2.blur(whole, (8, 8))
    assert np.abs(coarse - blurred).mean() < 0.03


def test_canny_draws_white_edges_and_fewer_above_higher_thresholds():
    one = photo_crops(1, size=(512, 512))[0]
    shares = []
    for low, high in ((100, 200), (200, 255)):
        image = control_image(one, Control(model="m", module="canny", low=low, high=high))
        assert image.shape == (512, 512, 3)
        assert set(np.unique(image)) == {0, 1}
        assert (image == image[..., :1]).all()
        shares.append(image.mean())
    assert 0.01 < shares[1] < shares[0] < 0.3


@pytest.mark.parametrize("module", ["inpaint_only", "inpaint_global_harmonious", "inpaint"])
def test_an_inpaint_controlnet_looks_away_from_what_is_masked(module):
    one = photo_crops(1, size=(128, 128))[0]
    image = control_image(one, Control(model="m", module=module))
    assert (image[one.mask > 127] == -1).all()
    kept = one.mask <= 127
    assert 0 < kept.mean() < 1
    assert np.abs(image[kept] * 255 - one.pixels[kept]).max() < 1e-4


@pytest.fixture
def annotators(tmp_path, monkeypatch):
    folder = tmp_path / "models" / "ControlNet" / "Annotators"
    folder.mkdir(parents=True)
    config = tmp_path / "config.toml"
    config.write_text(f"[models]\nfolders = ['{tmp_path}']\n", encoding="utf-8")
    monkeypatch.setenv("AUTOFIX_CONFIG", str(config))
    return folder


def test_lines_are_drawn_by_controlnet_aux_from_local_files(annotators, monkeypatch):
    calls = []

    class Lineart:
        @classmethod
        def from_pretrained(cls, where):
            calls.append(where)
            return cls()

        def __call__(self, pixels, **how):
            calls.append(how)
            drawn = cv2.resize(pixels, (192, 128))  # its sides are multiples of 64
            return 255 - drawn

    monkeypatch.setitem(sys.modules, "controlnet_aux", SimpleNamespace(LineartDetector=Lineart))
    for name in ("sk_model.pth", "sk_model2.pth"):
        (annotators / name).touch()
    one = photo_crops(1, size=(144, 104))[0]
    control = Control(model="control_v11p_sd15_lineart")
    image = control_image(one, control)
    assert np.array_equal(control_image(one, control), image)
    assert image.shape == (104, 144, 3)
    assert 0 <= image.min() < image.max() <= 1
    assert np.abs(image - (1 - one.pixels / 255)).mean() < 0.02
    how = {"detect_resolution": 104, "image_resolution": 104, "output_type": "np", "coarse": True}
    assert calls == [str(annotators), how, how]  # loaded once


def test_missing_packages_and_files_of_a_module_are_named(annotators, monkeypatch):
    one = photo_crops(1)[0]
    monkeypatch.setitem(sys.modules, "controlnet_aux", None)
    for ask in (functools.partial(control_image, one), check_module):
        with pytest.raises(ModelError, match=r"controlnet-aux.*pip install 'autofix\[control\]'"):
            ask(Control(model="m", module="depth"))
    kind = SimpleNamespace(from_pretrained=lambda where: None)
    monkeypatch.setitem(sys.modules, "controlnet_aux", SimpleNamespace(OpenposeDetector=kind))
    (annotators / "body_pose_model.pth").touch()
    with pytest.raises(
        ModelError, match=r"hand_pose_model.pth and facenet.pth, which.*lllyasviel/Annotators"
    ):
        control_image(one, Control(model="m", module="openpose"))
