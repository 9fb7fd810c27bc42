"""The picture on its way into the VAE."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from livetalk.base.errors import ImageError
from livetalk.render.encoders import image as image_module
from livetalk.render.encoders.image import preprocess, resized_size, select_size
from PIL import Image

SQUARE = ((64, 64),)


def encoded(picture: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, form, **options)
    return stream.getvalue()


def gradient(width: int, height: int) -> Image.Image:
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(np.stack([rows % 256, columns % 256, (rows * columns) % 256], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("size", [(64, 64), (1, 1), (3, 200), (333, 97), (65, 64), (640, 480)])
def test_any_size_becomes_the_target(size: tuple[int, int]) -> None:
    out = preprocess(gradient(*size), SQUARE)
    assert out.shape == (1, 3, 1, 64, 64)
    assert out.dtype == torch.float32
    assert out.min() >= -1
    assert out.max() <= 1


def test_a_picture_of_the_target_size_is_only_rescaled() -> None:
    picture = gradient(64, 64)
    expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255 * 2 - 1
    assert torch.equal(preprocess(picture, SQUARE)[0, :, 0], expected)


def test_the_default_is_the_released_size() -> None:
    assert preprocess(gradient(20, 20)).shape == (1, 3, 1, 512, 512)


def test_a_model_may_look_at_the_middle_alone() -> None:
    picture = gradient(96, 96)
    assert torch.equal(preprocess(picture, SQUARE, middle=2 / 3), preprocess(picture.crop((16, 16, 80, 80)), SQUARE))


def test_odd_surplus_is_cropped_at_the_top_and_left() -> None:
    picture = gradient(64, 67)
    whole = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255 * 2 - 1
    assert torch.equal(preprocess(picture, SQUARE)[0, :, 0], whole[:, 2:66])


def test_truncation_leaves_a_black_row_at_the_bottom() -> None:
    assert resized_size(98, 98, (512, 512)) == (511, 511)
    out = preprocess(Image.new("RGB", (98, 98), "white"), ((512, 512),))
    assert torch.all(out[..., :511, :511] == 1)
    assert torch.all(out[..., 511, :] == -1)
    assert torch.all(out[..., 511] == -1)


def test_equal_shape_and_distance_takes_the_later_size() -> None:
    # 96 lies as far from 64 as from 128: the release then takes the later entry, and only then.
    assert select_size(96, 96, [(64, 64), (128, 128)]) == (128, 128)
    assert select_size(100, 100, [(64, 64), (128, 128)]) == (64, 64)


def test_transparency_is_laid_on_white() -> None:
    picture = Image.new("RGBA", (64, 64), (10, 200, 30, 0))
    picture.paste((255, 0, 0, 255), (0, 0, 64, 32))
    out = preprocess(encoded(picture), SQUARE)[0, :, 0]
    assert torch.equal(out[:, 0, 0], torch.tensor([1.0, -1.0, -1.0]))
    assert torch.equal(out[:, 63, 0], torch.ones(3))


def test_opaque_alpha_changes_nothing() -> None:
    picture = gradient(80, 70)
    opaque = picture.convert("RGBA")
    assert torch.equal(preprocess(opaque, SQUARE), preprocess(picture, SQUARE))


def test_transparent_palette_and_grey_with_alpha() -> None:
    palette = Image.new("P", (64, 64), 0)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    palette.info["transparency"] = 0
    assert torch.all(preprocess(encoded(palette, transparency=0), SQUARE) == 1)
    grey = Image.new("LA", (64, 64), (0, 0))
    assert torch.all(preprocess(encoded(grey), SQUARE) == 1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = gradient(60, 60)
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation in undo else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert torch.equal(preprocess(encoded(stored, exif=exif), SQUARE), preprocess(upright, SQUARE))


@pytest.mark.parametrize("mode", ["L", "1", "CMYK", "YCbCr", "P"])
def test_colour_modes(mode: str) -> None:
    picture = Image.new("RGB", (64, 64), "white").convert(mode)
    assert torch.all(preprocess(picture, SQUARE) > 0.98)


def test_sixteen_bit_grey_is_scaled_not_clipped() -> None:
    ramp = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    out = preprocess(encoded(Image.fromarray(ramp)), SQUARE)[0, :, 0]
    assert abs(out.mean().item()) < 0.02
    assert torch.equal(out[0], out[2])
    dark = Image.fromarray(np.full((64, 64), 200, np.uint16))
    assert preprocess(encoded(dark), SQUARE).max() < -0.98


def test_float_grey() -> None:
    assert torch.all(preprocess(Image.fromarray(np.ones((64, 64), np.float32)), SQUARE) == 1)
    with pytest.raises(ImageError, match="outside 0 to 65535"):
        preprocess(Image.fromarray(np.full((64, 64), np.nan, np.float32)), SQUARE)


def test_path_bytes_and_picture_agree(tmp_path: Path) -> None:
    picture = gradient(91, 77)
    path = tmp_path / "p.png"
    path.write_bytes(encoded(picture))
    assert torch.equal(preprocess(path, SQUARE), preprocess(picture, SQUARE))
    assert torch.equal(preprocess(path.read_bytes(), SQUARE), preprocess(picture, SQUARE))


def bomb() -> bytes:
    """A PNG of 40 kilobytes that unfolds to 400 megapixels."""
    return encoded(Image.new("1", (20_000, 20_000)))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (b"", "not an image"),
        (b"<html>no</html>", "not an image"),
        (encoded(gradient(200, 200))[:300], "damaged or cut short"),
        (encoded(gradient(200, 200), "JPEG")[:2000], "damaged or cut short"),
    ],
)
def test_what_is_no_picture_is_refused(source: bytes, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        preprocess(source, SQUARE)


def test_decompression_bombs_are_refused_unopened(monkeypatch: pytest.MonkeyPatch) -> None:
    source = bomb()
    monkeypatch.setattr(Image.Image, "convert", lambda *_, **__: pytest.fail("the bomb was unfolded"))
    with pytest.raises(ImageError, match="megapixels"):
        preprocess(source, SQUARE)


def test_a_bomb_below_pillows_limit_is_refused_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "MAX_PIXELS", 10_000)
    with pytest.raises(ImageError, match="101 x 100 pixels"):
        preprocess(encoded(gradient(101, 100)), SQUARE)


def test_a_strip_is_refused() -> None:
    with pytest.raises(ImageError, match="Crop it"):
        preprocess(Image.new("RGB", (20_000, 10)), ((512, 512),))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"nobody\.png"):
        preprocess(tmp_path / "nobody.png")
