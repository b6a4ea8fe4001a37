"""A pickle machine that makes data and nothing else.

A pickle is a program for a small stack machine. Python's own machine imports and calls what the program names; this one
knows a few names that stand for data (``names.py``) and refuses every other, and every opcode that could construct or
change an object of a class. It does not recurse, and its memory and time are bounded by the program's length: lengths are
checked against what is left, calls that copy and keys that are slow to hash are paid for from a budget.

The opcodes are those of Python's ``pickletools`` that picklers of protocols 2 to 5 write for data.
"""

from __future__ import annotations

import struct
from collections import Counter, OrderedDict
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

from lamina._sparse import SparseTensor
from lamina._tensor import _BOOKKEEPING, Tensor
from lamina.serialization import names, trusted
from lamina.serialization.names import Call, StorageType
from lamina.serialization.storage import CallersError, Storage
from lamina.serialization.trusted import Trusted

_MAX_NAME = 512  # bytes of a global's module or name
_MAX_SAME_HASH = 32  # different keys with one hash: no data have that, but a file made to be slow does
_PLAIN_KEYS = frozenset((str, bytes, bool, type(None)))  # Python protects these against chosen collisions
_MAPPINGS = (dict, OrderedDict, Counter)
_LEAVES = frozenset((str, int, float, bytes, bool, type(None)))
_INSIDE = (Call, StorageType, Storage, Trusted)  # what the machine handles and data cannot contain


