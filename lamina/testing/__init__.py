"""Comparing tensors in tests, and tensors to test with, as in ``torch.testing``."""

from lamina.testing._comparison import assert_allclose, assert_close
from lamina.testing._creation import make_tensor

__all__ = ["assert_allclose", "assert_close", "make_tensor"]
