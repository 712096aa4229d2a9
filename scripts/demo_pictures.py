"""The demo's pictures: made from what scikit-image ships, and put beside what the farm made of them."""

from __future__ import annotations

import argparse
from pathlib import Path

import skimage
from PIL import Image

CROPS = {  # name: (file of skimage.data, box of the detail, shrunk by 2 so that there is something to restore)
    "astronaut.png": ("astronaut.png", (32, 0, 352, 320)),
    "coffee.jpg": ("coffee.png", (120, 40, 440, 280)),
    "motorcycle.png": ("motorcycle_left.png", (240, 100, 560, 340)),
}
DETAIL_PX = (240, 360)
DETAILS = ((260, 90), (380, 100), (396, 60))
"""where a telling detail of each restored picture begins"""
LICENCES = """\
The pictures in this folder are details, at half size, of pictures that scikit-image ships (skimage.data):
astronaut.png   Eileen Collins; NASA Great Images; public domain
coffee.jpg      courtesy of Pikolo Espresso Bar, photographer Rachel Michetti; CC0
motorcycle.png  Middlebury 2014 stereo datasets, whose authors permit use and publication and ask for this citation:
                D. Scharstein, H. Hirschmueller, Y. Kitajima, G. Krathwohl, N. Nesic, X. Wang and P. Westling,
                High-resolution stereo datasets with subpixel-accurate ground truth, GCPR 2014
"""


def make_pictures(out: Path) -> None:
    """Write the inputs and the licence note; pictures that exist stay, so that a second run changes nothing."""
    folder = out / "pictures"
    folder.mkdir(parents=True, exist_ok=True)
    (out / "LICENCES.txt").write_text(LICENCES)
    for name, (source, box) in CROPS.items():
        target = folder / name
        if target.exists():
            continue
        with Image.open(Path(skimage.__file__).parent / "data" / source) as picture:
            detail = picture.convert("RGB").crop(box)
        detail.resize((detail.width // 2, detail.height // 2), Image.Resampling.BOX).save(target, quality=90)


def compare(out: Path) -> None:
    """Put every input, enlarged by plain bicubic, beside what the farm made of it; and a sheet of details of all."""
    sheet = Image.new("RGB", (len(CROPS) * 2 * DETAIL_PX[0], DETAIL_PX[1]))
    for index, name in enumerate(CROPS):
        stem, _, extension = name.partition(".")
        with (
            Image.open(out / "pictures" / name) as before,
            Image.open(out / "restored" / f"{stem}_4x.{extension}") as after,
        ):
            pair = before.resize(after.size, Image.Resampling.BICUBIC), after.convert("RGB")
        whole = Image.new("RGB", (pair[0].width * 2, pair[0].height))
        x, y = DETAILS[index]
        for column, picture in enumerate(pair):
            whole.paste(picture, (column * picture.width, 0))
            detail = picture.crop((x, y, x + DETAIL_PX[0], y + DETAIL_PX[1]))
            sheet.paste(detail, ((index * 2 + column) * DETAIL_PX[0], 0))
        target = out / f"compare-{stem}.png"
        whole.save(target)
        print(f"look at {target}: left bicubic, right restored")
    sheet.save(out / "before-after.jpg", quality=90)
    print(f"look at {out / 'before-after.jpg'}: a detail of each")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--compare", action="store_true")
    arguments = parser.parse_args()
    if arguments.compare:
        compare(arguments.out)
    else:
        make_pictures(arguments.out)
