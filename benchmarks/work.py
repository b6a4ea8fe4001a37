"""How much a row has to do: operations of arithmetic, and bytes that must be moved, from the shapes of its arrays.

Arithmetic is twice the multiply-adds of layers with weights, which ``lamina.summary`` counts, and of products; a pass backward is
two of those forward. Memory is every input, parameter, result and gradient once: the least that any implementation moves. Both
hold for either library, so the worker that has lamina counts for both.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from typing import Any

from benchmarks.models import by_name, dcgan

Work = dict[str, float]  # "flop", where the row has products to compute, and "bytes"
PASSES = {"SGD": 5, "Adam": 7}  # arrays as large as the parameters that a step of an optimizer moves, SGD with momentum


def moved(values: Iterable[Any]) -> int:
    """The bytes of tensors, each counted once."""
    arrays = {id(value): value for value in values if hasattr(value, "element_size")}
    return sum(value.numel() * value.element_size() for value in arrays.values())


def products_of(torch: Any, module: Any, arguments: tuple) -> list[int]:
    """The multiply-adds of each layer that multiplies by a matrix, in the order of the calls."""
    rows = torch.summary(module, input_data=list(arguments), verbose=0, col_names=("mult_adds",)).summary_list
    return [row.macs for row in rows if row.macs and any(p.dim() > 1 for p in row.module.parameters(recurse=False))]


def of_layer(torch: Any, module: Any, arguments: tuple, result: Any, backward: bool, products: int | None = None) -> Work:
    """One call of a layer, forward or there and back; ``products`` are the multiply-adds of what is no layer with weights."""
    inputs = [*arguments, *module.parameters()]
    work: Work = {"bytes": moved(inputs) + moved([result])}
    if backward:
        work["bytes"] += moved([result]) + moved(value for value in inputs if getattr(value, "requires_grad", False))
    if products is None and any(True for _ in module.parameters()):
        products = sum(products_of(torch, module, arguments))
    if products:
        work["flop"] = 2 * products * (3 if backward else 1)
    return work


def of_attention(causal: bool) -> Callable[[tuple], int]:
    """The multiply-adds of q·kᵀ and of the weights with v; a causal mask leaves half."""

    def products(arguments: tuple) -> int:
        query, key, value = arguments
        pairs = math.prod(query.shape[:-1]) * key.shape[-2]
        return pairs * (query.shape[-1] + value.shape[-1]) // (2 if causal else 1)

    return products


def of_lookup(module: Any, index: Any, result: Any, backward: bool) -> Work:
    """The rows that are looked up and what is made of them; backward the gradient of the whole table, if it is not sparse."""
    found = index.numel() * module.weight.shape[1] * 4
    work = moved([index, result]) + found
    if backward:
        work += moved([result]) + (found if module.sparse else moved([module.weight]))
    return {"bytes": work}


def of_update(optimizer: Any) -> Work:
    """A step of an optimizer that has made one: parameter and state read and written, gradient read."""
    total = 0
    for group in optimizer.param_groups:
        for p in group["params"]:
            state = [value for value in optimizer.state.get(p, {}).values() if getattr(value, "ndim", 0)]
            total += 2 * moved([p, *state]) + moved([p.grad])
    return {"bytes": total}


def of_step(torch: Any, net: Any, x: Any, passes: int) -> Work:
    """A training step of a network; the first layer's gradient to the data is not asked for."""
    each = products_of(torch, net, (x,))
    products = 3 * sum(each) - (each[0] if x.is_floating_point() else 0)
    return {"flop": 2 * products, "bytes": (passes + 2) * moved(net.parameters()) + moved([x])}


@functools.cache
def of_model(torch: Any, name: str, batch: int, training: bool) -> Work:
    """A model in use, or a step of its training."""
    model = by_name(name)
    net = model.make(torch)
    if not training:
        x = model.sample(torch, batch, model.shape, model.words)
        one = model.sample(torch, 1, model.shape, model.words)
        products = batch * sum(products_of(torch, net.eval(), (one,)))
        return {"flop": 2 * products, "bytes": moved([*net.parameters(), x])}
    x = model.sample(torch, batch, model.training or model.shape, model.words)
    if model.build is not dcgan:
        return of_step(torch, net.train(), x, PASSES[model.optimizer])
    # The critic sees real images, drawn ones, and these again for the generator's sake.
    images = net(x).detach()
    draw, judge = sum(products_of(torch, net.generator, (x,))), sum(products_of(torch, net.critic, (images,)))
    return {"flop": 2 * (3 * draw + 9 * judge), "bytes": (PASSES["Adam"] + 2) * moved(net.parameters()) + moved([x, images])}
