"""Save a sample with the metadata that must outlive a fix."""

from __future__ import annotations

from pathlib import Path

from PIL import ExifTags, Image, ImageCms
from PIL.PngImagePlugin import PngInfo

INFOTEXT = """\
portrait photo of a woman astronaut in an orange space suit, smiling, helmet under her arm, in \
front of a rocket on the launch pad, dusk, floodlights, sharp focus
Negative prompt: drawing, painting, blurry, deformed face, extra limbs
Steps: 28, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1234, Size: 960x640, \
Model hash: 0123456789, Model: example-v1, Version: v1.10.1"""


def srgb_profile() -> bytes:
    """Make an sRGB profile whose date is fixed: it would be today's."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile[:24] + bytes.fromhex("07d000010001000000000000") + profile[36:]


def camera_exif() -> Image.Exif:
    """Make the tags that a camera's picture has, and that must outlive a fix."""
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "Two prints beside a cup of coffee"
    exif[ExifTags.Base.Copyright] = "Public domain"
    exif[ExifTags.Base.Orientation] = 1
    exif[ExifTags.Base.DateTime] = "2000:01:01 12:00:00"
    return exif


def save(picture: Image.Image, path: Path) -> None:
    """Write a sample with what its kind of file says: a profile and EXIF, or generation text."""
    if path.suffix == ".jpg":
        profile = srgb_profile()
        picture.save(path, quality=90, optimize=True, icc_profile=profile, exif=camera_exif())
        return
    text = PngInfo()
    if path.stem == "launch":
        text.add_text("parameters", INFOTEXT)
    picture.save(path, optimize=True, pnginfo=text)
