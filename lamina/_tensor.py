"""The tensor: an array with a gradient and PyTorch's methods.

The bookkeeping is in :class:`lamina.autograd.graph.Variable`; what a method computes is in ``lamina.ops``, whose tables say
which functions are methods. Written here is what has no function: attributes, conversion, autograd, Python's protocols.
"""

from __future__ import annotations

import copy
import warnings
import weakref
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from lamina import _dtypes, ops
from lamina._dtypes import BY_NUMPY, CPU, F32, HALVES, SCALAR_NAME, Size, check_device
from lamina.autograd import express, graph
from lamina.autograd import walk as _walk
from lamina.autograd.graph import Handle, Variable, alias, inplace, mode
from lamina.engine import dlpack, kernels
from lamina.engine.door import detours
from lamina.ops import creation, indexing, layout, linalg, pointwise, shape, unary


class Tensor(Variable):
    """An n-dimensional array over shared NumPy memory, with automatic differentiation.

    ``Tensor(2, 3)`` is uninitialised, ``Tensor([1., 2.])`` holds data; prefer :func:`lamina.tensor` and its kin.
    """

    if TYPE_CHECKING:  # the methods that the tables of lamina.ops fill in

        def __getattr__(self, name: str) -> Any: ...
        def __add__(self, other: Any) -> Tensor: ...
        def __eq__(self, other: Any) -> Tensor: ...  # type: ignore[override]

        __radd__ = __sub__ = __mul__ = __rmul__ = __truediv__ = __floordiv__ = __mod__ = __matmul__ = __add__
        __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rshift__ = __add__
        __lt__ = __le__ = __gt__ = __ge__ = __add__
        __ne__ = __eq__  # type: ignore[assignment]

    __array_priority__ = 1000
    __hash__ = object.__hash__

    def __new__(cls, *args: Any, **kwargs: Any) -> Tensor:
        t = object.__new__(cls)
        if len(args) == 1 and not isinstance(args[0], (int, np.integer, Size)):
            data = args[0]
            if isinstance(data, Variable):
                t._a = data._plain()
                data._writes = t._writes = data._writes or graph.Version()
            else:
                t._a = creation.tensor(data, dtype=_dtypes.get_default_dtype())._a
        else:
            t._a = np.empty(creation.size_of(args) if args else (0,), _dtypes._Default.numpy)
        return t

    # -- attributes ------------------------------------------------------------------------------------------------

    @property
    def shape(self) -> Size:
        """The size of each dimension."""
        return Size(self._a.shape)

    @property
    def dtype(self) -> _dtypes.dtype:
        """The type of the elements."""
        return BY_NUMPY[self._a.dtype]

    @property
    def device(self) -> _dtypes.device:
        """Always the CPU."""
        return CPU

    @property
    def layout(self) -> _dtypes.layout:
        return _dtypes.strided

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return self._a.ndim

    @property
    def requires_grad(self) -> bool:
        """Whether gradients are computed for this tensor."""
        if self._base is not None:
            self._history()
        return self._requires

    @requires_grad.setter
    def requires_grad(self, value: bool) -> None:
        self.requires_grad_(value)

    def requires_grad_(self, requires_grad: bool = True) -> Tensor:
        """Ask for gradients of this leaf (or no longer); raises ``RuntimeError`` for integers and for non-leaves."""
        if requires_grad:
            if self._a.dtype.kind not in "fcV":
                raise RuntimeError(
                    "only Tensors of floating point and complex dtype can require gradients, but got "
                    f"{SCALAR_NAME[self.dtype]}"
                )
            if self._inference and not mode.inference:
                raise RuntimeError(
                    "Setting requires_grad=True on inference tensor outside InferenceMode is not allowed."
                )
        elif not self.is_leaf:
            raise RuntimeError(
                "you can only change requires_grad flags of leaf variables. If you want to use a computed variable in a subgraph "
                "that doesn't require differentiation use var_no_grad = var.detach()."
            )
        if self._history()[0] is None:
            self._requires = bool(requires_grad)
        return self

    @property
    def grad(self) -> Any:
        """The gradient accumulated by ``backward``, or ``None``; asking a tensor that keeps none warns."""
        if self._grad is None and self._node is not None and not self._retains and self._requires:
            warnings.warn(
                "The .grad attribute of a Tensor that is not a leaf Tensor is being accessed. backward() will not fill it: use "
                ".retain_grad() on the non-leaf Tensor if its gradient is wanted, or look at the leaf.",
                stacklevel=2,
            )
        return self._grad

    @grad.setter
    def grad(self, value: Any) -> None:
        if value is not None:
            if not isinstance(value, Tensor):
                raise TypeError(
                    f"assigned grad expected to be a Tensor or None but got grad of type {type(value).__name__}"
                )
            if value is self:
                raise RuntimeError("can't assign Variable as its own grad")
            if value._a.shape != self._a.shape:
                raise RuntimeError(
                    f"assigned grad has data of a different size: got {list(value._a.shape)}, expected {list(self._a.shape)}"
                )
            if value._a.dtype != self._a.dtype:
                raise RuntimeError(
                    f"attempting to assign a gradient with dtype '{value.dtype}' to a tensor with dtype '{self.dtype}'. "
                    "Please ensure that the gradient and the tensor have the same dtype"
                )
        self._grad = value

    @grad.deleter
    def grad(self) -> None:
        self._grad = None

    @property
    def grad_fn(self) -> Any:
        """The node that computed this tensor, or ``None`` for a leaf."""
        return self._history()[0]

    @property
    def is_leaf(self) -> bool:
        """Whether no recorded operation made this tensor."""
        return self._history()[0] is None

    @property
    def output_nr(self) -> int:
        return self._index

    @property
    def data(self) -> Tensor:
        """The same memory as a tensor without history, not watched by version checks."""
        return alias(self, share_version=False)

    @data.setter
    def data(self, value: Tensor) -> None:
        if not isinstance(value, Tensor):
            raise TypeError(f"Variable data has to be a tensor, but got {type(value).__name__}")
        if value._a.dtype.kind not in "fcV" and self._requires:
            raise RuntimeError(
                "data set to a tensor that requires gradients must be floating point or complex dtype"
            )
        self._a, self._hidden = value._plain(), False
        if value._writes is None:
            value._writes = graph.Version()
        self._writes = value._writes  # one memory, one count

    @property
    def _version(self) -> int:
        """How often this memory was written in place, as far as that was counted."""
        return 0 if self._writes is None else self._writes.n

    @property
    def T(self) -> Tensor:  # noqa: N802
        """All dimensions in reverse order (deprecated, with a warning, unless the tensor is a matrix)."""
        return shape._T(self)

    @property
    def mT(self) -> Tensor:  # noqa: N802
        """The last two dimensions exchanged."""
        return shape._mT(self)

    @property
    def H(self) -> Tensor:  # noqa: N802
        """The conjugate transpose of a matrix."""
        return shape._H(self)

    @property
    def mH(self) -> Tensor:  # noqa: N802
        """The last two dimensions exchanged, conjugated."""
        return shape._mH(self)

    @property
    def real(self) -> Tensor:
        """The real part, a view; a real tensor itself."""
        return ops.FUNCTIONS["real"](self)

    @property
    def imag(self) -> Tensor:
        """The imaginary part, a view; raises ``RuntimeError`` for a real tensor."""
        return ops.FUNCTIONS["imag"](self)

    @property
    def itemsize(self) -> int:
        return self._a.itemsize

    @property
    def nbytes(self) -> int:
        return self._a.nbytes

    is_cuda = is_mps = is_xpu = is_meta = is_sparse = is_quantized = is_nested = is_mkldnn = False
    is_cpu = True
    names = property(lambda self: (None,) * self._a.ndim)
    name = None

    def is_inference(self) -> bool:
        """Whether this tensor was made in inference mode."""
        return self._inference

    # -- size and kind ---------------------------------------------------------------------------------------------

    def size(self, dim: int | None = None) -> Any:
        """The shape, or the size of one dimension."""
        return Size(self._a.shape) if dim is None else self._a.shape[self._dim(dim)]

    def _dim(self, dim: int) -> int:
        n = self._a.ndim
        if not -n <= dim < n:
            bound = max(n, 1)
            raise IndexError(
                f"Dimension out of range (expected to be in range of [{-bound}, {bound - 1}], but got {dim})"
            )
        return dim % n

    def dim(self) -> int:
        """The number of dimensions."""
        return self._a.ndim

    ndimension = dim

    def numel(self) -> int:
        """The number of elements."""
        return self._a.size

    nelement = numel

    def element_size(self) -> int:
        """The bytes of one element."""
        return self._a.itemsize

    def is_floating_point(self) -> bool:
        return self._a.dtype.kind in "fV"

    def is_complex(self) -> bool:
        return self._a.dtype.kind == "c"

    def is_signed(self) -> bool:
        return self._a.dtype.kind in "ifcV"

    def to_dense(self, dtype: Any = None, *, masked_grad: bool | None = None) -> Tensor:
        """The tensor itself, as it is not sparse (in another dtype, if one is given)."""
        return self if dtype is None else self.to(dtype)

    def to_sparse(self, sparse_dim: int | None = None) -> Tensor:
        """A sparse tensor of the elements that are not zero (with fewer sparse dimensions, of slices that are not)."""
        from lamina._sparse import sparsified

        return sparsified(self, sparse_dim)

    def sparse_mask(self, mask: Any) -> Tensor:
        """The elements at the places of a sparse tensor, as a sparse tensor. Not differentiable."""
        from lamina._sparse import masked

        return masked(self, mask)

    def get_device(self) -> int:
        """-1: the CPU."""
        return -1

    def data_ptr(self) -> int:
        """The address of the first element, which stays what it is in in-place operations."""
        if self._writes is None:
            self._writes = graph.Version()
        self._writes.addressed = True
        return self._plain().ctypes.data

    def is_shared(self) -> bool:
        """Whether the tensor lies in memory that other processes see."""
        from lamina.multiprocessing import shared

        return shared.map_of(self._a) is not None

    def share_memory_(self) -> Tensor:
        """Move the tensor into memory that processes share, and return it; what shared its memory before stays behind."""
        from lamina.multiprocessing import shared

        if self._base is not None:
            raise RuntimeError("share_memory_() of a view: share the tensor that it looks into, and take the view then")
        if shared.map_of(self._a) is None:
            self._a = shared.moved(self._plain())
            graph.expose(self)  # other processes write unseen
        return self

    def is_pinned(self) -> bool:
        return False

    def untyped_storage(self) -> Any:
        """The memory that this tensor looks into, as bytes."""
        from lamina.storage import of_tensor

        return of_tensor(self)

    def storage(self) -> Any:
        """The memory that this tensor looks into, as elements of its dtype."""
        from lamina.storage import TypedStorage

        return TypedStorage(wrap_storage=self.untyped_storage(), dtype=self.dtype)

    _typed_storage = storage

    def set_(self, source: Any = None, storage_offset: int = 0, size: Any = None, stride: Any = ()) -> Tensor:
        """Look into the memory of a storage, or of another tensor, from now on."""
        from lamina.storage import set_tensor

        return set_tensor(self, source, storage_offset, size, stride)  # type: ignore[return-value]

    def new(self, *args: Any, device: Any = None) -> Tensor:
        """A tensor of this dtype: of a size (uninitialised), or of data."""
        check_device(device)
        if len(args) == 1 and not isinstance(args[0], (int, np.integer, Size)):
            return creation.tensor(args[0], dtype=self.dtype)
        return creation.empty(creation.size_of(args) if args else (0,), dtype=self.dtype)

    def apply_(self, callable: Any) -> Tensor:
        """Each element replaced by what a function of Python numbers returns for it. Not differentiable."""
        return self._mapped("apply_", callable)

    def map_(self, tensor: Any, callable: Any) -> Tensor:
        """Each element replaced by a function of it and of another tensor's. Not differentiable."""
        return self._mapped("map_", callable, tensor)

    def map2_(self, x: Any, y: Any, callable: Any) -> Tensor:
        """Each element replaced by a function of it and of two other tensors'. Not differentiable."""
        return self._mapped("map2_", callable, x, y)

    def _mapped(self, name: str, function: Any, *others: Any) -> Tensor:
        if self.requires_grad or any(t.requires_grad for t in others):
            raise RuntimeError(f"Can't call {name}() on Variable that requires grad. Use var.detach().{name}() instead.")
        arrays = [self._plain(), *(np.broadcast_to(t._a, self._a.shape) for t in others)]
        values = [function(*row) for row in zip(*(a.reshape(-1).tolist() for a in arrays), strict=True)]
        self._plain()[...] = np.array(values, self._a.dtype).reshape(self._a.shape)
        graph.bump(self)
        return self

    def dim_order(self, ambiguity_check: Any = False) -> tuple[int, ...]:
        """The dimensions as they lie in memory, outermost first."""
        strides = self._plain().strides
        return tuple(sorted(range(len(strides)), key=lambda d: -strides[d]))

    def as_subclass(self, cls: Any) -> Any:
        """The same tensor, with its history, as an instance of a class derived from ``Tensor``."""
        if not (isinstance(cls, type) and issubclass(cls, Tensor)):
            raise TypeError(f"as_subclass(): argument 'cls' must be a type derived from torch.Tensor, but got {cls!r}")
        seen = self.view_as(self)
        t = object.__new__(cls)
        t.__dict__.update(seen.__dict__)
        return t

    def is_set_to(self, tensor: Tensor) -> bool:
        """Whether both are the same view of the same memory."""
        a, b = self._plain(), tensor._plain()
        return a.ctypes.data == b.ctypes.data and a.shape == b.shape and a.strides == b.strides

    # -- conversion ------------------------------------------------------------------------------------------------

    def item(self) -> Any:
        """The only element as a Python number; raises ``RuntimeError`` if there are none or several."""
        if self._a.size != 1:
            raise RuntimeError(f"a Tensor with {self._a.size} elements cannot be converted to Scalar")
        return self._a.item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self._a.tolist()

    def numpy(self, *, force: bool = False) -> np.ndarray:
        """The array that this tensor shares its memory with.

        Raises ``RuntimeError`` if the tensor requires a gradient, unless gradients are off or ``force`` is set.
        """
        if mode.enabled and self.requires_grad and not force:
            raise RuntimeError(
                "Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead."
            )
        if self._a.dtype.kind == "V" or self._a.itemsize == 1 and self._a.dtype.kind == "f":
            raise TypeError(f"Got unsupported ScalarType {SCALAR_NAME[self.dtype]}")
        graph.expose(self)
        return self._plain()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        a = self.numpy()
        if dtype is not None and a.dtype != dtype:
            if copy is False:
                raise ValueError(
                    f"a copy is needed to convert {a.dtype} to {np.dtype(dtype)}, and copy=False was asked for"
                )
            return a.astype(dtype)
        return a.copy() if copy else a

    def __array_wrap__(self, array: np.ndarray, context: Any = None, return_scalar: bool = False) -> Any:
        if array.dtype == bool:
            array = array.astype(np.uint8)
        return creation.from_numpy(np.asarray(array))

    def __dlpack__(self, **settings: Any) -> Any:
        if self.requires_grad:
            raise BufferError("Can't export tensors that require gradient, use tensor.detach()")
        graph.expose(self)
        return dlpack.export(self._plain(), **settings)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._a.__dlpack_device__()

    def to(self, *args: Any, **kwargs: Any) -> Tensor:
        """This tensor in another dtype or memory format: ``to(dtype)``, ``to(device, dtype)``, ``to(other)``.

        Returns the tensor itself when nothing changes and ``copy`` is not set.
        """
        dtype = kwargs.pop("dtype", None)
        duplicate, form = kwargs.pop("copy", False), kwargs.pop("memory_format", None)
        kwargs.pop("non_blocking", None)
        if "device" in kwargs:
            check_device(kwargs.pop("device"))
        if "other" in kwargs:
            args = (kwargs.pop("other"), *args)
        if kwargs:
            raise TypeError(f"to() got an unexpected keyword argument {next(iter(kwargs))!r}")
        for i, a in enumerate(args):
            if isinstance(a, _dtypes.dtype):
                dtype = a
            elif isinstance(a, Tensor):
                dtype = a.dtype
            elif isinstance(a, bool):
                duplicate = a if i and isinstance(args[i - 1], bool) or len(args) > 2 else duplicate
            elif isinstance(a, _dtypes.memory_format):
                form = a
            elif a is not None:
                check_device(a)
        result = self if dtype is None else pointwise.cast(self, dtype)
        if form is not None and form is not _dtypes.preserve_format:
            result = layout.to_memory_format(result, form)
        return result.clone() if duplicate and result is self else result

    def type(self, dtype: Any = None, non_blocking: bool = False) -> Any:
        """The tensor type's name, such as ``torch.FloatTensor``; with an argument, a cast."""
        if dtype is None:
            return graph.type_name(self._a)
        if isinstance(dtype, str):
            named = {f"torch.{n}Tensor": d for d, n in SCALAR_NAME.items()}
            if dtype not in named:
                raise ValueError(f"invalid type: {dtype!r}")
            dtype = named[dtype]
        elif isinstance(getattr(dtype, "dtype", None), _dtypes.dtype):
            dtype = dtype.dtype
        return self.to(dtype)

    def type_as(self, other: Tensor) -> Tensor:
        """This tensor in the dtype of another."""
        return self.to(other.dtype)

    def cpu(self, memory_format: Any = None) -> Tensor:
        """The tensor itself."""
        return self

    def cuda(self, *args: Any, **kwargs: Any) -> Tensor:
        """Always an error, PyTorch's without a GPU: lamina computes on the CPU."""
        return self.to("cuda")

    def pin_memory(self, device: Any = None) -> Tensor:
        raise RuntimeError("Cannot access accelerator device when none is available.")

    # -- autograd --------------------------------------------------------------------------------------------------

    def backward(
        self,
        gradient: Any = None,
        retain_graph: bool | None = None,
        create_graph: bool = False,
        inputs: Any = None,
    ) -> None:
        """Accumulate the gradients of this tensor with respect to the leaves into their ``.grad``."""
        _walk.backward(self, gradient, retain_graph, create_graph, inputs)

    def detach(self) -> Tensor:
        """The same memory as a tensor without history."""
        return alias(self)

    def detach_(self) -> Tensor:
        """Forget this tensor's history; raises ``RuntimeError`` on a view."""
        if self._base is not None and self._requires:
            raise RuntimeError("Can't detach views in-place. Use detach() instead.")
        self._node, self._index, self._requires = None, 0, False
        return self

    def retain_grad(self) -> None:
        """Keep ``.grad`` of this non-leaf when ``backward`` passes it."""
        if not self.requires_grad:
            raise RuntimeError("can't retain_grad on Tensor that has requires_grad=False")
        node, index = self._history()
        if node is not None and not self._retains:
            self._retains = True
            if node._retain is None:
                node._retain = {}
            node._retain[index] = weakref.ref(self)

    @property
    def retains_grad(self) -> bool:
        return self._retains

    def register_hook(self, hook: Any) -> Handle:
        """Call ``hook(grad)`` whenever this tensor's gradient is computed; what it returns replaces the gradient."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        node, index = self._history()
        if node is None:
            if self._hooks is None:
                self._hooks = {}
            return Handle(self._hooks, hook)
        if node._hooks is None:
            node._hooks = {}
        return Handle(node._hooks.setdefault(index, {}), hook)

    def register_post_accumulate_grad_hook(self, hook: Any) -> Handle:
        """Call ``hook(leaf)`` after a gradient was added to this leaf's ``.grad``."""
        if not self.requires_grad:
            raise RuntimeError("cannot register a hook on a tensor that doesn't require gradient")
        if not self.is_leaf:
            raise RuntimeError("post accumulate grad hooks cannot be registered on non-leaf tensors")
        if self._after_hooks is None:
            self._after_hooks = {}
        return Handle(self._after_hooks, hook)

    # -- Python's protocols ----------------------------------------------------------------------------------------

    def __repr__(self, *, tensor_contents: Any = None) -> str:
        from lamina._formatting import tensor_repr

        return tensor_repr(self)

    def __format__(self, spec: str) -> str:
        if self._a.ndim == 0:
            return self._a.item().__format__(spec)
        return object.__format__(self, spec)

    def __len__(self) -> int:
        if self._a.ndim == 0:
            raise TypeError("len() of a 0-d tensor")
        return self._a.shape[0]

    def __iter__(self) -> Iterator[Tensor]:
        if self._a.ndim == 0:
            raise TypeError("iteration over a 0-d tensor")
        return iter(self.unbind(0))

    def __bool__(self) -> bool:
        if self._a.size != 1:
            if self._a.size == 0:
                raise RuntimeError("Boolean value of Tensor with no values is ambiguous")
            raise RuntimeError("Boolean value of Tensor with more than one value is ambiguous")
        return bool(self._a.item())

    def __int__(self) -> int:
        return int(self._number("int64_t"))

    def __float__(self) -> float:
        return float(self._number("double"))

    def __complex__(self) -> complex:
        return complex(self._number(""))

    def _number(self, target: str) -> Any:
        """The only element, for a conversion by Python to the C type ``target``."""
        if self._a.size != 1:
            raise ValueError(f"only one element tensors can be converted to Python scalars, but this has {self._a.size}")
        value = self._a.item()
        if target and isinstance(value, complex) and value.imag:
            raise RuntimeError(f"value cannot be converted to type {target} without overflow: {value}")
        return value.real if target and isinstance(value, complex) else value

    def __index__(self) -> int:
        if self._a.dtype.kind not in "iub" or self._a.size != 1:
            raise TypeError("only integer tensors of a single element can be converted to an index")
        return int(self._a.item())

    def __contains__(self, element: Any) -> bool:
        if isinstance(element, (Tensor, int, float, complex, bool)):
            return bool((self == element)._a.any())
        raise RuntimeError(
            f"Tensor.__contains__ only supports Tensor or scalar, but you passed in a {type(element)}."
        )

    __getitem__ = indexing.getitem

    def __setitem__(self, index: Any, value: Any) -> None:
        indexing.setitem(self, index, value)

    def __deepcopy__(self, memo: dict) -> Tensor:
        if id(self) in memo:
            return memo[id(self)]
        if not self.is_leaf:
            raise RuntimeError(
                "Only Tensors created explicitly by the user (graph leaves) support the deepcopy protocol at the moment. If you "
                "were attempting to deepcopy a module, this may be because of a torch.nn.utils.weight_norm usage, see "
                "https://github.com/pytorch/pytorch/pull/103001"
            )
        twin = object.__new__(type(self))
        memo[id(self)] = twin
        twin._a = self._plain().copy(order="K")
        twin._requires = self._requires
        if self._grad is not None:
            twin._grad = copy.deepcopy(self._grad, memo)
        for name, value in self.__dict__.items():
            if name not in _BOOKKEEPING:
                twin.__dict__[name] = copy.deepcopy(value, memo)
        return twin

    def __reduce_ex__(self, protocol: Any) -> Any:
        if not self.is_leaf and self._requires:
            raise RuntimeError(
                "a non-leaf tensor that requires a gradient cannot be pickled; detach() it first"
            )
        extra = {name: value for name, value in self.__dict__.items() if name not in _BOOKKEEPING}
        return _rebuild, (
            type(self),
            np.ascontiguousarray(self._a).reshape(self._a.shape),
            self._requires,
            extra,
        )

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)

    def __dir__(self) -> list[str]:
        return sorted(set(dir(type(self))) | set(self.__dict__))

    # -- operators -------------------------------------------------------------------------------------------------

    def __pow__(self, other: Any) -> Any:
        return _operator(pointwise.pow, self, other)

    def __rpow__(self, other: Any) -> Any:
        return _operator(pointwise.pow, other, self)

    def __rsub__(self, other: Any) -> Any:
        return _operator(pointwise.sub, other, self)

    def __rtruediv__(self, other: Any) -> Any:
        if self._a.dtype in HALVES and isinstance(other, (int, float)):
            return unary.reciprocal(self) * other  # rounded twice, as PyTorch does it
        return _operator(pointwise.div, other, self)

    def __rfloordiv__(self, other: Any) -> Any:
        return _operator(pointwise.floor_divide, other, self)

    def __rmod__(self, other: Any) -> Any:
        return _operator(pointwise.remainder, other, self)

    def __rmatmul__(self, other: Any) -> Any:
        return NotImplemented

    def __rlshift__(self, other: Any) -> Any:
        return _operator(pointwise.bitwise_left_shift, other, self)

    def __rrshift__(self, other: Any) -> Any:
        return _operator(pointwise.bitwise_right_shift, other, self)

    def __neg__(self) -> Any:
        return unary.neg(self)

    def __pos__(self) -> Any:
        return unary.positive(self)

    def __abs__(self) -> Any:
        return unary.abs(self)

    def __invert__(self) -> Any:
        if self._a.dtype.kind not in "iub":
            raise TypeError(
                f"~ (operator.invert) is only implemented on integer and Boolean-type tensors, but got {self.dtype}"
            )
        return pointwise.bitwise_not(self)


