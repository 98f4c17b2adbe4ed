"""Face restoration with networks made here: real architectures, narrow, of random weights."""

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from spandrel import Architecture, ArchRegistry, ArchSupport, ImageModelDescriptor
from spandrel.architectures import GFPGAN
from spandrel.architectures.RestoreFormer import RestoreFormer

from autofix.engines.restoration.align import TEMPLATE
from autofix.engines.restoration.engine import RestorationEngine, is_restoration
from autofix.errors import EngineError, ModelError
from autofix.settings.recipe import Recipe
from autofix.values import Picture
from detectors.detection import Detection
from tests.build import smooth
from tests.detectors.photos import photo
from tests.engines.restored_faces import HOPPER_EYES, as_values, face, hopper
from tests.engines.upscaler_files import esrgan
from tests.pipeline.fakes import pipeline

CPU = Recipe(device={"name": "cpu"})
TRUSTING = Recipe(device={"name": "cpu"}, model={"trust_pickle": True})
CODEFORMER = ("position_emb", "idx_pred_layer.1.weight", "quantize.embedding.weight")


@pytest.fixture(scope="module")
def restoreformer(tmp_path_factory):
    """1/130 of a real one."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("restoreformer") / "rf.safetensors"
    small = {"n_embed": 8, "embed_dim": 32, "z_channels": 32, "ch": 32, "num_res_blocks": 1}
    save_file(RestoreFormer(ch_mult=(1,) * 6, **small).state_dict(), path)
    return path


@pytest.fixture(scope="module")
def gfpgan(tmp_path_factory):
    """1/400 of a real one, as a pickle as it is given out. spandrel's own sizes are fixed."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("gfpgan") / "GFPGANv1.4.pth"
    state = GFPGAN.GFPGAN(narrow=1 / 16, num_style_feat=8).state_dict()
    torch.save({"params_ema": state}, path)
    return path


@pytest.fixture
def narrow(monkeypatch):
    """spandrel takes a narrow GFPGAN for the real one."""
    real = GFPGAN.GFPGAN

    def made(**sizes):
        return real(**{**sizes, "narrow": 1 / 16, "num_style_feat": 8})

    monkeypatch.setattr(GFPGAN, "GFPGAN", made)


def with_network(path, network, settings=CPU):
    """An engine whose loaded network is a stand-in."""
    engine = RestorationEngine(path, settings)
    engine.network = network
    return engine


def inpainted_pixels(engine, *crops, **settings):
    return [
        patch.pixels for patch in engine.inpaint(crops, CPU.with_values("restoration", **settings))
    ]


def test_networks_are_known_by_the_names_of_their_weights(restoreformer, gfpgan, tmp_path):
    state = torch.load(gfpgan)["params_ema"]
    old, wrapped = tmp_path / "old.pth", tmp_path / "wrapped.pth"
    torch.save({"params_ema": state}, old, _use_new_zipfile_serialization=False)
    torch.save({f"module.{name}": values for name, values in state.items()}, wrapped)
    for path in (restoreformer, gfpgan, old, wrapped):
        assert is_restoration(path), path


def test_other_files_are_not_taken_for_networks(tmp_path, restoreformer):
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(restoreformer.read_bytes()[:200])
    renamed = tmp_path / "model.bin"
    renamed.write_bytes(restoreformer.read_bytes())
    (tmp_path / "no.pth").write_bytes(b"\x80\x04no pickle at all")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "folder.pth").mkdir()
    others = ["no.pth", "empty.pth", "folder.pth", "absent.pth", "absent.safetensors"]
    upscaler = esrgan(tmp_path / "u.safetensors")
    for path in (broken, renamed, upscaler, tmp_path, *(tmp_path / name for name in others)):
        assert not is_restoration(path), path
        with pytest.raises(ModelError, match="is no face-restoration network"):
            RestorationEngine(path, TRUSTING)


def test_a_pickle_runs_no_code_when_it_is_inspected_or_loaded(tmp_path):
    class Harm:
        def __reduce__(self):
            return (open, (str(tmp_path / "harm"), "w"))

    path = tmp_path / "m.pth"
    torch.save({name: Harm() for name in ("quantize.embedding.weight", *CODEFORMER)}, path)
    assert is_restoration(path)
    signs = ("toRGB.0.weight", "stylegan_decoder.style_mlp.1.weight")
    torch.save({name: Harm() for name in signs}, path)
    assert is_restoration(path)
    with pytest.raises(ModelError, match=r"'m\.pth' is a pickle.*--trust-pickle"):
        RestorationEngine(path, CPU)
    with pytest.raises(ModelError, match=r"'m\.pth' cannot be loaded"):
        RestorationEngine(path, TRUSTING).inpaint([hopper()], TRUSTING)
    assert not (tmp_path / "harm").exists()


