"""LoRA, textual inversion and VAE override, with tiny files in the layouts people have."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from safetensors.torch import save_file

from autofix.engines.diffusion.clip_prompts import CHUNK, PromptEncoder, prompt_chunks
from autofix.engines.diffusion.engine import DiffusionEngine, PipelineEngine
from autofix.engines.diffusion.lora import KEPT, LoraSwitch
from autofix.engines.diffusion.lora_load import load_lora
from autofix.engines.diffusion.lora_tags import find_lora, read_tag, split_tags
from autofix.engines.diffusion.textual_inversion import Embeddings
from autofix.errors import ModelError
from autofix.settings.model_folders import ModelFolders, model_folders
from autofix.settings.recipe import Recipe
from tests.build import crop, region, smooth
from tests.engines import tiny
from tests.recipes import recipe_of

KINDS = ["sd", "sdxl"]
ENCODERS = {"sd": {"lora_te_": "text_encoder"}}
ENCODERS["sdxl"] = {"lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """Tiny models, and a models folder as A1111 has it, which the user's config file names."""
    root = tmp_path_factory.mktemp("home")
    for name in ("Lora", "embeddings", "VAE"):
        (root / "models" / name).mkdir(parents=True)
    (root / "config.toml").write_text('[models]\nfolders = ["models"]\n', encoding="utf-8")
    tiny.sd(root / "sd")
    tiny.sdxl(root / "sdxl")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUTOFIX_CONFIG", str(root / "config.toml"))
        for kind in KINDS:
            pipe = DiffusionEngine(root / kind, Recipe()).load().pipe
            kohya = root / "models/Lora" / f"{kind} style v1.5.safetensors"
            save_file(lora(pipe, ENCODERS[kind]), kohya)
            save_file(
                lora(pipe, ENCODERS[kind], unet=False), kohya.with_name(f"{kind}-te.safetensors")
            )
            save_file(lora(pipe, {}, seed=2), kohya.with_name(f"{kind}-unet.safetensors"))
            pipe.save_lora_weights(
                kohya.parent,
                weight_name=f"{kind}-diffusers.safetensors",
                **as_diffusers(lora(pipe, ENCODERS[kind]), pipe, kind),
            )
        yield root


@pytest.fixture(autouse=True)
def _configured(home, monkeypatch):
    monkeypatch.setenv("AUTOFIX_CONFIG", str(home / "config.toml"))


@pytest.fixture(scope="module")
def shared(home):
    """One engine of each kind, for tests that need none of their own."""
    return {kind: engine(home, kind) for kind in KINDS}


def layers(part, kinds=("to_q", "to_k", "to_v", "q_proj", "v_proj", "fc1")):
    return {
        name: module
        for name, module in part.named_modules()
        if isinstance(module, torch.nn.Linear) and name.endswith(kinds)
    }


def lora(pipe, encoders, *, unet=True, seed=1):
    """A LoRA in kohya's layout; each layer has its own rank and alpha."""
    draw = torch.Generator().manual_seed(seed)
    parts = {"lora_unet_": "unet"} if unet else {}
    tensors = {}
    for prefix, part in (parts | encoders).items():
        for n, (name, module) in enumerate(layers(getattr(pipe, part)).items()):
            if part != "unet" and not name.startswith("text_model."):
                name = f"text_model.{name}"
            key, rank = prefix + name.replace(".", "_"), 2 + n % 2
            tensors[f"{key}.lora_down.weight"] = torch.randn(
                rank, module.in_features, generator=draw
            )
            tensors[f"{key}.lora_up.weight"] = torch.randn(
                module.out_features, rank, generator=draw
            )
            tensors[f"{key}.alpha"] = torch.tensor(0.3 + 0.1 * (n % 4))
    return tensors


