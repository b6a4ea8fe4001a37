"""`lamina.summary`: one forward pass, watched, becomes a table of layers, shapes, parameters and multiply-adds."""

from __future__ import annotations

import math
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from lamina import _dtypes as dtypes
from lamina._tensor import Tensor
from lamina.autograd import no_grad
from lamina.nn.modules.attention import MultiheadAttention
from lamina.nn.modules.conv import _ConvNd, _ConvTransposeNd
from lamina.nn.modules.linear import Bilinear, Linear
from lamina.nn.modules.module import Module
from lamina.nn.modules.rnn import RNNBase
from lamina.nn.modules.sparse import _Table
from lamina.nn.parameter import is_lazy
from lamina.ops.creation import from_numpy
from lamina.random import Generator, default_generator
from lamina.utils._objects import typename
from lamina.utils._summary_table import COLUMNS, ROW_SETTINGS, Formatting, ModelStatistics

__all__ = ["LayerInfo", "ModelStatistics", "summary"]

_NEEDS_INPUT = {"input_size", "output_size", "mult_adds"}


class LayerInfo:
    """A row of the table: one call of a layer, or a container of such layers.

    Attributes:
        class_name, var_name (str): its class, and the attribute that holds it.
        path (str): its full name in the model, as `named_modules` gives it.
        depth, depth_index (int): how deep it is in the model, and its number among the rows so deep.
        input_size, output_size (list): the shapes of its first input and result.
        kernel_size: the layer's, if it has one.
        num_params, trainable_params, param_bytes (int): its parameters and those of the layers inside.
        leftover_params (int): those parameters that belong to none of the rows below it.
        macs (int): multiply-adds of its own; `total_macs` with those of the rows below it.
        output_bytes (int): the size of its first result.
        executed, is_recursive, is_leaf_layer (bool): whether it was called itself; whether it was there before, in a
            row above; whether it has no layers inside.
    """

    def __init__(self, module: Module, path: str, depth: int) -> None:
        self.module, self.layer_id, self.path, self.depth = module, id(module), path, depth
        self.var_name = path.rpartition(".")[2] if path else type(module).__name__
        self.depth_index = 0
        self.children: list[LayerInfo] = []
        self.below: set[int] = set()  # the parameters of the children, of all rows of this layer
        self.executed = self.is_recursive = False
        self.input_size: list[int] = []
        self.output_size: list[int] = []
        self.output_bytes = self.macs = 0
        self.refresh()

    def refresh(self) -> None:
        """Look at the layer's class and parameters, which a lazy layer only has after its call."""
        module = self.module
        self.class_name = type(module).__name__
        self.is_leaf_layer = not any(True for _ in module.children())
        size = getattr(module, "kernel_size", None)
        self.kernel_size = list(size) if isinstance(size, Iterable) else size
        self.counts = {id(p): _count(module, name, p) for name, p in _parameters(module)}
        self.num_params = sum(self.counts.values())
        self.trainable_params = sum(self.counts[id(p)] for _, p in _parameters(module) if p.requires_grad)
        self.param_bytes = sum(self.counts[id(p)] * p.element_size() for _, p in _parameters(module))
        self.inner_layers: dict[str, tuple[list[int], int]] = {}
        for name, p in _parameters(module):
            if self.depth > 0 or "." not in name:
                name = name.removesuffix("_orig")
                shape = list(p.shape)
                if name == "weight" and len(shape) > 1:  # inputs before outputs
                    shape[0], shape[1] = shape[1], shape[0]
                self.inner_layers[name] = (shape, self.counts[id(p)])

    @property
    def trainable(self) -> str:
        """Whether its parameters are trained: "True", "False" or "Partial"; "--" where it has none."""
        if self.num_params == 0:
            return "--"
        if self.trainable_params == 0:
            return "False"
        return "True" if self.num_params == self.trainable_params else "Partial"

    @property
    def leftover_params(self) -> int:
        """How many parameters belong to none of the rows below."""
        return sum(n for key, n in self.counts.items() if key not in self.below)

    @property
    def total_macs(self) -> int:
        """Multiply-adds of this row and those below."""
        return self.macs + sum(child.macs for child in self.children)

    def __repr__(self) -> str:
        return f"{self.class_name}: {self.depth}"


# -- counting ------------------------------------------------------------------------------------------------------


