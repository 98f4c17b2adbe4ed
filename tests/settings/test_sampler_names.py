import importlib.util
import re

import pytest

from autofix.errors import RecipeError
from autofix.settings.sampler_names import check_sampler


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("dpm++ 2m karras", "DPM++ 2M Karras"),
        ("  DPM++  2M   Karras ", "DPM++ 2M Karras"),
        ("dpmpp_2m_karras", "DPM++ 2M Karras"),
        ("k_dpmpp_2m_ka", "DPM++ 2M Karras"),
        ("dpmpp_2m karras", "DPM++ 2M Karras"),
        ("dpmpp_2m_sde_gpu exponential", "DPM++ 2M SDE Exponential"),
        ("dpmpp_sde_gpu_karras", "DPM++ SDE Karras"),
        ("dpmpp_3m_sde", "DPM++ 3M SDE"),
        ("dpmpp_2s_ancestral", "DPM++ 2S a"),
        ("euler_ancestral", "Euler a"),
        ("k_euler_a", "Euler a"),
        ("euler sgm_uniform", "Euler SGM Uniform"),
        ("euler ddim_uniform", "Euler DDIM"),
        ("dpm_2_ancestral", "DPM2 a"),
        ("uni_pc", "UniPC"),
        ("uni_pc_bh2", "UniPC"),
        ("lcm", "LCM"),
        ("EulerAncestralDiscreteScheduler", "Euler a"),
        ("DPMSolverMultistepScheduler", "DPM++ 2M"),
        ("DPM++ 2M Automatic", "DPM++ 2M Karras"),
        ("DPM++ 3M SDE Automatic", "DPM++ 3M SDE Exponential"),
        ("Euler a Automatic", "Euler a"),
        ("heun polyexponential", "Heun Polyexponential"),
        ("DDIM Karras", "DDIM"),
    ],
)
def test_other_spellings(given, name):
    assert check_sampler(given) == name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("Restart", r"has no counterpart in diffusers: .*Heun Karras, DPM\+\+ SDE Karras"),
        ("DPM fast", r"has no counterpart in diffusers: .*DPM\+\+ 2M Karras"),
        ("dpm_adaptive", "has no counterpart in diffusers"),
        ("DDIM CFG++", "has no counterpart in diffusers: .*DDIM"),
        ("DPM++ 2M Karass", r"does not exist: .*DPM\+\+ 2M Karras"),
        ("Euler KL Optimal", "does not exist: .*Euler"),
        ("Euler a Karras", "does not exist: .*Euler a"),
        ("DPM++ 2M Align Your Steps", r"does not exist: .*DPM\+\+ 2M"),
        ("", "does not exist: --sampler takes, for example: DPM"),
    ],
)
def test_samplers_that_diffusers_lacks_are_refused_with_the_nearest(given, said):
    with pytest.raises(RecipeError, match=re.escape(f"sampler {given!r} ") + said):
        check_sampler(given)


@pytest.mark.parametrize("name", ["LMS", "LMS Karras", "Euler Beta"])
def test_samplers_that_need_scipy_say_so_before_any_weights_load(monkeypatch, name):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(RecipeError, match=r"needs scipy.*pip install scipy"):
        check_sampler(name)
    assert check_sampler("DPM++ 2M Karras")
