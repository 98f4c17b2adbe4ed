"""What other programs write about their pictures is read; what is broken says nothing."""

import gzip
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from autofix.metadata import GenerationText, read_generation
from autofix.values import Source

INFOTEXT = "a cat\nNegative prompt: dog\nSteps: 20, Sampler: Euler a, Seed: 5"


def said(**texts):
    return read_generation(Source(text=tuple(texts.items())))


def facts(found):
    return (found.prompt, found.negative_prompt, found.seed, found.model)


# ComfyUI


def node(kind, **inputs):
    return {"class_type": kind, "inputs": inputs}


def comfy(**changes):
    """The graph of the default workflow, with some nodes replaced or added ("n12" is node 12)."""
    nodes = {
        "3": node("KSampler", seed=77, steps=20, cfg=7.0, sampler_name="euler", model=["4", 0],
                  positive=["6", 0], negative=["7", 0], latent_image=["5", 0]),
        "4": node("CheckpointLoaderSimple", ckpt_name="dream.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "6": node("CLIPTextEncode", text=" a cat ", clip=["4", 1]),
        "7": node("CLIPTextEncode", text="ugly", clip=["4", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    }  # fmt: skip
    return nodes | {key.removeprefix("n"): value for key, value in changes.items()}


GRAPHS = {
    "as it comes": (comfy(), ("a cat", "ugly", 77, "dream.safetensors")),
    "a control net, which passes both prompts on": (
        comfy(
            n3=node("KSampler", seed=1, model=["10", 0], positive=["9", 0], negative=["9", 1],
                    latent_image=["5", 0]),
            n9=node("ControlNetApplyAdvanced", positive=["6", 0], negative=["7", 0], strength=1.0,
                    control_net=["11", 0], image=["12", 0]),
            n10=node("LoraLoader", model=["4", 0], clip=["4", 1], lora_name="x"),
            n11=node("ControlNetLoader", control_net_name="depth"),
            n12=node("LoadImage", image="x.png"),
        ),
        ("a cat", "ugly", 1, "dream.safetensors"),
    ),
    "Flux, with guider and noise": (
        {
            "1": node("UNETLoader", unet_name="flux1-dev.safetensors"),
            "2": node("CLIPTextEncode", text="a dog", clip=["9", 0]),
            "3": node("FluxGuidance", guidance=3.5, conditioning=["2", 0]),
            "4": node("BasicGuider", model=["1", 0], conditioning=["3", 0]),
            "5": node("RandomNoise", noise_seed=8),
            "6": node("SamplerCustomAdvanced", noise=["5", 0], guider=["4", 0],
                      sampler=["7", 0], sigmas=["8", 0], latent_image=["10", 0]),
        },
        ("a dog", "", 8, "flux1-dev.safetensors"),
    ),
    "an encoder with two texts": (
        comfy(n6=node("CLIPTextEncodeFlux", clip_l="a cat", t5xxl="a cat on a mat", guidance=3)),
        ("a cat, a cat on a mat", "ugly", 77, "dream.safetensors"),
    ),
    "a text from another node, joined": (
        comfy(
            n6=node("CLIPTextEncode", text=["20", 0], clip=["4", 1]),
            n20=node("StringConcatenate", string_a=["21", 0], string_b="on a mat", delimiter=" "),
            n21=node("PrimitiveString", value="a cat"),
        ),
        ("a cat, on a mat", "ugly", 77, "dream.safetensors"),
    ),
    "a wildcard node, with what it drew": (
        comfy(n6=node("ImpactWildcardEncode", wildcard_text="{a|b}", populated_text="a")),
        ("a", "ugly", 77, "dream.safetensors"),
    ),
    "conditionings combined, and one zeroed": (
        comfy(
            n3=node("KSamplerAdvanced", noise_seed=["30", 0], positive=["31", 0],
                    negative=["32", 0], latent_image=["5", 0], model=["4", 0]),
            n30=node("PrimitiveInt", value=9),
            n31=node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["33", 0]),
            n32=node("ConditioningZeroOut", conditioning=["6", 0]),
            n33=node("CLIPTextEncode", text="hat", clip=["4", 1]),
        ),
        ("a cat, hat", "", 9, "dream.safetensors"),
    ),
    "a detailer beside the sampler": (
        {"1": node("FaceDetailer", image=["8", 0], seed=3, positive=["2", 0], negative=["7", 0],
                   steps=20, cfg=8, sampler_name="euler"),
         "2": node("CLIPTextEncode", text="a face", clip=["4", 1]), **comfy()},
        ("a cat", "ugly", 77, "dream.safetensors"),
    ),
    "prompts in the loader": (
        {"1": node("Efficient Loader", ckpt_name="e", positive="a hat", negative="no"),
         "2": node("KSampler (Efficient)", seed=4, model=["1", 0], positive=["1", 1],
                   negative=["1", 2], latent_image=["1", 3])},
        ("a hat", "no", 4, "e"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GRAPHS)
def test_a_comfyui_graph_is_followed(name):
    graph, expected = GRAPHS[name]
    assert facts(said(prompt=json.dumps(graph))) == expected


BROKEN = {
    "no JSON": "{",
    "not a node": json.dumps({"1": 5}),
    "no inputs": json.dumps({"1": {"class_type": "KSampler"}}),
    "no sampler": json.dumps({"1": node("CLIPTextEncode", text="a")}),
    "a sampler without a prompt": json.dumps(comfy(n6=node("CLIPTextEncode", text="  "))),
    "a circle": json.dumps(
        comfy(n6=node("A", conditioning=["9", 0]), n9=node("B", conditioning=["6", 0]))
    ),
    "links to nowhere": json.dumps(
        comfy(n3=node("K", seed=1, positive=["99", 0], latent_image=["5", 0]))
    ),
    "very deep": json.dumps(
        {
            **{str(n): node("Reroute", conditioning=[str(n + 1), 0]) for n in range(5000)},
            "s": node("K", seed=1, positive=["0", 0]),
        }
    ),
    "deep JSON": '{"1":' * 100_000,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_graph_says_nothing(name):
    assert said(prompt=BROKEN[name]) is None


def test_a_seed_that_leads_in_a_circle_is_none():
    graph = comfy(n30=node("Int", value=["31", 0]), n31=node("Int", value=["30", 0]))
    graph["3"]["inputs"] |= {"seed": ["30", 0], "model": ["32", 0]}
    graph["32"] = node("Patch", model=["32", 0])
    assert facts(said(prompt=json.dumps(graph))) == ("a cat", "ugly", None, "")


def test_a_comfyui_graph_in_the_exif_of_a_webp_is_read():
    tags = Image.Exif()
    tags[0x010F] = "workflow:{}"
    tags[0x0110] = "prompt:" + json.dumps(comfy())
    assert read_generation(Source(format="WEBP", exif=tags.tobytes())).prompt == "a cat"


def test_other_tags_of_an_exif_block_say_nothing():
    tags = Image.Exif()
    tags[0x010F], tags[0x0131], tags[0x0112] = "Canon", "prompted: by hand", 1
    assert read_generation(Source(format="JPEG", exif=tags.tobytes())) is None


def test_infotext_beside_a_graph_wins():
    assert said(prompt=json.dumps(comfy()), parameters=INFOTEXT).settings[0] == ("Steps", "20")


# The others

NOVELAI = {
    "Title": "NovelAI generated image",
    "Description": "{masterpiece}, a cat",
    "Software": "NovelAI",
    "Source": "NovelAI Diffusion V4 37C2B166",
    "Comment": json.dumps({"prompt": "x", "uc": "bad", "seed": 12, "sampler": "k_euler"}),
}
FOOOCUS = json.dumps(
    {"prompt": "a cat", "negative_prompt": "ugly", "base_model": "jugger", "base_model_hash": "ab",
     "seed": "9", "sampler": "dpmpp_2m", "scheduler": "karras", "steps": 30,
     "version": "Fooocus v2.5.0"}
)  # fmt: skip
WRITTEN = {
    "NovelAI": (NOVELAI, ("{masterpiece}, a cat", "bad", 12, "NovelAI Diffusion V4")),
    "Fooocus": ({"parameters": FOOOCUS}, ("a cat", "ugly", 9, "jugger")),
    "InvokeAI": (
        {"invokeai_metadata": json.dumps({
            "positive_prompt": "a cat", "negative_prompt": "ugly", "seed": 3, "scheduler": "euler",
            "model": {"model_name": "dream"}})},
        ("a cat", "ugly", 3, "dream"),
    ),
    "InvokeAI with a model that has no scheduler": (
        {"invokeai_metadata": json.dumps({
            "positive_prompt": "a cat", "negative_prompt": None, "seed": 3,
            "model": {"name": "flux"}})},
        ("a cat", "", 3, ""),
    ),
    "InvokeAI 2": (
        {"sd-metadata": json.dumps({"model_weights": "sd-1.5", "image": {
            "prompt": [{"prompt": "a cat [ugly]", "weight": 1}], "seed": 3, "sampler": "k"}})},
        ("a cat", "ugly", 3, "sd-1.5"),
    ),
    "InvokeAI 1": (
        {"Dream": '"a cat [ugly]" -s 50 -S 42 -W 512 -H 512 -C 7.5 -A k_lms'},
        ("a cat", "ugly", 42, ""),
    ),
    "SwarmUI": (
        {"parameters": json.dumps({"sui_image_params": {
            "prompt": "a cat", "negativeprompt": "ugly", "model": "m", "seed": 6}})},
        ("a cat", "ugly", 6, "m"),
    ),
    "SwarmUI without a seed": (
        {"parameters": json.dumps({"sui_image_params": {"prompt": "a cat", "seed": "random"}})},
        ("a cat", "", None, ""),
    ),
    "Easy Diffusion": (
        {"prompt": "a cat", "negative_prompt": "ugly", "seed": "11",
         "use_stable_diffusion_model": "sd-v1-4"},
        ("a cat", "ugly", 11, "sd-v1-4"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("program", WRITTEN)
def test_other_programs_are_read(program):
    texts, expected = WRITTEN[program]
    found = read_generation(Source(text=tuple(texts.items())))
    assert facts(found) == expected
    assert (found.settings, found.raw) == ((), "")


def test_fooocus_puts_it_into_the_first_directory_of_the_exif():
    tags = Image.Exif()
    tags[0x9286] = FOOOCUS
    assert read_generation(Source(format="JPEG", exif=tags.tobytes())).prompt == "a cat"


def test_json_in_a_user_comment_is_read():
    tags = Image.Exif()
    tags[0x8769] = {0x9286: b"UNICODE\0" + WRITTEN["SwarmUI"][0]["parameters"].encode("utf-16-be")}
    assert read_generation(Source(format="JPEG", exif=tags.tobytes())).prompt == "a cat"


def hidden(text, *, packed=True, shape=(64, 96)):
    """Alpha with a text in its lowest bits, down the columns."""
    data = gzip.compress(text.encode()) if packed else text.encode()
    head = b"stealth_pngcomp" if packed else b"stealth_pnginfo"
    whole = head + (len(data) * 8).to_bytes(4, "big") + data
    bits = np.unpackbits(np.frombuffer(whole, np.uint8))
    columns = np.full(shape[0] * shape[1], 254, np.uint8)
    columns[: len(bits)] |= bits
    return columns.reshape(shape[1], shape[0]).T


def test_what_alpha_hides_is_read():
    assert read_generation(Source(alpha=hidden(json.dumps(NOVELAI)))).seed == 12
    found = read_generation(Source(alpha=hidden(INFOTEXT, packed=False)))
    assert (found.prompt, found.seed) == ("a cat", 5)
    assert facts(said(prompt=json.dumps(comfy())))[0] == "a cat"


def test_alpha_that_hides_nothing_says_nothing():
    whole = hidden(json.dumps(NOVELAI))
    for alpha in (
        np.full((64, 96), 255, np.uint8),
        np.full((2, 2), 255, np.uint8),
        whole[:, :4],
        hidden("[1]", packed=False),
        hidden('{"a": 1}'),
        hidden("{", packed=False),
        hidden("a holiday", packed=False),
    ):
        assert read_generation(Source(alpha=alpha)) is None


@pytest.mark.parametrize(
    "texts",
    [
        {"Comment": "a holiday"},
        {"Comment": "{broken"},
        {"Title": "x", "Description": "y", "Software": "z"},
        {"parameters": json.dumps({"steps": 3})},
        {"parameters": json.dumps({"sui_image_params": [1]})},
        {"invokeai_metadata": "[1]"},
        {"invokeai_metadata": json.dumps({"positive_prompt": 5})},
        {"sd-metadata": json.dumps({"image": {"sampler": "k", "prompt": 5}})},
        {"Dream": "no quotes"},
        {"prompt": " "},
        {**NOVELAI, "Comment": "[]"},
    ],
)
def test_texts_without_a_prompt_say_nothing(texts):
    assert read_generation(Source(text=tuple(texts.items()))) is None


KEYS = ("parameters", "prompt", "workflow", "Comment", "Description", "Source", "Dream")
JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ("inputs", "positive", "seed", "prompt", "image", "model", "1", "text")
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(
    st.dictionaries(
        st.sampled_from((*KEYS, "invokeai_metadata", "sd-metadata")),
        JSONISH.map(json.dumps) | st.text(max_size=20),
        max_size=4,
    )
)
def test_reading_never_raises(texts):
    found = read_generation(Source(text=tuple(texts.items())))
    assert found is None or isinstance(found, GenerationText)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.binary(max_size=80))
def test_no_exif_makes_reading_raise(block):
    for tags in (b"", b"Exif\0\0", b"Exif\0\0II*\0\x08\0\0\0"):
        found = read_generation(Source(exif=tags + block))
        assert found is None or found.prompt
