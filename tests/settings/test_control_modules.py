import pytest

from autofix.settings.control_modules import module_of
from autofix.settings.model_sections import Control


@pytest.mark.parametrize(
    ("model", "module"),
    [
        ("control_v11f1e_sd15_tile [a371b31b]", "tile_resample"),
        ("/models/Control_V11P_SD15_Inpaint.safetensors", "inpaint_global_harmonious"),
        ("C:\\nets\\control_v11p_sd15_lineart.safetensors", "lineart_coarse"),
        ("control_v11p_sd15s2_lineart_anime", "lineart_anime"),
        ("tile/control_v11p_sd15_openpose", "openpose_full"),
        ("diffusers_xl_depth_full", "depth_midas"),
        ("control_v11p_sd15_scribble", "t2ia_sketch_pidi"),
        ("controlnet-canny-sdxl-1.0", "canny"),
        ("qrcode", "none"),
    ],
)
def test_the_module_is_guessed_from_the_name_of_the_controlnet(model, module):
    assert module_of(Control(model=model)) == module
