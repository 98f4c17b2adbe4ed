"""LoRA files in every layout, and those that do not fit."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from autofix.engines.diffusion.lora import LoraSwitch
from autofix.engines.diffusion.lora_load import load_lora
from autofix.errors import ModelError
from tests.engines.lora_files import ENCODERS, layers, lora
from tests.engines.prompted import engine_of, far, inpaint_prompts


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
def test_kohya_s_and_diffusers_layouts_give_what_the_weights_say(folders, home, caplog, kind):
    pipe = engine_of(folders[kind]).load().pipe
    switch = LoraSwitch(pipe)
    parts = {"unet": pipe.unet, "text_encoder": pipe.text_encoder}
    if kind == "sdxl":
        parts["text_encoder_2"] = pipe.text_encoder_2
    plain = {
        (part, name): module.weight.clone()
        for part, whole in parts.items()
        for name, module in layers(whole).items()
    }
    tensors = lora(pipe, ENCODERS[kind])
    prefixes = {part: prefix for prefix, part in ENCODERS[kind].items()} | {"unet": "lora_unet_"}
    for name in ("style v1.5", "diffusers"):
        tag = (
            f"<lora:{kind} style v1.5:0.5:2>"
            if name != "diffusers"
            else f"<lora:{kind}-diffusers:0.5:2>"
        )
        ((_, _, active),) = switch.activate_sets([tag], own=tag)
        assert [(each.te, each.unet) for each in active] == [(0.5, 2)]
        for (part, layer), weight in plain.items():
            full = (
                layer
                if part == "unet" or layer.startswith("text_model.")
                else f"text_model.{layer}"
            )
            key = prefixes[part] + full.replace(".", "_")
            up, down = tensors[f"{key}.lora_up.weight"], tensors[f"{key}.lora_down.weight"]
            scale = tensors[f"{key}.alpha"] / len(down) * (2 if part == "unet" else 0.5)
            module = parts[part].get_submodule(layer)
            seen = torch.randn(3, weight.shape[1], generator=torch.Generator().manual_seed(0))
            expected = torch.nn.functional.linear(seen, weight + scale * up @ down)
            given = module(seen) - (0 if module.bias is None else module.bias)
            torch.testing.assert_close(given, expected, atol=1e-3, rtol=1e-3)
    assert not caplog.records


def test_every_layer_of_a_locon_is_used(folders, home, caplog):
    pipe = engine_of(folders["sd"]).load().pipe
    draw, tensors = torch.Generator().manual_seed(4), {}
    for name, module in pipe.unet.named_modules():
        if isinstance(module, torch.nn.Linear | torch.nn.Conv2d):
            out, *into = module.weight.shape
            key, ones = "lora_unet_" + name.replace(".", "_"), [1] * (len(into) - 1)
            tensors[f"{key}.lora_down.weight"] = torch.randn(2, *into, generator=draw)
            tensors[f"{key}.lora_up.weight"] = torch.randn(out, 2, *ones, generator=draw)
    path = home / "models/Lora/locon.safetensors"
    save_file(tensors, path)
    load_lora(pipe, path, "locon")
    assert not caplog.records
    conv = pipe.unet.down_blocks[0].resnets[0].conv1
    down = tensors["lora_unet_down_blocks_0_resnets_0_conv1.lora_down.weight"]
    assert torch.equal(conv.lora_A["locon"].weight, down)
    assert sum("locon" in getattr(module, "lora_A", ()) for module in pipe.unet.modules()) == 83


def test_sdxl_s_layers_are_known_by_their_original_names(folders, home, caplog):
    """Kohya's trainer keeps the numbering of the original code for SDXL."""
    pipe = engine_of(folders["sdxl"]).load().pipe
    renamed = {
        key.replace("down_blocks_1_attentions_0", "input_blocks_3_1")
        .replace("mid_block_attentions_0", "middle_block_1")
        .replace("up_blocks_0_attentions_0", "output_blocks_0_1")
        .replace("up_blocks_0_attentions_1", "output_blocks_1_1"): tensor
        for key, tensor in lora(pipe, {}).items()
    }
    assert not any("attentions" in key for key in renamed)
    path = home / "models/Lora/sgm.safetensors"
    save_file(renamed, path)
    load_lora(pipe, path, "sgm")
    assert not caplog.records
    layer = pipe.unet.up_blocks[0].attentions[1].transformer_blocks[0].attn2.to_k
    down = "lora_unet_output_blocks_1_1_transformer_blocks_0_attn2_to_k.lora_down.weight"
    assert torch.equal(layer.lora_A["sgm"].weight, renamed[down])


def test_a_lora_that_fits_in_part_is_used_and_that_is_said(folders, home, caplog):
    pipe = engine_of(folders["sd"]).load().pipe
    tensors = lora(pipe, ENCODERS["sd"])
    for way, shape in (("down", (2, 32)), ("up", (32, 2))):
        tensors[f"lora_te_text_model_encoder_layers_9_mlp_fc1.lora_{way}.weight"] = torch.ones(
            shape
        )
    path = home / "models/Lora/more.safetensors"
    save_file(tensors, path)
    load_lora(pipe, path, "more")
    assert "'more.safetensors' fits in 30 of its 31 layers only" in caplog.text


def test_a_lora_of_another_family_is_named_and_nothing_of_it_stays(folders, home, caplog):
    wide = {
        f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_{way}.weight": t
        for way, t in (("down", torch.zeros(2, 2048)), ("up", torch.zeros(32, 2)))
    }
    save_file(wide, home / "models/Lora/wide.safetensors")
    one = engine_of(folders["sd"])
    (plain,) = inpaint_prompts(one, "face")
    assert np.array_equal(inpaint_prompts(one, "face<lora:wide>")[0], plain)
    assert (
        "'wide.safetensors' cannot be used: it is for SDXL, not for models of width 32"
        in caplog.text
    )
    with pytest.raises(ModelError, match="it is for SDXL"):
        inpaint_prompts(one, "face<lora:wide>", prompt="<lora:wide>")
    assert np.array_equal(inpaint_prompts(one, "face")[0], plain)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"lora_unet_x.hada_w1_a": torch.zeros(1)}, "it is a LoHa"),
        ({"lora_transformer_x.lora_down.weight": torch.zeros(1, 1)}, ""),
        ({"conv_in.weight": torch.zeros(1, 1)}, ""),
        # Half of it fits: none of it may stay.
        (
            {
                f"unet.{layer}.lora_{way}.weight": torch.ones(shape)
                for layer, size in (("mid_block.attentions.0.proj_in", 32), ("conv_out", 99))
                for way, shape in (("A", (2, size, 1, 1)), ("B", (size, 2, 1, 1)))
            },
            "",
        ),
    ],
    ids=["loha", "transformer", "checkpoint", "half"],
)
def test_a_file_that_does_not_fit_leaves_the_model_as_it_was(folders, home, tensors, message):
    path = home / "models/Lora/odd.safetensors"
    save_file(tensors, path)
    one = engine_of(folders["sd"])
    (plain,) = inpaint_prompts(one, "face")
    with pytest.raises(ModelError, match=rf"'odd.safetensors' cannot be used: {message}"):
        inpaint_prompts(one, "face<lora:odd>", prompt="<lora:odd>")
    assert np.array_equal(inpaint_prompts(one, "face")[0], plain)
    assert far(inpaint_prompts(one, "face<lora:sd-unet>")[0], plain)
