"""One process that only calls the network, pinned to a core: what bench/scaling.py measures the farm against.

    python bench/bare_network.py CORE MODEL

Says when it is ready, waits for a line, works for SECONDS, and says its rate in source megapixels a second.
"""

from __future__ import annotations

import os
import sys
import time

SECONDS = 12.0
SIZE = (512, 384)
TILE_PX = 256

if __name__ == "__main__":
    os.sched_setaffinity(0, {int(sys.argv[1])})
    os.environ["OMP_NUM_THREADS"] = "1"
    import numpy as np
    import torch
    from network import network_pass, plan_of  # beside this file

    from farm import fetch
    from sr_kernel.backend import Backend
    from sr_kernel.hardware import cpu_has_bf16
    from sr_kernel.weights import load_state

    torch.set_num_threads(1)
    spec = fetch.resolve(sys.argv[2], None).spec
    backend = Backend(spec, load_state(fetch.ensure(spec, None), spec), "cpu")
    picture = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    call = network_pass(backend, plan_of(spec, *SIZE, TILE_PX), picture, "bf16" if cpu_has_bf16() else "fp32")
    with torch.inference_mode():
        call()
        print("ready", flush=True)
        sys.stdin.readline()
        begun_s, calls = time.perf_counter(), 0
        while time.perf_counter() - begun_s < SECONDS:
            call()
            calls += 1
    print(calls * SIZE[0] * SIZE[1] / 1e6 / (time.perf_counter() - begun_s))
