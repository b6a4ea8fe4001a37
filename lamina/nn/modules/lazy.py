"""Layers that learn from their first input how large they are."""

from __future__ import annotations

from typing import Any

import numpy as np

from lamina.autograd import no_grad
from lamina.autograd.graph import wrap
from lamina.nn.modules import batchnorm as bn
from lamina.nn.modules import conv, instancenorm
from lamina.nn.modules.linear import Linear
from lamina.nn.parameter import UninitializedBuffer, UninitializedParameter, is_lazy

__all__ = [
    "LazyBatchNorm1d", "LazyBatchNorm2d", "LazyBatchNorm3d", "LazyConv1d", "LazyConv2d", "LazyConv3d", "LazyConvTranspose1d",
    "LazyConvTranspose2d", "LazyConvTranspose3d", "LazyInstanceNorm1d", "LazyInstanceNorm2d", "LazyInstanceNorm3d",
    "LazyLinear",
]  # fmt: skip


class LazyModuleMixin:
    """What makes a module lazy: a hook that materializes its uninitialized parameters before the first forward.

    A lazy module derives from this class and from a module, registers `UninitializedParameter`s and
    `UninitializedBuffer`s, and defines `initialize_parameters`, which is called with the first forward's arguments. After
    that the module is an ordinary one, of the class `cls_to_become` if there is one.

    State dicts may be loaded before the first forward; their entries then decide the shapes.
    """

    cls_to_become: type | None = None

    _parameters: dict[str, Any]
    _buffers: dict[str, Any]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        module: Any = self
        self._load_hook = module._register_load_state_dict_pre_hook(self._lazy_load_hook)
        self._initialize_hook = module.register_forward_pre_hook(self._infer_parameters, with_kwargs=True)

    def _save_to_state_dict(self: Any, destination: Any, prefix: str, keep_vars: bool) -> None:
        for store in (self._parameters, self._persistent_buffers()):
            for name, tensor in store.items():
                if tensor is not None:
                    destination[prefix + name] = tensor if keep_vars or is_lazy(tensor) else tensor.detach()

    def _lazy_load_hook(self, state_dict: Any, prefix: str, *rest: Any) -> None:
        """Give the uninitialized tensors the shapes of those that are about to be loaded."""
        for name, tensor in (*self._parameters.items(), *self._buffers.items()):
            value = state_dict.get(prefix + name)
            if is_lazy(tensor) and value is not None and not is_lazy(value):
                tensor.materialize(value.shape)

    def initialize_parameters(self, *args: Any, **kwargs: Any) -> None:
        """Materialize and initialize all parameters and buffers; gets what `forward` is called with."""
        raise NotImplementedError(f"initialize_parameters is not implemented for {type(self).__name__}")

    def has_uninitialized_params(self) -> bool:
        """Whether a parameter or buffer of the module itself has no shape yet."""
        return any(map(is_lazy, (*self._parameters.values(), *self._buffers.values())))

    def _infer_parameters(self, module: Any, args: Any, kwargs: dict[str, Any] | None = None) -> None:
        module.initialize_parameters(*args, **(kwargs or {}))
        if module.has_uninitialized_params():
            raise RuntimeError(f"module {module._get_name()} has not been fully initialized")
        module._initialize_hook.remove()
        module._load_hook.remove()
        del module._initialize_hook, module._load_hook
        if module.cls_to_become is not None:
            module.__class__ = module.cls_to_become


class _LazyLayer(LazyModuleMixin):
    """The lazy forms of the layers here, which differ in one size that the input tells, and in the shapes it leads to."""

    inferred: str  # the attribute that holds the size; 0 as long as it is not known

    def reset_parameters(self: Any) -> None:
        if not self.has_uninitialized_params() and getattr(self, self.inferred) != 0:
            super().reset_parameters()  # type: ignore[misc]  # the layer's

    def _size_of(self, input: Any) -> int:
        """The size that an input tells."""
        raise NotImplementedError

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """The shapes of the uninitialized tensors, by name, once the size is known."""
        raise NotImplementedError

    def initialize_parameters(self, input: Any, *args: Any, **kwargs: Any) -> None:
        if self.has_uninitialized_params():
            setattr(self, self.inferred, self._size_of(input))
            with no_grad():
                for name, shape in self._shapes().items():
                    tensor = getattr(self, name)
                    if is_lazy(tensor):
                        tensor.materialize(shape)
                self.reset_parameters()
        elif getattr(self, self.inferred) == 0:  # a state dict was loaded
            setattr(self, self.inferred, self._size_of(input))


