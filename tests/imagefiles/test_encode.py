"""A picture goes back into a file of its kind, and nothing that its format can hold is lost."""

import io
import struct
from dataclasses import replace
from pathlib import PurePath

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from autofix.imagefiles.decode import decode
from autofix.imagefiles.encode import encode, format_of
from autofix.imagefiles.png import with_deep_pixels
from autofix.imagefiles.tiff import alpha_tags, deep_tiff, with_tags
from autofix.values import Picture, Source
from tests.imagefiles.deep_png import grey_alpha_png

LOSSLESS = ["PNG", "TIFF", "BMP", "WEBP"]
GREY_PROFILE = bytes(16) + b"GRAY" + bytes(120)
RGB_PROFILE = bytes(16) + b"RGB " + bytes(120)
CMYK_PROFILE = bytes(16) + b"CMYK" + bytes(120)


def noise(height, width, *, channels=3, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def grey(height, width):
    return np.repeat(noise(height, width, channels=1), 3, axis=2)


def picture(pixels, **source):
    return Picture(pixels, "p", Source(**source))


def reread(picture, kind, **options):
    return decode(io.BytesIO(encode(picture, kind, **options)))


def file_picture(image, kind, **options):
    """A picture as if read from a file that Pillow wrote."""
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    result = decode(buffer)
    return Picture(result.pixels, "p", result.source)


def opened(data):
    return Image.open(io.BytesIO(data))


@pytest.mark.parametrize("kind", LOSSLESS)
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 5)])
@pytest.mark.parametrize("transparent", [False, True])
def test_lossless_formats_give_every_pixel_back(kind, shape, transparent):
    alpha = noise(*shape, channels=1, seed=3)[..., 0] if transparent else None
    save = {"lossless": True} if kind == "WEBP" else {}
    original = picture(noise(*shape), alpha=alpha, format=kind, save=save)
    again = reread(original, kind)
    assert np.array_equal(again.pixels, original.pixels)
    if transparent:
        assert np.array_equal(again.source.alpha, alpha)
    else:
        assert again.source.alpha is None


@pytest.mark.parametrize("kind", ["WEBP", "AVIF"])
def test_lossy_formats_give_all_of_alpha_back(kind):
    alpha = noise(20, 24, channels=1, seed=3)[..., 0]
    original = picture(np.full((20, 24, 3), 90, np.uint8), alpha=alpha, format=kind)
    again = reread(original, kind)
    assert np.array_equal(again.source.alpha, alpha)
    assert np.abs(again.pixels.astype(int) - 90).max() < 8


@pytest.mark.parametrize("kind", [*LOSSLESS, "JPEG", "AVIF"])
def test_the_same_picture_gives_the_same_bytes(kind):
    original = picture(noise(16, 16), text=(("parameters", "é"),), dpi=(72, 72), xmp=b"<x/>")
    assert encode(original, kind) == encode(original, kind)


