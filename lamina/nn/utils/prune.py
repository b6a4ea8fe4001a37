"""Pruning: parameters multiplied by masks of zeros and ones.

A pruned parameter ``weight`` is kept as ``weight_orig``, beside the buffer ``weight_mask``; before every forward a hook sets
``weight`` to their product. :func:`remove` makes it permanent.
"""

from __future__ import annotations

import numbers
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any

from lamina import ops
from lamina.nn.utils.convert_parameters import parameters_to_vector

__all__ = [
    "BasePruningMethod", "CustomFromMask", "Identity", "L1Unstructured", "LnStructured", "PruningContainer",
    "RandomStructured", "RandomUnstructured", "custom_from_mask", "global_unstructured", "identity", "is_pruned",
    "l1_unstructured", "ln_structured", "random_structured", "random_unstructured", "remove",
]  # fmt: skip


def _hooks(module: Any, name: str) -> list[tuple[int, BasePruningMethod]]:
    """The pruning hooks of a module's tensor, with their keys."""
    hooks = module._forward_pre_hooks.items()
    return [(k, h) for k, h in hooks if isinstance(h, BasePruningMethod) and h._tensor_name == name]


class BasePruningMethod(ABC):
    """A way of choosing what is pruned, and the forward pre-hook that multiplies by the mask.

    A subclass defines `compute_mask` and sets ``PRUNING_TYPE``: ``"unstructured"`` methods see the elements that are not
    pruned yet, ``"structured"`` ones, which have a ``dim``, the channels that are not, and ``"global"`` ones the whole tensor.
    """

    PRUNING_TYPE: str
    _tensor_name: str | None = None

    def __call__(self, module: Any, inputs: Any) -> None:
        setattr(module, self._name(module), self.apply_mask(module))

    @abstractmethod
    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask for a tensor whose elements' importance is ``t``; what ``default_mask`` prunes stays pruned."""

    def _name(self, module: Any) -> str:
        if self._tensor_name is None:
            raise AssertionError(f"Module {module} has to be pruned")
        return self._tensor_name

    def apply_mask(self, module: Any) -> Any:
        """The product of the module's original tensor and mask."""
        name = self._name(module)
        original = getattr(module, name + "_orig")
        return getattr(module, name + "_mask").to(original.dtype) * original

    @classmethod
    def apply(cls, module: Any, name: str, *args: Any, importance_scores: Any = None, **kwargs: Any) -> BasePruningMethod:
        """Prune the parameter ``name`` of a module, on top of what is pruned already.

        Args:
            module (Module): whose parameter is pruned.
            name (str): the parameter.
            args, kwargs: what the method's constructor takes.
            importance_scores (Tensor, optional): what decides, of the parameter's shape; by default the parameter itself.

        Returns:
            The method, or, if the parameter was pruned before, the container of all its methods.
        """
        method = cls(*args, **kwargs)
        method._tensor_name = name
        tensor = getattr(module, name)
        scores = _scores(importance_scores, tensor, f"parameter {name} of {module}")
        earlier = _hooks(module, name)
        if len(earlier) > 1:
            raise AssertionError(
                f"Avoid adding multiple pruning hooks to the same tensor {name} of module {module}. Use a PruningContainer."
            )
        if earlier:
            key, old = earlier[0]
            container = old if isinstance(old, PruningContainer) else PruningContainer(old)
            container.add_pruning_method(method)
            mask = container.compute_mask(scores, getattr(module, name + "_mask").detach().clone())
            del module._forward_pre_hooks[key]
            method = container
        else:  # the mask first: if it cannot be made, the module is what it was
            mask = method.compute_mask(scores, ops.ones_like(tensor))
            module.register_parameter(name + "_orig", tensor)
            del module._parameters[name]
        module.register_buffer(name + "_mask", mask)
        setattr(module, name, method.apply_mask(module))
        module.register_forward_pre_hook(method)
        return method

    def prune(self, t: Any, default_mask: Any = None, importance_scores: Any = None) -> Any:
        """A pruned copy of the tensor ``t``, without a module.

        Args:
            t (Tensor): what is pruned.
            default_mask (Tensor, optional): the mask of earlier pruning; all ones by default.
            importance_scores (Tensor, optional): what decides, of ``t``'s shape; by default ``t`` itself.
        """
        scores = _scores(importance_scores, t, "tensor t")
        mask = self.compute_mask(scores, ops.ones_like(t) if default_mask is None else default_mask)
        return t * mask

    def remove(self, module: Any) -> None:
        """Make the pruned tensor the parameter: the mask and the original are gone."""
        name = self._name(module)
        weight = self.apply_mask(module)
        if hasattr(module, name):
            delattr(module, name)
        original = module._parameters[name + "_orig"]
        original.data = weight.data
        del module._parameters[name + "_orig"]
        del module._buffers[name + "_mask"]
        setattr(module, name, original)