class LazyLinear(_LazyLayer, Linear):
    r"""A :class:`Linear` layer that takes its `in_features` from the first input; it then becomes one.

    Args:
        out_features (int): size of the last dimension of the output.
        bias (bool): whether a bias is learnt. Default: True.
        device, dtype: where and as what the parameters are made.

    Attributes:
        weight, bias: those of :class:`Linear`, uninitialized until then.

    >>> layer = nn.LazyLinear(4)
    >>> _ = layer(lamina.ones(2, 3))
    >>> layer
    Linear(in_features=3, out_features=4, bias=True)
    """

    cls_to_become = Linear
    inferred = "in_features"

    def __init__(self, out_features: int, bias: bool = True, device: Any = None, dtype: Any = None) -> None:
        super().__init__(0, 0, False)
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_features = out_features
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def _size_of(self, input: Any) -> int:
        return input.shape[-1]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {"weight": (self.out_features, self.in_features), "bias": (self.out_features,)}


# -- convolutions --------------------------------------------------------------------------------------------------


class _LazyConvNd(_LazyLayer):
    inferred = "in_channels"
    ndim: int
    in_channels: int
    out_channels: int
    groups: int
    kernel_size: tuple[int, ...]
    transposed: bool
    weight: Any
    bias: Any

    def _uninitialized(self, out_channels: int, bias: bool, device: Any, dtype: Any) -> None:
        if out_channels % self.groups:
            raise ValueError(
                f"{type(self).__name__}: out_channels must be divisible by groups, got {out_channels} and {self.groups}"
            )
        self.weight = UninitializedParameter(device=device, dtype=dtype)
        self.out_channels = out_channels
        if bias:
            self.bias = UninitializedParameter(device=device, dtype=dtype)

    def _size_of(self, input: Any) -> int:
        if input.dim() not in (self.ndim + 1, self.ndim + 2):
            raise RuntimeError(
                f"Expected {self.ndim + 1}D (unbatched) or {self.ndim + 2}D (batched) input to {type(self).__name__}, but got "
                f"input of size: {input.shape}"
            )
        return input.shape[-self.ndim - 1]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        if self.in_channels % self.groups:
            raise ValueError(
                f"in_channels must be divisible by groups, got {self.in_channels} of the input and {self.groups}"
            )
        first, second = self.out_channels, self.in_channels // self.groups
        if self.transposed:
            first, second = self.in_channels, self.out_channels // self.groups
        return {"weight": (first, second, *self.kernel_size), "bias": (self.out_channels,)}