def as_diffusers(tensors, pipe, kind):
    """The same LoRA as diffusers writes it: alphas multiplied in."""
    parts = {"lora_unet_": ("unet_lora_layers", pipe.unet)}
    for prefix, name in ENCODERS[kind].items():
        parts[prefix] = (f"{name}_lora_layers", getattr(pipe, name))
    written = {}
    for prefix, (argument, part) in parts.items():
        written[argument] = {}
        for name in layers(part):
            full = (
                name
                if prefix == "lora_unet_" or name.startswith("text_model.")
                else f"text_model.{name}"
            )
            key = prefix + full.replace(".", "_")
            down, up = tensors[f"{key}.lora_down.weight"], tensors[f"{key}.lora_up.weight"]
            written[argument][f"{name}.lora_A.weight"] = down
            written[argument][f"{name}.lora_B.weight"] = up * tensors[f"{key}.alpha"] / len(down)
    return written


def crops(*prompts, negative="bad"):
    return [
        crop(
            smooth(80, 80),
            replace(
                region((20, 20, 44, 44), index=n, seed=7, strength=0.6, prompt=prompt),
                negative_prompt=negative,
            ),
            (10, 10, 54, 54),
            (64, 64),
        )
        for n, prompt in enumerate(prompts)
    ]


def engine(home, kind="sd", **settings):
    return DiffusionEngine(home / kind, recipe_of(**{"steps": 3, **settings}))


def paint(engine, *prompts, **settings):
    settings = recipe_of(**{"steps": 3, **settings})
    return [patch.pixels for patch in engine.inpaint(crops(*prompts), settings)]


def far(a, b):
    return np.abs(a - b).max() * 255 > 1


@pytest.mark.parametrize(
    ("tag", "read"),
    [
        ("<lora:a b.5>", ("a b.5", 1, 1)),
        ("<lora:a:0.8>", ("a", 0.8, 0.8)),
        ("<lyco:a:-1>", ("a", -1, -1)),
        ("<lora:a:0.5:0.7>", ("a", 0.5, 0.7)),
        ("<lora:a:te=0.5:unet=0.8>", ("a", 0.5, 0.8)),
        ("<lora:a:unet=0.8>", ("a", 1, 0.8)),
        ("<lora:a:0.3:te=0>", ("a", 0, 0)),
        ("<lora:a:0.3:0.6:te=0>", ("a", 0, 0.6)),
    ],
)
def test_a_tag_is_read_as_a1111_does(tag, read):
    assert read_tag(tag) == read


@pytest.mark.parametrize(
    ("tag", "said"),
    [
        ("<hypernet:a:1>", "<hypernet:a:1> in the prompt is not supported"),
        ("<lora:a:much>", "is no number"),
        ("<lora:a:nan>", "beyond 100"),
    ],
)
def test_a_tag_that_means_nothing_is_refused(tag, said):
    with pytest.raises(ModelError, match=said):
        read_tag(tag)