def _scores(given: Any, tensor: Any, what: str) -> Any:
    if given is None:
        return tensor
    if given.shape != tensor.shape:
        raise AssertionError(
            f"importance_scores should have the same shape as {what}, got {given.shape} vs {tensor.shape}"
        )
    return given


class PruningContainer(BasePruningMethod):
    """Several methods that prune one tensor, each what the ones before it left."""

    def __init__(self, *args: BasePruningMethod) -> None:
        self._pruning_methods: tuple[BasePruningMethod, ...] = ()
        if len(args) == 1:
            self._tensor_name = args[0]._tensor_name
        for method in args:
            self.add_pruning_method(method)

    def add_pruning_method(self, method: BasePruningMethod) -> None:
        """Add a method for the same tensor.

        Raises:
            TypeError: it is no pruning method.
            ValueError: it prunes another tensor.
        """
        if not isinstance(method, BasePruningMethod):
            raise TypeError(f"{type(method)} is not a BasePruningMethod subclass")
        if self._tensor_name != method._tensor_name:
            raise ValueError(
                f"Can only add pruning methods acting on the parameter named '{self._tensor_name}' to PruningContainer {self}. "
                f"Found '{method._tensor_name}'"
            )
        self._pruning_methods += (method,)

    def __len__(self) -> int:
        return len(self._pruning_methods)

    def __iter__(self) -> Iterator[BasePruningMethod]:
        return iter(self._pruning_methods)

    def __getitem__(self, idx: Any) -> Any:
        return self._pruning_methods[idx]

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        """The mask that the last method makes of the earlier ones' mask."""
        method: Any = self._pruning_methods[-1]
        if method.PRUNING_TYPE == "unstructured":
            left: Any = default_mask == 1
        elif method.PRUNING_TYPE == "structured":
            if not hasattr(method, "dim"):
                raise AttributeError('Pruning methods of PRUNING_TYPE "structured" need to have the attribute `dim` defined.')
            n = t.ndim
            if method.dim < -n:
                raise IndexError(f"Index is out of bounds for tensor with dimensions {n}")
            dim = method.dim % n if method.dim < 0 else method.dim
            channels = default_mask.sum([d for d in range(n) if d != dim]) != 0
            left = (*(slice(None) for _ in range(dim)), channels)
        elif method.PRUNING_TYPE == "global":
            left = ...
        else:
            raise ValueError(f"Unrecognized PRUNING_TYPE {method.PRUNING_TYPE}")
        mask = default_mask.to(t.dtype).clone()
        mask[left] = method.compute_mask(t[left], default_mask=default_mask[left]).to(mask.dtype)
        return mask


# -- how much ------------------------------------------------------------------------------------------------------


def _checked_amount(amount: Any) -> Any:
    """``amount`` of elements, or as a fraction of them, if it can be one."""
    if not isinstance(amount, numbers.Real):
        raise TypeError(f"Invalid type for amount: {amount}. Must be int or float.")
    if amount < 0 or not (isinstance(amount, numbers.Integral) or amount <= 1.0):
        raise ValueError(f"amount={amount} should either be a float in the range [0, 1] or a non-negative integer")
    return amount


def _count(amount: Any, total: int) -> int:
    """How many of ``total`` the amount is."""
    count = int(amount) if isinstance(amount, numbers.Integral) else round(amount * total)
    if count > total:
        raise ValueError(f"amount={count} should be smaller than the number of parameters to prune={total}")
    return count


class _Unstructured(BasePruningMethod):
    """Prunes single elements: those of the least ``_order``."""

    PRUNING_TYPE = "unstructured"

    def __init__(self, amount: Any) -> None:
        self.amount = _checked_amount(amount)

    def _order(self, t: Any) -> Any:
        raise NotImplementedError

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        count = _count(self.amount, t.numel())
        mask = default_mask.clone().contiguous()
        if count:
            mask.view(-1)[ops.topk(self._order(t).reshape(-1), count, largest=False).indices] = 0
        return mask


class _Structured(BasePruningMethod):
    """Prunes whole channels of a dimension: those that ``_kept`` does not name."""

    PRUNING_TYPE = "structured"
    amount: Any
    dim: int

    def _kept(self, t: Any, total: int, count: int) -> Any:
        """An index of the channels that are kept, if ``count`` of ``total`` are pruned."""
        raise NotImplementedError

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        if t.ndim <= 1:
            raise ValueError(
                f"Structured pruning can only be applied to multidimensional tensors. Found tensor of shape {t.shape} with "
                f"{t.ndim} dims"
            )
        if self.dim >= t.ndim:
            raise IndexError(f"Invalid index {self.dim} for tensor of size {t.shape}")
        total = t.shape[self.dim]
        count = _count(self.amount, total)
        if count == 0:
            return default_mask
        mask = ops.zeros_like(t).detach()
        mask.transpose(0, self.dim)[self._kept(t, total, count)] = 1
        return mask * default_mask.to(mask.dtype)


