"""Networks whose layers are single kernels, for NVIDIA GPUs of capability 9. Imports no Triton until one runs."""