def _parameters(module: Module) -> list[tuple[str, Tensor]]:
    return [(name, p) for name, p in module.named_parameters() if not is_lazy(p)]


def _count(module: Module, name: str, p: Tensor) -> int:
    """The elements of a parameter; of a pruned one, those that its mask leaves."""
    if name.endswith("_orig"):
        path, _, last = name.rpartition(".")
        mask = getattr(module.get_submodule(path), last.removesuffix("_orig") + "_mask", None)
        if mask is not None:
            return int(mask.sum())
    return int(p.numel())


def _first(values: Any) -> Any:
    """The array whose shape a row shows: the first of a list or a packed sequence, the last of a dict."""
    if isinstance(values, (Tensor, np.ndarray)):
        return values
    if isinstance(values, Mapping):
        values = list(values.values())[-1:]
    if isinstance(values, Sequence) and not isinstance(values, str):
        return next((found for found in map(_first, values) if found is not None), None)
    return None


def _shape(values: Any) -> list[int]:
    found = _first(values)
    return [] if found is None else list(found.shape)


def _macs(module: Module, inputs: Any, outputs: Any) -> int:
    """Multiply-adds with the weights of this layer itself, an addition of a bias counted as one."""
    x, y = _shape(inputs), _shape(outputs)
    own = {name.removesuffix("_orig"): _count(module, name, p) for name, p in _parameters(module) if "." not in name}
    weight, bias = own.get("weight", 0), own.get("bias", 0)
    if isinstance(module, _ConvNd):
        if "weight" not in own:  # computed from others: weight norm, a parametrization
            weight = module.out_channels * module.in_channels // module.groups * math.prod(module.kernel_size)
        n = len(module.kernel_size)
        batch = math.prod(y[: -n - 1])
        reach = math.prod((x if isinstance(module, _ConvTransposeNd) else y)[-n:])
        return batch * (weight * reach + bias * math.prod(y[-n:]))
    if isinstance(module, (Linear, Bilinear)):
        if "weight" not in own:
            inside = module.in_features if isinstance(module, Linear) else module.in1_features * module.in2_features
            weight = module.out_features * inside
        return math.prod(y[:-1]) * (weight + bias)
    if isinstance(module, _Table):  # rows are looked up
        return 0
    if isinstance(module, MultiheadAttention):
        return _attention_macs(module, inputs, own)
    if isinstance(module, RNNBase):
        steps = math.prod(y[:-1])
        return steps * sum(n for name, n in own.items() if "weight" in name or "bias" in name)
    rows = y[0] if y else 1
    return rows * sum(n for name, n in own.items() if "weight" in name or "bias" in name)


def _attention_macs(module: MultiheadAttention, inputs: Any, own: dict[str, int]) -> int:
    """The projections of query, key, value and result, and the two products between them."""
    query, key = (_shape(a) for a in (inputs[0], inputs[1] if len(inputs) > 1 else inputs[0]))
    time = 1 if len(query) == 3 and module.batch_first else 0
    batch = query[1 - time] if len(query) == 3 else 1
    target, source = query[time], key[time]
    size, keys, values = module.embed_dim, module.kdim, module.vdim
    bias = 1 if module.in_proj_bias is not None else 0
    projections = target * size * (size + bias) + source * size * (keys + values + 2 * bias)
    result = target * size * (size + (module.out_proj.bias is not None))
    return batch * (projections + 2 * target * (source + (module.bias_k is not None)) * size + result)


# -- watching ------------------------------------------------------------------------------------------------------


