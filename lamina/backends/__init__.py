"""``torch.backends``: which libraries PyTorch's scripts may count on here, and their switches, which have no effect."""

from __future__ import annotations

from lamina.backends import cpu, cuda, cudnn, mkl, mkldnn, mps, openmp, opt_einsum

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp", "opt_einsum"]