@pytest.mark.parametrize(
    ("mode", "pixels", "kind", "written"),
    [
        ("L", grey(4, 5), "PNG", "L"),
        ("L", noise(4, 5), "PNG", "RGB"),
        ("L", grey(4, 5), "JPEG", "L"),
        ("1", grey(4, 5) // 128 * 255, "PNG", "1"),
        ("1", grey(4, 5) // 128 * 255, "BMP", "1"),
        ("1", grey(4, 5) // 128 * 255, "JPEG", "L"),
        ("1", grey(4, 5), "TIFF", "L"),
        ("I;16", grey(4, 5), "PNG", "L"),
        ("P", noise(4, 5), "PNG", "P"),
        ("P", noise(4, 5), "TIFF", "P"),
        ("P", noise(4, 5), "BMP", "P"),
        ("P", noise(4, 5), "WEBP", "RGB"),
        ("P", noise(20, 20), "PNG", "RGB"),
        ("RGB", grey(4, 5), "PNG", "RGB"),
        ("CMYK", noise(4, 5), "JPEG", "RGB"),
    ],
)
def test_a_mode_is_kept_as_long_as_the_pixels_fit_it(mode, pixels, kind, written):
    data = encode(picture(pixels, mode=mode, format=kind), kind)
    assert opened(data).mode == written
    if kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode(io.BytesIO(data)).pixels, pixels)
    if kind in ("PNG", "TIFF", "BMP"):
        assert np.array_equal(decode(io.BytesIO(data)).pixels, pixels)


@pytest.mark.parametrize("clear", [False, True])
def test_a_palette_stays_one_while_its_colours_are_few(clear):
    image = Image.fromarray(noise(20, 20, channels=1)[..., 0] % 7)
    image.putpalette(noise(1, 7).tobytes())
    options = {"transparency": bytes([0, 90, 255])} if clear else {}
    first = file_picture(image, "PNG", **options)
    fixed = first.pixels.copy()
    fixed[3:9, 3:9] //= 2
    data = encode(first.with_pixels(fixed), "PNG")
    assert opened(data).mode == "P"
    again = decode(io.BytesIO(data))
    assert np.array_equal(again.pixels, fixed)
    if clear:
        assert np.array_equal(again.source.alpha, first.source.alpha)
    else:
        assert again.source.alpha is None
    fixed[:] = noise(20, 20)
    many = reread(first.with_pixels(fixed), "PNG")
    assert many.source.mode == ("RGBA" if clear else "RGB")
    assert np.array_equal(many.pixels, fixed)


@pytest.mark.parametrize(("pixels", "written"), [(grey(4, 5), "LA"), (noise(4, 5), "RGBA")])
def test_grey_with_alpha_stays_grey_if_it_can(pixels, written):
    alpha = noise(4, 5, channels=1, seed=1)[..., 0]
    data = encode(picture(pixels, mode="LA", alpha=alpha), "PNG")
    assert opened(data).mode == written
    assert np.array_equal(decode(io.BytesIO(data)).source.alpha, alpha)


def test_a_grey_bmp_with_alpha_is_written_in_colour():
    again = reread(picture(grey(3, 5), mode="LA", alpha=np.zeros((3, 5), np.uint8)), "BMP")
    assert np.array_equal(again.pixels, grey(3, 5))
    assert again.source.alpha.max() == 0


@pytest.mark.parametrize("transparent", [False, True])
def test_a_bmp_keeps_its_resolution(transparent):
    alpha = np.full((3, 5), 7, np.uint8) if transparent else None
    again = reread(picture(noise(3, 5), alpha=alpha, dpi=(300, 72)), "BMP")
    assert again.source.dpi == pytest.approx((300, 72), abs=0.02)


def test_a_png_read_and_written_again_says_the_same():
    info = PngInfo()
    info.add_text("parameters", "a cat\nNegative prompt: dog\nSteps: 20, Seed: 1, CFG scale: 7")
    info.add_itxt("Title", "é", lang="fr", tkey="Titre")
    info.add_text("parameters", "twice")
    info.add_itxt("XML:com.adobe.xmp", "<é/>")
    info.add(b"gAMA", struct.pack(">I", 45455))
    exif = Image.Exif()
    exif[0x010E] = "described"
    image = Image.fromarray(noise(5, 6, channels=4))
    options = {"icc_profile": RGB_PROFILE, "exif": exif, "dpi": (72, 300)}
    first = file_picture(image, "PNG", pnginfo=info, **options)
    again = reread(first, "PNG")
    assert np.array_equal(again.pixels, first.pixels)
    assert np.array_equal(again.source.alpha, first.source.alpha)
    for name in ("text", "icc", "exif", "xmp", "dpi", "save", "mode", "format"):
        assert getattr(again.source, name) == getattr(first.source, name), name
    assert again.source.text[1][1].lang == "fr"
    assert again.source.xmp == "<é/>".encode()
    assert encode(Picture(again.pixels, "p", again.source), "PNG") == encode(first, "PNG")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(
        st.tuples(
            st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=79),
            st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
        ),
        max_size=6,
    )
)
def test_any_texts_survive_a_png(pairs):
    pairs = tuple(pair for pair in pairs if pair[0] != "XML:com.adobe.xmp")
    again = reread(picture(noise(1, 1), text=pairs), "PNG")
    assert again.source.text == pairs