_BOOKKEEPING = frozenset(
    "_a _node _index _requires _grad _writes _hidden _base _replay _rebased _stamp _hooks _after_hooks _retains "
    "_inference".split()
)
_NUMBERS = (int, float, complex, Variable, np.generic, np.ndarray)


def _rebuild(kind: type, array: np.ndarray, requires: bool, extra: dict) -> Any:
    t: Any = object.__new__(kind)
    t._a = np.asarray(array) if array.flags.writeable else np.array(array)
    t._requires = requires
    t.__dict__.update(extra)
    return t


def _operator(function: Any, x: Any, y: Any) -> Any:
    other = y if isinstance(x, Variable) else x
    if not isinstance(other, _NUMBERS):
        return NotImplemented
    if isinstance(other, np.ndarray):
        other = creation.from_numpy(other)
        x, y = (x, other) if isinstance(x, Variable) else (other, y)
    return function(x, y)


def _binary(op: Any, function: Any) -> Any:
    """An operator method; operations that have an express lane take it without a detour."""

    def method(self: Any, other: Any) -> Any:
        return _operator(function, self, other)

    return method if op is None else express.operator(op, method)


def _matmul(self: Any, other: Any) -> Any:
    if not isinstance(other, Variable):
        return _operator(linalg.matmul, self, other)
    a, b = self._a, other._a
    if a.dtype is b.dtype is F32 and b.ndim and a.shape[-1:] == b.shape[:1] and not detours:  # nothing is to be checked
        if a.ndim == 1 == b.ndim:
            return linalg.Dot.apply(self, other)
        if a.ndim == 2 == b.ndim:
            return linalg.MatMul.apply(self, other, False, False)
    return linalg.matmul(self, other)


