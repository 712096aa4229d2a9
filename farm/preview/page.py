"""The pairs as one page of HTML that needs nothing beside it: no scripts, no other files, no other hosts."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape

import numpy as np
from numpy.typing import NDArray

from farm.media.image import EncodeSpec, ImageMeta, encode
from farm.preview.pairs import ROLE_NAMES, Shown
from farm.sample import DegradeOptions

_LOSSLESS = EncodeSpec(format="webp", quality=100)
"""two thirds of the bytes of PNG"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""so that no name, however it is written, makes a browser run or fetch anything"""
_STYLE = """
body { margin: 0 auto; padding: 1rem; max-width: 1240px; background: #fafafa; color: #141414;
  font: 16px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
section { margin: 0 0 2rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 260px), 1fr)); gap: .5rem; }
figure { margin: 0; } figcaption { font-size: .85rem; color: #555; }
img { display: block; width: 100%; height: auto; aspect-ratio: 1; background: #ddd; }
.lq { image-rendering: pixelated; }
ul { margin: .5rem 0 0; padding: 0; list-style: none; }
.notice { margin: 0; padding: 1rem; border: 1px solid #a01e1e; color: #a01e1e; overflow-wrap: anywhere; }
"""


def page_of(title: str, shown: Sequence[Shown], options: DegradeOptions) -> bytes:
    """The page, in UTF-8; crops embedded without loss, low-quality pictures in their own size and enlarged by style."""
    made = sum(not one.notice for one in shown)
    scale = options.gt_px // options.lq_px
    heading = f"What the recipe {title} makes of {made} crops of {options.gt_px} px: pictures of {options.lq_px} px"
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(heading)}</h1>",
        f"<p>Low-quality pictures are enlarged {scale} times, pixel by pixel.</p>",
        *(_section(one) for one in shown),
        "</body></html>\n",
    ]
    return "\n".join(parts).encode()


def _section(one: Shown) -> str:
    title = f"<h2>{escape(one.title)}</h2>"
    if one.notice:
        return f'<section>{title}<p class="notice">{escape(one.notice)}</p></section>'
    figures = "".join(_figure(one.title, role, pixels) for role, pixels in one.pictures)
    lines = "".join(f"<li>{escape(line)}</li>" for line in one.lines)
    return f'<section>{title}<div class="pictures">{figures}</div><ul>{lines}</ul></section>'


def _figure(title: str, role: str, pixels: NDArray[np.uint8]) -> str:
    data = b64encode(encode(pixels, ImageMeta(), _LOSSLESS, title)).decode("ascii")
    height, width, _ = pixels.shape
    name = ROLE_NAMES[role]
    image = f'<img class="{role}" src="data:image/webp;base64,{data}" width="{width}" height="{height}"'
    return f'<figure>{image} alt="{escape(f"{name} of {title}")}"><figcaption>{name}</figcaption></figure>'