@pytest.mark.parametrize("key", ["", "k" * 80, "猫", "a\0b"])
def test_a_key_that_a_png_cannot_hold_is_refused(key):
    with pytest.raises(ValueError, match=r"key|latin-1"):
        encode(picture(noise(1, 1)), "PNG", extra_text=[(key, "value")])


def test_extra_text_replaces_its_key_and_appends_others():
    first = picture(noise(2, 2), text=(("a", "1"), ("parameters", "old"), ("b", "2")))
    again = reread(first, "PNG", extra_text=[("autofix", "{}"), ("parameters", "new")])
    assert again.source.text == (("a", "1"), ("parameters", "new"), ("b", "2"), ("autofix", "{}"))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "AVIF", "TIFF"])
def test_extra_text_goes_into_exif_where_there_are_no_texts(kind):
    first = picture(noise(16, 16), format=kind)
    extra = [("parameters", "猫, a cat"), ("autofix", "é"), ("other", "1")]
    again = reread(first, kind, extra_text=extra)
    twice = reread(Picture(again.pixels, "p", again.source), kind, extra_text=[("autofix", "2")])
    exif = Image.Exif()
    exif.load(twice.source.exif)
    assert exif[0x010E].encode("latin-1").decode() == "other: 1\nautofix: 2"
    comment = exif.get_ifd(0x8769)[0x9286]
    assert comment == b"UNICODE\0" + "猫, a cat".encode("utf-16-be")


def test_a_bmp_holds_no_text_and_is_written_all_the_same():
    again = reread(picture(noise(2, 2), format="BMP"), "BMP", extra_text=[("autofix", "{}")])
    assert np.array_equal(again.pixels, noise(2, 2))


def test_the_parameters_of_a_png_with_another_name_are_not_lost():
    texts = (("parameters", "a cat"), ("workflow", "{}"))
    exif = Image.Exif()
    exif.load(reread(picture(noise(8, 8), text=texts), "JPEG").source.exif)
    assert exif.get_ifd(0x8769)[0x9286] == b"UNICODE\0" + "a cat".encode("utf-16-be")
    assert 0x010E not in exif


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_a_jpeg_keeps_its_tables_sampling_and_metadata(subsampling, progressive):
    exif = Image.Exif()
    exif[0x010E] = "described"
    first = file_picture(
        Image.fromarray(noise(32, 40)),
        "JPEG",
        quality=37,
        subsampling=subsampling,
        progressive=progressive,
        exif=exif,
        icc_profile=RGB_PROFILE,
        xmp=b"<x/>",
        dpi=(300, 72),
        comment=b"remark",
    )
    again = reread(first, "JPEG")
    assert again.source.save == first.source.save
    assert first.source.save["subsampling"] == subsampling
    assert first.source.save["progressive"] == progressive
    assert first.source.save["comment"] == b"remark"
    for name in ("icc", "exif", "xmp", "dpi"):
        assert getattr(again.source, name) == getattr(first.source, name) is not None, name


def test_a_jpeg_stored_as_rgb_stays_so():
    first = file_picture(Image.fromarray(noise(16, 16)), "JPEG", quality=90, keep_rgb=True)
    assert opened(encode(first, "JPEG")).info["adobe_transform"] == 0


def test_a_grey_jpeg_that_became_coloured_keeps_its_table():
    first = file_picture(Image.fromarray(noise(16, 16)[..., 0]), "JPEG", quality=40)
    table = first.source.save["qtables"][0]
    same = opened(encode(first, "JPEG"))
    assert (same.mode, same.quantization) == ("L", {0: table})
    other = opened(encode(first.with_pixels(noise(16, 16)), "JPEG"))
    assert (other.mode, other.quantization) == ("RGB", {0: table})


def test_a_cmyk_jpeg_becomes_rgb_and_loses_its_profile():
    image = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    first = file_picture(image, "JPEG", quality=90, icc_profile=CMYK_PROFILE)
    again = reread(first, "JPEG")
    assert again.source.icc is None
    assert np.abs(again.pixels.astype(int) - [255, 0, 0]).max() < 6