def _augmented(name: str, function: Any) -> Any:
    method = inplace(function, name + "_")

    def operator(self: Any, other: Any) -> Any:
        if not isinstance(other, _NUMBERS):
            return NotImplemented
        return method(self, other)

    return operator


class _Unread:
    """A method whose family has not been read: asked for, it reads it and gives its place to the function."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, t: Any, kind: Any = None) -> Any:
        name = self.name
        function = ops.METHODS[name] if name in ops.METHODS else inplace(ops.INPLACE[name[:-1]], name)
        setattr(Tensor, name, function)
        return function if t is None else function.__get__(t, kind)


def _fill_in() -> None:
    """Give the class its operators and the methods that the operations' tables name."""
    p = pointwise
    direct = {"add": p.Add, "sub": p.Sub, "mul": p.Mul, "truediv": p.Div}
    for name, function in {
        "add": p.add, "sub": p.sub, "mul": p.mul, "truediv": p.div, "floordiv": p.floor_divide, "mod": p.remainder,
        "and": p.bitwise_and,
        "or": p.bitwise_or, "xor": p.bitwise_xor, "lshift": p.bitwise_left_shift, "rshift": p.bitwise_right_shift,
        "matmul": linalg.matmul,
    }.items():  # fmt: skip
        setattr(Tensor, f"__{name}__", _binary(direct.get(name), function) if name != "matmul" else _matmul)
        if name in ("add", "mul", "and", "or", "xor"):
            setattr(Tensor, f"__r{name}__", _binary(direct.get(name), function))
        if name != "matmul":
            setattr(Tensor, f"__i{name}__", _augmented(function.__name__, function))
    for name, op, kernel, label in (
        ("__rsub__", p.Sub, kernels.sub, "RsubBackward1"), ("__rtruediv__", p.Div, kernels.div, ""),
    ):  # fmt: skip
        setattr(Tensor, name, express.flipped(op, kernel, label, getattr(Tensor, name), keeps=op is p.Div))
    Tensor.__ipow__ = _augmented("pow", p.pow)  # type: ignore[attr-defined]
    for name in ("eq", "ne", "lt", "le", "gt", "ge"):
        setattr(Tensor, f"__{name}__", express.test(getattr(kernels, name), _comparison(getattr(p, name), name)))
    Tensor.__hash__ = object.__hash__  # type: ignore[assignment, method-assign]  # setting __eq__ does not unset it, but let it be seen
    for name in (*ops.METHODS, *(f"{name}_" for name in ops.INPLACE)):
        if name not in Tensor.__dict__:
            setattr(Tensor, name, _Unread(name))
    for name in (
        "double",
        "float",
        "half",
        "bfloat16",
        "long",
        "int",
        "short",
        "char",
        "byte",
        "bool",
        "cfloat",
        "cdouble",
    ):
        dtype = {"char": _dtypes.int8, "byte": _dtypes.uint8}.get(name) or getattr(_dtypes, name)
        setattr(Tensor, name, _cast_method(name, dtype))


def _comparison(function: Any, name: str) -> Any:
    def method(self: Any, other: Any) -> Any:
        if not isinstance(other, _NUMBERS):
            return NotImplemented
        return _operator(function, self, other)

    return method


def _cast_method(name: str, dtype: Any) -> Any:
    def method(self: Any, memory_format: Any = None) -> Any:
        return pointwise.cast(self, dtype)

    method.__name__ = method.__qualname__ = name
    method.__doc__ = f"This tensor as {dtype!r}."
    return method


graph.set_tensor_type(Tensor)
_fill_in()