class _Watch:
    """Makes rows as the layers of a model are called, in the order of the calls, with the containers above them."""

    def __init__(self, model: Module) -> None:
        self.places: dict[int, list[tuple[str, Module]]] = {}  # id of a layer → its paths
        self.modules: dict[str, Module] = {}
        for path, module in model.named_modules(remove_duplicate=False):
            self.places.setdefault(id(module), []).append((path, module))
            self.modules[path] = module
        self.rows: list[LayerInfo] = []
        self.branch: list[LayerInfo] = []  # the rows that lead to the last one
        self.active: list[tuple[LayerInfo, Any]] = []  # calls that have not returned, with their inputs
        self.seen: set[int] = set()

    def add(self, path: str) -> LayerInfo:
        """A row for a layer, under rows for the containers that it is in."""
        names = path.split(".") if path else []
        chain = [""] + [".".join(names[: i + 1]) for i in range(len(names))]
        for depth, place in enumerate(chain):
            if depth < len(self.branch) and depth < len(chain) - 1:
                if self.branch[depth].module is self.modules[place]:
                    continue
            del self.branch[depth:]
            row = LayerInfo(self.modules[place], place, depth)
            row.is_recursive = row.layer_id in self.seen
            self.seen.add(row.layer_id)
            for above in self.branch:
                above.children.append(row)
            self.rows.append(row)
            self.branch.append(row)
        return self.branch[-1]

    def place(self, module: Module) -> str:
        """A layer's path; of several, the one inside of the innermost call that is going on."""
        paths = [path for path, _ in self.places[id(module)]]
        if len(paths) > 1:
            for row, _ in reversed(self.active):
                for path in paths:
                    if row.path == "" or path.startswith(row.path + "."):
                        return path
        return paths[0]

    def call(self, plain: Any, module: Module, args: Any, kwargs: Any) -> Any:
        """Call a layer, and fill its row."""
        row = self.add(self.place(module))
        inputs = args if args else tuple(kwargs.values())
        self.active.append((row, inputs))
        result = plain(module, *args, **kwargs)
        self.active.pop()  # not where it raises: what is left says which layer it was
        row.executed = True
        row.input_size, row.output_size = _shape(inputs), _shape(result)
        found = _first(result)
        row.output_bytes = 0 if found is None else math.prod(found.shape) * found.dtype.itemsize
        row.macs = _macs(module, inputs, result)
        return result

    def finish(self) -> list[LayerInfo]:
        """Number the rows, and see whose parameters are whose."""
        numbers: dict[int, int] = {}
        below: dict[int, set[int]] = {}
        for row in self.rows:
            row.depth_index = numbers[row.depth] = numbers.get(row.depth, 0) + 1
            row.refresh()
        for row in self.rows:
            row.below = below.setdefault(row.layer_id, set())
            for child in row.children:
                row.below.update(child.counts)
        return self.rows


@contextmanager
def _watching(watch: _Watch) -> Iterator[None]:
    """Every call of a layer goes through `watch`. Nothing is registered with the model, so no path in it changes."""
    plain, thread = Module.__call__, threading.get_ident()

    def call(self: Module, *args: Any, **kwargs: Any) -> Any:
        if id(self) not in watch.places or threading.get_ident() != thread:
            return plain(self, *args, **kwargs)
        return watch.call(plain, self, args, kwargs)

    Module.__call__ = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        Module.__call__ = plain  # type: ignore[method-assign]


@contextmanager
def _unchanged(model: Module) -> Iterator[None]:
    """Leave modes, buffers and the generator as they were: the pass works on copies of the buffers."""
    modes = [(m, m.training) for m in model.modules()]
    kept = [(m._buffers, dict(m._buffers)) for m in model.modules() if m._buffers]
    copies: dict[int, Any] = {}
    for buffers, own in kept:
        for name, b in own.items():
            if b is not None and not is_lazy(b):
                buffers[name] = copies.setdefault(id(b), b.clone())
    state = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(state)
        for buffers, own in kept:
            for name, b in own.items():
                if b is None or not is_lazy(b):  # one that has a shape only now stays
                    buffers[name] = b
            for name in [n for n in buffers if n not in own]:
                del buffers[name]
        for m, mode in modes:
            m.training = mode


# -- inputs ----------------------------------------------------------------------------------------------------------


def _sizes(input_size: Any) -> list[tuple[int, ...]]:
    """The shapes of all inputs, from one shape or a list of shapes."""
    if not isinstance(input_size, (list, tuple)):
        raise TypeError(f"summary: input_size must be a shape or a list of shapes, but got {typename(input_size)}")
    shapes = input_size if input_size and isinstance(input_size[0], (list, tuple)) else [input_size]
    for shape in shapes:
        if not isinstance(shape, (list, tuple)) or not all(isinstance(n, int) for n in shape):
            raise TypeError(f"summary: a shape must be a tuple of ints, but input_size is {input_size!r}")
    if not input_size or any(n <= 0 for shape in shapes for n in shape):
        raise ValueError(f"summary: sizes must be positive, but input_size is {input_size!r}")
    return [tuple(shape) for shape in shapes]


