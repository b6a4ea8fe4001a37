"""Random draws in any order, size, dtype and memory layout: after the same seed they are PyTorch's, and so is the state."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import need_torch

import lamina

pytest.importorskip("torch", reason="parity of random draws")
torch = need_torch()

# PyTorch draws differently from 16 numbers on, and in blocks of 8 or 16; its twister turns over after 624 words.
SIZES = (0, 1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 63, 64, 65, 311, 312, 313, 623, 624, 625, 1250)
FLOATS = ("float32", "float64", "float16", "bfloat16")
ALL = (*FLOATS, "int64", "int32", "uint8")
# Functions of logarithms and sines may differ in their last bit, and so round to another neighbour in a short dtype.
CLOSE = {"float32": 1e-6, "float64": 1e-12, "float16": 2.0**-10, "bfloat16": 2.0**-7}

sizes = st.sampled_from(SIZES)
seeds = st.integers(-(2**63), 2**64 - 1)
examples = settings(max_examples=60, deadline=None)

# How a target of n numbers lies in memory: the function makes it in either library.
LAYOUTS: dict[str, Callable[[Any, int, Any], Any]] = {
    "plain": lambda m, n, d: m.zeros(n, dtype=d),
    "strided": lambda m, n, d: m.zeros(2 * n, dtype=d)[::2],
    "offset": lambda m, n, d: m.zeros(n + 3, dtype=d)[3:],
    "column": lambda m, n, d: m.zeros(n, 3, dtype=d)[:, 1],
    "transposed": lambda m, n, d: m.zeros(n, 3, dtype=d).t(),
    "part of rows": lambda m, n, d: m.zeros(3, n + 1, dtype=d)[:, :n],
    "permuted": lambda m, n, d: m.zeros(2, n, 3, dtype=d).permute(2, 0, 1),
    "channels last": lambda m, n, d: m.zeros(2, 3, n, 2, dtype=d).to(memory_format=m.channels_last),
    "every other row": lambda m, n, d: m.zeros(4, n, dtype=d)[1::2],
}

# In-place draws: (arguments, dtypes, whether every bit is PyTorch's).
FILLS: dict[str, tuple[tuple[tuple[float, ...], ...], tuple[str, ...], bool]] = {
    "uniform_": (((), (-1.5, 2.25), (0.0, 1e-3), (3.0, 3.0)), FLOATS, True),
    "normal_": (((), (0.5, 2.0), (-3.0, 0.01), (1.0, 0.0)), FLOATS, False),
    "bernoulli_": (((), (0.0,), (0.3,), (1.0,)), ALL, True),
    "exponential_": (((), (0.25,), (7.0,)), FLOATS, False),
    "geometric_": (((0.2,), (0.5,), (0.999,)), ALL, True),
    "cauchy_": (((), (1.0, 0.5)), FLOATS, False),
    "log_normal_": (((), (0.0, 0.25)), FLOATS, False),
    "random_": (((), (100,), (3, 10)), ALL, True),
}


def plain(x: Any) -> np.ndarray:
    """The numbers of a tensor of either library, bfloat16 as float32."""
    return np.asarray((x.float() if "bfloat16" in str(x.dtype) else x).detach().numpy())


def state_of(generator: Any) -> np.ndarray:
    return np.asarray(generator.get_state().numpy())


def same_state(ours: Any, theirs: Any) -> None:
    """Every byte, but for a normal number that waits for the next call: its last bits are the C library's."""
    a, b = state_of(ours).copy(), state_of(theirs).copy()
    waiting_a, waiting_b = a[5024:5032].copy().view("<f8"), b[5024:5032].copy().view("<f8")
    if b[5040:5044].any():
        np.testing.assert_allclose(waiting_a, waiting_b, rtol=1e-12)
    a[5024:5032] = b[5024:5032] = 0  # of no meaning while none waits
    np.testing.assert_array_equal(a, b)


def same(ours: Any, theirs: Any, exact: bool) -> None:
    name = str(theirs.dtype).removeprefix("torch.")
    assert str(ours.dtype).split(".")[-1] == name
    a, b = plain(ours), plain(theirs)
    assert a.shape == b.shape
    if exact or name not in CLOSE:
        np.testing.assert_array_equal(a, b)
    else:
        # a sum of a mean and a normal number may be near 0, where the parts' last bits weigh more
        np.testing.assert_allclose(a, b, rtol=CLOSE[name], atol=CLOSE[name] / 100)