def test_the_model_info_of_a_network(restoreformer, gfpgan):
    info = RestorationEngine(restoreformer, CPU).info
    assert (info.name, info.size.native, info.tuned) == ("rf", 512, ((0.0, 1.0),))
    assert info.family == "face restoration (RestoreFormer)"
    assert not info.reads_prompt
    assert not info.faithful  # it may redraw an eye: the check must bear that
    assert info.inpaints("anime_face")
    assert not info.inpaints("hand")
    assert info.identity != RestorationEngine(gfpgan, TRUSTING).info.identity
    assert info.identity == RestorationEngine(restoreformer, CPU).info.identity


def test_restoreformer_inpaints_alike_alone_in_a_batch_and_after_closing(restoreformer):
    engine = RestorationEngine(restoreformer, CPU)
    crops = [hopper(), hopper(size=256)]
    first, second = inpainted_pixels(engine, *crops)
    assert first.shape == (512, 512, 3)
    assert second.shape == (256, 256, 3)
    assert np.abs(first - as_values(crops[0])).mean() > 0.05
    engine.close()
    (alone,) = inpainted_pixels(engine, crops[0])
    assert np.abs(alone - first).max() < 1 / 255


def test_gfpgan_inpaints_with_the_noise_of_its_file(gfpgan, narrow):
    engine = RestorationEngine(gfpgan, TRUSTING)
    torch.manual_seed(1)
    first = inpainted_pixels(engine, hopper(), hopper())
    torch.manual_seed(2)
    again = inpainted_pixels(engine, hopper())
    assert np.abs(first[0] - as_values(hopper())).mean() > 0.05
    assert np.abs(first[0] - first[1]).max() < 1 / 255
    assert np.abs(first[0] - again[0]).max() < 1 / 255


@pytest.fixture
def codeformer(tmp_path):
    path = tmp_path / "codeformer.safetensors"
    save_file({name: torch.zeros(1) for name in CODEFORMER}, path)
    return path


def test_codeformer_says_what_to_install_and_its_licence(codeformer, monkeypatch):
    monkeypatch.setitem(sys.modules, "spandrel_extra_arches", None)
    with pytest.raises(ModelError, match=r"pip install spandrel_extra_arches.*non-commercial"):
        RestorationEngine(codeformer, CPU)


def test_codeformer_is_handed_its_weight(codeformer, monkeypatch):
    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            for name in CODEFORMER:
                self.register_buffer(name.replace(".", "_"), torch.zeros(1))
            self.idle = torch.nn.Parameter(torch.zeros(1))

        def load_state_dict(self, state):
            assert set(state) == set(CODEFORMER)

        def forward(self, x, weight=0.5):
            return torch.full_like(x, 2 * weight - 1), None

    class Known(Architecture):
        def __init__(self):
            super().__init__(id="CodeFormer", detect=lambda state: True)

        def load(self, state):
            return ImageModelDescriptor(
                *(Network(), state, self, "FaceSR", []),
                supports_half=False,
                supports_bfloat16=True,
                scale=1,
                input_channels=3,
                output_channels=3,
            )

    extra = ModuleType("spandrel_extra_arches")
    extra.__spec__ = ModuleSpec(extra.__name__, None)
    extra.EXTRA_REGISTRY = ArchRegistry()
    extra.EXTRA_REGISTRY.add(ArchSupport.from_architecture(Known()))
    monkeypatch.setitem(sys.modules, extra.__name__, extra)
    engine = RestorationEngine(codeformer, CPU)
    plain = face(smooth(600, 600).pixels, (100, 100, 400, 400), {})
    for weight in (0.0, 0.25, 1.0):
        (values,) = inpainted_pixels(engine, plain, codeformer_weight=weight)
        assert np.abs(values - weight).max() < 1e-5


def test_a_network_sees_values_from_minus_one_to_one(restoreformer):
    seen = []
    black_and_white = np.zeros((64, 64, 3), np.uint8)
    black_and_white[:, 32:] = 255
    plain = face(black_and_white, (0, 0, 64, 64), {}, size=512)
    engine = with_network(restoreformer, lambda x: seen.append(x) or (x,))
    (values,) = inpainted_pixels(engine, plain)
    assert seen[0].shape == (1, 3, 512, 512)
    assert (seen[0].min(), seen[0].max()) == (-1, 1)
    assert np.abs(values - as_values(plain)).max() < 1e-5


