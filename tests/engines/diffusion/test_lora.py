"""LoRAs in batches: switched on and off, and left out."""

import logging

import numpy as np
import pytest
import torch

from autofix.engines.diffusion.engine import DiffusionEngine, PipelineEngine
from autofix.engines.diffusion.lora import KEPT, LoraSwitch
from autofix.errors import ModelError
from autofix.settings.recipe import Recipe
from tests.engines.prompted import engine_of, far, inpaint_prompts, prompted


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_a_lora_changes_the_picture_and_leaves_no_trace(shared, kind):
    one = shared[kind]
    (before,) = inpaint_prompts(one, "face")
    (with_it,) = inpaint_prompts(one, f"face<lora:{kind} style v1.5:0.5>")
    (off,) = inpaint_prompts(one, f"face<lora:{kind} style v1.5:0>")
    (after,) = inpaint_prompts(one, "face")
    assert far(before, with_it)
    assert np.array_equal(before, off)
    assert np.array_equal(before, after)


def test_faces_with_unlike_loras_in_one_batch_are_as_each_alone(shared):
    one = shared["sd"]
    prompts = [
        "face <lora:sd-unet:1>",
        "face",
        "<lora:sd-te:0.5>face <lora:sd-unet:0.5>",
        "face <lora:sd-unet>",
        "face <lora:sd-unet:0.5><lora:sd-te:0.5>",
    ]
    calls = []
    hook = one.load().pipe.unet.register_forward_pre_hook(
        lambda _, given, more: calls.append(len(more["encoder_hidden_states"])), with_kwargs=True
    )
    together = inpaint_prompts(one, *prompts)
    hook.remove()
    assert calls == [4, 4, 2, 2, 4, 4]  # three sets of two, one and two faces, with guidance
    for prompt, pixels in zip(prompts, together, strict=True):
        assert not far(inpaint_prompts(one, prompt)[0], pixels)
    assert far(together[0], together[1])
    assert far(together[0], together[2])
    assert not far(together[0], together[3])


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@torch.inference_mode()
def test_a_lora_of_the_text_encoders_changes_what_is_read_and_not_the_unet(shared, kind):
    one = shared[kind]
    read = [
        arguments
        for prompt in ("face", f"face<lora:{kind}-te>", f"face<lora:{kind}-unet>", "face")
        for _, arguments in one.load().group_by_prompt(prompted(prompt), Recipe())
    ]
    assert not torch.allclose(read[0]["prompt_embeds"], read[1]["prompt_embeds"], atol=1e-3)
    assert torch.equal(read[0]["prompt_embeds"], read[2]["prompt_embeds"])
    assert torch.equal(read[0]["prompt_embeds"], read[3]["prompt_embeds"])
    if kind == "sdxl":
        pooled = [each["pooled_prompt_embeds"] for each in read]
        assert not torch.allclose(pooled[0], pooled[1], atol=1e-3)
    assert "peft_config" in vars(one.load().pipe.text_encoder)


def test_weights_of_one_file_add_up_and_its_order_does_not_matter(shared):
    switch = shared["sd"].load().loras
    prompts = [
        "<lora:sd-te:0.5><lora:sd-unet:1>",
        "<lora:SD-UNET:0.25>b<lora:sd-te:0.5><lora:sd-unet:0.75>",
        "<lora:sd-te:1><lora:sd-te:-1>",
    ]
    groups = list(switch.activate_sets(prompts))
    assert [(places, texts) for places, texts, _ in groups] == [([0, 1], ["", "b"]), ([2], [""])]
    assert [len(loras) for _, _, loras in groups] == [2, 0]


