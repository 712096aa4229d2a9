"""basicsr 1.4.2, which gfpgan imports, on a torchvision that has no `transforms.functional_tensor` any more.

The stand-in for that module lives here and nowhere else. Plain inference never imports basicsr.
"""

from __future__ import annotations

import importlib
import sys
import types

_GONE = "torchvision.transforms.functional_tensor"


def mend_torchvision() -> None:
    """Makes `import basicsr` possible: the one function that it takes from the module that torchvision removed."""
    try:
        importlib.import_module(_GONE)
    except ModuleNotFoundError:
        functional = importlib.import_module("torchvision.transforms.functional")
        module = types.ModuleType(_GONE)
        module.__dict__["rgb_to_grayscale"] = functional.rgb_to_grayscale
        sys.modules[_GONE] = module