class Machine:
    """Runs one pickle of ``data`` from byte ``at``; ``persistent`` turns a persistent id into a storage."""

    def __init__(self, data: bytes, persistent: Callable[[Any], Any], at: int = 0) -> None:
        self.data, self.at, self.persistent = data, at, persistent
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.budget = 4 * (len(data) - at) + 4096
        self.same: dict[int, list[Any]] = {}

    def run(self) -> Any:
        """The object; ``at`` is then the byte behind the pickle.

        Raises:
            UnpicklingError: an opcode, a name or a construction that is not allowed, or a malformed program.
            EOFError: the program ends without its STOP.
            RuntimeError: a tensor that does not fit its storage, or of a kind that lamina does not have.
        """
        data, operations, at = self.data, OPERATIONS, self.at
        try:
            while True:
                at = self.at
                if at >= len(data):
                    raise EOFError("the pickle ends without a STOP")
                code = data[at]
                self.at = at + 1
                if code == 0x2E:  # STOP
                    break
                operation = operations.get(code)
                if operation is None:
                    raise UnpicklingError(f"the opcode {bytes((code,))!r}, which checkpoints do not need, is not allowed")
                operation(self)
            result = self.pop()
            if self.stack or self.marks:
                raise UnpicklingError("the pickle leaves something behind on the stack")
            self.check_result(result)
        except (UnpicklingError, RuntimeError, EOFError) as error:
            error.args = (f"{error} (byte {at} of the pickle)",)
            raise
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
            raise UnpicklingError(f"malformed pickle: {type(error).__name__}: {error} (byte {at} of the pickle)") from error
        return result

    # -- the program's bytes ---------------------------------------------------------------------------------------

    def take(self, n: int) -> bytes:
        """The next ``n`` bytes."""
        start, end = self.at, self.at + n
        if n < 0 or end > len(self.data):
            raise UnpicklingError(f"malformed pickle: {n} bytes are announced and {len(self.data) - start} are left")
        self.at = end
        return self.data[start:end]

    def number(self, form: struct.Struct) -> Any:
        return form.unpack(self.take(form.size))[0]

    def line(self) -> str:
        end = self.data.find(b"\n", self.at, self.at + _MAX_NAME)
        if end < 0:
            raise UnpicklingError("malformed pickle: the name of a global does not end")
        text = self.data[self.at : end].decode("utf-8")
        self.at = end + 1
        return text

    # -- the stack -------------------------------------------------------------------------------------------------

    def pop(self) -> Any:
        if not self.stack:
            raise UnpicklingError("malformed pickle: the stack is empty")
        return self.stack.pop()

    def pop_to_mark(self) -> list[Any]:
        if not self.marks:
            raise UnpicklingError("malformed pickle: there is no mark on the stack")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def pop_some(self, n: int) -> tuple[Any, ...]:
        if len(self.stack) < n:
            raise UnpicklingError("malformed pickle: the stack is empty")
        items = tuple(self.stack[-n:])
        del self.stack[-n:]
        return items

    def target(self, kinds: tuple[type, ...], what: str) -> Any:
        """The container on top of the stack, which must be of exactly one of some types."""
        if not self.stack or type(self.stack[-1]) not in kinds:
            found = type(self.stack[-1]).__name__ if self.stack else "nothing"
            raise UnpicklingError(f"{what} goes to {' or '.join(k.__name__ for k in kinds)}, not to {found}")
        return self.stack[-1]

    # -- building --------------------------------------------------------------------------------------------------

    def pay(self, n: int) -> None:
        """Account for work that the program's length alone does not bound."""
        self.budget -= n
        if self.budget < 0:
            raise UnpicklingError("the pickle is made to take more memory or time than its size warrants")

    def set_items(self, items: list[Any]) -> None:
        target = self.target(_MAPPINGS, "an item")
        if len(items) % 2:
            raise UnpicklingError("malformed pickle: a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.check_key(key)
            target[key] = value

    def append_items(self, items: list[Any]) -> None:
        self.target((list,), "an element").extend(items)

    def add_items(self, items: list[Any]) -> None:
        target = self.target((set,), "an element")
        for item in items:
            self.check_key(item)
        target.update(items)

    def check_key(self, key: Any) -> None:
        """Raise unless ``key`` is quick to hash, and hashes unlike most others."""
        kind = type(key)
        if kind in _PLAIN_KEYS or kind is int and -(2**60) < key < 2**60:
            return
        self.pay(names.key_cost(key, self.budget))
        if isinstance(key, Tensor):  # hashed by identity
            return
        twins = self.same.setdefault(hash(key), [])
        if key not in twins:
            twins.append(key)
            if len(twins) > _MAX_SAME_HASH:
                raise UnpicklingError("the pickle has keys that are made to collide")

    def reduce(self) -> None:
        """Call one of the allowed names."""
        arguments, function = self.pop(), self.pop()
        if isinstance(function, Trusted):
            self.stack.append(self.call_trusted(function.object, arguments))
            return
        if not isinstance(function, Call) or function is names.TENSOR:
            raise UnpicklingError(f"a call of something that is not to be called: {type(function).__name__}")
        if type(arguments) is not tuple:
            raise UnpicklingError(f"{function.name} is called with {type(arguments).__name__} instead of a tuple")
        for argument in arguments:
            if isinstance(argument, (str, bytes, tuple, list, dict)):
                self.pay(len(argument))
        if function.hashes:
            arguments = (self.check_key, *arguments)
        self.stack.append(function.function(*arguments))

    def call_trusted(self, function: Any, arguments: Any) -> Any:
        """Call what the user of ``load`` trusts; its own errors are the user's."""
        names.expect(arguments, tuple, "the arguments of a call")
        given = [a.object if isinstance(a, Trusted) else a for a in arguments]
        for argument in given:
            self.check_result(argument)
        try:
            return function(*given)
        except Exception as error:
            raise CallersError(error) from error

    def new_object(self) -> None:
        """An object of a class that the user of ``load`` trusts."""
        arguments, kind = self.pop(), self.pop()
        if not isinstance(kind, Trusted) or not isinstance(kind.object, type):
            raise UnpicklingError("an object of a class that is not to be made")
        names.expect(arguments, tuple, "the arguments of a call")
        self.stack.append(self.call_trusted(kind.object.__new__, (kind, *arguments)))

    def build(self) -> None:
        """The attributes of a container; a state dict has its ``_metadata`` there."""
        state = self.pop()
        if self.stack and type(self.stack[-1]) is not OrderedDict and trusted.trusts(type(self.stack[-1])):
            self.check_result(state)
            self.call_trusted(_set_state, (self.stack[-1], state))
            return
        if type(state) is dict:
            self.pay(len(state))
        names.set_attributes(self.target((OrderedDict,), "attributes"), state)

    def name(self, module: Any, name: Any) -> None:
        names.expect(module, str, "a module's name")
        names.expect(name, str, "a global's name")
        self.stack.append(names.look_up(module, name))

    def put(self, index: int) -> None:
        if not self.stack:
            raise UnpicklingError("malformed pickle: the stack is empty")
        self.memo[index] = self.stack[-1]

    def get(self, index: int) -> None:
        if index not in self.memo:
            raise UnpicklingError(f"malformed pickle: nothing was stored under {index}")
        self.stack.append(self.memo[index])

    def protocol(self) -> None:
        n = self.take(1)[0]
        if not 2 <= n <= 5:
            raise UnpicklingError(f"pickle protocol {n} is not one of 2 to 5")

    def text(self, n: int) -> None:
        self.stack.append(str(self.take(n), "utf-8", "surrogatepass"))

    def long(self, n: int) -> None:
        self.stack.append(int.from_bytes(self.take(n), "little", signed=True))

    def persist(self) -> None:
        self.stack.append(self.persistent(self.pop()))

    def check_result(self, result: Any) -> None:
        """Raise if a storage or a function, which only tensors are made of, is left in what the user gets."""
        seen: set[int] = set()
        todo = [result]
        while todo:
            x = todo.pop()
            kind = type(x)
            if isinstance(x, _INSIDE):
                what = "a bare storage" if kind is Storage else f"{getattr(x, 'name', 'a class')} itself"
                raise UnpicklingError(f"the file holds {what}, which is not data that lamina loads")
            if kind in _LEAVES or id(x) in seen:
                continue
            seen.add(id(x))
            if kind is SparseTensor:
                continue
            if kind in _MAPPINGS:
                todo.extend(x)
                todo.extend(x.values())
            elif isinstance(x, (list, tuple, set, frozenset)):
                todo.extend(x)
            if kind is OrderedDict or isinstance(x, Tensor):
                todo.extend(value for name, value in vars(x).items() if name not in _BOOKKEEPING)


def _set_state(target: Any, state: Any) -> None:
    """What Python's pickle does with the state of an object."""
    if hasattr(target, "__setstate__"):
        target.__setstate__(state)
        return
    slots = None
    if isinstance(state, tuple) and len(state) == 2:
        state, slots = state
    if state:
        target.__dict__.update(state)
    for name, value in (slots or {}).items():
        setattr(target, name, value)


# -- the opcodes ---------------------------------------------------------------------------------------------------

_U1, _U2, _U4, _U8 = (struct.Struct(f) for f in ("<B", "<H", "<I", "<Q"))
_I4, _F8 = struct.Struct("<i"), struct.Struct(">d")


def _push(make: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    return lambda m: m.stack.append(make(m))


def _mark(m: Machine) -> None:
    m.marks.append(m.stack)
    m.stack = []


def _tuple(m: Machine) -> None:
    items = tuple(m.pop_to_mark())
    m.stack.append(items)


def _frozenset(m: Machine) -> None:
    items = m.pop_to_mark()
    for item in items:
        m.check_key(item)
    m.stack.append(frozenset(items))


def _stack_global(m: Machine) -> None:
    m.name(*m.pop_some(2))


_CODES: dict[bytes, Callable[[Machine], Any]] = {
    b"\x80": Machine.protocol,
    b"\x95": lambda m: m.take(8),  # FRAME: how much to read ahead, of no use here
    # constants
    b"N": _push(lambda m: None),
    b"\x88": _push(lambda m: True),
    b"\x89": _push(lambda m: False),
    b"J": _push(lambda m: m.number(_I4)),
    b"K": _push(lambda m: m.take(1)[0]),
    b"M": _push(lambda m: m.number(_U2)),
    b"\x8a": lambda m: m.long(m.take(1)[0]),
    b"\x8b": lambda m: m.long(m.number(_I4)),
    b"G": _push(lambda m: m.number(_F8)),
    b"X": lambda m: m.text(m.number(_U4)),
    b"\x8c": lambda m: m.text(m.take(1)[0]),
    b"\x8d": lambda m: m.text(m.number(_U8)),
    b"U": lambda m: m.text(m.take(1)[0]),  # strings of Python 2
    b"T": lambda m: m.text(m.number(_I4)),
    b"C": _push(lambda m: m.take(m.take(1)[0])),
    b"B": _push(lambda m: m.take(m.number(_U4))),
    b"\x8e": _push(lambda m: m.take(m.number(_U8))),
    b"\x96": _push(lambda m: bytearray(m.take(m.number(_U8)))),
    # containers
    b")": _push(lambda m: ()),
    b"]": _push(lambda m: []),
    b"}": _push(lambda m: {}),
    b"\x8f": _push(lambda m: set()),
    b"(": _mark,
    b"t": _tuple,
    b"\x85": _push(lambda m: m.pop_some(1)),
    b"\x86": _push(lambda m: m.pop_some(2)),
    b"\x87": _push(lambda m: m.pop_some(3)),
    b"a": lambda m: m.append_items([m.pop()]),
    b"e": lambda m: m.append_items(m.pop_to_mark()),
    b"s": lambda m: m.set_items(list(m.pop_some(2))),
    b"u": lambda m: m.set_items(m.pop_to_mark()),
    b"\x90": lambda m: m.add_items(m.pop_to_mark()),
    b"\x91": _frozenset,
    # the memo and the stack
    b"q": lambda m: m.put(m.take(1)[0]),
    b"r": lambda m: m.put(m.number(_U4)),
    b"\x94": lambda m: m.put(len(m.memo)),
    b"h": lambda m: m.get(m.take(1)[0]),
    b"j": lambda m: m.get(m.number(_U4)),
    b"0": lambda m: m.pop(),
    b"1": lambda m: m.pop_to_mark(),
    # names and what is made with them
    b"c": lambda m: m.name(m.line(), m.line()),
    b"\x93": _stack_global,
    b"R": Machine.reduce,
    b"b": Machine.build,
    b"\x81": Machine.new_object,
    b"Q": Machine.persist,
}
OPERATIONS = {code[0]: operation for code, operation in _CODES.items()}
