import pytest
import torch

from autofix.engines.diffusion.clip_prompts import (
    PromptEncoder,
    prompt_chunks,
    reads_clip,
    weigh_tokens,
)
from autofix.engines.diffusion.engine import DiffusionEngine
from autofix.settings.recipe import Recipe
from tests.engines.prompted import prompted


@pytest.fixture(scope="module")
def engines(folders):
    return {kind: DiffusionEngine(folders[kind], Recipe()) for kind in ("sd", "sdxl", "promptless")}


@pytest.fixture(scope="module")
def pipes(engines):
    return {kind: engine.load().pipe for kind, engine in engines.items()}


@pytest.mark.parametrize(
    ("prompt", "lengths"),
    [
        ("", [0]),
        ("a" * 75, [75]),
        ("a" * 76, [75, 1]),
        ("a" * 150, [75, 75]),
        ("a" * 151, [75, 75, 1]),
        ("ab BREAK c", [2, 1]),
        ("BREAK c", [0, 1]),
        ("ab BREAK", [2]),
        # A chunk ends after a comma among its last 20 tokens, unless the next one is a comma.
        ("a" * 60 + "," + "b" * 20, [61, 20]),
        ("a" * 55 + "," + "b" * 20, [56, 20]),
        ("a" * 54 + "," + "b" * 21, [75, 1]),
        ("a" * 60 + "," + "b" * 14 + "," + "c", [75, 2]),
        ("a" * 74 + "," + "b", [75, 1]),
    ],
)
def test_prompts_are_cut_into_chunks_of_75_tokens(pipes, prompt, lengths):
    chunks = prompt_chunks(prompt, pipes["sd"].tokenizer)
    assert [len(ids) for ids, _ in chunks] == lengths
    assert [len(weights) for _, weights in chunks] == lengths


def test_the_weights_go_with_their_tokens(pipes):
    tokenizer = pipes["sd"].tokenizer
    ((ids, weights),) = prompt_chunks("a (bc:1.5) [d]", tokenizer)
    assert ids == tokenizer("a bc d", add_special_tokens=False).input_ids
    assert weights == pytest.approx([1, 1.5, 1.5, 1 / 1.1])


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@torch.inference_mode()
def test_a_prompt_without_weights_is_encoded_as_diffusers_does(pipes, kind):
    pipe = pipes[kind]
    theirs = pipe.encode_prompt(
        "a face, smiling",
        device="cpu",
        num_images_per_prompt=1,
        do_classifier_free_guidance=True,
        negative_prompt="bad hands",
    )
    ours = PromptEncoder(pipe).prompt_arguments("a face, smiling", "bad hands")
    assert list(ours) == [
        name
        for name in (
            "prompt_embeds",
            "pooled_prompt_embeds",
            "negative_prompt_embeds",
            "negative_pooled_prompt_embeds",
        )
        if kind == "sdxl" or "pooled" not in name
    ]
    names = ["prompt_embeds", "negative_prompt_embeds"]
    names += ["pooled_prompt_embeds", "negative_pooled_prompt_embeds"] if kind == "sdxl" else []
    for name, their in zip(names, theirs, strict=True):
        torch.testing.assert_close(ours[name], their)


@torch.inference_mode()
def test_sdxl_s_empty_negative_prompt_is_zeros_as_it_was_trained(pipes):
    ours = PromptEncoder(pipes["sdxl"]).prompt_arguments("face", "")
    assert not ours["negative_prompt_embeds"].any()
    assert not ours["negative_pooled_prompt_embeds"].any()
    assert ours["prompt_embeds"].any()
    assert PromptEncoder(pipes["sd"]).prompt_arguments("face", "")["negative_prompt_embeds"].any()


@pytest.mark.parametrize("kind", ["sd", "sdxl"])
@pytest.mark.parametrize(("prompt", "negative"), [("a" * 151, "b"), ("b", "a" * 151)])
@torch.inference_mode()
def test_prompt_and_negative_prompt_are_made_equally_long(pipes, kind, prompt, negative):
    ours = PromptEncoder(pipes[kind]).prompt_arguments(prompt, negative)
    assert ours["prompt_embeds"].shape[:2] == (1, 3 * 77)
    assert ours["negative_prompt_embeds"].shape == ours["prompt_embeds"].shape


@torch.inference_mode()
def test_no_negative_prompt_is_encoded_where_none_is_wanted(pipes):
    assert list(PromptEncoder(pipes["sd"]).prompt_arguments("face", None)) == ["prompt_embeds"]


