"""The tags of a prompt, and the files they mean."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import save_file

from autofix.engines.diffusion.lora_tags import find_lora, read_tag, split_tags
from autofix.errors import ModelError
from autofix.settings.model_folders import ModelFolders, model_folders


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
    ("tag", "message"),
    [
        ("<hypernet:a:1>", "<hypernet:a:1> in the prompt is not supported"),
        ("<lora:a:much>", "is no number"),
        ("<lora:a:nan>", "beyond 100"),
    ],
)
def test_a_tag_that_means_nothing_is_refused(tag, message):
    with pytest.raises(ModelError, match=message):
        read_tag(tag)


def test_tags_are_taken_out_of_the_prompt():
    text, tags = split_tags("a <lora:x:1>face, 3 < 4 > 2, <hypernet:y> (b:1.2)")
    assert text == "a face, 3 < 4 > 2,  (b:1.2)"
    assert tags == ["<lora:x:1>", "<hypernet:y>"]


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
