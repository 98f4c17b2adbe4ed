"""Embeddings: words of a prompt with vectors of their own."""

import pytest
import torch
from safetensors.torch import save_file

from autofix.engines.diffusion.clip_prompts import CHUNK, PromptEncoder, prompt_chunks
from autofix.engines.diffusion.textual_inversion import Embeddings
from tests.engines import tiny
from tests.engines.prompted import engine_of

EMBEDDINGS = {
    "sd": {"emb_params": (3, tiny.WIDTH)},
    "sdxl": {"clip_l": (3, tiny.WIDTH), "clip_g": (3, tiny.WIDTH)},
}


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


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@torch.inference_mode()
def test_an_embedding_s_vectors_stand_where_its_name_stood(folders, home, embedding, kind):
    embedding("Bad-Hands-5.safetensors", EMBEDDINGS[kind])
    one = engine_of(folders[kind])
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
def test_a_prompt_that_names_no_embedding_is_read_as_ever(folders, home, embedding):
    embedding("face.safetensors", EMBEDDINGS["sd"])
    one = engine_of(folders["sd"])
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
    folders, home, embedding, caplog, kind, shapes
):
    embedding("other.safetensors", shapes)
    one = engine_of(folders[kind])
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


def test_other_files_are_no_embeddings(home, embedding, caplog):
    embedding("model.safetensors", {f"layer{n}": (2, tiny.WIDTH) for n in range(9)})
    assert list(Embeddings([tiny.WIDTH]).split_names("a model")) == ["a model"]
    assert not caplog.records
