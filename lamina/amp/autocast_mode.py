"""``autocast``: products and convolutions in half precision within a ``with`` block, by PyTorch's lists for the CPU."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

from lamina import _dtypes
from lamina._dtypes import device as _device
from lamina.autograd.casting import State
from lamina.autograd.graph import Variable, mode
from lamina.engine.door import detours

__all__ = ["autocast", "custom_bwd", "custom_fwd", "is_autocast_available"]


class _Settings:
    """The half types by device, and whether casts of weights are kept."""

    dtypes = {"cpu": _dtypes.bfloat16, "cuda": _dtypes.float16}
    cache = True


def is_autocast_available(device_type: str) -> bool:
    """Whether ``autocast`` knows the device; that it is here is another question."""
    return _device(device_type).type in ("cpu", "cuda", "xpu", "mps", "hpu", "xla", "ipu", "mtia")


class autocast:
    """Within a ``with`` block, or a decorated function, compute matrix products, convolutions, attention and recurrent layers
    in a half type, and losses in float32; everything else in the type that its inputs have.

    Args:
        device_type (str): ``"cpu"``; for ``"cuda"`` a warning says that there is none, and nothing is cast.
        dtype: ``bfloat16`` (the default) or ``float16``.
        enabled (bool): False makes a region of the block that casts nothing.
        cache_enabled (bool): whether a weight is cast once per block, not at every use.

    Raises:
        ValueError: ``device_type`` is no string.   RuntimeError: there is no device of that name.
    """

    def __init__(
        self, device_type: str, dtype: Any = None, enabled: bool = True, cache_enabled: bool | None = None
    ) -> None:  # fmt: skip
        if not isinstance(device_type, str):
            raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")
        self.device = _device(device_type).type
        if not is_autocast_available(self.device):
            raise RuntimeError(f"User specified an unsupported autocast device_type {self.device!r}")
        self.fast_dtype = _Settings.dtypes.get(self.device, _dtypes.bfloat16) if dtype is None else dtype
        self._cache_enabled = _Settings.cache if cache_enabled is None else cache_enabled
        if enabled and self.device == "cpu" and self.fast_dtype not in (_dtypes.bfloat16, _dtypes.float16):
            warnings.warn(
                "In CPU autocast, but the target dtype is not supported. Disabling autocast.\nCPU Autocast only supports dtypes "
                f"of torch.bfloat16, torch.float16 currently, but got {self.fast_dtype}.",
                stacklevel=2,
            )
            enabled = False
        elif enabled and self.device != "cpu":
            warnings.warn(f"{self.device.upper()} is not available. Disabling autocast.", stacklevel=2)
            enabled = False
        self._enabled = enabled
        self._before: list[Any] = []

    def __enter__(self) -> autocast:
        before = mode.autocast
        self._before.append(before)
        if self.device == "cpu":
            cache = before.cache if before is not None else {}
            if before is not None and before.dtype is not self.fast_dtype:
                cache = {}
            mode.autocast = State(self.fast_dtype, cache if self._cache_enabled else None) if self._enabled else None
        detours.append(self)
        return self

    def __exit__(self, *exc: Any) -> None:
        for i, one in enumerate(detours):  # this very object, however often it was entered
            if one is self:
                del detours[i]
                break
        mode.autocast = self._before.pop()

    def __call__(self, func: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(func)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return func(*args, **kwargs)

        return inside


def custom_fwd(fwd: Any = None, *, device_type: str, cast_inputs: Any = None) -> Any:
    """A decorator for ``Function.forward``: it sees, and its ``backward`` will see, the autocast state of the call; with
    ``cast_inputs`` it is called with its floating inputs in that type, outside of autocast."""
    if fwd is None:
        return functools.partial(custom_fwd, device_type=device_type, cast_inputs=cast_inputs)
    _check(device_type)

    @functools.wraps(fwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        ctx._dtype, ctx._fwd_used_autocast = get_autocast_dtype(device_type), is_autocast_enabled(device_type)
        if cast_inputs is None or not ctx._fwd_used_autocast:
            return fwd(ctx, *args, **kwargs)
        ctx._fwd_used_autocast = False
        with autocast(device_type, enabled=False):
            return fwd(ctx, *(_cast(a, cast_inputs) for a in args), **{n: _cast(a, cast_inputs) for n, a in kwargs.items()})

    return decorated


def custom_bwd(bwd: Any = None, *, device_type: str) -> Any:
    """A decorator for ``Function.backward``: it runs in the autocast state of its :func:`custom_fwd`."""
    if bwd is None:
        return functools.partial(custom_bwd, device_type=device_type)
    _check(device_type)

    @functools.wraps(bwd)
    def decorated(ctx: Any, *args: Any, **kwargs: Any) -> Any:
        if device_type != "cpu":
            return bwd(ctx, *args, **kwargs)
        with autocast(device_type, ctx._dtype, enabled=ctx._fwd_used_autocast):
            return bwd(ctx, *args, **kwargs)

    return decorated


def _check(device_type: Any) -> None:
    if not isinstance(device_type, str):
        raise ValueError(f"Expected `device_type` of type `str`, got: `{type(device_type)}`")


def _cast(value: Any, dtype: Any) -> Any:
    if isinstance(value, Variable):
        return value.to(dtype) if value.is_floating_point() and value._a.itemsize < 8 else value
    if isinstance(value, dict):
        return {_cast(k, dtype): _cast(v, dtype) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return type(value)(_cast(v, dtype) for v in value)
    return value


# -- the state, as functions of the package ----------------------------------------------------------------------------


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether this thread is within an autocast block of the device."""
    return _device(device_type).type == "cpu" and mode.autocast is not None


def _older(name: str, now: str) -> None:
    warnings.warn(f"torch.{name}() is deprecated. Please use torch.{now} instead.", DeprecationWarning, stacklevel=3)


def is_autocast_cpu_enabled() -> bool:
    """Whether this thread is within an autocast block; deprecated, as in PyTorch."""
    _older("is_autocast_cpu_enabled", "is_autocast_enabled('cpu')")
    return mode.autocast is not None


def get_autocast_dtype(device_type: str) -> Any:
    """The half type in force, or the one that autocast takes by default."""
    kind = _device(device_type).type
    if kind == "cpu" and mode.autocast is not None:
        return mode.autocast.dtype
    return _Settings.dtypes.get(kind, _dtypes.bfloat16)


def get_autocast_cpu_dtype() -> Any:
    """:func:`get_autocast_dtype` of the CPU; deprecated, as in PyTorch."""
    _older("get_autocast_cpu_dtype", "get_autocast_dtype('cpu')")
    return get_autocast_dtype("cpu")


def get_autocast_gpu_dtype() -> Any:
    """:func:`get_autocast_dtype` of CUDA, which is not here; deprecated, as in PyTorch."""
    _older("get_autocast_gpu_dtype", "get_autocast_dtype('cuda')")
    return get_autocast_dtype("cuda")


def set_autocast_dtype(device_type: str, dtype: Any) -> None:
    """Choose the half type that autocast takes by default on a device."""
    _Settings.dtypes[_device(device_type).type] = dtype


def is_autocast_cache_enabled() -> bool:
    """Whether autocast keeps its casts of weights by default."""
    return _Settings.cache


def set_autocast_cache_enabled(enabled: bool) -> None:
    """Choose whether autocast keeps its casts of weights by default."""
    _Settings.cache = bool(enabled)


def clear_autocast_cache() -> None:
    """Forget the casts of weights that were kept in this block."""
    if mode.autocast is not None and mode.autocast.cache is not None:
        mode.autocast.cache.clear()