def both(draw: Callable[[Any, Any], Any], seed: int, exact: bool) -> None:
    """``draw(module, generator)``: the same numbers, and a generator in the same state, as in PyTorch."""
    ours, theirs = lamina.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    same(draw(lamina, ours), draw(torch, theirs), exact)
    same_state(ours, theirs)


# -- one draw ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILLS)
@examples
@given(data=st.data(), n=sizes, seed=seeds, layout=st.sampled_from(sorted(LAYOUTS)))
def test_in_place(name, data, n, seed, layout):
    arguments, dtypes, exact = FILLS[name]
    dtype, given_ = data.draw(st.sampled_from(dtypes)), data.draw(st.sampled_from(arguments))

    def draw(m: Any, generator: Any) -> Any:
        target = LAYOUTS[layout](m, n, getattr(m, dtype))
        assert getattr(target, name)(*given_, generator=generator) is target
        return target

    both(draw, seed, exact)


@pytest.mark.parametrize("name", ["rand", "randn"])
@examples
@given(shape=st.one_of(sizes.map(lambda n: (n,)), st.tuples(st.integers(0, 5), sizes)), seed=seeds,
       dtype=st.sampled_from(FLOATS))  # fmt: skip
def test_new_tensors(name, shape, seed, dtype):
    both(lambda m, g: getattr(m, name)(shape, generator=g, dtype=getattr(m, dtype)), seed, name == "rand")


@examples
@given(n=sizes, seed=seeds, dtype=st.sampled_from(ALL), low=st.sampled_from([0, 1, -7, 40]), span=st.integers(1, 80))
def test_randint(n, seed, dtype, low, span):
    low = abs(low) if dtype == "uint8" else low
    both(lambda m, g: m.randint(low, low + span, (n,), generator=g, dtype=getattr(m, dtype)), seed, True)


@examples
@given(n=sizes, seed=seeds, bounds=st.sampled_from([(0, 2**31), (-(2**31), 2**31), (0, 2**32), (-5, 2**32), (-(2**62), 2**62)]))
def test_randint_of_wide_ranges(n, seed, bounds):
    both(lambda m, g: m.randint(*bounds, (n,), generator=g), seed, True)


@examples
@given(n=sizes, seed=seeds, dtype=st.sampled_from(["int64", "int32", "float32", "float64"]))
def test_randperm(n, seed, dtype):
    both(lambda m, g: m.randperm(n, generator=g, dtype=getattr(m, dtype)), seed, True)


@examples
@given(n=sizes, seed=seeds, dtype=st.sampled_from(FLOATS), layout=st.sampled_from(sorted(LAYOUTS)), into=st.booleans())
def test_bernoulli_of_probabilities(n, seed, dtype, layout, into):
    numbers = np.random.default_rng(n).random(LAYOUTS[layout](torch, n, torch.float32).shape)

    def draw(m: Any, generator: Any) -> Any:
        p = LAYOUTS[layout](m, n, getattr(m, dtype))
        p.copy_(m.from_numpy(numbers.copy()))
        if into:
            return m.zeros(p.shape, dtype=m.float32).bernoulli_(p, generator=generator)
        return m.bernoulli(p, generator=generator)

    both(draw, seed, True)


@examples
@given(places=st.integers(1, 40), rows=st.integers(0, 4), drawn=st.integers(1, 20), seed=seeds, replacement=st.booleans(),
       dtype=st.sampled_from(["float32", "float64"]))  # fmt: skip
def test_multinomial(places, rows, drawn, seed, replacement, dtype):
    drawn = drawn if replacement else min(drawn, places)
    weights = np.random.default_rng(places).random((rows, places) if rows else places).astype(dtype) + 0.01
    both(lambda m, g: m.multinomial(m.from_numpy(weights.copy()), drawn, replacement, generator=g), seed, True)


@examples
@given(n=sizes, seed=seeds, mean=st.booleans(), std=st.booleans(), dtype=st.sampled_from(["float32", "float64"]))
def test_normal_with_parameters(n, seed, mean, std, dtype):
    each = np.linspace(0.5, 2, n).astype(dtype)

    def draw(m: Any, generator: Any) -> Any:
        if not mean and not std:
            return m.normal(0.5, 2.0, (n,), generator=generator, dtype=getattr(m, dtype))
        a, b = (m.from_numpy(each.copy()) if is_tensor else 0.75 for is_tensor in (mean, std))
        return m.normal(a, b, generator=generator)

    both(draw, seed, False)


# -- several draws in a row ----------------------------------------------------------------------------------------