# -- the methods ---------------------------------------------------------------------------------------------------


class Identity(BasePruningMethod):
    """Prunes nothing, but makes the mask."""

    PRUNING_TYPE = "unstructured"

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        return default_mask

    @classmethod
    def apply(cls, module: Any, name: str) -> BasePruningMethod:  # type: ignore[override]
        """See :func:`identity`; returns the method."""
        return super().apply(module, name)


class RandomUnstructured(_Unstructured):
    """Prunes an ``amount`` of elements at random: so many if it is an int, that fraction of them if it is a float."""

    def _order(self, t: Any) -> Any:
        return -ops.rand_like(t)

    @classmethod
    def apply(cls, module: Any, name: str, amount: Any) -> BasePruningMethod:  # type: ignore[override]
        """See :func:`random_unstructured`; returns the method."""
        return super().apply(module, name, amount=amount)


class L1Unstructured(_Unstructured):
    """Prunes the ``amount`` of elements that are smallest in magnitude."""

    def _order(self, t: Any) -> Any:
        return ops.abs(t)

    @classmethod
    def apply(  # type: ignore[override]
        cls, module: Any, name: str, amount: Any, importance_scores: Any = None
    ) -> BasePruningMethod:
        """See :func:`l1_unstructured`; returns the method."""
        return super().apply(module, name, amount=amount, importance_scores=importance_scores)


class RandomStructured(_Structured):
    """Prunes an ``amount`` of the channels of dimension ``dim`` at random."""

    def __init__(self, amount: Any, dim: int = -1) -> None:
        self.amount = _checked_amount(amount)
        self.dim = dim

    def _kept(self, t: Any, total: int, count: int) -> Any:
        chance = ops.rand(total)
        return chance > chance.sort().values[count - 1]

    @classmethod
    def apply(cls, module: Any, name: str, amount: Any, dim: int = -1) -> BasePruningMethod:  # type: ignore[override]
        """See :func:`random_structured`; returns the method."""
        return super().apply(module, name, amount=amount, dim=dim)


class LnStructured(_Structured):
    """Prunes the ``amount`` of the channels of dimension ``dim`` with the smallest ``n``-norms."""

    def __init__(self, amount: Any, n: Any, dim: int = -1) -> None:
        self.amount = _checked_amount(amount)
        self.n = n
        self.dim = dim

    def _kept(self, t: Any, total: int, count: int) -> Any:
        others = [d for d in range(t.ndim) if d != self.dim % t.ndim]
        return ops.topk(t.norm(p=self.n, dim=others), total - count).indices

    @classmethod
    def apply(  # type: ignore[override]
        cls, module: Any, name: str, amount: Any, n: Any, dim: int, importance_scores: Any = None
    ) -> BasePruningMethod:
        """See :func:`ln_structured`; returns the method."""
        return super().apply(module, name, amount=amount, n=n, dim=dim, importance_scores=importance_scores)


class CustomFromMask(BasePruningMethod):
    """Prunes where a given ``mask`` is 0."""

    PRUNING_TYPE = "global"

    def __init__(self, mask: Any) -> None:
        self.mask = mask

    def compute_mask(self, t: Any, default_mask: Any) -> Any:
        if default_mask.shape != self.mask.shape:
            raise AssertionError(
                f"default_mask shape {default_mask.shape} must match self.mask shape {self.mask.shape}"
            )
        return default_mask * self.mask.to(default_mask.dtype)

    @classmethod
    def apply(cls, module: Any, name: str, mask: Any) -> BasePruningMethod:  # type: ignore[override]
        """See :func:`custom_from_mask`; returns the method."""
        return super().apply(module, name, mask=mask)


# -- public functions ----------------------------------------------------------------------------------------------


def identity(module: Any, name: str) -> Any:
    """Give the parameter ``name`` a mask of ones; returns the module."""
    Identity.apply(module, name)
    return module


def random_unstructured(module: Any, name: str, amount: Any) -> Any:
    """Prune elements of the parameter ``name`` at random; returns the module.

    Args:
        module (Module): whose parameter is pruned.
        name (str): the parameter.
        amount (int or float): how many of the elements that are not pruned yet, or which fraction of them.

    Raises:
        TypeError: ``amount`` is not a number.
        ValueError: it is negative, or more than there is.

    >>> layer = nn.utils.prune.random_unstructured(nn.Linear(2, 3), "weight", amount=1)
    >>> int(layer.weight_mask.sum())
    5
    """
    RandomUnstructured.apply(module, name, amount)
    return module


