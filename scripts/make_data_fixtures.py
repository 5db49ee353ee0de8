#!/usr/bin/env python3
"""Writes testdata/data: small images, what Pillow makes of them, and arrays as NumPy writes them.

Needs Pillow and NumPy. The tests in tests/data compare our decoder and resize with these files bit
for bit, so rerun this only to add a case, and review the difference. Written with Pillow 13.0 and
NumPy 2.4; both are free to encode a JPEG or a PNG differently later, but what is decoded must agree.
"""
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parent.parent / "testdata" / "data")


def picture(height, width, channels, seed):
    """Smooth waves with noise: survives JPEG and still exercises every weight of a resize."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    planes = []
    for c in range(channels):
        wave = 128 + 70 * np.sin(x / (3.0 + c)) + 50 * np.cos(y / (2.0 + c))
        planes.append(np.clip(wave + rng.normal(0, 12, (height, width)), 0, 255))
    return np.stack(planes, axis=-1).astype(np.uint8)


def png(width, height, depth, colour, rows, extra=()):
    """A PNG with exactly these rows: Pillow cannot write every kind that it reads."""
    def chunk(tag, data):
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
    body = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    for tag, data in extra:
        body += chunk(tag, data)
    return body + chunk(b"IDAT", zlib.compress(b"".join(b"\0" + r for r in rows), 9)) + chunk(b"IEND", b"")


def expected(path, mode):
    array = np.asarray(Image.open(path).convert(mode))
    np.save(path.with_name(path.name + ".npy"), array)


def main():
    images = ROOT / "images"
    images.mkdir(parents=True, exist_ok=True)
    rgb = Image.fromarray(picture(21, 35, 3, 1))
    grey = Image.fromarray(picture(21, 35, 1, 2)[..., 0])

    # JPEG: subsampled (odd size: the last chroma sample is shared), full, progressive, grey, CMYK, EXIF.
    rgb.save(images / "420.jpg", quality=80, subsampling="4:2:0")
    rgb.save(images / "422.jpg", quality=90, subsampling="4:2:2")
    rgb.save(images / "444.jpg", quality=95, subsampling="4:4:4")
    rgb.save(images / "progressive.jpg", quality=80, progressive=True)
    grey.save(images / "grey.jpg", quality=85)
    Image.fromarray(picture(12, 17, 4, 3), "CMYK").save(images / "cmyk.jpg", quality=90)
    exif = Image.Exif()
    exif[0x0112] = 6  # rotated by 90 degrees: ignored
    rgb.save(images / "rotated.jpg", quality=80, exif=exif.tobytes())
    for name in ("420", "422", "444", "progressive", "cmyk", "rotated"):
        expected(images / f"{name}.jpg", "RGB")
    expected(images / "grey.jpg", "L")
    np.save(images / "420.jpg.grey.npy", np.asarray(Image.open(images / "420.jpg").convert("L")))

    # PNG
    rgb.save(images / "rgb.png", optimize=True)
    expected(images / "rgb.png", "RGB")
    Image.fromarray(picture(9, 11, 4, 4), "RGBA").save(images / "rgba.png")
    expected(images / "rgba.png", "RGB")
    Image.fromarray(picture(9, 11, 2, 5), "LA").save(images / "la.png")
    expected(images / "la.png", "L")
    palette = rgb.quantize(40)
    palette.save(images / "palette.png", transparency=3)
    expected(images / "palette.png", "RGB")
    for depth in (1, 2, 4):
        (images / f"grey{depth}.png").write_bytes(png(16 // depth, 2, depth, 0, [b"\xb4\x1e", b"\x07\xf0"]))
        expected(images / f"grey{depth}.png", "L")
    (images / "grey_transparent.png").write_bytes(png(3, 1, 8, 0, [b"\1\2\3"], [(b"tRNS", b"\0\2")]))
    expected(images / "grey_transparent.png", "L")
    (images / "rgb16.png").write_bytes(
        png(3, 1, 16, 2, [struct.pack(">9H", 0x1234, 0x00ff, 0x80ff, 0xffff, 0x0180, 0x7f80, 0x0100, 0x00ab, 0xfe99)]))
    expected(images / "rgb16.png", "RGB")
    # The one deviation from Pillow, which saturates: the high byte.
    samples = [0, 255, 256, 1000, 32768, 65535]
    (images / "grey16.png").write_bytes(png(6, 1, 16, 0, [struct.pack(">6H", *samples)]))
    np.save(images / "grey16.png.npy", np.array([[s >> 8 for s in samples]], np.uint8))
    # Interlaced (Adam7): libpng's own writer is not at hand, so the seven passes of a 3x3 image are spelled out.
    small = picture(3, 3, 1, 6)[..., 0]
    passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    rows = []
    for y0, x0, dy, dx in passes:
        part = small[y0::dy, x0::dx]
        if part.size:
            rows += [bytes(r) for r in part]
    data = bytearray(png(3, 3, 8, 0, rows))
    data[28] = 1  # interlace method, last byte of IHDR
    data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    (images / "interlaced.png").write_bytes(bytes(data))
    expected(images / "interlaced.png", "L")

    # PPM
    rgb.crop((0, 0, 7, 5)).save(images / "rgb.ppm")
    expected(images / "rgb.ppm", "RGB")
    (images / "plain.ppm").write_bytes(b"P3 # comment\n2 1\n# another\n100\n0 50 100\n33 1 99\n")
    expected(images / "plain.ppm", "RGB")
    (images / "deep.ppm").write_bytes(b"P6 1 2 1023\n" + struct.pack(">6H", 1000, 1023, 512, 0, 3, 700))
    expected(images / "deep.ppm", "RGB")
    (images / "grey.pgm").write_bytes(b"P5\n3 1\n100\n" + bytes([0, 50, 100]))
    expected(images / "grey.pgm", "L")

    # Resize: down, up, one side only, both ways at once, to a point, and by large factors.
    resize = ROOT / "resize"
    resize.mkdir(exist_ok=True)
    for name, channels in (("rgb", 3), ("grey", 1)):
        source = picture(37, 53, channels, 7 + channels)
        source = source if channels == 3 else source[..., 0]
        np.save(resize / f"{name}.npy", source)
        image = Image.fromarray(source)
        for height, width in ((16, 16), (18, 26), (41, 60), (37, 20), (70, 53), (90, 7), (1, 1), (3, 100), (36, 52)):
            np.save(resize / f"{name}_{height}x{width}.npy", np.asarray(image.resize((width, height), Image.BILINEAR)))
    extreme = np.zeros((9, 9), np.uint8)
    extreme[::2, ::2] = 255
    np.save(resize / "checker.npy", extreme)
    for height, width in ((5, 5), (14, 11), (4, 9)):
        np.save(resize / f"checker_{height}x{width}.npy",
                np.asarray(Image.fromarray(extreme).resize((width, height), Image.BILINEAR)))

    # The whole pipeline as torchvision's reference script has it: Resize(20), CenterCrop(15), ToTensor, Normalize.
    image = Image.open(images / "420.jpg").convert("RGB")
    width, height = image.size
    short = 20
    size = (short, int(short * height / width)) if width <= height else (int(short * width / height), short)
    image = image.resize(size, Image.BILINEAR)
    top, left = int(round((image.height - 15) / 2.0)), int(round((image.width - 15) / 2.0))
    pixels = np.asarray(image.crop((left, top, left + 15, top + 15))).astype(np.float32) / np.float32(255)
    mean, std = np.array([0.485, 0.456, 0.406], np.float32), np.array([0.229, 0.224, 0.225], np.float32)
    np.save(ROOT / "pipeline.npy", ((pixels - mean) / std).transpose(2, 0, 1)[None])

    # Arrays as NumPy writes them.
    arrays = ROOT / "arrays"
    arrays.mkdir(exist_ok=True)
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4) / 8
    np.save(arrays / "c_order.npy", x)
    np.save(arrays / "fortran.npy", np.asfortranarray(x))
    np.save(arrays / "big_endian.npy", x.astype(">f4"))
    np.save(arrays / "text.npy", np.array(["ab", "", "h\u00e9\u20ac\U0001f600"]))
    np.save(arrays / "bytes.npy", np.array([b"ab", b"", b"xyz"]))
    np.save(arrays / "objects.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(arrays / "structured.npy", np.zeros(2, dtype=[("a", "<f4"), ("b", "<i4")]))
    with open(arrays / "version2.npy", "wb") as f:
        np.lib.format.write_array(f, x, version=(2, 0))
    ids = np.arange(6, dtype=np.int64).reshape(2, 3)
    np.savez(arrays / "stored.npz", x=x, ids=ids)
    np.savez_compressed(arrays / "deflated.npz", x=x, ids=ids)


if __name__ == "__main__":
    main()
