"""Any file that Pillow opens becomes upright RGB with alpha beside it, or says why it does not."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngInfo

from autofix.imagefiles.decode import PILLOW_ERRORS, Unreadable, decode, read_dpi
from autofix.imagefiles.save_options import webp_is_lossless
from autofix.imagefiles.tiff import alpha_tags, deep_tiff, with_tags


def noise(height, width, *, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def saved(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def exif_of(tags):
    """An Exif as Pillow has it after reading: a merely filled one cannot be saved in a TIFF."""
    filled = Image.Exif()
    for tag, value in tags.items():
        filled[tag] = value
    loaded = Image.Exif()
    loaded.load(filled.tobytes())
    return loaded


def decoded(data):
    return decode(io.BytesIO(data))


def png(width, height, *, depth, colour, rows, interlace=0, chunks=()):
    """A PNG file from its scan lines, built by hand."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + body


def unfiltered(array):
    return b"".join(b"\0" + row.tobytes() for row in array)


def interlaced(array):
    """The lines of Adam7's seven passes."""
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)]
    passes += [(2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    big = array.astype(array.dtype.newbyteorder(">"))
    return b"".join(unfiltered(big[y::down, x::right]) for y, x, down, right in passes)


def deep_noise(height, width, channels):
    shape = (height, width, channels)
    return np.random.default_rng(0).integers(0, 65536, shape).astype(np.uint16)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "BMP"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (5, 1), (13, 9)])
def test_rgb_pixels_are_read_as_they_are(kind, shape):
    pixels = noise(*shape)
    result = decoded(saved(Image.fromarray(pixels), kind))
    assert np.array_equal(result.pixels, pixels)
    assert (result.source.format, result.source.mode) == (kind, "RGB")
    assert result.source.alpha is None
    assert result.source.notes == ()


def test_what_is_read_cannot_be_written_to():
    result = decoded(saved(Image.fromarray(noise(4, 5, channels=4)), "PNG"))
    assert not result.pixels.flags.writeable
    assert not result.source.alpha.flags.writeable


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_alpha_is_kept_apart_and_does_not_touch_the_colours(kind):
    pixels = noise(6, 7, channels=4)
    pixels[0, 0] = (200, 100, 50, 0)
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    result = decoded(saved(Image.fromarray(pixels), kind, **options))
    assert np.array_equal(result.pixels, pixels[..., :3])
    assert np.array_equal(result.source.alpha, pixels[..., 3])


def test_grey_becomes_three_equal_channels():
    grey = noise(5, 4, channels=1)
    result = decoded(saved(Image.fromarray(grey), "PNG"))
    assert np.array_equal(result.pixels, np.dstack([grey] * 3))
    assert result.source.mode == "L"


def test_grey_with_alpha():
    image = Image.merge("LA", [Image.fromarray(noise(5, 4, channels=1, seed=n)) for n in (1, 2)])
    result = decoded(saved(image, "PNG"))
    assert np.array_equal(result.pixels[..., 1], noise(5, 4, channels=1, seed=1))
    assert np.array_equal(result.source.alpha, noise(5, 4, channels=1, seed=2))


def test_black_and_white_becomes_0_and_255():
    bits = noise(3, 9, channels=1) > 127
    result = decoded(saved(Image.fromarray(bits), "PNG"))
    assert np.array_equal(result.pixels[..., 0], np.where(bits, 255, 0))
    assert result.source.mode == "1"


def test_a_palette_gives_its_colours_and_its_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    result = decoded(saved(image, "PNG", transparency=b"\xff\x80\x00"))
    assert result.pixels.tolist() == [[[255, 0, 0], [0, 255, 0], [0, 0, 255]]]
    assert result.source.alpha.tolist() == [[255, 128, 0]]
    opaque = decoded(saved(image, "PNG"))
    assert opaque.source.alpha is None
    assert np.array_equal(opaque.pixels, result.pixels)


def test_one_transparent_colour_of_an_rgb_picture_becomes_alpha():
    pixels = np.array([[[10, 20, 30], [11, 20, 30]]], np.uint8)
    result = decoded(saved(Image.fromarray(pixels), "PNG", transparency=(10, 20, 30)))
    assert result.source.alpha.tolist() == [[0, 255]]
    assert np.array_equal(result.pixels, pixels)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_kept(kind):
    values = np.array([[0, 128, 129, 257, 32768, 65535]], np.uint16)
    result = decoded(saved(Image.fromarray(values), kind))
    assert result.pixels[..., 0].tolist() == [[0, 0, 1, 1, 128, 255]]
    assert np.array_equal(result.source.deep, values[..., None])
    assert result.source.notes == ()
    assert not result.source.deep.flags.writeable