@pytest.mark.parametrize(("pixels", "kept"), [(grey(4, 4), GREY_PROFILE), (noise(4, 4), None)])
def test_a_grey_profile_stays_with_grey_pixels_only(pixels, kept):
    assert reread(picture(pixels, mode="L", icc=GREY_PROFILE), "PNG").source.icc == kept


def test_a_jpeg_that_was_none_is_written_well():
    data = encode(picture(noise(32, 32)), "JPEG")
    assert max(opened(data).quantization[0]) < 15
    assert decode(io.BytesIO(data)).source.save["subsampling"] == 0


def test_transparency_is_never_dropped_in_silence():
    alpha = np.full((4, 4), 255, np.uint8)
    assert opened(encode(picture(noise(4, 4), alpha=alpha), "JPEG")).mode == "RGB"
    alpha[0, 0] = 254
    with pytest.raises(ValueError, match="cannot hold transparency"):
        encode(picture(noise(4, 4), alpha=alpha), "JPEG")
    with pytest.raises(ValueError, match=r"alpha must be as large .* \(4, 5\)"):
        encode(picture(noise(4, 4), alpha=np.zeros((4, 5), np.uint8)), "PNG")


@pytest.mark.parametrize("lossless", [True, False])
def test_a_webp_stays_lossless_or_lossy_with_its_metadata(lossless):
    exif = Image.Exif()
    exif[0x010E] = "described"
    options = {"exif": exif, "icc_profile": RGB_PROFILE, "xmp": b"<x/>"}
    first = file_picture(Image.fromarray(noise(16, 16)), "WEBP", lossless=lossless, **options)
    again = reread(first, "WEBP")
    assert again.source.save == {"lossless": lossless}
    assert np.array_equal(again.pixels, first.pixels) == lossless
    for name in ("icc", "exif", "xmp"):
        assert getattr(again.source, name) == getattr(first.source, name) is not None, name


def test_an_avif_keeps_its_metadata_and_most_of_its_colours():
    exif = Image.Exif()
    exif[0x010E] = "described"
    flat = np.full((16, 16, 3), (200, 30, 60), np.uint8)
    options = {"exif": exif, "icc_profile": RGB_PROFILE, "xmp": b"<x/>"}
    first = file_picture(Image.fromarray(flat), "AVIF", quality=90, **options)
    again = reread(first, "AVIF")
    assert np.abs(again.pixels.astype(int) - flat).max() < 5
    for name in ("icc", "exif", "xmp"):
        assert getattr(again.source, name) == getattr(first.source, name) is not None, name
    assert opened(encode(picture(grey(8, 8), mode="L", format="AVIF"), "AVIF")).mode == "L"


@pytest.mark.parametrize(
    ("compression", "written"),
    [("raw", "raw"), ("tiff_lzw", "tiff_lzw"), ("jpeg", "tiff_adobe_deflate")],
)
def test_a_tiff_keeps_a_lossless_compression_and_its_metadata(compression, written):
    first = file_picture(
        Image.fromarray(noise(16, 16)),
        "TIFF",
        compression=compression,
        tiffinfo={270: "caf\xe9".encode(), 305: "maker", 700: b"<x/>"},
        icc_profile=RGB_PROFILE,
        dpi=(300, 150),
    )
    again = reread(first, "TIFF")
    assert again.source.save == {"compression": written}
    assert np.array_equal(again.pixels, first.pixels)
    for name in ("icc", "exif", "xmp", "dpi"):
        assert getattr(again.source, name) == getattr(first.source, name) is not None, name


@pytest.mark.parametrize(("changed", "written"), [(0, "group4"), (1, "tiff_adobe_deflate")])
def test_a_fax_tiff_stays_one_while_it_is_black_and_white(changed, written):
    bits = Image.fromarray(noise(16, 16)[..., 0] > 127)
    first = file_picture(bits, "TIFF", compression="group4")
    pixels = first.pixels.copy()
    pixels[0, 0] = 100 if changed else pixels[0, 0]
    again = reread(first.with_pixels(pixels), "TIFF")
    assert again.source.save == {"compression": written}
    assert np.array_equal(again.pixels, pixels)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate"])