def test_tags_are_taken_out_of_the_prompt():
    text, tags = split_tags("a <lora:x:1>face, 3 < 4 > 2, <hypernet:y> (b:1.2)")
    assert text == "a face, 3 < 4 > 2,  (b:1.2)"
    assert tags == ["<lora:x:1>", "<hypernet:y>"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_lora_changes_the_picture_and_leaves_no_trace(shared, kind):
    one = shared[kind]
    (before,) = paint(one, "face")
    (with_it,) = paint(one, f"face<lora:{kind} style v1.5:0.5>")
    (off,) = paint(one, f"face<lora:{kind} style v1.5:0>")
    (after,) = paint(one, "face")
    assert far(before, with_it)
    assert np.array_equal(before, off)
    assert np.array_equal(before, after)


@pytest.mark.parametrize("kind", KINDS)
def test_kohya_s_and_diffusers_layouts_give_what_the_weights_say(home, caplog, kind):
    pipe = engine(home, kind).load().pipe
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


def test_every_layer_of_a_locon_is_used(home, caplog):
    pipe = engine(home).load().pipe
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


def test_sdxl_s_layers_are_known_by_their_original_names(home, caplog):
    """Kohya's trainer keeps the numbering of the original code for SDXL."""
    pipe = engine(home, "sdxl").load().pipe
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


def test_a_lora_that_fits_in_part_is_used_and_that_is_said(home, caplog):
    pipe = engine(home).load().pipe
    tensors = lora(pipe, ENCODERS["sd"])
    for way, shape in (("down", (2, 32)), ("up", (32, 2))):
        tensors[f"lora_te_text_model_encoder_layers_9_mlp_fc1.lora_{way}.weight"] = torch.ones(
            shape
        )
    path = home / "models/Lora/more.safetensors"
    save_file(tensors, path)
    load_lora(pipe, path, "more")
    assert "'more.safetensors' fits in 30 of its 31 layers only" in caplog.text


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
    together = paint(one, *prompts)
    hook.remove()
    assert calls == [4, 4, 2, 2, 4, 4]  # three sets of two, one and two faces, with guidance
    for prompt, pixels in zip(prompts, together, strict=True):
        assert not far(paint(one, prompt)[0], pixels)
    assert far(together[0], together[1])
    assert far(together[0], together[2])
    assert not far(together[0], together[3])


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_lora_of_the_text_encoders_changes_what_is_read_and_not_the_unet(shared, kind):
    one = shared[kind]
    read = [
        arguments
        for prompt in ("face", f"face<lora:{kind}-te>", f"face<lora:{kind}-unet>", "face")
        for _, arguments in one.load().group_by_prompt(crops(prompt), Recipe())
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


def test_a_lora_is_loaded_once_and_few_are_kept(home, monkeypatch):
    one = engine(home)
    pipe, loaded = one.load().pipe, []
    load = pipe.load_lora_weights
    monkeypatch.setattr(
        pipe, "load_lora_weights", lambda *a, **k: loaded.append(1) or load(*a, **k)
    )
    (plain,) = paint(one, "face")
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
    assert np.array_equal(paint(one, "face")[0], plain)
    (again,) = paint(one, "face <lora:sd-unet:1>")
    assert np.array_equal(again, paint(one, "face <lora:copy3:1>")[0])
    assert far(again, plain)
    for copy in copies:
        copy.unlink()


def test_a_lora_that_a_picture_names_and_is_not_there_is_left_out_with_one_warning(home, caplog):
    one = engine(home)
    (plain,) = paint(one, "face")
    with caplog.at_level(logging.WARNING, "autofix"):
        for _ in range(2):
            (pixels,) = paint(one, "face<lora:sd-unit:1>")
    assert np.array_equal(pixels, plain)
    (record,) = caplog.records
    assert "<lora:sd-unit:1> is left out" in record.getMessage()
    assert "did you mean 'sd-unet'" in record.getMessage()


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a\\b", "..", "sub/sd-unet", "~/x", "C:\\x", "a\0b", " "]
)
def test_a_stranger_s_text_reaches_no_file_outside_the_folders(home, name):
    save_file({"x": torch.zeros(1)}, home / "models/secret.safetensors")
    with pytest.raises(ModelError, match=r"no LoRA"):
        find_lora(name, model_folders())


def test_a_lora_has_the_name_that_its_trainer_gave_it_too(tmp_path):
    paths = [tmp_path / "Lora" / f"{name}.safetensors" for name in ("first", "broken", "second")]
    paths[0].parent.mkdir()
    save_file({"x": torch.zeros(1)}, paths[0], metadata={"ss_output_name": "second"})
    paths[1].write_bytes(b"cut")
    save_file({"x": torch.zeros(1)}, paths[2], metadata={"ss_output_name": "Soft Light"})
    folders = ModelFolders(folders=(tmp_path,))
    found = [find_lora(name, folders) for name in ("first", "second", "soft light")]
    assert found == [paths[0], paths[2], paths[2]]


def test_a_short_name_of_the_user_s_is_no_lora(home):
    folders = replace(
        model_folders(), names={"mine": str(home / "models/Lora/sd-unet.safetensors")}
    )
    assert folders.find_model("checkpoint", "mine").is_file()
    with pytest.raises(ModelError, match=r"no LoRA 'mine'"):
        find_lora("mine", folders)


def test_a_lora_that_the_recipe_s_prompt_names_must_be_there(home):
    with pytest.raises(ModelError, match=r"no LoRA 'sd-unit': did you mean 'sd-unet'"):
        engine(home, prompt="face [SEP] <lora:sd-unit:1>")
    with pytest.raises(ModelError, match=r"<hypernet:x> in the prompt is not supported"):
        engine(home, prompt="<hypernet:x>")
    engine(home, prompt="<lora:{a|b}:1> <lora:__styles__:1>")  # drawn later
    one = engine(home)
    with pytest.raises(ModelError, match="no LoRA 'gone'"):
        paint(one, "<lora:gone>", prompt="<lora:gone>")


def test_a_pickle_is_no_lora(home):
    path = home / "models/Lora/old.pt"
    path.write_bytes(b"not even a pickle")
    with pytest.raises(ModelError, match=r"'old' is old\.pt, which could run code"):
        engine(home, prompt="<lora:old>")


def test_a_lora_of_another_family_is_named_and_nothing_of_it_stays(home, caplog):
    wide = {
        f"lora_unet_down_blocks_1_attentions_0_transformer_blocks_0_attn2_to_k.lora_{way}.weight": t
        for way, t in (("down", torch.zeros(2, 2048)), ("up", torch.zeros(32, 2)))
    }
    save_file(wide, home / "models/Lora/wide.safetensors")
    one = engine(home)
    (plain,) = paint(one, "face")
    assert np.array_equal(paint(one, "face<lora:wide>")[0], plain)
    assert (
        "'wide.safetensors' cannot be used: it is for SDXL, not for models of width 32"
        in caplog.text
    )
    with pytest.raises(ModelError, match="it is for SDXL"):
        paint(one, "face<lora:wide>", prompt="<lora:wide>")
    assert np.array_equal(paint(one, "face")[0], plain)


@pytest.mark.parametrize(
    ("tensors", "said"),
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
def test_a_file_that_does_not_fit_leaves_the_model_as_it_was(home, tensors, said):
    path = home / "models/Lora/odd.safetensors"
    save_file(tensors, path)
    one = engine(home)
    (plain,) = paint(one, "face")
    with pytest.raises(ModelError, match=rf"'odd.safetensors' cannot be used: {said}"):
        paint(one, "face<lora:odd>", prompt="<lora:odd>")
    assert np.array_equal(paint(one, "face")[0], plain)
    assert far(paint(one, "face<lora:sd-unet>")[0], plain)


def test_no_memory_for_a_lora_is_no_fault_of_its_file(home, monkeypatch):
    pipe = engine(home).load().pipe
    switch = LoraSwitch(pipe)

    def full(*args, **more):
        raise RuntimeError("CUDA out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(pipe, "load_lora_weights", full)
        with pytest.raises(RuntimeError, match="out of memory"):
            list(switch.activate_sets(["<lora:sd-unet>"]))
    ((_, _, active),) = switch.activate_sets(["<lora:sd-unet>"])
    assert len(active) == 1


def test_the_owner_s_pipeline_keeps_its_own_loras(home):
    pipe = DiffusionEngine(home / "sd", Recipe()).load().pipe
    pipe.load_lora_weights(
        str(home / "models/Lora"), weight_name="sd-diffusers.safetensors", adapter_name="mine"
    )
    one = PipelineEngine(pipe, Recipe(sampling={"steps": 3}))
    (plain,) = paint(one, "face")
    (tagged,) = paint(one, "face<lora:sd-te:1>")
    assert np.array_equal(plain, tagged)
    assert pipe.get_active_adapters() == ["mine"]
    assert pipe.get_list_adapters() == {"unet": ["mine"], "text_encoder": ["mine"]}
    pipe.disable_lora()
    assert far(paint(one, "face")[0], plain)
    with pytest.raises(ModelError, match=r"cannot be put into a pipeline.*set pipe\.vae"):
        PipelineEngine(pipe, Recipe(model={"vae": "mine"}))


def test_closing_drops_the_loras_and_they_come_back(home):
    one = engine(home)
    (before,) = paint(one, "face<lora:sd-unet>")
    one.close()
    assert one.model is None
    assert np.array_equal(paint(one, "face<lora:sd-unet>")[0], before)


EMBEDDINGS = {"sd": {"emb_params": (3, tiny.WIDTH)}}
EMBEDDINGS["sdxl"] = {"clip_l": (3, tiny.WIDTH), "clip_g": (3, tiny.WIDTH)}


@pytest.fixture
def embedding(home):
    """Writes an embedding of a name, and removes it afterwards."""
    written = []

    def write(name, shapes, save=save_file):
        draw = torch.Generator().manual_seed(3)
        tensors = {key: torch.randn(shape, generator=draw) for key, shape in shapes.items()}
        written.append(home / "models/embeddings" / name)
        save(tensors, written[-1])
        return tensors

    yield write
    for path in written:
        path.unlink()


@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_an_embedding_s_vectors_stand_where_its_name_stood(home, embedding, kind):
    embedding("Bad-Hands-5.safetensors", EMBEDDINGS[kind])
    one = engine(home, kind)
    pipe = one.load().pipe
    seen = []
    handle = pipe.text_encoder.encoder.layers[0].register_forward_pre_hook(
        lambda _, given, more: seen.append((given or (more["hidden_states"],))[0]), with_kwargs=True
    )
    named = one.load().encoder.prompt_arguments("a (bad-hands-5:1.2), b", None)["prompt_embeds"]
    handle.remove()
    vectors = next(iter(EMBEDDINGS[kind]))
    tensors = torch.randn(EMBEDDINGS[kind][vectors], generator=torch.Generator().manual_seed(3))
    place = pipe.text_encoder.get_submodule("embeddings").position_embedding.weight
    torch.testing.assert_close(seen[0][0, 2:5], tensors + place[2:5])
    ids = pipe.tokenizer("a x, b").input_ids
    words = pipe.text_encoder.get_input_embeddings().weight
    torch.testing.assert_close(seen[0][0, 5], words[ids[3]] + place[5])  # the comma comes after
    bare = PromptEncoder(pipe).prompt_arguments("a (bad-hands-5:1.2), b", None)["prompt_embeds"]
    assert not torch.allclose(named, bare, atol=1e-3)


@torch.inference_mode()
def test_a_prompt_that_names_no_embedding_is_read_as_ever(home, embedding):
    embedding("face.safetensors", EMBEDDINGS["sd"])
    one = engine(home)
    pipe = one.load().pipe
    for prompt in ("surface, facet", "a, (b:1.2)", ""):
        ours = one.load().encoder.prompt_arguments(prompt, "bad")
        bare = PromptEncoder(pipe).prompt_arguments(prompt, "bad")
        assert all(torch.equal(ours[key], bare[key]) for key in bare)
    assert len(pipe.tokenizer) == 190


def test_an_embedding_is_never_cut_in_two(shared, embedding):
    embedding("five.safetensors", {"emb_params": (5, tiny.WIDTH)})
    embedding("many.safetensors", {"emb_params": (CHUNK + 5, tiny.WIDTH)})
    tokenizer = shared["sd"].load().pipe.tokenizer
    embeddings = Embeddings([tiny.WIDTH])
    for before, lengths in ((70, [75, 1]), (71, [71, 6]), (75, [75, 6])):
        chunks = prompt_chunks("a" * before + " FIVE b", tokenizer, embeddings)
        assert [len(ids) for ids, _ in chunks] == lengths
        assert [len(weights) for _, weights in chunks] == lengths
    assert [len(ids) for ids, _ in prompt_chunks("many", tokenizer, embeddings)] == [75, 5]


@pytest.mark.parametrize(
    ("kind", "shapes"),
    [("sd", {"x": (2, 99)}), ("sd", EMBEDDINGS["sdxl"]), ("sdxl", EMBEDDINGS["sd"])],
)
@torch.inference_mode()
def test_an_embedding_of_another_width_stays_a_word_and_that_is_said_once(
    home, embedding, caplog, kind, shapes
):
    embedding("other.safetensors", shapes)
    one = engine(home, kind)
    pipe = one.load().pipe
    for prompt in ("other", "a other"):
        ours = one.load().encoder.prompt_arguments(prompt, None)["prompt_embeds"]
        assert torch.equal(
            ours, PromptEncoder(pipe).prompt_arguments(prompt, None)["prompt_embeds"]
        )
    (record,) = caplog.records
    assert "the word 'other' stays a word" in record.getMessage()


@torch.inference_mode()
def test_a_pickled_embedding_is_read_only_if_it_is_trusted(home, embedding, caplog):
    def save(tensors, path):
        held = torch.nn.ParameterDict({"*": torch.nn.Parameter(tensors["*"])})
        torch.save({"string_to_token": {"*": 265}, "string_to_param": held, "name": "x"}, path)

    embedding("old.pt", {"*": (2, tiny.WIDTH)}, save)
    refused, read = (
        list(Embeddings([tiny.WIDTH], trust_pickle=trust).split_names("an old one"))
        for trust in (0, 1)
    )
    assert refused == ["an old one"]
    assert "is a pickle" in caplog.text
    assert [len(piece) if isinstance(piece, list) else piece for piece in read] == [
        "an ",
        2,
        " one",
    ]


def test_what_is_no_embedding_is_no_word(home, embedding, caplog):
    embedding("model.safetensors", {f"layer{n}": (2, tiny.WIDTH) for n in range(9)})
    assert list(Embeddings([tiny.WIDTH]).split_names("a model")) == ["a model"]
    assert not caplog.records


@torch.inference_mode()
def test_clip_skip_takes_an_earlier_layer_and_the_last_norm(shared):
    one = shared["sd"]
    pipe = one.load().pipe
    ids = pipe.tokenizer("ab", padding="max_length", max_length=77, return_tensors="pt").input_ids
    states = pipe.text_encoder(ids, output_hidden_states=True).hidden_states
    embeds = [
        arguments["prompt_embeds"]
        for skip in (1, 2, 1)
        for _, arguments in one.load().group_by_prompt(
            crops("ab"), Recipe(model={"clip_skip": skip})
        )
    ]
    torch.testing.assert_close(embeds[1], pipe.text_encoder.final_layer_norm(states[-2]))
    assert not torch.allclose(embeds[0], embeds[1], atol=1e-3)
    assert torch.equal(embeds[0], embeds[2])


@torch.inference_mode()
def test_clip_skip_is_for_sd_1_alone(shared, monkeypatch):
    for kind in KINDS:
        pipe = shared[kind].load().pipe
        if kind == "sd":  # as SD 2.x has it
            monkeypatch.setattr(pipe.text_encoder.config, "hidden_act", "gelu")
        first, second = (
            PromptEncoder(pipe).prompt_arguments("ab", None, skip=skip)["prompt_embeds"]
            for skip in (1, 2)
        )
        assert torch.equal(first, second)


def other_vae(home, name, **changes):
    """Another VAE of the model's shapes, or of others."""
    config = dict(AutoencoderKL.load_config(home / "sd" / "vae"))
    torch.manual_seed(9)
    vae = AutoencoderKL.from_config({**config, **changes})
    folder = home / "models/VAE" / name
    vae.save_pretrained(folder)
    return vae, folder


def original_layout(vae):
    """The VAE's weights with the names that Stable Diffusion's own code gave them."""
    renamed = {}
    blocks = len(vae.config.block_out_channels)
    for key, tensor in vae.state_dict().items():
        for side, ours, theirs in (
            ("encoder", "down_blocks", "down"),
            ("decoder", "up_blocks", "up"),
        ):
            for n in range(blocks):
                number = n if side == "encoder" else blocks - 1 - n
                key = key.replace(f"{side}.{ours}.{n}.resnets.", f"{side}.{theirs}@{number}.block.")
                for kind in ("downsamplers", "upsamplers"):
                    key = key.replace(
                        f"{side}.{ours}.{n}.{kind}.0", f"{side}.{theirs}@{number}.{theirs}sample"
                    )
        key = key.replace("@", ".").replace("conv_shortcut", "nin_shortcut")
        key = key.replace("conv_norm_out", "norm_out")
        key = key.replace("mid_block.resnets.0", "mid.block_1").replace(
            "mid_block.resnets.1", "mid.block_2"
        )
        key = key.replace("mid_block.attentions.0", "mid.attn_1")
        for ours, theirs in (
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
        ):
            key = key.replace(f"mid.attn_1.{ours}.", f"mid.attn_1.{theirs}.")
        if "attn_1" in key and tensor.ndim == 2:
            tensor = tensor[..., None, None]
        renamed[key] = tensor.contiguous()
    return renamed


@pytest.mark.parametrize("form", ["folder", "name", "file", "original", "prefixed"])
def test_a_vae_takes_the_place_of_the_model_s_own(home, shared, form):
    vae, folder = other_vae(home, f"vae-{form}")
    given = str(folder)
    if form == "name":
        given = "VAE-name"
    elif form == "file":
        given = str(folder / "diffusion_pytorch_model.safetensors")
    elif form != "folder":
        start = "first_stage_model." if form == "prefixed" else ""
        weights = {start + key: each for key, each in original_layout(vae).items()}
        given = str(home / "models/VAE" / f"{form}.safetensors")
        save_file(weights, given)
    own, other = shared["sd"], engine(home, vae=given)
    (before,), (after,) = paint(own, "face"), paint(other, "face")
    assert far(before, after)
    theirs = other.load().pipe.vae.state_dict()
    assert all(torch.equal(theirs[key], each) for key, each in vae.state_dict().items())
    assert other.load().pipe.vae.config.scaling_factor == own.load().pipe.vae.config.scaling_factor


def test_another_vae_under_the_same_name_is_another_engine(home):
    _, folder = other_vae(home, "same")
    weights = folder / "diffusion_pytorch_model.safetensors"
    facts = [engine(home, vae=given).info for given in ("", "same", str(weights))]
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    facts += [engine(home, vae=given).info for given in ("same", str(weights))]
    assert len({each.identity for each in facts}) == 5


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latent_channels": 16}, "has 16 latent channels, the model 4"),
        (
            {
                "block_out_channels": [16, 32],
                "down_block_types": ["DownEncoderBlock2D"] * 2,
                "up_block_types": ["UpDecoderBlock2D"] * 2,
            },
            "has 1 halvings of the picture, the model 3",
        ),
    ],
)
def test_a_vae_of_other_latents_is_refused(home, changes, said):
    _, folder = other_vae(home, "wrong", **changes)
    with pytest.raises(ModelError, match=said):
        paint(engine(home, vae=str(folder)), "face")
    weights = folder / "diffusion_pytorch_model.safetensors"
    with pytest.raises(ModelError, match=r"cannot be used with this model.*set model\.vae"):
        paint(engine(home, vae=str(weights)), "face")


def test_a_vae_that_is_not_there_or_a_pickle_is_refused(home):
    other_vae(home, "ft-mse")
    with pytest.raises(ModelError, match=r"no vae 'ft-mes': did you mean 'ft-mse'"):
        engine(home, vae="ft-mes")
    (home / "models/VAE/old.pt").write_bytes(b"")
    with pytest.raises(ModelError, match=r"'old\.pt' is a pickle"):
        engine(home, vae="old")