# Each takes a module, a size and a generator; what is written here is run on both libraries.
DRAWS: dict[str, tuple[Callable[[Any, int, Any], Any], bool]] = {
    "rand": (lambda m, n, g: m.rand(n, generator=g), True),
    "rand double": (lambda m, n, g: m.rand(n, generator=g, dtype=m.float64), True),
    "randn": (lambda m, n, g: m.randn(n, generator=g), False),
    "randn double": (lambda m, n, g: m.randn(n, generator=g, dtype=m.float64), False),
    "randn half": (lambda m, n, g: m.randn(n, generator=g, dtype=m.bfloat16), False),
    "normal column": (lambda m, n, g: m.zeros(n, 2)[:, 0].normal_(generator=g), False),
    "randint": (lambda m, n, g: m.randint(10, (n,), generator=g), True),
    "randint wide": (lambda m, n, g: m.randint(2**40, (n,), generator=g), True),
    "randperm": (lambda m, n, g: m.randperm(n, generator=g), True),
    "bernoulli": (lambda m, n, g: m.zeros(n).bernoulli_(0.4, generator=g), True),
    "bernoulli of": (lambda m, n, g: m.full((n,), 0.4).bernoulli(generator=g), True),
    "exponential": (lambda m, n, g: m.zeros(n).exponential_(generator=g), False),
    "geometric": (lambda m, n, g: m.zeros(n).geometric_(0.3, generator=g), True),
    "cauchy": (lambda m, n, g: m.zeros(n).cauchy_(generator=g), False),
    "log normal": (lambda m, n, g: m.zeros(n).log_normal_(generator=g), False),
    "random": (lambda m, n, g: m.zeros(n, dtype=m.int64).random_(generator=g), True),
    "multinomial": (lambda m, n, g: m.multinomial(m.arange(1.0, n + 2), n // 2 + 1, generator=g), True),
    "replaced": (lambda m, n, g: m.multinomial(m.arange(1.0, n + 2), n + 1, True, generator=g), True),
}
sequences = st.lists(st.tuples(st.sampled_from(sorted(DRAWS)), sizes), min_size=2, max_size=8)


@examples
@given(seed=seeds, sequence=sequences, of_ones_own=st.booleans())
def test_the_state_carries_over(seed, sequence, of_ones_own):
    if of_ones_own:
        ours, theirs = lamina.Generator().manual_seed(seed), torch.Generator().manual_seed(seed)
    else:
        ours, theirs = lamina.manual_seed(seed), torch.manual_seed(seed)
    for name, n in sequence:
        draw, exact = DRAWS[name]
        same(draw(lamina, n, ours if of_ones_own else None), draw(torch, n, theirs if of_ones_own else None), exact)
        same_state(ours, theirs)


@examples
@given(seed=seeds, before=sequences, after=sequences, ours_first=st.booleans())
def test_states_continue_in_the_other_library(seed, before, after, ours_first):
    first, second = (lamina, torch) if ours_first else (torch, lamina)
    source = first.Generator().manual_seed(seed)
    for name, n in before:
        DRAWS[name][0](first, n, source)
    saved = state_of(source)
    target = second.Generator().set_state(second.from_numpy(saved.copy()))
    assert target.initial_seed() == source.initial_seed()
    np.testing.assert_array_equal(state_of(target), saved)
    ours, theirs = (source, target) if ours_first else (target, source)
    for name, n in after:
        draw, exact = DRAWS[name]
        same(draw(lamina, n, ours), draw(torch, n, theirs), exact)
    same_state(ours, theirs)
    # and back: the state that was saved gives the same numbers once more
    source.set_state(first.from_numpy(saved.copy()))
    target.set_state(second.from_numpy(saved.copy()))
    same(DRAWS["randn"][0](lamina, 17, ours), DRAWS["randn"][0](torch, 17, theirs), False)


@examples
@given(seed=seeds, sequence=sequences)
def test_states_of_the_default_generator(seed, sequence):
    torch.manual_seed(seed)
    for name, n in sequence:
        DRAWS[name][0](torch, n, None)
    lamina.set_rng_state(lamina.from_numpy(torch.get_rng_state().numpy().copy()))
    for name, n in sequence:
        draw, exact = DRAWS[name]
        same(draw(lamina, n, None), draw(torch, n, None), exact)
    torch.set_rng_state(torch.from_numpy(lamina.get_rng_state().numpy().copy()))
    same(lamina.rand(5), torch.rand(5), True)


# -- initialisation ------------------------------------------------------------------------------------------------

INITS: dict[str, tuple[Callable[[Any, Any], Any], bool]] = {
    "uniform": (lambda i, w: i.uniform_(w, -1, 2), True),
    "normal": (lambda i, w: i.normal_(w, 1, 0.5), False),
    "trunc_normal": (lambda i, w: i.trunc_normal_(w, 0.1, 0.5, -1, 0.75), False),
    "xavier_uniform": (lambda i, w: i.xavier_uniform_(w, 1.5), True),
    "xavier_normal": (lambda i, w: i.xavier_normal_(w), False),
    "kaiming_uniform": (lambda i, w: i.kaiming_uniform_(w, 5**0.5), True),
    "kaiming_uniform fan_out": (lambda i, w: i.kaiming_uniform_(w, mode="fan_out", nonlinearity="relu"), True),
    "kaiming_normal": (lambda i, w: i.kaiming_normal_(w, nonlinearity="tanh"), False),
    "orthogonal": (lambda i, w: i.orthogonal_(w, 2.0), False),
    "constant": (lambda i, w: i.constant_(w, 0.3), True),
    "ones": (lambda i, w: i.ones_(w), True),
    "zeros": (lambda i, w: i.zeros_(w), True),
    "sparse": (lambda i, w: i.sparse_(w, 0.3), False),
    "eye": (lambda i, w: i.eye_(w), True),
    "dirac": (lambda i, w: i.dirac_(w), True),
}
SHAPES: dict[str, tuple[tuple[int, ...], ...]] = {
    "sparse": ((3, 5), (17, 4)), "eye": ((3, 5), (17, 4)), "dirac": ((3, 2, 5), (4, 4, 3, 3), (3, 3, 1, 2, 3)),
}  # fmt: skip


@pytest.mark.parametrize("name", INITS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@settings(max_examples=20, deadline=None)
@given(data=st.data(), seed=seeds)
def test_init(name, dtype, data, seed):
    shape = data.draw(st.sampled_from(SHAPES.get(name, ((3, 5), (5, 3), (16, 16), (17, 31), (4, 3, 3, 3)))))
    init, exact = INITS[name]
    ours, theirs = lamina.manual_seed(seed), torch.manual_seed(seed)
    a, b = lamina.empty(shape, dtype=getattr(lamina, dtype)), torch.empty(shape, dtype=getattr(torch, dtype))
    # kept from what other libraries' decompositions differ by: an orthogonal matrix is a product of many roundings
    if name == "orthogonal":
        np.testing.assert_allclose(
            plain(init(lamina.nn.init, a)), plain(init(torch.nn.init, b)), atol=1e-4 if dtype == "float32" else 1e-11
        )
    else:
        same(init(lamina.nn.init, a), init(torch.nn.init, b), exact)
    same_state(ours, theirs)


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_layers_after_a_seed(seed):
    def weights(m: Any) -> list[Any]:
        layers = [
            m.nn.Linear(5, 3), m.nn.Conv2d(2, 4, 3), m.nn.Embedding(7, 5), m.nn.LSTM(3, 4, 2), m.nn.Bilinear(2, 3, 4),
            m.nn.MultiheadAttention(8, 2), m.nn.ConvTranspose1d(2, 3, 3), m.nn.TransformerEncoderLayer(8, 2, 16),
        ]  # fmt: skip
        return [p for layer in layers for p in layer.parameters()]

    ours, theirs = lamina.manual_seed(seed), torch.manual_seed(seed)
    for a, b in zip(weights(lamina), weights(torch), strict=True):
        same(a, b, False)
    same_state(ours, theirs)


WAYS = ("words32", "words64", "bits53", "fractions")


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    draws=st.lists(st.tuples(st.sampled_from(WAYS), st.sampled_from([0, 1, 5, 310, 625, 4096, 5001])), max_size=8),
)
def test_every_way_to_draw_takes_the_next_words(seed, draws):
    """Few numbers come from words that are held, many from NumPy at once: the stream is one, and so is the saved state."""
    stream = np.random.MT19937(0)
    np.random.RandomState(stream).seed(seed)
    generator = lamina.Generator().manual_seed(seed)
    for name, n in draws:
        pairs = name in ("words64", "bits53")
        words = stream.random_raw(2 * n if pairs else n)
        if pairs:
            words = words[::2] << np.uint64(32) | words[1::2]
        expected = {
            "bits53": lambda w: w & np.uint64((1 << 53) - 1), "fractions": lambda w: (w & np.uint64((1 << 24) - 1)) / 2.0**24,
        }.get(name, lambda w: w)(words)  # fmt: skip
        np.testing.assert_array_equal(getattr(generator, name)(n), expected)
        twin = generator.clone_state()
        assert int(twin.words32(1)[0]) == int(generator.clone_state().words32(700)[0])
        state = lamina.Generator().set_state(generator.get_state())
        assert state.get_state().equal(generator.get_state())