def test_a_tiff_keeps_its_compression_beside_exif_directories(compression):
    commented = reread(picture(noise(4, 4)), "JPEG", extra_text=[("parameters", "x")])
    source = replace(commented.source, format="TIFF", save={"compression": compression})
    again = reread(Picture(commented.pixels, "p", source), "TIFF")
    exif = Image.Exif()
    exif.load(again.source.exif)
    assert exif.get_ifd(0x8769)[0x9286] == b"UNICODE\0\0x"
    assert again.source.save == {"compression": compression}
    assert np.array_equal(again.pixels, commented.pixels)


def test_a_large_tiff_of_many_strips_is_put_together_again():
    pixels = noise(300, 400)
    source = {"format": "TIFF", "save": {"compression": "tiff_lzw"}, "dpi": (300, 300)}
    data = encode(picture(pixels, **source), "TIFF")
    assert len(opened(data).tag_v2[273]) > 3
    assert np.array_equal(decode(io.BytesIO(data)).pixels, pixels)


IPTC = b"\x1c\x02\x78\x00\x05words"


def test_iptc_stays_in_a_jpeg():
    block = b"Photoshop 3.0\x008BIM\x04\x04\0\0" + struct.pack(">I", len(IPTC)) + IPTC
    app13 = b"\xff\xed" + struct.pack(">H", len(block) + 2) + block
    options = {"extra": app13, "icc_profile": RGB_PROFILE, "comment": b"kept"}
    first = file_picture(Image.fromarray(noise(16, 16)), "JPEG", **options)
    data = encode(first, "JPEG")
    assert data.count(app13) == 1
    assert opened(data).info["photoshop"] == {0x0404: IPTC}
    assert opened(data).info["comment"] == b"kept"
    assert opened(data).info["icc_profile"] == RGB_PROFILE


def test_iptc_stays_in_a_tiff():
    image = Image.fromarray(noise(16, 16))
    plain = file_picture(image, "TIFF", tiffinfo={33723: IPTC, 34377: b"8BIM"})
    assert plain.source.save["blocks"] == {33723: IPTC, 34377: b"8BIM"}
    assert reread(plain, "TIFF").source.save["blocks"] == {33723: IPTC, 34377: b"8BIM"}


def deep_picture(height, width, channels, kind="PNG", **source):
    """A picture as if read from a file of 16 bits a channel."""
    shape = (height, width, channels)
    values = np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)
    if kind == "TIFF":
        data = deep_tiff(values, "raw")
        data = with_tags(data, alpha_tags(channels))
    elif channels == 2:
        data = grey_alpha_png(values)
    else:
        data = with_deep_pixels(encode(picture(noise(1, 1)), "PNG"), values)
    result = decode(io.BytesIO(data))
    assert np.array_equal(result.source.deep, values)
    return Picture(result.pixels, "p", replace(result.source, **source))


DEEP = [("PNG", 1), ("PNG", 3), ("PNG", 4), ("TIFF", 1), ("TIFF", 3), ("TIFF", 4)]


@pytest.mark.parametrize(("kind", "channels"), DEEP)
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (200, 3)])
def test_sixteen_bits_that_were_not_changed_are_written_as_they_were(kind, channels, shape):
    first = deep_picture(*shape, channels, kind)
    again = reread(first, kind)
    assert np.array_equal(again.source.deep, first.source.deep)
    assert encode(first, kind) == encode(first, kind)


@pytest.mark.parametrize(("kind", "channels"), DEEP)
def test_only_what_was_changed_of_sixteen_bits_is_written_anew(kind, channels):
    first = deep_picture(9, 8, channels, kind)
    fixed = first.pixels.copy()
    fixed[2:4, 3:6] = 255 - fixed[2:4, 3:6]
    again = reread(first.with_pixels(fixed), kind)
    deep = again.source.deep
    outside = np.ones((9, 8), bool)
    outside[2:4, 3:6] = False
    assert np.array_equal(deep[outside], first.source.deep[outside])
    assert np.array_equal(again.pixels, fixed)
    colours = 1 if channels < 3 else 3
    inside = deep[2:4, 3:6, :colours].astype(int)
    assert np.abs(inside - fixed[2:4, 3:6, :colours].astype(int) * 257).max() <= 128
    assert np.array_equal(deep[..., colours:], first.source.deep[..., colours:])


