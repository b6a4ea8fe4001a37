"""``torch.backends.cuda``: not built; its switches may be set."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace

from lamina.nn import attention
from lamina.nn.attention import SDPBackend

matmul = SimpleNamespace(
    allow_tf32=False, allow_fp16_reduced_precision_reduction=True, allow_bf16_reduced_precision_reduction=True
)


def is_built() -> bool:
    """False: lamina has no CUDA kernels."""
    return False


def _asked(backend: SDPBackend, name: str) -> Callable[[], bool]:
    def function() -> bool:
        return backend in attention._allowed

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Whether attention may use PyTorch's kernel {backend.name}; lamina's own serves in any case."
    return function


def _switch(backend: SDPBackend, name: str) -> Callable[[bool], None]:
    def function(enabled: bool) -> None:
        others = [b for b in attention._allowed if b is not backend]
        attention._allowed = [*others, backend] if enabled else others

    function.__name__ = function.__qualname__ = name
    function.__doc__ = f"Note whether attention may use PyTorch's kernel {backend.name}; lamina's own goes on serving."
    return function


flash_sdp_enabled = _asked(SDPBackend.FLASH_ATTENTION, "flash_sdp_enabled")
mem_efficient_sdp_enabled = _asked(SDPBackend.EFFICIENT_ATTENTION, "mem_efficient_sdp_enabled")
math_sdp_enabled = _asked(SDPBackend.MATH, "math_sdp_enabled")
cudnn_sdp_enabled = _asked(SDPBackend.CUDNN_ATTENTION, "cudnn_sdp_enabled")
enable_flash_sdp = _switch(SDPBackend.FLASH_ATTENTION, "enable_flash_sdp")
enable_mem_efficient_sdp = _switch(SDPBackend.EFFICIENT_ATTENTION, "enable_mem_efficient_sdp")
enable_math_sdp = _switch(SDPBackend.MATH, "enable_math_sdp")
enable_cudnn_sdp = _switch(SDPBackend.CUDNN_ATTENTION, "enable_cudnn_sdp")


@contextlib.contextmanager
def _allowing(backends: list[SDPBackend]) -> Iterator[dict]:
    with attention.sdpa_kernel(backends):
        yield {}


def sdp_kernel(
    enable_flash: bool = True, enable_math: bool = True, enable_mem_efficient: bool = True, enable_cudnn: bool = True
) -> contextlib.AbstractContextManager[dict]:
    """The older form of :func:`lamina.nn.attention.sdpa_kernel`, with a switch for each kernel."""
    warnings.warn(
        "torch.backends.cuda.sdp_kernel() is deprecated; use torch.nn.attention.sdpa_kernel() instead",
        FutureWarning,
        stacklevel=2,
    )
    asked = {
        SDPBackend.FLASH_ATTENTION: enable_flash, SDPBackend.EFFICIENT_ATTENTION: enable_mem_efficient,
        SDPBackend.MATH: enable_math, SDPBackend.CUDNN_ATTENTION: enable_cudnn,
    }  # fmt: skip
    return _allowing([backend for backend, enabled in asked.items() if enabled])