def l1_unstructured(module: Any, name: str, amount: Any, importance_scores: Any = None) -> Any:
    """Prune the elements of the parameter ``name`` that are smallest in magnitude; returns the module.

    Args:
        module, name, amount: as for :func:`random_unstructured`.
        importance_scores (Tensor, optional): whose magnitudes decide instead, of the parameter's shape.

    >>> layer = nn.utils.prune.l1_unstructured(nn.Linear(2, 3), "weight", amount=0.5)
    >>> sorted(layer.state_dict())
    ['bias', 'weight_mask', 'weight_orig']
    """
    L1Unstructured.apply(module, name, amount=amount, importance_scores=importance_scores)
    return module


def random_structured(module: Any, name: str, amount: Any, dim: int) -> Any:
    """Prune channels of the parameter ``name`` at random; returns the module.

    Args:
        module (Module): whose parameter is pruned.
        name (str): the parameter, of at least two dimensions.
        amount (int or float): how many of the channels that are not pruned yet, or which fraction of them.
        dim (int): the dimension that counts the channels.

    Raises:
        TypeError: ``amount`` is not a number.
        ValueError: it is negative or more than there is, or the parameter has fewer than two dimensions.
        IndexError: there is no such dimension.
    """
    RandomStructured.apply(module, name, amount, dim)
    return module


def ln_structured(module: Any, name: str, amount: Any, n: Any, dim: int, importance_scores: Any = None) -> Any:
    """Prune the channels of the parameter ``name`` that have the smallest ``n``-norms; returns the module.

    Args:
        module, name, amount, dim: as for :func:`random_structured`.
        n (int, float, inf or "fro"): the order of the norm.
        importance_scores (Tensor, optional): whose norms decide instead, of the parameter's shape.

    >>> layer = nn.utils.prune.ln_structured(nn.Conv2d(5, 3, 2), "weight", amount=0.3, n=2, dim=1)
    >>> int(layer.weight_mask.sum((0, 2, 3)).eq(0).sum())
    2
    """
    LnStructured.apply(module, name, amount, n, dim, importance_scores=importance_scores)
    return module


def custom_from_mask(module: Any, name: str, mask: Any) -> Any:
    """Prune the parameter ``name`` where ``mask``, of its shape, is 0; returns the module."""
    CustomFromMask.apply(module, name, mask)
    return module


def global_unstructured(parameters: Any, pruning_method: Any, importance_scores: Any = None, **kwargs: Any) -> None:
    """Prune several parameters as if they were one.

    Args:
        parameters (iterable of (module, name) pairs): what is pruned.
        pruning_method (type): a method whose ``PRUNING_TYPE`` is ``"unstructured"``.
        importance_scores (dict, optional): what decides, by (module, name); by default the parameters themselves.
        kwargs: what the method's constructor takes, such as ``amount``.

    Raises:
        TypeError: ``parameters`` is not iterable, ``importance_scores`` no dict, or the method of another type.
    """
    if not isinstance(parameters, Iterable):
        raise TypeError("global_unstructured(): parameters is not an Iterable")
    pairs = list(parameters)
    given = {} if importance_scores is None else importance_scores
    if not isinstance(given, dict):
        raise TypeError("global_unstructured(): importance_scores must be of type dict")
    method = pruning_method(**kwargs)
    if method.PRUNING_TYPE != "unstructured":
        raise TypeError(
            f'Only "unstructured" PRUNING_TYPE supported for the `pruning_method`. Found method {pruning_method} of type '
            f"{method.PRUNING_TYPE}"
        )
    tensors = [getattr(module, name) for module, name in pairs]
    scores = parameters_to_vector([given.get(pair, t) for pair, t in zip(pairs, tensors, strict=True)])
    masks = parameters_to_vector(
        [getattr(module, name + "_mask", ops.ones_like(t)) for (module, name), t in zip(pairs, tensors, strict=True)]
    )
    mask: Any = PruningContainer(method).compute_mask(scores, masks)
    start = 0
    for (module, name), tensor in zip(pairs, tensors, strict=True):
        custom_from_mask(module, name, mask[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()


def remove(module: Any, name: str) -> Any:
    """Make the pruning of the parameter ``name`` permanent; returns the module. ValueError if it is not pruned."""
    for key, method in _hooks(module, name):
        method.remove(module)
        del module._forward_pre_hooks[key]
        return module
    raise ValueError(
        f"Parameter '{name}' of module {module} has to be pruned before pruning can be removed"
    )


def is_pruned(module: Any) -> bool:
    """Whether a parameter of the module, or of one below it, is pruned."""
    return any(isinstance(h, BasePruningMethod) for m in module.modules() for h in m._forward_pre_hooks.values())
