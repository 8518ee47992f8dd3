"""Small made-up pictures in many file formats, with what Pillow's convert("RGB") makes of them.

Run with Pillow 13.0.0 and safetensors: python make.py
"""
import io
import pathlib
import struct
import zlib

import numpy
from PIL import Image
from safetensors.numpy import save_file

rng = numpy.random.default_rng(0)
rgb = rng.integers(0, 256, (12, 17, 3), dtype=numpy.uint8)
grey = rgb[..., 0].copy()
alpha = rng.integers(0, 256, (12, 17), dtype=numpy.uint8)
wide = rng.integers(0, 65536, (12, 17, 3), dtype=numpy.uint16)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png16(values, colour_type):
    """16 bits a sample, which Pillow reads but writes for grey only."""
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


picture = Image.fromarray(rgb)
palette = picture.quantize(16)
files = {
    "rgb.png": encoded(picture, "PNG"),
    "rgba.png": encoded(Image.fromarray(numpy.dstack([rgb, alpha])), "PNG"),
    "palette.png": encoded(palette, "PNG"),
    "palette_transparent.png": encoded(palette, "PNG", transparency=3),
    "grey.png": encoded(Image.fromarray(grey), "PNG"),
    "grey_alpha.png": encoded(Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)]), "PNG"),
    "bit.png": encoded(Image.fromarray(grey).convert("1"), "PNG"),
    "rgb16.png": png16(wide, 2),
    "grey16.png": png16(wide[..., 0] // 200, 0),
    "rgb.bmp": encoded(picture, "BMP"),
    "rgb.ppm": encoded(picture, "PPM"),
    "grey.pgm": encoded(Image.fromarray(grey), "PPM"),
    "rgb.tiff": encoded(picture, "TIFF"),
    "rgb.webp": encoded(picture, "WEBP", lossless=True),
    "rgb_420.jpg": encoded(picture, "JPEG", quality=90, subsampling=2),
    "rgb_422.jpg": encoded(picture, "JPEG", quality=90, subsampling=1),
    "progressive.jpg": encoded(picture, "JPEG", quality=90, progressive=True),
    "grey.jpg": encoded(Image.fromarray(grey), "JPEG"),
    "cmyk.jpg": encoded(Image.fromarray(numpy.dstack([rgb, alpha]), "CMYK"), "JPEG"),
    "restarts.jpg": encoded(picture, "JPEG", restart_marker_blocks=1),
}
tensors = {}
for name, data in files.items():
    tensors[f"{name}/file"] = numpy.frombuffer(data, dtype=numpy.uint8)
    tensors[f"{name}/rgb"] = numpy.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
save_file(tensors, pathlib.Path(__file__).with_name("expected.safetensors"))