def test_every_eight_bit_grey_survives_sixteen_bits():
    ramp = np.arange(256, dtype=np.uint16)[None] * 257
    assert np.array_equal(decoded(saved(Image.fromarray(ramp), "PNG")).pixels[0, :, 0], range(256))


def test_sixteen_bit_grey_with_a_transparent_value():
    image = Image.fromarray(np.array([[300, 301]], np.uint16))
    result = decoded(saved(image, "PNG", transparency=300))
    assert result.source.alpha.tolist() == [[0, 255]]
    assert result.source.deep.tolist() == [[[300, 0], [301, 65535]]]


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)])
@pytest.mark.parametrize("interlace", [0, 1])
def test_sixteen_bit_png_files_keep_all_they_have(colour, channels, interlace):
    values = deep_noise(11, 10, channels)
    rows = interlaced(values) if interlace else unfiltered(values.astype(">u2"))
    result = decoded(png(10, 11, depth=16, colour=colour, rows=rows, interlace=interlace))
    assert np.array_equal(result.source.deep, values)
    rounded = np.rint(values / 257).astype(np.uint8)
    colours = rounded[..., :1] if channels < 3 else rounded[..., :3]
    assert np.array_equal(result.pixels, np.broadcast_to(colours, (11, 10, 3)))
    if channels in (2, 4):
        assert np.array_equal(result.source.alpha, rounded[..., -1])
    else:
        assert result.source.alpha is None
    assert result.source.mode == {1: "I;16", 2: "LA", 3: "RGB", 4: "RGBA"}[channels]


def test_one_transparent_colour_of_sixteen_bits_becomes_alpha():
    pixels = deep_noise(2, 3, 3)
    clear = (b"tRNS", pixels[0, 0].astype(">u2").tobytes())
    rows = unfiltered(pixels.astype(">u2"))
    result = decoded(png(3, 2, depth=16, colour=2, rows=rows, chunks=[clear]))
    assert result.source.alpha.tolist() == [[0, 255, 255], [255, 255, 255]]
    assert np.array_equal(result.source.deep[..., :3], pixels)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_sixteen_bit_tiff_files_keep_all_they_have_and_stand_upright(channels, orientation):
    values = deep_noise(5, 7, channels)
    data = with_tags(deep_tiff(values, "tiff_lzw"), {274: orientation} | alpha_tags(channels))
    result = decoded(data)
    turned = np.rot90(values, {1: 0, 3: 2, 6: 3}[orientation])
    assert np.array_equal(result.source.deep, turned)
    assert np.array_equal(result.pixels[..., 0], np.rint(turned[..., 0] / 257))


def test_what_opencv_does_not_read_as_pillow_does_becomes_eight_bits_and_says_so():
    """Alpha that is multiplied in: Pillow takes it out again."""
    values = deep_noise(5, 7, 4)
    values[..., :3] = values[..., :3].astype(np.int64) * values[..., 3:] // 65536
    result = decoded(with_tags(deep_tiff(values, "raw"), {338: 1}))
    assert result.source.deep is None
    assert "16 bits a channel became 8" in result.source.notes
    assert np.array_equal(result.source.alpha, values[..., 3] >> 8)


def test_reading_sixteen_bits_says_nothing(capfd):
    decoded(deep_tiff(deep_noise(5, 7, 4), "raw"))  # OpenCV would warn of a fourth channel
    assert capfd.readouterr() == ("", "")


def test_whole_numbers_of_thirty_two_bits_are_taken_only_in_range():
    image = Image.fromarray(np.array([[0, 65535]], np.int32))
    result = decoded(saved(image, "TIFF"))
    assert result.pixels[..., 0].tolist() == [[0, 255]]
    assert result.source.deep.tolist() == [[[0], [65535]]]
    with pytest.raises(Unreadable, match="holds values from 0 to 70000"):
        decoded(saved(Image.fromarray(np.array([[0, 70000]], np.int32)), "TIFF"))


def test_cmyk_becomes_rgb_and_says_so():
    result = decoded(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=95))
    assert np.abs(result.pixels.astype(int) - [255, 0, 0]).max() <= 3
    assert result.source.notes == ("CMYK became RGB",)


def test_an_interlaced_png_is_read_and_says_so():
    pixels = noise(11, 10)
    result = decoded(png(10, 11, depth=8, colour=2, rows=interlaced(pixels), interlace=1))
    assert np.array_equal(result.pixels, pixels)
    assert result.source.notes == ("it is written without interlacing",)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG", "TIFF"])
