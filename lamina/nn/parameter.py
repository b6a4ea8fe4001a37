"""Tensors that a module registers when they are assigned to it: `Parameter` and `Buffer`."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from lamina import _dtypes as dtypes
from lamina._tensor import _BOOKKEEPING, Tensor
from lamina.autograd.graph import Version

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "is_lazy"]


def _leaf(cls: type, array: np.ndarray, requires_grad: bool) -> Any:
    t: Any = object.__new__(cls)
    t._a = array
    if requires_grad:
        t.requires_grad_(True)
    return t


def _empty(dtype: Any, device: Any) -> np.ndarray:
    dtypes.check_device(device)
    return np.empty(0, dtypes.to_numpy(dtypes.get_default_dtype() if dtype is None else dtype))


def _share(cls: type, data: Tensor | None, requires_grad: bool) -> Any:
    """A leaf of class `cls` over the memory of `data` (over no elements for None)."""
    if data is None:
        return _leaf(cls, _empty(None, None), requires_grad)
    if not isinstance(data, Tensor):
        raise TypeError(f"{cls.__name__}(): argument 'data' must be a Tensor, not {type(data).__name__}")
    t = _leaf(cls, data._plain(), requires_grad)
    if data._version is None:
        data._version = Version()
    t._version = data._version
    return t


class Parameter(Tensor):
    """A tensor that is trained: assigned to a module, it appears among `parameters()`.

    It shares memory with `data` and is a leaf of the graph.

    Args:
        data (Tensor, optional): the values; none for a parameter without elements.
        requires_grad (bool): whether gradients are recorded for it.

    Raises:
        RuntimeError: gradients are asked for an integer or bool tensor.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Any:
        return _share(cls, data, requires_grad)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        if id(self) not in memo:
            memo[id(self)] = twin = _leaf(type(self), self._plain().copy(order="K"), self.requires_grad)
            for name, value in self.__dict__.items():
                if name not in _BOOKKEEPING:
                    twin.__dict__[name] = copy.deepcopy(value, memo)
        return memo[id(self)]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return "Parameter containing:\n" + super().__repr__()


class Buffer(Tensor):
    """A tensor that is state but not trained: assigned to a module, it appears among `buffers()`.

    Args:
        data (Tensor, optional): the values, whose memory is shared.
        persistent (bool): whether it is part of the module's `state_dict()`.
    """

    persistent: bool

    def __new__(cls, data: Tensor | None = None, *, persistent: bool = True) -> Any:
        t = _share(cls, data, data is not None and data.requires_grad)
        t.persistent = persistent
        return t


class _Uninitialized(Tensor):
    """A tensor whose shape is not known yet; `materialize` turns it into a real one."""

    cls_to_become: type = Tensor

    def materialize(self, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Give the tensor its shape and fresh memory; it becomes an ordinary Parameter or Tensor.

        Args:
            shape (tuple of ints): the shape that the first input has told.
            device, dtype: as for `empty`; those of this tensor by default.
        """
        dtypes.check_device(device)
        self._a = np.empty(tuple(shape), self._a.dtype if dtype is None else dtypes.to_numpy(dtype))
        self.__class__ = self.cls_to_become

    @property
    def shape(self) -> Any:
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer: it is known after a first call of the "
            "module. A state dict with uninitialized entries loads into uninitialized parameters only."
        )

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"<{type(self).__name__}>"


class UninitializedParameter(_Uninitialized, Parameter):  # type: ignore[misc]
    """A parameter whose shape the first input decides, as the lazy layers have it.

    Args:
        requires_grad (bool): whether gradients are recorded once it is materialized.
        device, dtype: as for `empty`.
    """

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Any:
        return _leaf(cls, _empty(dtype, device), requires_grad)


class UninitializedBuffer(_Uninitialized):
    """A buffer whose shape the first input decides.

    Args:
        requires_grad (bool): whether gradients are recorded once it is materialized.
        device, dtype: as for `empty`.
        persistent (bool): whether it is part of the module's `state_dict()`.
    """

    persistent: bool

    def __new__(
        cls, requires_grad: bool = False, device: Any = None, dtype: Any = None, persistent: bool = True
    ) -> Any:
        t = _leaf(cls, _empty(dtype, device), requires_grad)
        t.persistent = persistent
        return t


def is_lazy(param: Any) -> bool:
    """Whether `param` is an uninitialized parameter or buffer."""
    return isinstance(param, _Uninitialized)
