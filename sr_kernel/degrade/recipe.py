"""What a degradation is: which steps, with which probabilities and ranges. Values only, and the table of known ones.

Every recipe runs the same way: the good picture is sharpened (`usm`), goes through 0..n stages of blur, resize, noise
and JPEG, and ends with a resize to 1/scale, a sinc filter and JPEG (`final`). After Real-ESRGAN (Wang et al., 2021),
whose choices are the defaults of every range.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

Range = tuple[float, float]
"""lowest and highest value; a draw is uniform between them"""
Weights = tuple[tuple[str, float], ...]
"""names and how often each is drawn, in any unit"""
Sizes = tuple[int, ...]

KERNEL_KINDS = ("iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso")
DIRECTIONS = ("up", "down", "keep")
RESIZE_MODES = ("area", "bilinear", "bicubic", "nearest", "matlab")
"""as torch's `interpolate` names them, without antialiasing; `matlab` is MATLAB's imresize: bicubic with antialiasing,
which the literature before Real-ESRGAN calls bicubic"""
RESIZE_BASES = ("running", "target")
SINC_SMALL_BELOW = 13
"""sinc kernels with a side below this take `sinc_cutoff_small`"""

_OFFICIAL_KINDS: Weights = tuple(zip(KERNEL_KINDS, (0.45, 0.25, 0.12, 0.03, 0.12, 0.03), strict=True))
_OFFICIAL_MODES: Weights = (("area", 1.0), ("bilinear", 1.0), ("bicubic", 1.0), ("nearest", 0.0))
OFFICIAL_SIZES: Sizes = tuple(range(7, 22, 2))


class RecipeError(ValueError):
    """A recipe that cannot be: a value out of its range, an unknown name, or steps that do not fit the size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """A kernel of a sample's own: with `sinc_prob` a sinc filter, else one of six families of Gaussians."""

    prob: float = 1.0
    """how often there is a blur at all"""
    kinds: Weights = _OFFICIAL_KINDS
    """of KERNEL_KINDS; `iso` kernels have one sigma, `aniso` two and a rotation"""
    sizes: Sizes = OFFICIAL_SIZES
    """sides in pixels, odd, each as likely as the others"""
    sigma: Range = (0.2, 3.0)
    """standard deviation in pixels, of each axis by itself"""
    rotation: Range = (-math.pi, math.pi)
    """radian"""
    beta_generalized: Range = (0.5, 4.0)
    """exponent: half of the draws between the lowest and 1, half between 1 and the highest; 1 is the Gaussian"""
    beta_plateau: Range = (1.0, 2.0)
    """likewise"""
    sinc_prob: float = 0.1
    sinc_cutoff: Range = (math.pi / 5, math.pi)
    """cutoff frequency in radian a pixel; pi lets everything through"""
    sinc_cutoff_small: Range = (math.pi / 3, math.pi)
    """likewise, for sides below 13"""

    def __post_init__(self) -> None:
        _check_probs(self, "prob", "sinc_prob")
        _check_weights(self, "kinds", KERNEL_KINDS)
        _check_sizes(self, "sizes")
        _check_range(self, "rotation", -2 * math.pi, 2 * math.pi)
        for name in ("sigma", "beta_generalized", "beta_plateau"):
            _check_range(self, name, 0.01, 100.0)
        for name in ("beta_generalized", "beta_plateau"):
            _require(_range(self, name)[0] <= 1 <= _range(self, name)[1], self, name, "must hold 1")
        for name in ("sinc_cutoff", "sinc_cutoff_small"):
            _check_range(self, name, 0.01, math.pi)