def test_a_turned_picture_is_set_upright(kind, orientation):
    image = Image.fromarray(np.repeat(np.repeat(noise(2, 3), 16, 0), 16, 1))
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x0131] = "camera"
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 95}}.get(kind, {})
    data = saved(image, kind, exif=exif, **options)
    result = decoded(data)
    with Image.open(io.BytesIO(data)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    assert np.array_equal(result.pixels, expected)
    assert (result.pixels.shape[0] > result.pixels.shape[1]) == (orientation > 4)
    again = Image.Exif()
    again.load(result.source.exif)
    assert again.get(0x0112, 1) == 1
    assert again[0x0131] == "camera"


def test_alpha_is_turned_with_the_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = noise(3, 5, channels=4)
    result = decoded(saved(Image.fromarray(pixels), "PNG", exif=exif))
    assert np.array_equal(np.dstack([result.pixels, result.source.alpha]), np.rot90(pixels, 3))


def test_an_orientation_in_xmp_alone_is_followed_and_reset():
    xmp = b'<x tiff:Orientation="3" other="3"/>'
    result = decoded(saved(Image.fromarray(noise(3, 5)), "WEBP", lossless=True, xmp=xmp))
    assert np.array_equal(result.pixels, noise(3, 5)[::-1, ::-1])
    assert result.source.xmp == b'<x tiff:Orientation="1" other="3"/>'


def test_an_exif_block_in_a_text_is_followed_and_moved_when_the_picture_was_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    for block, kept in ((exif.tobytes(), 0), (Image.Exif().tobytes(), 1), (b"", 1)):
        info = PngInfo()
        info.add_text("Raw profile type exif", f"\nexif\n      {len(block)}\n{block.hex()}")
        result = decoded(saved(Image.fromarray(noise(3, 5)), "PNG", pnginfo=info))
        assert len(result.source.text) == kept
        assert result.pixels.shape == ((3, 5, 3) if kept else (5, 3, 3))
    info = PngInfo()
    info.add_text("Raw profile type exif", "\nexif\n 4\nnot hexadecimal")
    result = decoded(saved(Image.fromarray(noise(3, 5)), "PNG", pnginfo=info))
    assert result.source.exif is None
    assert len(result.source.text) == 1


def test_a_png_gives_all_it_says():
    info = PngInfo()
    info.add_text("parameters", "a cat\nSteps: 1")
    info.add_itxt("Comment", "猫", lang="ja", tkey="注")
    info.add_text("Long", "long " * 100, zip=True)
    info.add_text("parameters", "again")
    info.add_itxt("zipped", "é" * 300, zip=True)
    info.add_itxt("XML:com.adobe.xmp", "<x/>")
    info.add(b"gAMA", struct.pack(">I", 45455))
    info.add(b"sRGB", b"\0")
    data = saved(Image.fromarray(noise(3, 3)), "PNG", pnginfo=info, dpi=(72, 300))
    source = decoded(data).source
    assert source.text == (
        ("parameters", "a cat\nSteps: 1"),
        ("Comment", "猫"),
        ("Long", "long " * 100),
        ("parameters", "again"),
        ("zipped", "é" * 300),
    )
    assert (source.text[1][1].lang, source.text[1][1].tkey) == ("ja", "注")
    assert source.xmp == b"<x/>"
    assert source.dpi == pytest.approx((72, 300), abs=0.01)
    assert source.save == {"colour": ((b"gAMA", struct.pack(">I", 45455)), (b"sRGB", b"\0"))}


def test_texts_after_the_pixels_are_read_and_malformed_ones_are_counted_out():
    rows = unfiltered(noise(1, 1))
    good = png(1, 1, depth=8, colour=2, rows=rows)
    late = [(b"tEXt", b"late\0text"), (b"tEXt", b"no separator"), (b"iTXt", b"k\0\0\0\0\0\xff")]
    late += [(b"iTXt", b"short\0"), (b"zTXt", b"k\0\0not zlib")]
    chunks = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in late
    )
    source = decoded(good[:-12] + chunks + good[-12:]).source
    assert source.text == (("late", "text"),)
    assert source.notes == ("a text chunk that cannot be read was left out",)


def test_a_jpeg_gives_the_tables_it_was_made_with():
    image = Image.fromarray(noise(32, 40))
    data = saved(image, "JPEG", quality=61, subsampling=2, progressive=True, dpi=(300, 72))
    source = decoded(data).source
    with Image.open(io.BytesIO(data)) as opened:
        assert source.save["qtables"] == opened.quantization
    assert source.save["subsampling"] == 2
    assert source.save["progressive"] is True
    assert source.dpi == (300, 72)


@pytest.mark.parametrize("lossless", [True, False])
@pytest.mark.parametrize("extended", [True, False])
def test_a_webp_says_whether_it_is_lossless(lossless, extended):
    options = {"xmp": b"<x/>"} if extended else {}
    data = saved(Image.fromarray(noise(9, 8)), "WEBP", lossless=lossless, **options)
    assert decoded(data).source.save == {"lossless": lossless}


def test_a_webp_without_a_picture_chunk_is_not_lossless():
    assert not webp_is_lossless(io.BytesIO(b"RIFF\0\0\0\0WEBPEXIF\1\0\0\0xx"))


