"""``torch.ao``: of PyTorch's quantisation, the stubs that models carry while they are not quantised."""

from __future__ import annotations

from lamina.ao import quantization

__all__ = ["quantization"]