@dataclass(frozen=True, slots=True, kw_only=True)
class Resize:
    """A resize up, down or not at all, by a factor of a sample's own."""

    direction: Weights = (("up", 0.2), ("down", 0.7), ("keep", 0.1))
    factor: Range = (0.15, 1.5)
    """down draws between the lowest and 1, up between 1 and the highest"""
    of: str = "running"
    """what the factor multiplies: the running size, or the target size, which is the good picture's over the scale"""
    modes: Weights = _OFFICIAL_MODES

    def __post_init__(self) -> None:
        _check_weights(self, "direction", DIRECTIONS)
        _check_weights(self, "modes", RESIZE_MODES)
        _check_range(self, "factor", 0.01, 16.0)
        _require(self.factor[0] <= 1 <= self.factor[1], self, "factor", "must hold 1")
        _require(self.of in RESIZE_BASES, self, "of", f"is not one of {', '.join(RESIZE_BASES)}")

    @property
    def least_factor(self) -> float:
        """The smallest factor that can be drawn."""
        possible = {name for name, weight in self.direction if weight}
        return self.factor[0] if "down" in possible else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Gaussian or Poisson noise, one pattern for each channel or one for all three (gray)."""

    prob: float = 1.0
    gaussian_prob: float = 0.5
    """of the samples with noise; the others get Poisson noise"""
    sigma: Range = (1.0, 30.0)
    """standard deviation of the Gaussian, in levels of 255"""
    poisson_scale: Range = (0.05, 3.0)
    """what Poisson noise is multiplied by"""
    gray_prob: float = 0.4

    def __post_init__(self) -> None:
        _check_probs(self, "prob", "gaussian_prob", "gray_prob")
        _check_range(self, "sigma", 0.0, 255.0)
        _check_range(self, "poisson_scale", 0.0, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Jpeg:
    """JPEG of a quality of a sample's own."""

    prob: float = 1.0
    quality: Range = (30.0, 95.0)

    def __post_init__(self) -> None:
        _check_probs(self, "prob")
        _check_range(self, "quality", 1.0, 100.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """One pass of blur, resize, noise and JPEG, in this order; None leaves a step out."""

    blur: Blur | None = None
    resize: Resize | None = None
    noise: Noise | None = None
    jpeg: Jpeg | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Final:
    """How every recipe ends: a resize to 1/scale with a sinc filter after it, and JPEG before or after the two."""

    modes: Weights = _OFFICIAL_MODES
    sinc_prob: float = 0.0
    sinc_sizes: Sizes = OFFICIAL_SIZES
    sinc_cutoff: Range = (math.pi / 3, math.pi)
    jpeg: Jpeg | None = None
    jpeg_first_prob: float = 0.5
    """how often JPEG comes before the resize"""

    def __post_init__(self) -> None:
        _check_probs(self, "sinc_prob", "jpeg_first_prob")
        _check_weights(self, "modes", RESIZE_MODES)
        _check_sizes(self, "sinc_sizes")
        _check_range(self, "sinc_cutoff", 0.01, math.pi)


@dataclass(frozen=True, slots=True, kw_only=True)
class Usm:
    """Sharpening of the good picture before anything else (unsharp mask), where it differs from its blur."""

    weight: float = 0.5
    radius: int = 50
    """side of the Gaussian in pixels, made odd by adding 1; its sigma follows from it as in OpenCV"""
    threshold: float = 10.0
    """least difference from the blurred picture, in levels of 255"""

    def __post_init__(self) -> None:
        _require(0 <= self.weight <= 10, self, "weight", "is not in 0..10")
        _require(1 <= self.radius <= 1000, self, "radius", "is not in 1..1000")
        _require(0 <= self.threshold <= 255, self, "threshold", "is not in 0..255")

    @property
    def side_px(self) -> int:
        """Side of the Gaussian: odd."""
        return self.radius + 1 - self.radius % 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole degradation, from a good crop of `gt_size` x `gt_size` to one of `gt_size` / `scale`."""

    scale: int = 4
    gt_size: int = 400
    """side of the good crop in pixels; a multiple of `scale`. Upstream fixes it at 400: what its options call gt_size
    is the patch that training cuts out afterwards"""
    hflip_prob: float = 0.5
    rotate: bool = False
    """whether crops are also flipped vertically and transposed, each half of the time (upstream's use_rot)"""
    usm: Usm | None = None
    stages: tuple[Stage, ...] = ()
    final: Final = field(default_factory=Final)

    def __post_init__(self) -> None:
        _check_probs(self, "hflip_prob")
        _require(1 <= self.scale <= 16, self, "scale", "is not in 1..16")
        _require(1 <= self.gt_size <= 16384, self, "gt_size", "is not in 1..16384")
        _require(self.gt_size % self.scale == 0, self, "gt_size", f"is no multiple of the scale {self.scale}")
        _check_fit(self)

    @property
    def lq_size(self) -> int:
        """Side of the low-quality picture in pixels."""
        return self.gt_size // self.scale


def _check_fit(recipe: Recipe) -> None:
    """Whether every kernel reaches less far than the smallest picture it may meet is wide: borders are reflected."""
    side = recipe.gt_size
    _check_reach(recipe, side, recipe.usm.side_px if recipe.usm else 1, "usm")
    for index, stage in enumerate(recipe.stages):
        if stage.blur is not None and stage.blur.prob > 0:
            _check_reach(recipe, side, max(stage.blur.sizes), f"stages[{index}].blur")
        if stage.resize is not None:
            base = side if stage.resize.of == "running" else recipe.gt_size / recipe.scale
            side = int(base * stage.resize.least_factor)
            _require(side >= 1, recipe, "gt_size", f"is too small: stages[{index}].resize may leave no pixel")
    sinc = max(recipe.final.sinc_sizes) if recipe.final.sinc_prob > 0 else 1
    _check_reach(recipe, recipe.lq_size, sinc, "final")


def _check_reach(recipe: Recipe, side: int, kernel: int, step: str) -> None:
    text = f"is too small: {step} may meet a side of {side} px, and its kernel of {kernel} px needs {kernel // 2 + 1}"
    _require(kernel // 2 < side, recipe, "gt_size", text)


def _require(holds: bool, owner: object, name: str, text: str) -> None:
    if not holds:
        raise RecipeError(f"recipe: {type(owner).__name__.lower()}.{name} = {getattr(owner, name)!r} {text}")


def _range(owner: object, name: str) -> Range:
    low, high = getattr(owner, name)
    return low, high


def _check_probs(owner: object, *names: str) -> None:
    for name in names:
        _require(0 <= getattr(owner, name) <= 1, owner, name, "is not a probability in 0..1")


def _check_range(owner: object, name: str, least: float, most: float) -> None:
    low, high = _range(owner, name)
    _require(least <= low <= high <= most, owner, name, f"is not a range [lowest, highest] within {least:g}..{most:g}")


def _check_weights(owner: object, name: str, known: tuple[str, ...]) -> None:
    weights: Weights = getattr(owner, name)
    names = [key for key, _ in weights]
    _require(
        len(set(names)) == len(names) and set(names) <= set(known),
        owner,
        name,
        f"does not name each of {', '.join(known)} at most once and nothing else",
    )
    usable = all(0 <= weight < math.inf for _, weight in weights) and any(weight > 0 for _, weight in weights)
    _require(usable, owner, name, "has no weight above 0, or one below")


def _check_sizes(owner: object, name: str) -> None:
    sizes: Sizes = getattr(owner, name)
    _require(
        bool(sizes) and all(size % 2 and 1 <= size <= 101 for size in sizes),
        owner,
        name,
        "does not list odd sides in 1..101",
    )


def _second_order(scale: int) -> Recipe:
    """Real-ESRGAN's own process: options/train_realesrgan_x4plus.yml and _x2plus.yml, and what its code fixes."""
    return Recipe(
        scale=scale,
        usm=Usm(),
        stages=(
            Stage(blur=Blur(), resize=Resize(), noise=Noise(), jpeg=Jpeg()),
            Stage(
                blur=Blur(prob=0.8, sigma=(0.2, 1.5)),
                resize=Resize(direction=(("up", 0.3), ("down", 0.4), ("keep", 0.3)), factor=(0.3, 1.2), of="target"),
                noise=Noise(sigma=(1.0, 25.0), poisson_scale=(0.05, 2.5)),
            ),
        ),
        final=Final(sinc_prob=0.8, jpeg=Jpeg()),
    )


def _bicubic() -> Recipe:
    """Classic super-resolution (ESRGAN, Wang et al., 2018): MATLAB's antialiased bicubic to 1/4 and nothing else."""
    return Recipe(rotate=True, final=Final(modes=(("matlab", 1.0),)))


def _bsrgan() -> Recipe:
    """One pass in the manner of BSRGAN (Zhang et al., ICCV 2021; utils/utils_blindsr.py of github.com/cszn/BSRGAN).

    Taken from `degradation_bsrgan_plus` at scale 4: sharpening; `add_blur` (sides 7..25, half isotropic, half
    anisotropic, rotation 0..pi); `add_resize`; Gaussian noise of 2..25 levels, gray in two of five; JPEG of 30..95;
    then the resize to 1/4 and JPEG again. Not taken: the second pass, the shuffle of steps (one sample in ten), Poisson
    and speckle noise (one in ten each) and noise correlated between channels, which is drawn as colour noise. Sigma is
    uniform up to 2.8 for both kinds, where BSRGAN draws the variance of anisotropic kernels, up to 8.
    """
    return Recipe(
        usm=Usm(),
        stages=(
            Stage(
                blur=Blur(
                    kinds=(("iso", 0.5), ("aniso", 0.5)),
                    sizes=tuple(range(7, 26, 2)),
                    sigma=(0.1, 2.8),
                    rotation=(0.0, math.pi),
                    sinc_prob=0.0,
                ),
                resize=Resize(factor=(0.125, 2.0)),
                noise=Noise(gaussian_prob=1.0, sigma=(2.0, 25.0)),
                jpeg=Jpeg(),
            ),
        ),
        final=Final(jpeg=Jpeg(), jpeg_first_prob=0.0),
    )


def _light() -> Recipe:
    """What a good camera and one careful save do; figures of our own: pictures that x4plus would have smoothed.

    Half are blurred, all are made small, half get a little noise, most one JPEG of high quality. Not sharpened.
    """
    modes: Weights = (("area", 1.0), ("bilinear", 1.0), ("bicubic", 1.0), ("matlab", 2.0))
    return Recipe(
        stages=(
            Stage(
                blur=Blur(prob=0.5, sizes=(7, 9, 11, 13), sigma=(0.2, 2.0), sinc_prob=0.05),
                resize=Resize(direction=(("keep", 1.0),), factor=(1.0, 1.0), of="target", modes=modes),
                noise=Noise(prob=0.5, sigma=(0.5, 6.0), poisson_scale=(0.05, 0.6)),
            ),
        ),
        final=Final(jpeg=Jpeg(prob=0.7, quality=(70.0, 98.0)), jpeg_first_prob=0.0),
    )


RECIPES: Mapping[str, Recipe] = MappingProxyType(
    {
        "x4plus": _second_order(4),
        "x2plus": _second_order(2),
        "bicubic": _bicubic(),
        "bsrgan": _bsrgan(),
        "light": _light(),
    }
)
"""the recipes that come with the package, by name"""