def test_an_avif_is_read():
    exif = Image.Exif()
    exif[0x0112] = 6
    data = saved(Image.new("RGB", (20, 10), (200, 30, 60)), "AVIF", quality=95, exif=exif)
    result = decoded(data)
    assert result.pixels.shape == (20, 10, 3)
    assert np.abs(result.pixels.astype(int) - [200, 30, 60]).max() < 6


def test_a_tiff_gives_its_descriptions_as_exif():
    exif = exif_of({270: "cafe", 0x8769: {0x9286: b"ASCII\0\0\0hello"}})
    exif[270] = "café".encode()
    result = decoded(saved(Image.fromarray(noise(5, 6)), "TIFF", exif=exif, dpi=(150, 150)))
    again = Image.Exif()
    again.load(result.source.exif)
    assert again[270].encode("latin-1") == "café".encode()
    assert again.get_ifd(0x8769)[0x9286] == b"ASCII\0\0\0hello"
    assert 273 not in again
    assert result.source.dpi == (150, 150)


def test_a_tiff_without_a_resolution_has_none():
    data = saved(Image.fromarray(noise(5, 6)), "TIFF", compression="tiff_lzw")
    source = decoded(data).source
    assert source.dpi is None
    assert source.exif is None
    assert source.save == {"compression": "tiff_lzw"}


@pytest.mark.parametrize(
    "said", [None, 72, (72,), ("a", "b"), (0, 0), (1, 1), (float("nan"), 72), (float("inf"), 72)]
)
def test_a_resolution_that_makes_no_sense_is_none(said):
    assert read_dpi(said) is None


def test_a_tiff_whose_directories_are_damaged_gives_its_pixels(monkeypatch):
    data = saved(Image.fromarray(noise(5, 6)), "TIFF", exif=exif_of({270: "text"}))

    def damaged(*args):
        raise struct.error("unpack requires a buffer of 2 bytes")

    monkeypatch.setattr(Image.Exif, "tobytes", damaged)
    result = decoded(data)
    assert result.source.exif is None
    assert np.array_equal(result.pixels, noise(5, 6))


def test_a_phone_picture_with_a_second_one_gives_its_first():
    images = [Image.fromarray(noise(8, 8, seed=seed)) for seed in (1, 2)]
    data = saved(images[0], "MPO", save_all=True, append_images=images[1:])
    result = decoded(data)
    assert result.source.format == "JPEG"
    assert result.source.notes == ("only the first of its pictures was taken",)
    with Image.open(io.BytesIO(data)) as opened:
        assert np.array_equal(result.pixels, np.asarray(opened))


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "AVIF"])
def test_animations_and_pages_are_refused(kind):
    images = [Image.fromarray(noise(16, 16, seed=seed)) for seed in (1, 2, 3)]
    data = saved(images[0], kind, save_all=True, append_images=images[1:])
    with pytest.raises(Unreadable, match=r"animated or has several pages \(3 pictures\)"):
        decoded(data)


def test_gifs_and_floating_point_are_refused():
    with pytest.raises(Unreadable, match="is a GIF"):
        decoded(saved(Image.new("P", (2, 2)), "GIF"))
    with pytest.raises(Unreadable, match="floating-point"):
        decoded(saved(Image.new("F", (2, 2)), "TIFF"))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"hello", "is damaged, or not a picture"),
        (b"%!PS-Adobe", "is damaged, or not a picture"),
    ],
)
def test_what_is_no_picture_is_refused(data, problem):
    with pytest.raises(Unreadable, match=problem):
        decoded(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF"])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_file_cut_short_raises_something_listed(kind, part):
    data = saved(Image.fromarray(noise(40, 40)), kind)
    with pytest.raises((Unreadable, *PILLOW_ERRORS)):
        decoded(data[: int(len(data) * part)])


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "AVIF"])
def test_flipped_bytes_give_a_picture_or_something_listed(kind):
    exif = exif_of({270: "text", 0x8769: {0x9286: b"ASCII\0\0\0hello"}})
    options = {} if kind == "BMP" else {"exif": exif, "dpi": (72, 72)}
    data = saved(Image.fromarray(noise(24, 24, channels=3)), kind, **options)
    generator = np.random.default_rng(3)
    outcomes = set()
    for _ in range(60):
        damaged = bytearray(data)
        for at in generator.integers(0, min(len(data), 400), 3):
            damaged[at] = generator.integers(0, 256)
        try:
            outcomes.add(decoded(bytes(damaged)).pixels.dtype)
        except (Unreadable, *PILLOW_ERRORS):
            outcomes.add("refused")
    assert "refused" in outcomes
    assert outcomes <= {"refused", np.dtype(np.uint8)}