def test_grey_of_sixteen_bits_that_became_coloured_is_written_in_colour():
    first = deep_picture(4, 5, 1)
    fixed = first.pixels.copy()
    fixed[1, 1] = (200, 0, 30)
    again = reread(first.with_pixels(fixed), "PNG")
    assert np.array_equal(again.pixels, fixed)
    assert again.source.deep.shape[2] == 3
    assert np.array_equal(again.source.deep[0, :, 0], first.source.deep[0, :, 0])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_with_alpha_is_written_in_colour(kind):
    first = deep_picture(4, 5, 2)
    again = reread(first, kind)
    assert np.array_equal(again.source.deep, first.source.deep[..., [0, 0, 0, 1]])
    profiled = replace(first, source=replace(first.source, icc=GREY_PROFILE))
    assert reread(profiled, kind).source.icc is None  # it would be for other colours


def test_sixteen_bits_become_eight_where_a_format_holds_no_more():
    first = deep_picture(4, 5, 3)
    for kind in ("BMP", "WEBP"):
        assert np.array_equal(reread(first, kind).pixels, first.pixels)


@pytest.mark.parametrize(("kind", "channels"), [("PNG", 3), ("PNG", 1), ("TIFF", 3), ("TIFF", 4)])
def test_a_file_of_sixteen_bits_keeps_what_it_says(kind, channels):
    commented = reread(picture(noise(4, 4)), "JPEG", extra_text=[("parameters", "x")])
    profile = GREY_PROFILE if channels == 1 else RGB_PROFILE
    said = {"icc": profile, "exif": commented.source.exif, "xmp": b"<x/>", "dpi": (300, 300)}
    first = deep_picture(4, 5, channels, kind, **said)
    if kind == "PNG":
        colour = ((b"gAMA", struct.pack(">I", 45455)),)
        first = replace(first, source=replace(first.source, save={"colour": colour}))
    data = encode(first, kind, extra_text=[("parameters", "a cat"), ("autofix", "{}")])
    again = decode(io.BytesIO(data)).source
    assert (again.icc, again.xmp) == (profile, b"<x/>")
    assert again.dpi == pytest.approx((300, 300), abs=0.1)
    if kind == "PNG":
        assert again.text == (("parameters", "a cat"), ("autofix", "{}"))
        assert again.save == first.source.save
        assert again.exif == commented.source.exif
    else:
        exif = Image.Exif()
        exif.load(again.exif)
        assert exif.get_ifd(0x8769)[0x9286] == b"UNICODE\0" + "a cat".encode("utf-16-be")


@pytest.mark.parametrize(
    ("compression", "written"),
    [
        *(("raw", "raw"), ("tiff_lzw", "tiff_lzw"), ("packbits", "packbits")),
        *(("tiff_adobe_deflate", "tiff_adobe_deflate"), ("lzma", "tiff_adobe_deflate")),
    ],
)
def test_a_tiff_of_sixteen_bits_keeps_its_compression(compression, written):
    first = deep_picture(40, 50, 3, "TIFF", save={"compression": compression})
    again = reread(first, "TIFF").source
    assert again.save == {"compression": written}
    assert np.array_equal(again.deep, first.source.deep)


def test_smooth_sixteen_bits_are_well_compressed():
    y, x = np.mgrid[0:300, 0:300]
    values = (np.stack([x * 150 + y, y * 99, x * 40 + y * 60], -1)).astype(np.uint16)
    data = with_deep_pixels(encode(picture(noise(1, 1)), "PNG"), values)
    assert len(data) < values.nbytes / 20
    assert np.array_equal(decode(io.BytesIO(data)).source.deep, values)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.PNG", "PNG"), ("a.b.jpeg", "JPEG"), ("a.tif", "TIFF"), ("a.xyz", "BMP"), ("a", "BMP")],
)
def test_the_suffix_names_the_format_or_else_the_source_does(name, kind):
    assert format_of(PurePath(name), otherwise="BMP") == kind