def _made_up(shapes: list[tuple[int, ...]], batch_dim: int | None, kinds: Any) -> list[Tensor]:
    """Inputs of the given shapes: the same numbers in [0, 1) every time, and zeros where they are integers."""
    from lamina.ops.random import rand

    kinds = [dtypes.float32] * len(shapes) if kinds is None else list(kinds)
    if len(kinds) != len(shapes):
        raise ValueError(f"summary: {len(shapes)} inputs, but dtypes has {len(kinds)} entries")
    generator = Generator()
    generator.manual_seed(0)
    inputs = []
    for shape, kind in zip(shapes, kinds, strict=True):
        x = rand(shape, generator=generator, dtype=dtypes.float32)
        inputs.append((x if batch_dim is None else x.unsqueeze(batch_dim)).to(kind))
    return inputs


def _tensors(data: Any) -> Any:
    """Input data with tensors in the place of arrays."""
    if isinstance(data, np.ndarray):
        return from_numpy(data)
    if isinstance(data, Tensor) or isinstance(data, str):
        return data
    if isinstance(data, Mapping):
        return type(data)({key: _tensors(value) for key, value in data.items()})  # type: ignore[call-arg]
    if isinstance(data, tuple) and hasattr(data, "_fields"):
        return type(data)(*map(_tensors, data))
    if isinstance(data, (list, tuple)):
        return type(data)(map(_tensors, data))
    return data


def _leaves(data: Any) -> Iterator[Tensor]:
    if isinstance(data, Tensor):
        yield data
    elif isinstance(data, Mapping):
        for value in data.values():
            yield from _leaves(value)
    elif isinstance(data, (list, tuple)):
        for value in data:
            yield from _leaves(value)


def _shapes_of(data: Any) -> Any:
    """The data with shapes in the place of tensors."""
    if isinstance(data, Tensor):
        return data.shape
    if isinstance(data, Mapping):
        return {key: _shapes_of(value) for key, value in data.items()}
    return [_shapes_of(value) for value in data] if isinstance(data, (list, tuple)) else data


# -- the whole -------------------------------------------------------------------------------------------------------

_kept: list[LayerInfo] = []  # of the last pass that was to be kept


def _choices(name: str, given: Iterable[str], known: Iterable[str]) -> tuple[str, ...]:
    given, known = tuple(given), tuple(known)
    for choice in given:
        if choice not in known:
            raise ValueError(f"summary: {name} must be of {', '.join(known)}, but got {choice!r}")
    return given


