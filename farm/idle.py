"""A program that does nothing until whoever has started it is gone: run by Ray in place of an agent that nobody asks.

It is started by its path, with an interpreter that loads nothing else, and is told what it stands for in words that
`farm.leftovers` knows Ray's programs by.
"""

import os
import time

_PAUSE_S = 0.5

if __name__ == "__main__":
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(_PAUSE_S)
