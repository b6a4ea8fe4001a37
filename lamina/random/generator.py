"""The generator: a Mersenne Twister that runs in step with PyTorch's CPU generator, word for word.

NumPy's MT19937 makes the words; this module adds PyTorch's way of seeding it, of pairing words into 64 bits, of
keeping the second half of a Box-Muller pair for the next call, and the byte layout of its saved state.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from lamina import _dtypes

__all__ = ["Generator", "default_generator", "fork_rng", "resolve"]

DEFAULT_SEED = 67280421310721  # what PyTorch gives to a generator that nobody has seeded
_WORDS = 624  # of the twister's state

# torch.get_rng_state() as a C struct: words stored in 64 bits each, and two caches of a normal number of which only
# the double one is still in use. Fixed to little endian, as checkpoints travel between machines.
_STATE = np.dtype(
    {
        "names": [
            "seed",
            "left",
            "seeded",
            "next",
            "words",
            "normal",
            "has_normal",
            "float_normal",
            "has_float_normal",
        ],
        "formats": ["<u8", "<i4", "<i4", "<u8", ("<u8", _WORDS), "<f8", "<i4", "<f4", "u1"],
        "offsets": [0, 8, 12, 16, 24, 5024, 5040, 5048, 5052],
        "itemsize": 5056,
    }
)

# Below this many words NumPy's random_raw (1 µs a call, 8 bytes a word) beats integers (7 µs a call, 4 bytes a word).
_FEW = 4096
_NONE = np.empty(0, np.uint64)
_MASK24, _UNIT24, _SHIFT32 = np.array((1 << 24) - 1, np.uint32), np.array(2.0**-24, np.float32), np.array(32, np.uint64)
_MASK53 = np.array((1 << 53) - 1, np.uint64)


def _unsigned_seed(seed: int) -> int:
    if not -(1 << 63) <= seed < 1 << 64:
        raise ValueError(f"manual_seed: the seed must lie in [-2**63, 2**64 - 1], got {seed}")
    return seed & 0xFFFFFFFFFFFFFFFF


class Generator:
    """A stream of random numbers, equal to that of ``torch.Generator(device='cpu')`` with the same seed.

    Args:
        device: ``'cpu'``, the only device there is.

    A generator starts from a fixed seed, as PyTorch's does; :meth:`seed` draws one from the operating system.
    Only the low 32 bits of a seed reach the twister (so do PyTorch's), the whole of it is what :meth:`initial_seed`
    returns. Threads may share a generator: every draw holds its ``lock``.

    >>> Generator().manual_seed(0).words32(3)
    array([2357136044, 2546248239, 3071714933], dtype=uint32)
    """

    # How get_state hands out its bytes; the tensor layer sets this so that users get a tensor and may only set one.
    _state_out: Callable[[np.ndarray], Any] = staticmethod(lambda state: state)
    _state_in: Callable[[Any], np.ndarray]

    def __init__(self, device: Any = "cpu") -> None:
        self._device = _dtypes.device(device)
        if self._device.type != "cpu":
            raise RuntimeError(f"Generator: the device must be 'cpu', got {str(device)!r}")
        self.lock = threading.RLock()
        # The second normal of the last pair drawn one by one (a float of Python), or None.
        self.next_normal: float | None = None
        self._float_normal: float | None = None  # kept for the sake of the saved bytes; nothing draws from it
        self._set_seed(DEFAULT_SEED)

    def __getattr__(self, name: str) -> Any:
        """NumPy's twister and what is called of it, made when first needed: importing ``numpy.random`` takes a while."""
        if name not in ("_twister", "_integers", "_reseed"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        with self.lock:
            twister = np.random.MT19937(0)  # an argument, or NumPy asks the system for entropy that nobody needs
            self._integers = np.random.Generator(twister).integers
            self._reseed = np.random.RandomState(twister).seed
            self._reseed(self._initial_seed & 0xFFFFFFFF)
            self._twister = twister
        return getattr(self, name)

    def _hold(self, ahead: np.ndarray, left: int) -> None:
        """Have these words at hand, which the twister has given already; its present state has ``left`` more."""
        self._ahead, self._at, self._left = ahead, 0, left
        self._fractions: np.ndarray | None = None  # what is held, as fractions() gives it ...
        self._doubles: list[np.ndarray | None] = [None, None]  # ... and as bits53() does, from either word of a pair on

    @property
    def device(self) -> _dtypes.device:
        """The device it was made for, the CPU."""
        return self._device

    # ------------------------------------------------------------------------------------------------- seeds

    def _set_seed(self, seed: int) -> None:
        with self.lock:
            self._initial_seed = seed
            if "_twister" in self.__dict__:
                self._reseed(seed & 0xFFFFFFFF)
            self._hold(_NONE, 0)
            self._fresh = True  # no word drawn since: PyTorch's state bytes tell this from "624 words drawn"
            self.next_normal = self._float_normal = None

    def manual_seed(self, seed: int) -> Generator:
        """Start the stream that belongs to ``seed`` and return the generator; a negative seed counts from 2**64.

        Raises:
            RuntimeError: ``seed`` is no int.
            ValueError: it does not fit into 64 bits.
        """
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise RuntimeError(f"manual_seed expected an int, got {seed!r} of type {type(seed).__name__}")
        self._set_seed(_unsigned_seed(int(seed)))
        return self

    def seed(self) -> int:
        """Seed from the operating system and return that seed."""
        seed = int.from_bytes(os.urandom(8), "little")
        self._set_seed(seed)
        return seed

    def initial_seed(self) -> int:
        """The seed that the present stream started from, in [0, 2**64)."""
        return self._initial_seed

    # ------------------------------------------------------------------------------------------------- state

    def state_bytes(self) -> np.ndarray:
        """The whole state as 5056 bytes (an array of uint8), those that ``torch.get_rng_state()`` would give."""
        with self.lock:
            twister = self._twister.state["state"]
            position = twister["pos"] - len(self._ahead) + self._at
            state = np.zeros((), _STATE)
            state["seed"] = self._initial_seed
            state["seeded"] = 1
            state["left"] = _WORDS + 1 - position
            state["next"] = 0 if self._fresh else position
            state["words"] = twister["key"]
            if self.next_normal is not None:
                state["normal"], state["has_normal"] = self.next_normal, 1
            if self._float_normal is not None:
                state["float_normal"], state["has_float_normal"] = self._float_normal, 1
        return np.frombuffer(state.tobytes(), np.uint8).copy()

    def load_state_bytes(self, state: np.ndarray) -> None:
        """Continue from a state that :meth:`state_bytes` or PyTorch saved; a bad one leaves the generator as it was.

        Raises:
            TypeError: ``state`` is not uint8.
            RuntimeError: it has another size, or is no state of a Mersenne Twister.
        """
        if state.dtype != np.uint8:
            raise TypeError(f"set_state: the state must be of dtype uint8, got {state.dtype}")
        if state.size != _STATE.itemsize:
            raise RuntimeError(f"set_state: the state must have {_STATE.itemsize} bytes, got {state.size}")
        saved = np.frombuffer(state.tobytes(), _STATE)[0]
        left, following = int(saved["left"]), int(saved["next"])
        fresh = left == 1 and following == 0
        if not saved["seeded"] or not 1 <= left <= _WORDS or not (fresh or left + following == _WORDS + 1):
            raise RuntimeError(
                f"set_state: not a state of MT19937 (seeded={saved['seeded']}, left={left}, next={following})"
            )
        with self.lock:
            self._twister.state = {
                "bit_generator": "MT19937",
                "state": {"key": saved["words"].astype(np.uint32), "pos": _WORDS + 1 - left},
            }
            self._hold(_NONE, left - 1)
            self._fresh = fresh
            self._initial_seed = int(saved["seed"])
            self.next_normal = float(saved["normal"]) if saved["has_normal"] else None
            self._float_normal = float(saved["float_normal"]) if saved["has_float_normal"] else None

    def get_state(self) -> Any:
        """The state as a uint8 tensor of 5056 bytes, interchangeable with PyTorch's."""
        return type(self)._state_out(self.state_bytes())

    def set_state(self, new_state: Any) -> Generator:
        """Restore what :meth:`get_state`, here or in PyTorch, returned."""
        self.load_state_bytes(type(self)._state_in(new_state))
        return self

    graphsafe_get_state = get_state
    graphsafe_set_state = set_state

    def clone_state(self) -> Generator:
        """A generator of its own that continues with the same numbers."""
        clone = type(self)(self._device)
        clone.load_state_bytes(self.state_bytes())
        return clone

    def get_offset(self) -> int:
        """Raises RuntimeError: only counter-based generators have an offset."""
        raise RuntimeError("get_offset: a CPU generator has no offset")

    def set_offset(self, offset: int) -> None:
        """Raises RuntimeError: only counter-based generators have an offset."""
        raise RuntimeError("set_offset: a CPU generator has no offset")

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (type(self), self._device, self.state_bytes())

    # ------------------------------------------------------------------------------------------------- words
    # Whoever draws more than once for one result holds the lock meanwhile.
    #
    # A call of NumPy's for every few words would cost ten times what they do, so the rest of the twister's present state
    # is drawn at once and held here. It never goes beyond that state, so that the saved bytes can be told.

    def _few(self, n: int) -> np.ndarray:
        """The next ``n`` words as uint64, for reading only."""
        if not n:
            return _NONE
        self._fresh = False
        at = self._at
        end = at + n
        if end <= len(self._ahead):
            self._at = end
            return self._ahead[at:end]
        held, left = self._ahead[at:], self._left or _WORDS
        n -= len(held)
        if n <= left:
            self._hold(self._twister.random_raw(left), 0)
            self._at = n
            words = self._ahead[:n]
        else:
            self._hold(_NONE, (left - n) % _WORDS)
            words = self._twister.random_raw(n)
        return np.concatenate((held, words)) if len(held) else words

    def _many(self, n: int, size: int, dtype: type) -> np.ndarray:
        """The next ``n`` numbers of ``size`` words each; what is held goes first, and nothing is held afterwards."""
        self._fresh = False
        held, left = self._ahead[self._at :], self._left
        if len(held) % size:  # half a pair
            held, left = np.append(held, self._twister.random_raw(1)), (left - 1) % _WORDS
        first = _pairs(held) if size == 2 else held.astype(dtype)
        n -= len(first)
        self._hold(_NONE, (left - n * size) % _WORDS)
        rest = self._integers(0, 1 << 32 * size, n, dtype=dtype)
        return np.concatenate((first, rest)) if len(first) else rest

    def words32(self, n: int) -> np.ndarray:
        """The next ``n`` words of the stream, an array of uint32."""
        with self.lock:
            return self._few(n).astype(np.uint32) if n < _FEW else self._many(n, 1, np.uint32)

    def words64(self, n: int) -> np.ndarray:
        """The next ``n`` pairs of words, an array of uint64; the first word of a pair is the high half."""
        with self.lock:
            return _pairs(self._few(2 * n)) if n < _FEW else self._many(n, 2, np.uint64)

    def bits53(self, n: int) -> np.ndarray:
        """The low 53 bits of the next ``n`` pairs of words, an array of uint64 for reading only."""
        with self.lock:
            at = self._at
            end = at + 2 * n
            if end > len(self._ahead):
                return self.words64(n) & _MASK53
            held = self._doubles[at & 1]
            if held is None:
                held = self._doubles[at & 1] = _pairs(self._ahead[at & 1 :]) & _MASK53
            self._at = end
            return held[at >> 1 : (at >> 1) + n]

    def fractions(self, n: int, out: np.ndarray | None = None) -> np.ndarray:
        """The low 24 bits of the next ``n`` words as float32 in [0, 1), in a new array or in a contiguous vector."""
        with self.lock:
            at = self._at
            end = at + n
            if end <= len(self._ahead):
                if self._fractions is None:
                    self._fractions = _fraction(self._ahead.astype(np.uint32), None)
                self._at = end
                held = self._fractions[at:end]
                if out is None:
                    return held.copy()
                out[...] = held
                return out
            return _fraction(self.words32(n), out)


def _pairs(words: np.ndarray) -> np.ndarray:
    second = words[1::2]
    pairs = words[: 2 * len(second) : 2] << _SHIFT32
    pairs |= second
    return pairs


def _fraction(words: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    words &= _MASK24
    if out is None:
        out = np.empty(len(words), np.float32)
    out[...] = words.view(np.int32)  # which the processor, unlike uint32, converts to floats
    out *= _UNIT24
    return out


def _array_state(state: Any) -> np.ndarray:
    if not isinstance(state, np.ndarray):
        raise TypeError(f"set_state expected an array of uint8, got {type(state).__name__}")
    return state


Generator._state_in = staticmethod(_array_state)


def _restored(cls: type[Generator], device: Any, state: np.ndarray) -> Generator:
    generator = cls(device)
    generator.load_state_bytes(state)
    return generator


default_generator = Generator()
default_generator.seed()

if hasattr(os, "register_at_fork"):
    # A fork while another thread draws would leave the child with locks that nobody can release.
    os.register_at_fork(
        before=default_generator.lock.acquire,
        after_in_parent=default_generator.lock.release,
        after_in_child=default_generator.lock.release,
    )


def resolve(generator: Generator | None) -> Generator:
    """The generator that an argument ``generator=`` means: None is the default one."""
    if generator is None:
        return default_generator
    if not isinstance(generator, Generator):
        raise TypeError(f"generator must be a Generator or None, got {type(generator).__name__}")
    return generator


@contextmanager
def fork_rng(
    devices: Any = None,
    enabled: bool = True,
    _caller: str = "fork_rng",
    _devices_kw: str = "devices",
    device_type: str = "cuda",
) -> Iterator[None]:
    """Draw freely inside the block: afterwards the default generator stands where it stood before.

    ``devices`` and ``device_type`` are PyTorch's, for devices other than the CPU; they change nothing here.

    >>> before = default_generator.state_bytes()
    >>> with fork_rng():
    ...     _ = default_generator.words32(5)
    >>> bool((default_generator.state_bytes() == before).all())
    True
    """
    if not enabled:
        yield
        return
    state = default_generator.state_bytes()
    try:
        yield
    finally:
        default_generator.load_state_bytes(state)
