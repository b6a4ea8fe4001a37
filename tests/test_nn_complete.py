"""Every public name of ``torch.nn`` is here, with the same arguments; what is not yet is listed, and the lists only shrink."""

from __future__ import annotations

import importlib
import inspect

import pytest
from support import need_torch
from test_signatures import described

import lamina
from lamina import nn

# What PyTorch's modules import for themselves, and machinery for subclasses of tensors and for its compiler.
NOT_API = {
    "functional": {
        "Optional", "assert_int_or_pair", "boolean_dispatch", "handle_torch_function", "has_torch_function",
        "has_torch_function_unary", "has_torch_function_variadic",
    },
    "init": {"Literal"},
}  # fmt: skip

# Not there yet. A name that appears must be taken out of its list.
MISSING: dict[str, set[str]] = {}

UTILS = (
    "clip_grad", "convert_parameters", "fusion", "init", "memory_format", "parametrizations", "parametrize", "prune", "rnn",
    "spectral_norm", "stateless", "weight_norm",
)  # fmt: skip


def own(module):
    """The public functions and classes that a module without ``__all__`` defines."""
    return {n for n, v in vars(module).items() if not n.startswith("_") and getattr(v, "__module__", "") == module.__name__}


def areas():
    """(area, names of PyTorch's, where ours are)."""
    torch = need_torch()
    yield "modules", set(torch.nn.modules.__all__), torch.nn, nn
    for name in ("functional", "init"):
        public = {n: v for n, v in vars(getattr(torch.nn, name)).items() if not n.startswith("_")}
        functions = {n for n, v in public.items() if callable(v) and not inspect.isclass(v)}
        yield name, functions, getattr(torch.nn, name), getattr(nn, name)
    yield "parameter", set(torch.nn.parameter.__all__), torch.nn.parameter, nn.parameter
    yield "utils", set(torch.nn.utils.__all__), torch.nn.utils, nn.utils
    for name in UTILS:
        theirs, ours = (importlib.import_module(f"{package}.nn.utils.{name}") for package in ("torch", "lamina"))
        yield f"utils.{name}", set(theirs.__all__) if hasattr(theirs, "__all__") else own(theirs), theirs, ours
    yield "func", {"functional_call", "stack_module_state"}, torch.func, lamina.func


def test_every_name_is_there_or_listed():
    for area, names, _, ours in areas():
        missing = {n for n in names - NOT_API.get(area, set()) if not hasattr(ours, n)}
        listed = MISSING.get(area, set())
        assert missing <= listed, f"nn.{area} lacks {sorted(missing - listed)}"
        assert listed <= missing, f"take these out of the list of nn.{area}, for they are there: {sorted(listed - missing)}"


def test_every_present_name_takes_pytorchs_arguments():
    wrong = []
    for area, names, theirs, ours in areas():
        for name in sorted(names - NOT_API.get(area, set()) - MISSING.get(area, set())):
            mine, other = getattr(ours, name), getattr(theirs, name)
            if not callable(mine):
                continue
            assert inspect.isclass(mine) == inspect.isclass(other), name
            # max_pool2d and its like choose between two functions; the plain one is reached by an underscore
            other = getattr(theirs, f"_{name}", other) if area == "functional" else other
            wanted = described(other)
            if wanted is None or name in ("UninitializedTensorMixin", "is_lazy"):
                continue
            given = described(mine)
            # an ``out`` that a builtin has, but does not document
            if given is None or [g for g in given if g[0] != "out"] != [w for w in wanted if w[0] != "out"]:
                wrong.append((f"{area}.{name}", given, wanted))
    assert not wrong


def test_all_layers_are_modules_with_documentation():
    for name in nn.modules.__all__:
        layer = getattr(nn, name)
        assert layer.__doc__ and layer.__doc__.strip(), name
        if inspect.isclass(layer) and name != "LinearCrossEntropyOptions":
            assert issubclass(layer, nn.Module), name


@pytest.mark.parametrize("area", ["functional", "init", "utils"])
def test_all_functions_are_documented(area):
    module = getattr(nn, area)
    for name in module.__all__:
        function = getattr(module, name)
        if inspect.isroutine(function):
            assert function.__doc__ and function.__doc__.strip(), f"{area}.{name}"