class _LazyConvolution(_LazyConvNd):
    def __init__(
        self, out_channels: int, kernel_size: int | tuple[int, ...], stride: int | tuple[int, ...] = 1,
        padding: str | int | tuple[int, ...] = 0, dilation: int | tuple[int, ...] = 1, groups: int = 1, bias: bool = True,
        padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(0, 0, kernel_size, stride, padding, dilation, groups, False, padding_mode, device, dtype)
        self._uninitialized(out_channels, bias, device, dtype)


class _LazyConvTranspose(_LazyConvNd):
    def __init__(
        self, out_channels: int, kernel_size: int | tuple[int, ...], stride: int | tuple[int, ...] = 1,
        padding: int | tuple[int, ...] = 0, output_padding: int | tuple[int, ...] = 0, groups: int = 1, bias: bool = True,
        dilation: int | tuple[int, ...] = 1, padding_mode: str = "zeros", device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__(
            0, 0, kernel_size, stride, padding, output_padding, groups, False, dilation, padding_mode, device, dtype
        )
        self._uninitialized(out_channels, bias, device, dtype)


_CONV = r"""A :class:`<name>` that takes its `in_channels` from the first input; it then becomes one.

    Args: those of :class:`<name>` but `in_channels`.

    Attributes:
        weight, bias: those of :class:`<name>`, uninitialized until then.

    Raises:
        ValueError: at construction, as :class:`<name>`; in the first forward, channels that `groups` does not divide.
        RuntimeError: an input of another rank.

    >>> layer = nn.Lazy<name>(4, 2)
    >>> _ = layer(lamina.ones(1, 3, <sizes>))
    >>> layer.in_channels, type(layer) is nn.<name>
    (3, True)
    """


def _conv_doc(name: str, ndim: int) -> str:
    return _CONV.replace("<name>", name).replace("<sizes>", ", ".join(["5"] * ndim))


class LazyConv1d(_LazyConvolution, conv.Conv1d):
    __doc__ = _conv_doc("Conv1d", 1)
    cls_to_become = conv.Conv1d


class LazyConv2d(_LazyConvolution, conv.Conv2d):
    __doc__ = _conv_doc("Conv2d", 2)
    cls_to_become = conv.Conv2d


class LazyConv3d(_LazyConvolution, conv.Conv3d):
    __doc__ = _conv_doc("Conv3d", 3)
    cls_to_become = conv.Conv3d


class LazyConvTranspose1d(_LazyConvTranspose, conv.ConvTranspose1d):
    __doc__ = _conv_doc("ConvTranspose1d", 1)
    cls_to_become = conv.ConvTranspose1d


class LazyConvTranspose2d(_LazyConvTranspose, conv.ConvTranspose2d):
    __doc__ = _conv_doc("ConvTranspose2d", 2)
    cls_to_become = conv.ConvTranspose2d


class LazyConvTranspose3d(_LazyConvTranspose, conv.ConvTranspose3d):
    __doc__ = _conv_doc("ConvTranspose3d", 3)
    cls_to_become = conv.ConvTranspose3d


# -- normalisations ------------------------------------------------------------------------------------------------


class _LazyNorm(_LazyLayer):
    inferred = "num_features"
    affine: bool
    track_running_stats: bool
    num_features: int
    weight: Any
    bias: Any
    running_mean: Any
    running_var: Any
    num_batches_tracked: Any

    def __init__(
        self, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True, track_running_stats: bool = True,
        device: Any = None, dtype: Any = None, *, bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__(0, eps, momentum, False, False, device, dtype, bias=False)
        self.affine = affine
        self.track_running_stats = track_running_stats
        if affine:
            self.weight = UninitializedParameter(device=device, dtype=dtype)
            if bias:
                self.bias = UninitializedParameter(device=device, dtype=dtype)
        if track_running_stats:
            self.running_mean = UninitializedBuffer(device=device, dtype=dtype)
            self.running_var = UninitializedBuffer(device=device, dtype=dtype)
            self.num_batches_tracked = wrap(np.array(0, np.int64))

    def _size_of(self, input: Any) -> int:
        self._check_input_dim(input)  # type: ignore[attr-defined]  # the layer's
        return input.shape[1]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (self.num_features,))


_NORM = r"""A :class:`<name>` that takes its `num_features` from the first input; it then becomes one.

    Args: those of :class:`<name>` but `num_features`.

    Attributes:
        weight, bias, running_mean, running_var: those of :class:`<name>`, uninitialized until then.

    Raises:
        ValueError: an input of another rank.

    >>> layer = nn.Lazy<name>()
    >>> _ = layer(lamina.ones(2, 3, <sizes>))
    >>> layer.num_features, type(layer) is nn.<name>
    (3, True)
    """


def _norm_doc(name: str, ndim: int) -> str:
    return _NORM.replace("<name>", name).replace("<sizes>", ", ".join(["5"] * ndim))


class LazyBatchNorm1d(_LazyNorm, bn.BatchNorm1d):
    __doc__ = _norm_doc("BatchNorm1d", 1)
    cls_to_become = bn.BatchNorm1d


class LazyBatchNorm2d(_LazyNorm, bn.BatchNorm2d):
    __doc__ = _norm_doc("BatchNorm2d", 2)
    cls_to_become = bn.BatchNorm2d


class LazyBatchNorm3d(_LazyNorm, bn.BatchNorm3d):
    __doc__ = _norm_doc("BatchNorm3d", 3)
    cls_to_become = bn.BatchNorm3d


class _LazyInstanceNorm(_LazyNorm):
    ndim: int

    def _size_of(self, input: Any) -> int:
        super()._size_of(input)  # checks the rank
        return input.shape[-self.ndim - 1]  # with or without a batch


class LazyInstanceNorm1d(_LazyInstanceNorm, instancenorm.InstanceNorm1d):
    __doc__ = _norm_doc("InstanceNorm1d", 1)
    cls_to_become = instancenorm.InstanceNorm1d


class LazyInstanceNorm2d(_LazyInstanceNorm, instancenorm.InstanceNorm2d):
    __doc__ = _norm_doc("InstanceNorm2d", 2)
    cls_to_become = instancenorm.InstanceNorm2d


class LazyInstanceNorm3d(_LazyInstanceNorm, instancenorm.InstanceNorm3d):
    __doc__ = _norm_doc("InstanceNorm3d", 3)
    cls_to_become = instancenorm.InstanceNorm3d