def summary(
    model: Module,
    input_size: Any = None,
    input_data: Any = None,
    batch_dim: int | None = None,
    cache_forward_pass: bool | None = None,
    col_names: Iterable[str] | None = None,
    col_width: int = 25,
    depth: int = 3,
    device: Any = None,
    dtypes: Iterable[Any] | None = None,
    mode: str | None = None,
    row_settings: Iterable[str] | None = None,
    verbose: int | None = None,
    **kwargs: Any,
) -> ModelStatistics:
    """A table of a model's layers: shapes, parameters, multiply-adds and memory, found by one forward pass.

    Arguments, table and numbers are those of torchinfo's `summary`. The pass leaves the model as it was: the mode of every
    layer, buffers such as running statistics, gradients, and the random generator. (Lazy layers get their shapes.)

    Where the numbers differ from torchinfo's, on purpose: a parameter that several layers share counts once, and those
    that belong to no single layer count in full; a linear layer is applied to every position of its input, not to every
    sample; a transposed convolution multiplies once per input position; a lookup in an embedding multiplies nothing; an
    attention counts, projections and products. As in torchinfo only layers count, not functions called in `forward`, and
    norms and other elementwise layers count once per sample.

    Args:
        model (Module): the model.
        input_size (shape or list of shapes): of the inputs, with the batch. Without it or `input_data` there is no pass,
            and the table shows parameters only.
        input_data (Tensor, array, list or dict): the inputs themselves; a list is passed as positional arguments, a dict
            as keyword arguments.
        batch_dim (int, optional): where the dimension of the batch, of size 1, is to be inserted into the inputs.
        cache_forward_pass (bool): whether to keep the pass, and show it again, with other columns perhaps, in the next call
            for the same model. Default: False.
        col_names (iterable of str): of "input_size", "output_size", "num_params", "params_percent", "kernel_size",
            "mult_adds", "trainable". Default: ("output_size", "num_params").
        col_width (int): the width of a column. Default: 25.
        depth (int): how deep the table goes into the model. Default: 3.
        device (device, optional): the CPU.
        dtypes (list of dtype, optional): of the inputs that `input_size` describes. Default: float32.
        mode (str): "eval" or "train". Default: "eval".
        row_settings (iterable of str): of "depth", "var_names", "ascii_only", "hide_recursive_layers". Default: ("depth",).
        verbose (int): 0 prints nothing, 1 the table, 2 the table with every weight. Default: 1, in an interactive session 0.
        **kwargs: further arguments of the model's `forward`.

    Raises:
        RuntimeError: the pass failed; the message names the layer and its input. Or both inputs were given.
        ValueError: an unknown column, row setting or mode, a size that is not positive, a column that needs inputs.
        TypeError: something that is no model, or no shape.

    >>> table = lamina.summary(nn.Sequential(nn.Linear(3, 4), nn.ReLU()), (2, 3), verbose=0)
    >>> table.total_params, table.total_mult_adds
    (16, 32)
    """
    if not isinstance(model, Module):
        raise TypeError(f"summary: model must be a Module, but got {typename(model)}")
    if input_size is not None and input_data is not None:
        raise RuntimeError("summary: only one of input_data and input_size can be given")
    without = input_size is None and input_data is None
    if col_names is None:
        col_names = ("num_params",) if without else ("output_size", "num_params")
    columns = _choices("col_names", col_names, COLUMNS)
    rows_show = _choices("row_settings", ("depth",) if row_settings is None else row_settings, ROW_SETTINGS)
    (mode,) = _choices("mode", ["eval" if mode is None else mode], ("eval", "train"))
    if without and _NEEDS_INPUT & set(columns):
        raise ValueError(f"summary: the columns {sorted(_NEEDS_INPUT & set(columns))} need input_size or input_data")
    if col_width <= 0:
        raise ValueError(f"summary: col_width must be greater than 0, but got {col_width}")
    if verbose is None:
        verbose = 0 if getattr(sys, "ps1", None) else 1
    if verbose not in (0, 1, 2):
        raise ValueError(f"summary: verbose must be 0 (quiet), 1 (the table) or 2 (with weights), but got {verbose!r}")
    _check_device(device)

    model = getattr(model, "_orig_mod", model)  # a compiled model is shown as what it was compiled from
    data, shapes = None, []
    if input_size is not None:
        shapes = _sizes(input_size)
        data = _made_up(shapes, batch_dim, dtypes)
    elif input_data is not None:
        data = _tensors(input_data)
        data = data if isinstance(data, (list, tuple, Mapping)) else [data]
        shapes = _shapes_of(data)
    if cache_forward_pass and _kept and _kept[0].module is model:
        rows = list(_kept)
    else:
        rows = _run(model, data, mode, kwargs)
        _kept[:] = rows if cache_forward_pass else []
    total_input = sum(x.numel() * x.element_size() for x in _leaves(data))
    result = ModelStatistics(rows, shapes, total_input, Formatting(depth, verbose, columns, col_width, rows_show))
    if verbose:
        print(result)
    return result


def _check_device(device: Any) -> None:
    if device is not None:
        from lamina.ops.creation import empty

        empty(0, device=device)  # raises for one that is not here


def _run(model: Module, data: Any, mode: str, kwargs: dict[str, Any]) -> list[LayerInfo]:
    """The rows of one forward pass, or without data of all layers as they are registered."""
    watch = _Watch(model)
    if data is None:
        for path in watch.modules:
            watch.add(path)
        return watch.finish()
    with _unchanged(model), no_grad():
        model.train(mode == "train")
        with _watching(watch):
            try:
                if isinstance(data, Mapping):
                    model(**data, **kwargs)
                else:
                    model(*data, **kwargs)
            except Exception as error:
                raise RuntimeError(_failure(watch, error)) from error
    return watch.finish()


def _failure(watch: _Watch, error: Exception) -> str:
    if not watch.active:
        return f"summary: the model could not be called: {error}"
    row, inputs = watch.active[-1]
    where = f"layer '{row.path}' ({row.class_name})" if row.path else f"the model ({row.class_name}) itself"
    given = ", ".join(str(list(x.shape)) for x in _leaves(inputs)) or "no tensors"
    return f"summary: {where} failed on input of shape {given}: {type(error).__name__}: {error}"