@torch.inference_mode()
def test_the_pooled_embedding_is_the_first_chunk_s(pipes):
    encoder = PromptEncoder(pipes["sdxl"])
    long, first, other = (
        encoder.prompt_arguments(prompt, None)["pooled_prompt_embeds"]
        for prompt in ("a" * 75 + " b", "a" * 75, "b")
    )
    torch.testing.assert_close(long, first)
    assert not torch.allclose(first, other)


def test_weights_multiply_and_the_mean_is_restored():
    hidden = torch.rand(77, 8, generator=torch.Generator().manual_seed(0))
    weighted = weigh_tokens(hidden, [1.0, 1.5, 0.5])
    assert weighted.mean() == pytest.approx(hidden.mean().item())
    share = weighted / hidden
    assert share[2].mean() / share[0].mean() == pytest.approx(1.5)
    assert share[3].mean() / share[76].mean() == pytest.approx(0.5)
    assert weigh_tokens(hidden, [1.0, 1.0]) is hidden


def test_a_mean_that_changes_its_sign_is_not_restored():
    hidden = torch.full((77, 8), 0.01)
    hidden[1] = -0.5  # the mean is positive, and negative as soon as this counts twice
    assert hidden.mean() > 0
    torch.testing.assert_close(weigh_tokens(hidden, [2.0])[2:], hidden[2:])


@torch.inference_mode()
def test_a_weight_changes_the_embedding_of_its_word(pipes):
    encoder = PromptEncoder(pipes["sd"])
    plain, strong = (
        encoder.prompt_arguments(prompt, None)["prompt_embeds"][0]
        for prompt in ("a b", "a (b:1.5)")
    )
    torch.testing.assert_close(strong / strong[1:2], plain / plain[1:2] * _factor(2, 1.5))


def _factor(position, weight):
    factors = torch.ones(77, 1)
    factors[position] = weight
    return factors


@torch.inference_mode()
def test_each_distinct_prompt_is_encoded_once(pipes):
    pipe, calls = pipes["sd"], []
    hook = pipe.text_encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        encoder = PromptEncoder(pipe)
        for _ in range(3):
            list(encoder.batch_arguments(["one", "two", "one"], ["bad", "bad", "bad"]))
    finally:
        hook.remove()
    assert len(calls) == 3


@torch.inference_mode()
def test_prompts_of_unlike_length_are_batched_apart(pipes):
    encoder = PromptEncoder(pipes["sdxl"])
    batches = list(encoder.batch_arguments(["a", "b" * 80, "c", "d"], ["", "", "", "e" * 80]))
    assert [places for places, _ in batches] == [[0, 2], [1, 3]]
    assert [tuple(a["prompt_embeds"].shape) for _, a in batches] == [(2, 77, 64), (2, 154, 64)]
    for places, arguments in batches:
        alone = encoder.prompt_arguments("abcd"[places[0]] * (80 if places[0] == 1 else 1), "")
        assert {name: len(values) for name, values in arguments.items()} == dict.fromkeys(alone, 2)
        assert torch.equal(arguments["prompt_embeds"][:1], alone["prompt_embeds"])


def test_pipelines_of_clip_alone_are_read(pipes):
    assert reads_clip(pipes["sd"])
    assert reads_clip(pipes["sdxl"])
    assert not reads_clip(pipes["promptless"])


@torch.inference_mode()
def test_clip_skip_takes_an_earlier_layer_and_the_last_norm(engines):
    one = engines["sd"]
    pipe = one.load().pipe
    ids = pipe.tokenizer("ab", padding="max_length", max_length=77, return_tensors="pt").input_ids
    states = pipe.text_encoder(ids, output_hidden_states=True).hidden_states
    embeds = [
        arguments["prompt_embeds"]
        for skip in (1, 2, 1)
        for _, arguments in one.load().group_by_prompt(
            prompted("ab"), Recipe(model={"clip_skip": skip})
        )
    ]
    torch.testing.assert_close(embeds[1], pipe.text_encoder.final_layer_norm(states[-2]))
    assert not torch.allclose(embeds[0], embeds[1], atol=1e-3)
    assert torch.equal(embeds[0], embeds[2])


@torch.inference_mode()
def test_clip_skip_is_for_sd_1_alone(engines, monkeypatch):
    for kind in ["sd", "sdxl"]:
        pipe = engines[kind].load().pipe
        if kind == "sd":  # as SD 2.x has it
            monkeypatch.setattr(pipe.text_encoder.config, "hidden_act", "gelu")
        first, second = (
            PromptEncoder(pipe).prompt_arguments("ab", None, skip=skip)["prompt_embeds"]
            for skip in (1, 2)
        )
        assert torch.equal(first, second)
