"""Figures that say whether an output is believable, and what is beyond belief.

sums.py     on the device, window by window: consistency, colour, blocks, stripes, lattice
seams.py    steps across the edges of windows, in the whole picture or band            no torch
floors.py   which figures are beyond belief                                            no torch
niqe.py     the natural image quality evaluator of Mittal et al.                       no torch
"""
