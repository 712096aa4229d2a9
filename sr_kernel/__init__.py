"""Pixels in, pixels out: restoration networks, tiling and resampling, with nothing of the farm in it.

Importing this package loads no torch; `tiles`, `models` and `fidelity` stay free of it too.
"""