def test_a_lora_is_loaded_once_and_few_are_kept(folders, home, monkeypatch):
    one = engine_of(folders["sd"])
    pipe, loaded = one.load().pipe, []
    load = pipe.load_lora_weights
    monkeypatch.setattr(
        pipe, "load_lora_weights", lambda *a, **k: loaded.append(1) or load(*a, **k)
    )
    (plain,) = inpaint_prompts(one, "face")
    for _ in range(2):
        list(
            one.load().loras.activate_sets(["<lora:sd-te:1>", "<lora:sd-te:0.4> <lora:sd-unet:1>"])
        )
    assert len(loaded) == 2
    first = home / "models/Lora/sd-unet.safetensors"
    copies = [first.with_name(f"copy{n}.safetensors") for n in range(KEPT + 1)]
    for copy in copies:
        copy.write_bytes(first.read_bytes())
        list(one.load().loras.activate_sets([f"<lora:{copy.stem}:1>"]))
    assert len(pipe.unet.peft_config) == KEPT
    assert not hasattr(pipe.text_encoder, "peft_config")
    assert np.array_equal(inpaint_prompts(one, "face")[0], plain)
    (again,) = inpaint_prompts(one, "face <lora:sd-unet:1>")
    assert np.array_equal(again, inpaint_prompts(one, "face <lora:copy3:1>")[0])
    assert far(again, plain)
    for copy in copies:
        copy.unlink()


def test_a_lora_that_a_picture_names_and_is_not_there_is_left_out_with_one_warning(
    folders, home, caplog
):
    one = engine_of(folders["sd"])
    (plain,) = inpaint_prompts(one, "face")
    with caplog.at_level(logging.WARNING, "autofix"):
        for _ in range(2):
            (pixels,) = inpaint_prompts(one, "face<lora:sd-unit:1>")
    assert np.array_equal(pixels, plain)
    (record,) = caplog.records
    assert "<lora:sd-unit:1> is left out" in record.getMessage()
    assert "did you mean 'sd-unet'" in record.getMessage()


def test_a_lora_that_the_recipe_s_prompt_names_must_be_there(folders, home):
    with pytest.raises(ModelError, match=r"no LoRA 'sd-unit': did you mean 'sd-unet'"):
        engine_of(folders["sd"], prompt="face [SEP] <lora:sd-unit:1>")
    with pytest.raises(ModelError, match=r"<hypernet:x> in the prompt is not supported"):
        engine_of(folders["sd"], prompt="<hypernet:x>")
    engine_of(folders["sd"], prompt="<lora:{a|b}:1> <lora:__styles__:1>")  # drawn later
    one = engine_of(folders["sd"])
    with pytest.raises(ModelError, match="no LoRA 'gone'"):
        inpaint_prompts(one, "<lora:gone>", prompt="<lora:gone>")


def test_a_pickle_is_no_lora(folders, home):
    path = home / "models/Lora/old.pt"
    path.write_bytes(b"not even a pickle")
    with pytest.raises(ModelError, match=r"'old' is old\.pt, which could run code"):
        engine_of(folders["sd"], prompt="<lora:old>")


def test_no_memory_for_a_lora_is_no_fault_of_its_file(folders, home, monkeypatch):
    pipe = engine_of(folders["sd"]).load().pipe
    switch = LoraSwitch(pipe)

    def full(*args, **more):
        raise RuntimeError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(pipe, "load_lora_weights", full)
        with pytest.raises(RuntimeError, match="out of memory"):
            list(switch.activate_sets(["<lora:sd-unet>"]))
    ((_, _, active),) = switch.activate_sets(["<lora:sd-unet>"])
    assert len(active) == 1


def test_the_owner_s_pipeline_keeps_its_own_loras(folders, home):
    pipe = DiffusionEngine(folders["sd"], Recipe()).load().pipe
    pipe.load_lora_weights(
        str(home / "models/Lora"), weight_name="sd-diffusers.safetensors", adapter_name="mine"
    )
    one = PipelineEngine(pipe, Recipe(sampling={"steps": 3}))
    (plain,) = inpaint_prompts(one, "face")
    (tagged,) = inpaint_prompts(one, "face<lora:sd-te:1>")
    assert np.array_equal(plain, tagged)
    assert pipe.get_active_adapters() == ["mine"]
    assert pipe.get_list_adapters() == {"unet": ["mine"], "text_encoder": ["mine"]}
    pipe.disable_lora()
    assert far(inpaint_prompts(one, "face")[0], plain)
    with pytest.raises(ModelError, match=r"cannot be put into a pipeline.*set pipe\.vae"):
        PipelineEngine(pipe, Recipe(model={"vae": "mine"}))


def test_closing_drops_the_loras_and_they_come_back(folders, home):
    one = engine_of(folders["sd"])
    (before,) = inpaint_prompts(one, "face<lora:sd-unet>")
    one.close()
    assert one.model is None
    assert np.array_equal(inpaint_prompts(one, "face<lora:sd-unet>")[0], before)
