"""Generate with diffusers, and have every face fixed as it comes out.

    python examples/diffusers_hook.py path/to/a/diffusers/model "portrait of a sailor"
    python examples/diffusers_hook.py

Without a model it makes a tiny one of random weights, which paints noise. Pictures go to the
folder `generated`.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import AutoPipelineForText2Image, DDIMScheduler, StableDiffusionPipeline
from diffusers.models import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

import autofix


def tiny_pipeline(folder: Path) -> StableDiffusionPipeline:
    """Stable Diffusion's parts, as small as they can be made, with random weights."""
    words = [*map(chr, range(33, 127)), *(f"{chr(n)}</w>" for n in range(33, 127))]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    files = (str(folder / "vocab.json"), str(folder / "merges.txt"))
    torch.manual_seed(0)
    return StableDiffusionPipeline(
        tokenizer=CLIPTokenizer(*files, model_max_length=77),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(words),
                hidden_size=32,
                intermediate_size=32,
                num_attention_heads=4,
                num_hidden_layers=1,
                bos_token_id=len(words) - 2,
                eos_token_id=len(words) - 1,
                pad_token_id=len(words) - 1,
            )
        ),
        vae=AutoencoderKL(
            block_out_channels=(16, 32, 32, 32),
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            norm_num_groups=8,
        ),
        unet=UNet2DConditionModel(
            sample_size=8,
            block_out_channels=(16, 32),
            layers_per_block=1,
            norm_num_groups=8,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            cross_attention_dim=32,
        ),
        scheduler=DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def main(model: str = "", prompt: str = "portrait of a sailor") -> None:
    """Generate two pictures, fixed, and say what was done to them."""
    with tempfile.TemporaryDirectory() as folder:
        if model:
            pipe = AutoPipelineForText2Image.from_pretrained(model)
            pipe.to("cuda" if torch.cuda.is_available() else "cpu")
            pipe = autofix.attach(pipe, "face")
        else:
            pipe = tiny_pipeline(Path(folder))
            # There are no faces in noise: say where to look, and take whatever comes out.
            boxes = Path(folder, "boxes.json")
            boxes.write_text('{"0.png": [[16, 16, 40, 44]], "1.png": []}', encoding="utf-8")
            detector = [f"scripted:{boxes}"]
            pipe = autofix.attach(pipe, detect__detectors=detector, check__enabled=False)

        seeds = [torch.Generator().manual_seed(seed) for seed in (1, 2)]
        output = pipe([prompt, prompt], generator=seeds, num_inference_steps=10)

        Path("generated").mkdir(exist_ok=True)
        for number, (image, outcome) in enumerate(zip(output.images, output.outcomes, strict=True)):
            image.save(f"generated/{number}.png")
            found = [(result.region.detection.label, result.status) for result in outcome.results]
            print(f"generated/{number}.png: {found or 'nothing found'}")
        pipe.detach()  # from here on it generates as it did before


if __name__ == "__main__":
    main(*sys.argv[1:])