@pytest.mark.parametrize("size", [384, 512, 1024])
def test_a_face_that_a_network_leaves_alone_stays(restoreformer, size):
    """There and back costs little: the crop is smooth at the template's scale."""
    one = hopper(size=size)
    (values,) = inpainted_pixels(with_network(restoreformer, lambda x: (x,)), one)
    difference = np.abs(values - as_values(one))
    assert difference.mean() < 0.005
    assert np.percentile(difference, 99) < 0.06


def test_the_aligned_square_alone_is_inpainted_and_fades_at_its_rim(restoreformer):
    small = {name: (150 + x / 4, 150 + y / 4) for name, (x, y) in TEMPLATE.items()}
    one = face(smooth(400, 400).pixels, (150, 150, 278, 278), small, window=(0, 0, 400, 400))
    white = with_network(restoreformer, lambda x: (torch.ones_like(x),))
    (values,) = inpainted_pixels(white, one)
    scale = 512 / 400
    corner = int(145 * scale)
    assert np.array_equal(values[:corner], as_values(one)[:corner])
    middle = int(214 * scale)
    assert values[middle, middle] == pytest.approx(1, abs=1e-4)
    steps = np.abs(np.diff(values[middle], axis=0))
    assert steps.max() < 0.15  # no seam: the square's rim would be a step of 0.5


@pytest.mark.parametrize("landmarks", [HOPPER_EYES, {}])
def test_visibility_blends_with_the_crop(restoreformer, landmarks):
    one = hopper(landmarks=landmarks)
    white = with_network(restoreformer, lambda x: (torch.ones_like(x),))
    none, half, full = (
        inpainted_pixels(white, one, visibility=part)[0] for part in (0.0, 0.5, 1.0)
    )
    assert np.array_equal(none, as_values(one))
    assert np.abs(half - (none + full) / 2).max() < 1e-5


def test_a_value_that_is_not_finite_is_left_to_the_check(restoreformer):
    broken = with_network(restoreformer, lambda x: (x * torch.nan,))
    assert np.isnan(inpainted_pixels(broken, hopper())[0]).any()


def test_a_failing_network_is_an_engine_error(restoreformer):
    def full(x):
        raise RuntimeError("out of memory\nand much more")

    with pytest.raises(EngineError, match="failed: out of memory: try a smaller --batch-size"):
        inpainted_pixels(with_network(restoreformer, full), hopper())


def test_a_file_of_another_size_is_refused_when_loaded(gfpgan, restoreformer, tmp_path):
    with pytest.raises(ModelError, match=r"'GFPGANv1\.4\.pth' cannot be loaded.*choose a GFPGAN"):
        RestorationEngine(gfpgan, TRUSTING).inpaint([hopper()], TRUSTING)


def test_a_real_face_is_restored_and_the_rest_of_its_picture_stays(restoreformer):
    pixels = photo("hopper")
    box = (162, 118, 368, 352)

    class Found:
        name, labels = "test", ("face",)

        def detect(self, pictures, *, names=()):
            return [(Detection(box, "face", 0.9, "test", landmarks=(*HOPPER_EYES.items(),)),)]

        def close(self):
            pass

    darker = with_network(restoreformer, lambda x: (x * 0.5 - 0.5,))
    (outcome,) = pipeline(Found(), darker, check__enabled=False).fix([Picture(pixels)])
    (result,) = outcome.results
    assert (result.status, result.region.strength) == ("fixed", 1.0)
    changed = np.abs(outcome.picture.pixels.astype(int) - pixels).max(axis=2)
    assert changed[200:320, 200:330].mean() > 30
    outside = np.ones(changed.shape, bool)
    outside[box[1] - 40 : box[3] + 40, box[0] - 40 : box[2] + 40] = False
    assert not changed[outside].any()


@pytest.mark.slow
def test_a_gfpgan_of_true_size_restores_a_face(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "true.safetensors"
    save_file(GFPGAN.GFPGAN().state_dict(), path)
    (values,) = inpainted_pixels(RestorationEngine(path, CPU), hopper())
    assert np.isfinite(values).all()
    assert np.abs(values - as_values(hopper())).mean() > 0.05
