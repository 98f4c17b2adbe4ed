import pytest
import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from safetensors.torch import save_file

from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.errors import ModelError
from autofix.settings.model_sections import Control
from tests.engines.controlled import (
    READS,
    awake,
    far,
    inpaint,
    one_thread,
    photo_crops,
    settings_of,
)


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    with one_thread():
        yield


def original_layout(state):
    """The names that the same weights have in the ControlNets' own files."""
    renames = [
        ("time_embedding.linear_1", "time_embed.0"),
        ("time_embedding.linear_2", "time_embed.2"),
        ("controlnet_cond_embedding.conv_in", "input_hint_block.0"),
        ("controlnet_cond_embedding.conv_out", "input_hint_block.14"),
        *((f"controlnet_cond_embedding.blocks.{n}.", f"input_hint_block.{2 * n + 2}.")
          for n in range(6)),
        *((f"controlnet_down_blocks.{n}.", f"zero_convs.{n}.0.") for n in range(4)),
        ("controlnet_mid_block", "middle_block_out.0"),
        ("conv_in.", "input_blocks.0.0."),
        ("down_blocks.0.resnets.0", "input_blocks.1.0"),
        ("down_blocks.0.downsamplers.0.conv", "input_blocks.2.0.op"),
        ("down_blocks.1.resnets.0", "input_blocks.3.0"),
        ("down_blocks.1.attentions.0", "input_blocks.3.1"),
        ("mid_block.resnets.0", "middle_block.0"),
        ("mid_block.attentions.0", "middle_block.1"),
        ("mid_block.resnets.1", "middle_block.2"),
        ("norm1.", "in_layers.0."),
        ("conv1.", "in_layers.2."),
        ("time_emb_proj", "emb_layers.1"),
        ("norm2.", "out_layers.0."),
        ("conv2.", "out_layers.3."),
        ("conv_shortcut", "skip_connection"),
    ]  # fmt: skip
    renamed = {}
    for name, weight in state.items():
        for ours, theirs in renames:
            if "transformer_blocks" not in name or "attentions" in ours:
                name = name.replace(ours, theirs)
        renamed[name] = weight.contiguous()
    return renamed


@pytest.mark.parametrize("layout", ["diffusers", "original", "prefixed", "half", "name", "pickle"])
def test_a_controlnet_may_be_a_file_of_either_layout(folders, nets, tmp_path, monkeypatch, layout):
    state = ControlNetModel.from_pretrained(nets["sd"]).state_dict()
    file = tmp_path / "models" / "ControlNet" / "net_tile.safetensors"
    file.parent.mkdir(parents=True)
    if layout not in ("diffusers", "half"):
        state = original_layout(state)
    if layout == "prefixed":
        state = {f"control_model.{name}": weight for name, weight in state.items()}
    if layout == "half":
        state = {name: weight.half() for name, weight in state.items()}
    save_file(state, file)
    name, trust = str(file), layout == "pickle"
    if trust:
        name = str(file.with_suffix(".pth"))
        torch.save({"state_dict": state}, name)
        with pytest.raises(ModelError, match=r"is a pickle.*--trust-pickle"):
            DiffusionEngine(folders["sd"], settings_of(Control(model=name)))
    if layout == "name":
        config = tmp_path / "config.toml"
        config.write_text(f"[models]\nfolders = ['{tmp_path}']\n", encoding="utf-8")
        monkeypatch.setenv("AUTOFIX_CONFIG", str(config))
        name = "Net_Tile [a371b31b]"
    given = inpaint(folders["sd"], photo_crops(1), Control(model=name), trust_pickle=trust)
    wanted = inpaint(folders["sd"], photo_crops(1), Control(model=str(nets["sd"])))
    assert far(given, wanted) <= (2 if layout == "half" else 0.01)


def test_a_smaller_controlnet_for_sdxl_is_built_as_its_file_says(folders, tmp_path):
    """As the mid and small ones of the hub: without attention, or with fewer layers of it."""
    unet = UNet2DConditionModel.from_pretrained(folders["sdxl"] / "unet")
    config = {
        **ControlNetModel.from_unet(unet, conditioning_embedding_out_channels=READS).config,
        "down_block_types": ("DownBlock2D", "DownBlock2D"),
        "mid_block_type": "UNetMidBlock2D",
    }
    small = awake(ControlNetModel.from_config(config))
    save_file(small.state_dict(), tmp_path / "small.safetensors")
    small.save_pretrained(tmp_path / "small")
    of_file, of_folder = (
        inpaint(folders["sdxl"], photo_crops(1), Control(model=str(tmp_path / name)))
        for name in ("small", "small.safetensors")
    )
    assert far(of_file, of_folder) < 0.01


@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_union_controlnet_is_told_the_kind_of_its_control_image(folders, tmp_path, form):
    config = ControlNetModel.from_unet(
        UNet2DConditionModel.from_pretrained(folders["sdxl"] / "unet"),
        conditioning_embedding_out_channels=READS,
    ).config
    torch.manual_seed(2)
    net = ControlNetUnionModel.from_config(
        {**config, "num_trans_channel": 16, "num_proj_channel": 16}
    )
    torch.nn.init.normal_(net.task_embedding)
    name = tmp_path / ("union" if form == "folder" else "union.safetensors")
    if form == "folder":
        awake(net).save_pretrained(name)
    else:
        save_file(awake(net).state_dict(), name)
    lines = inpaint(folders["sdxl"], photo_crops(1), Control(model=str(name), module="canny"))
    assert far(lines, inpaint(folders["sdxl"], photo_crops(1))) > 1
    with pytest.raises(ModelError, match="no kind for the module 'tile_resample'"):
        inpaint(folders["sdxl"], photo_crops(1), Control(model=str(name), module="tile"))


@pytest.mark.parametrize(
    ("model", "net", "message"),
    [
        ("sdxl", "sd", r"'sd' is for text embeddings 32 wide, but the model is for .* 64 wide"),
        ("sd", "sdxl", r"'sdxl' is for text embeddings 64 wide, but the model is for .* 32 wide"),
    ],
)
@pytest.mark.parametrize("form", ["folder", "file"])
def test_a_controlnet_of_another_family_is_refused(
    folders, nets, tmp_path, model, net, message, form
):
    path = nets[net]
    if form == "file":
        path = tmp_path / f"{net}.safetensors"
        save_file(ControlNetModel.from_pretrained(nets[net]).state_dict(), path)
        message = message.replace(f"'{net}'", f"'{net}.safetensors'")
    with pytest.raises(ModelError, match=message):
        inpaint(folders[model], photo_crops(1), Control(model=str(path)))


def test_other_files_are_refused_as_controlnets(folders, nets, tmp_path):
    lora = tmp_path / "lora.safetensors"
    save_file({"lora_controlnet": torch.zeros(1)}, lora)
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no such thing")
    cut = tmp_path / "cut.safetensors"
    state = ControlNetModel.from_pretrained(nets["sd"]).state_dict()
    save_file({name: state[name] for name in state if "mid_block" not in name}, cut)
    for path, message in (
        (lora, "is no ControlNet"),
        (folders["sd"] / "unet", "is no ControlNet .* UNet2DConditionModel"),
        (broken, "cannot be read"),
        (cut, "cannot be loaded"),
        (tmp_path, "cannot be loaded"),
    ):
        with pytest.raises(ModelError, match=message):
            inpaint(folders["sd"], photo_crops(1), Control(model=str(path)))
