"""Names, order and defaults of arguments are PyTorch's, for everything that both libraries have."""

from __future__ import annotations

import inspect
import re

import pytest
from support import need_torch

import lamina
import lamina.optim
import lamina.utils.data
from lamina import nn

# Public names of `nn.Module` that belong to devices and machinery that are not here.
NOT_OF_MODULE = {"T_destination", "bfloat16", "compile", "dump_patches", "ipu", "mtia", "xpu"}


def default_of(parameter: inspect.Parameter) -> str:
    value = parameter.default
    if value is inspect.Parameter.empty:
        return "required"
    if value is None or isinstance(value, (bool, int, float, str, tuple)):
        return repr(float(value)) if isinstance(value, (int, float)) and not isinstance(value, bool) else repr(value)
    return type(value).__name__


def described(function):
    """(name, default) of every argument but `self`; None if there is nothing to tell (a builtin, or *args alone)."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        return documented(function)
    parameters = [p for p in parameters if p.name not in ("self", "_stacklevel")]
    variadic = {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}
    if parameters and all(p.kind in variadic for p in parameters):
        return None
    return [(p.name, default_of(p)) for p in parameters if p.kind not in variadic]


def documented(function):
    """The arguments of a builtin as the first line of its documentation has them."""
    match = re.match(r"\s*\w+\((.*?)\)\s*->", function.__doc__ or "", re.DOTALL)
    if match is None:
        return None
    result = []
    for argument in re.split(r",\s*(?![^(]*\))", match.group(1)):
        name, _, default = (part.strip() for part in argument.partition("="))
        if name and name not in ("*", "out"):
            number = re.fullmatch(r"(-?[\d.]+(?:e-?\d+)?)(?:/([\d.]+))?", default)
            value = float(number[1]) / float(number[2] or 1) if number else None
            result.append((name, repr(value) if number else default.replace('"', "'") or "required"))
    return result


def pairs():
    """(label, ours, theirs) for every public class and function that both have."""
    try:
        import torch
    except ImportError:
        return []
    result = []
    for label, ours, theirs in (
        ("nn", nn, torch.nn),
        ("functional", nn.functional, torch.nn.functional),
        ("init", nn.init, torch.nn.init),
        ("optim", lamina.optim, torch.optim),
        ("lr_scheduler", lamina.optim.lr_scheduler, torch.optim.lr_scheduler),
        ("swa_utils", lamina.optim.swa_utils, torch.optim.swa_utils),
        ("data", lamina.utils.data, torch.utils.data),
        ("Module", nn.Module, torch.nn.Module),
        ("Optimizer", lamina.optim.Optimizer, torch.optim.Optimizer),
    ):
        names = dir(ours) if inspect.isclass(ours) else ours.__all__ if hasattr(ours, "__all__") else dir(ours)
        for name in sorted(set(names)):
            mine, other = getattr(ours, name), getattr(theirs, name, None)
            if name.startswith("_") or other is None or not callable(mine):
                continue
            if inspect.isclass(mine) != inspect.isclass(other):
                continue
            # max_pool2d and its like choose between two functions; the plain one is reached by an underscore.
            other = getattr(theirs, f"_{name}", other) if label == "functional" else other
            result.append(pytest.param(mine, other, id=f"{label}.{name}"))
    return result


@pytest.mark.parametrize(("ours", "theirs"), pairs())
def test_the_same_arguments(ours, theirs, request):
    wanted = described(theirs)
    label = request.node.callspec.id
    if wanted is None:
        return
    given = described(ours)
    assert given is not None, f"{label} takes anything, PyTorch's takes {wanted}"
    names = {name for name, _ in wanted}
    extra = [(n, d) for n, d in given if n not in names and n != "out"]
    assert [g for g in given if g[0] in names] == wanted
    assert not extra, f"{label} has arguments that PyTorch's has not"


def test_nothing_of_module_is_missing():
    theirs = {n for n in dir(need_torch().nn.Module) if not n.startswith("_")}
    assert theirs - NOT_OF_MODULE <= set(dir(nn.Module))


def test_every_layer_of_a_family_is_exported():
    for family in ("activation", "container", "flatten", "linear", "loss", "module", "piecewise"):
        module = __import__(f"lamina.nn.modules.{family}", fromlist=["__all__"])
        for name in module.__all__:
            assert getattr(nn, name) is getattr(module, name)


def test_methods_of_layers_have_pytorchs_arguments():
    """What users call on a layer beside the call itself: `forward` and `reset_parameters`."""
    torch = need_torch()
    wrong = []
    for name in dir(nn):
        ours, theirs = getattr(nn, name), getattr(torch.nn, name, None)
        if not (inspect.isclass(ours) and inspect.isclass(theirs) and issubclass(ours, nn.Module)):
            continue
        for method in ("forward", "reset_parameters", "flatten_parameters", "extra_repr"):
            mine, other = (getattr(c, method, None) for c in (ours, theirs))
            if other is not None and (wanted := described(other)) is not None:
                given = None if mine is None else described(mine)
                if given != wanted and not (given is None and method == "forward" and "_impl" in repr(mine)):
                    wrong.append((name, method, given, wanted))
    assert not wrong
