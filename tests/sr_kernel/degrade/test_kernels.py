"""Every kind of kernel against the function of basicsr that makes it, from the same parameters."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sr_kernel.degrade.drawn import SINC, DrawnKernel
from sr_kernel.degrade.kernels import make_kernel, usm_kernel
from sr_kernel.degrade.recipe import KERNEL_KINDS
from tests.basicsr_reference import reference_module

SIGMAS = st.floats(0.2, 3.0)
SIZES = st.integers(3, 10).map(lambda half: 2 * half + 1)


def kernel(kind: str, size: int, sigma_x: float, sigma_y: float, rotation: float, beta: float) -> DrawnKernel:
    two_axes = kind.endswith("aniso")
    return DrawnKernel(
        kind=kind,
        size=size,
        sigma_x=sigma_x,
        sigma_y=sigma_y if two_axes else None,
        rotation=rotation if two_axes else None,
        beta=None if kind in ("iso", "aniso") else beta,
    )


@pytest.mark.parametrize("kind", KERNEL_KINDS)
@settings(deadline=None)
@given(size=SIZES, sigma_x=SIGMAS, sigma_y=SIGMAS, rotation=st.floats(-math.pi, math.pi), beta=st.floats(0.5, 4.0))
def test_gaussian_families_are_basicsrs(
    kind: str, size: int, sigma_x: float, sigma_y: float, rotation: float, beta: float
) -> None:
    """Within 1e-6 of the sum, which is 1."""
    reference = reference_module("data.degradations")
    family = {
        "iso": reference.bivariate_Gaussian,
        "generalized_iso": reference.bivariate_generalized_Gaussian,
        "plateau_iso": reference.bivariate_plateau,
    }[kind.replace("aniso", "iso")]
    shape = () if kind in ("iso", "aniso") else (beta,)
    isotropic = not kind.endswith("aniso")
    expected = family(size, sigma_x, sigma_y, rotation, *shape, isotropic=isotropic)
    made = make_kernel(kernel(kind, size, sigma_x, sigma_y, rotation, beta)).numpy()
    assert made.shape == (size, size)
    np.testing.assert_allclose(made, expected, atol=1e-6)


@settings(deadline=None)
@given(size=SIZES, cutoff=st.floats(math.pi / 5, math.pi))
def test_the_sinc_filter_is_basicsrs(size: int, cutoff: float) -> None:
    expected = reference_module("data.degradations").circular_lowpass_kernel(cutoff, size)
    made = make_kernel(DrawnKernel(kind=SINC, size=size, cutoff=cutoff)).numpy()
    np.testing.assert_allclose(made, expected, atol=1e-6)


@pytest.mark.parametrize("side", [21, 51])
def test_the_kernel_of_sharpening_is_opencvs(side: int) -> None:
    """OpenCV has sides up to 9 in tables of whole 256ths; upstream uses 51."""
    axis = cv2.getGaussianKernel(side, 0)
    np.testing.assert_allclose(usm_kernel(side).numpy(), axis @ axis.T, atol=1e-7)


def test_a_kernel_that_lacks_its_parameter_or_has_no_known_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="lacks a parameter"):
        make_kernel(DrawnKernel(kind="plateau_iso", size=7, sigma_x=1.0))
    with pytest.raises(ValueError, match="'box'"):
        make_kernel(DrawnKernel(kind="box", size=7, sigma_x=1.0))
