"""Work items for tests of the rooms that never look inside them."""

from __future__ import annotations

from farm.records import ManifestRow, Part, PartKind, UpscaleParams, WorkItem

PARAMS = UpscaleParams(
    model="animevideov3",
    model_sha256="0" * 64,
    denoise=1.0,
    scale=4,
    halo_px=18,
    align_px=1,
    whole_body=False,
    outscale=4.0,
    resize="lanczos",
    alpha="model",
    precision="fp32",
    precision_16bit="fp32",
    device_class="cpu",
    batch=1,
    tile_px=256,
    exact_px=4_194_304,
    band_px=4_194_304,
    format="png",
    quality=95,
    stamp=False,
    pages="refuse",
    max_pixels_in=512_000_000,
    max_pixels_out=8_200_000_000,
    pixel_epoch=1,
)


def make_item(index: int, params: UpscaleParams = PARAMS, *, cost_px: int = 100) -> WorkItem:
    """An item that differs from others by its number only."""
    return WorkItem(
        item_id=f"item{index:04d}",
        shard=0,
        row=ManifestRow(index=index, source_url=f"/in/{index}.png", relative_path=f"{index}.png"),
        task="upscale_image",
        params=params,
        params_hash="p",
        source_version="v",
        output_url=f"/out/{index}_4x.png",
        cost_px=cost_px,
    )


def make_part(index: int, params: UpscaleParams = PARAMS, *, cost_px: int = 100) -> Part:
    """A whole picture."""
    return Part(item=make_item(index, params, cost_px=cost_px), kind=PartKind.PICTURE, cost_px=cost_px)
