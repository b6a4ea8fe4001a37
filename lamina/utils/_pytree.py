"""Nested containers as trees: flatten one into its leaves and a description, and build one again (``torch.utils._pytree``).

Containers are lists, tuples, named tuples, dicts, ``OrderedDict``, ``defaultdict``, ``deque``, the results of functions
with several, and whatever :func:`register_pytree_node` adds; everything else is a leaf, ``None`` too.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, fields
from types import UnionType
from typing import Any, NamedTuple

__all__ = [
    "Context", "GetAttrKey", "KeyEntry", "LeafSpec", "MappingKey", "PyTree", "PyTreeSpec", "SequenceKey", "TreeSpec",
    "arg_tree_leaves", "is_namedtuple", "is_namedtuple_class", "is_namedtuple_instance", "is_structseq",
    "is_structseq_class", "is_structseq_instance", "key_get", "keystr", "map_only", "register_dataclass",
    "register_pytree_node", "tree_all", "tree_all_only", "tree_any", "tree_any_only", "tree_flatten",
    "tree_flatten_with_path", "tree_is_leaf", "tree_iter", "tree_leaves", "tree_leaves_with_path", "tree_map", "tree_map_",
    "tree_map_only", "tree_map_only_", "tree_map_with_path", "tree_structure", "tree_unflatten", "treespec_leaf",
    "treespec_pprint", "treespec_tuple",
]  # fmt: skip

PyTree = Any
Context = Any
KeyEntry = Any
IsLeaf = Callable[[Any], bool] | None


# -- paths ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SequenceKey:
    """A step of a path: the entry ``idx`` of a sequence."""

    idx: int

    def __str__(self) -> str:
        return f"[{self.idx!r}]"

    def get(self, sequence: Any) -> Any:
        """The entry."""
        return sequence[self.idx]


@dataclass(frozen=True)
class MappingKey:
    """A step of a path: the value under ``key`` of a mapping."""

    key: Any

    def __str__(self) -> str:
        return f"[{self.key!r}]"

    def get(self, mapping: Any) -> Any:
        """The value."""
        return mapping[self.key]


@dataclass(frozen=True)
class GetAttrKey:
    """A step of a path: the attribute ``name``."""

    name: str

    def __str__(self) -> str:
        return f".{self.name}"

    def get(self, obj: Any) -> Any:
        """The attribute."""
        return getattr(obj, self.name)


def keystr(kp: tuple[KeyEntry, ...]) -> str:
    """A path as one would write it behind a variable: ``['a'][0].x``."""
    return "".join(map(str, kp))


def key_get(obj: Any, kp: tuple[KeyEntry, ...]) -> Any:
    """What lies in ``obj`` at the end of a path."""
    for step in kp:
        obj = step.get(obj)
    return obj


# -- kinds of containers -------------------------------------------------------------------------------------------


class NodeDef(NamedTuple):
    """How containers of a type are taken apart and put together."""

    type: type
    flatten_fn: Callable[[Any], tuple[list[Any], Any]]
    unflatten_fn: Callable[[Iterable[Any], Any], Any]
    flatten_with_keys_fn: Callable[[Any], tuple[list[tuple[Any, Any]], Any]] | None
    by_key: bool = False  # the context is a mapping's keys, and their order does not matter


SUPPORTED_NODES: dict[Any, NodeDef] = {}


def register_pytree_node(
    cls: type, flatten_fn: Callable[[Any], tuple[list[Any], Any]], unflatten_fn: Callable[[Iterable[Any], Any], Any], *,
    serialized_type_name: str | None = None, to_dumpable_context: Any = None, from_dumpable_context: Any = None,
    flatten_with_keys_fn: Callable[[Any], tuple[list[tuple[Any, Any]], Any]] | None = None,
) -> None:  # fmt: skip
    """Make a class a container.

    Args:
        cls (type): the class; its subclasses stay leaves.
        flatten_fn (callable): from an instance to the list of its children and anything else that is needed, the context.
        unflatten_fn (callable): from children and context to an instance.
        serialized_type_name, to_dumpable_context, from_dumpable_context: of no use here: descriptions are not serialised.
        flatten_with_keys_fn (callable, optional): like ``flatten_fn``, with pairs of key and child, for paths.

    Raises:
        ValueError: the class is registered already.
    """
    if cls in SUPPORTED_NODES:
        raise ValueError(f"{cls} is already registered as pytree node.")
    SUPPORTED_NODES[cls] = NodeDef(cls, flatten_fn, unflatten_fn, flatten_with_keys_fn)


_register_pytree_node = register_pytree_node


def register_dataclass(
    cls: type, *, field_names: list[str] | None = None, drop_field_names: list[str] | None = None,
    serialized_type_name: str | None = None,
) -> None:  # fmt: skip
    """Make a dataclass a container of its fields (those of ``field_names``, without ``drop_field_names``)."""
    names = [f.name for f in fields(cls) if f.init] if field_names is None else list(field_names)
    kept = [name for name in names if name not in (drop_field_names or ())]

    def flatten(obj: Any) -> tuple[list[Any], Any]:
        return [getattr(obj, name) for name in kept], kept

    def with_keys(obj: Any) -> tuple[list[tuple[Any, Any]], Any]:
        return [(GetAttrKey(name), getattr(obj, name)) for name in kept], kept

    register_pytree_node(
        cls, flatten, lambda values, context: cls(**dict(zip(context, values, strict=True))), flatten_with_keys_fn=with_keys
    )


def _builtin(cls: Any, flatten: Any, unflatten: Any, keys: Any, by_key: bool = False) -> None:
    def with_keys(obj: Any) -> tuple[list[tuple[Any, Any]], Any]:
        children, context = flatten(obj)
        return list(zip(keys(obj), children, strict=True)), context

    SUPPORTED_NODES[cls] = NodeDef(cls, flatten, unflatten, with_keys, by_key)


def _indices(obj: Any) -> list[Any]:
    return [SequenceKey(i) for i in range(len(obj))]


def _keys(obj: Any) -> list[Any]:
    return [MappingKey(key) for key in obj]


def _of_keys(make: Callable[[Any], Any]) -> Callable[[Iterable[Any], Any], Any]:
    return lambda values, keys: make(zip(keys, values, strict=True))


def _structseq(sequence: Iterable[Any], cls: Any) -> Any:
    return cls(tuple(sequence))


class namedtuple:  # noqa: N801  # the kind of node that a TreeSpec names for all of them
    """Stands for all named tuples."""


class structseq:  # noqa: N801
    """Stands for all results like that of ``max(x, dim)``."""


_builtin(list, lambda x: (x, None), lambda values, _: list(values), _indices)
_builtin(tuple, lambda x: (list(x), None), lambda values, _: tuple(values), _indices)
_builtin(dict, lambda x: (list(x.values()), list(x)), _of_keys(dict), _keys, by_key=True)
_builtin(OrderedDict, lambda x: (list(x.values()), list(x)), _of_keys(OrderedDict), _keys, by_key=True)
_builtin(
    defaultdict, lambda x: (list(x.values()), [x.default_factory, list(x)]),
    lambda values, context: defaultdict(context[0], zip(context[1], values, strict=True)), _keys, by_key=True,
)  # fmt: skip
_builtin(deque, lambda x: (list(x), x.maxlen), lambda values, maxlen: deque(values, maxlen), _indices)
_builtin(
    namedtuple, lambda x: (list(x), type(x)), lambda values, cls: cls(*values), lambda x: [GetAttrKey(n) for n in x._fields]
)
_builtin(structseq, lambda x: (list(x), type(x)), _structseq, _indices)


def is_namedtuple_class(cls: type) -> bool:
    """Whether a class is a named tuple's, or derived from one."""
    names = getattr(cls, "_fields", None)
    return (
        isinstance(cls, type) and issubclass(cls, tuple) and type(names) is tuple and all(type(n) is str for n in names)
        and callable(getattr(cls, "_make", None)) and callable(getattr(cls, "_asdict", None))
    )  # fmt: skip


def is_namedtuple_instance(obj: object) -> bool:
    """Whether an object is a named tuple."""
    return is_namedtuple_class(type(obj))


def is_namedtuple(obj: object) -> bool:
    """Whether an object, or a class, is a named tuple."""
    return is_namedtuple_class(obj if isinstance(obj, type) else type(obj))


_is_namedtuple_instance = is_namedtuple_instance


def is_structseq_class(cls: type) -> bool:
    """Whether a class is a tuple with names as Python's C code makes it, such as that of ``time.localtime()``."""
    return (
        isinstance(cls, type) and cls.__bases__ == (tuple,)
        and all(isinstance(getattr(cls, n, None), int) for n in ("n_fields", "n_sequence_fields", "n_unnamed_fields"))
    )  # fmt: skip


def is_structseq_instance(obj: object) -> bool:
    """Whether an object is such a tuple."""
    return is_structseq_class(type(obj))


def is_structseq(obj: object) -> bool:
    """Whether an object, or a class, is such a tuple."""
    return is_structseq_class(obj if isinstance(obj, type) else type(obj))


def _get_node_type(tree: Any) -> Any:
    kind = type(tree)
    if kind in SUPPORTED_NODES:
        return kind
    if issubclass(kind, tuple):
        if is_namedtuple_class(kind):
            return namedtuple
        if is_structseq_class(kind):
            return structseq
    return kind


def tree_is_leaf(tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether an object is a leaf: no container, or one that ``is_leaf`` takes for a leaf."""
    return (is_leaf is not None and is_leaf(tree)) or _get_node_type(tree) not in SUPPORTED_NODES


# -- the description -----------------------------------------------------------------------------------------------


@dataclass(repr=False, eq=True, unsafe_hash=False)
class TreeSpec:
    """What a tree looks like without its leaves."""

    type: Any
    context: Any
    children_specs: list[TreeSpec]
    num_nodes: int = field(init=False, compare=False)
    num_leaves: int = field(init=False, compare=False)
    num_children: int = field(init=False, compare=False)

    def __post_init__(self) -> None:
        specs = self.children_specs
        self.num_children = len(specs)
        self.num_nodes = 1 + sum(s.num_nodes for s in specs)
        self.num_leaves = sum(s.num_leaves for s in specs) if self.type is not None else 1

    def __hash__(self) -> int:
        context = self.context
        if self.type in SUPPORTED_NODES and SUPPORTED_NODES[self.type].by_key or isinstance(context, list):
            context = repr(context)
        return hash((self.type, context, tuple(self.children_specs)))

    def __repr__(self, indent: int = 0) -> str:
        if self.type is None:
            return "*"
        specs = self.children_specs
        shown = [specs[0].__repr__(indent + 2)] if specs else []
        shown += [f"\n{' ' * (indent + 2)}{s.__repr__(indent + 2)}" for s in specs[1:]]
        return f"TreeSpec({self.type.__name__}, {self.context}, [{','.join(shown)}])"

    def is_leaf(self) -> bool:
        """Whether this is a single leaf."""
        return self.type is None

    def children(self) -> list[TreeSpec]:
        """The descriptions of the children."""
        return list(self.children_specs)

    def child(self, index: int) -> TreeSpec:
        """The description of one child."""
        return self.children_specs[index]

    def unflatten(self, leaves: Iterable[Any]) -> Any:
        """A tree of this form; raises ``ValueError`` if the number of leaves is not this one's."""
        leaves = list(leaves)
        if len(leaves) != self.num_leaves:
            raise ValueError(
                f"treespec.unflatten(leaves): `leaves` has length {len(leaves)} but the spec refers to a pytree that holds "
                f"{self.num_leaves} items ({self})."
            )
        return self._build(iter(leaves))

    def _build(self, leaves: Iterator[Any]) -> Any:
        if self.type is None:
            return next(leaves)
        return SUPPORTED_NODES[self.type].unflatten_fn([s._build(leaves) for s in self.children_specs], self.context)

    def flatten_up_to(self, tree: Any) -> list[Any]:
        """What lies in ``tree`` where this has leaves; below that ``tree`` may have any form.

        Raises:
            ValueError: ``tree`` has another form above the leaves.
        """
        result: list[Any] = []
        self._collect(tree, result)
        return result

    def _collect(self, tree: Any, into: list[Any]) -> None:
        if self.type is None:
            into.append(tree)
            return
        kind = _get_node_type(tree)
        node = SUPPORTED_NODES[self.type]
        if kind is not self.type and not (node.by_key and kind in SUPPORTED_NODES and SUPPORTED_NODES[kind].by_key):
            raise ValueError(f"Node type mismatch; expected {self.type!r}, but got {kind!r}.")
        if node.by_key:
            keys = self.context[1] if self.type is defaultdict else self.context
            missing, extra = set(keys) - set(tree), set(tree) - set(keys)
            if missing or extra:
                raise ValueError(
                    "Node keys mismatch"
                    + (f"; missing key(s): {missing}" if missing else "") + (f"; extra key(s): {extra}" if extra else "") + "."
                )  # fmt: skip
            children = [tree[key] for key in keys]
        else:
            children, context = node.flatten_fn(tree)
            if len(children) != self.num_children:
                raise ValueError(f"Node arity mismatch; expected {self.num_children}, but got {len(children)}.")
            if context != self.context:
                raise ValueError(
                    f"Node context mismatch for node type {self.type!r}: {self.context!r} != {context!r}."
                )
        for spec, child in zip(self.children_specs, children, strict=True):
            spec._collect(child, into)


PyTreeSpec = TreeSpec
_LEAF = TreeSpec(None, None, [])


class _LeafType(type):
    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, TreeSpec) and instance.is_leaf()


class LeafSpec(metaclass=_LeafType):
    """The description of a leaf: ``LeafSpec()`` makes one, and ``isinstance(spec, LeafSpec)`` knows one."""

    def __new__(cls) -> Any:
        return TreeSpec(None, None, [])


def treespec_leaf() -> TreeSpec:
    """The description of a leaf."""
    return TreeSpec(None, None, [])


def treespec_tuple(iterable: Iterable[TreeSpec] = (), /) -> TreeSpec:
    """The description of a tuple of trees of the given descriptions."""
    return TreeSpec(tuple, None, list(iterable))


def treespec_pprint(treespec: TreeSpec) -> str:
    """The description as a tree whose leaves print as stars."""
    return repr(tree_unflatten([_Star()] * treespec.num_leaves, treespec))


class _Star:
    def __repr__(self) -> str:
        return "*"


# -- flatten and unflatten -----------------------------------------------------------------------------------------


def _flatten(tree: Any, leaves: list[Any], is_leaf: IsLeaf) -> TreeSpec:
    kind = _get_node_type(tree)
    node = SUPPORTED_NODES.get(kind)
    if node is None or (is_leaf is not None and is_leaf(tree)):
        leaves.append(tree)
        return _LEAF
    children, context = node.flatten_fn(tree)
    return TreeSpec(kind, context, [_flatten(child, leaves, is_leaf) for child in children])


def tree_flatten(tree: Any, is_leaf: IsLeaf = None) -> tuple[list[Any], TreeSpec]:
    """The leaves of a tree from left to right, and its description.

    >>> from lamina.utils._pytree import tree_flatten
    >>> tree_flatten({"a": 1, "b": [2, 3]})[0]
    [1, 2, 3]
    """
    leaves: list[Any] = []
    return leaves, _flatten(tree, leaves, is_leaf)


def tree_unflatten(leaves: Iterable[Any], treespec: TreeSpec) -> Any:
    """The tree of a description with these leaves; raises ``ValueError`` if their number is wrong."""
    if not isinstance(treespec, TreeSpec):
        raise TypeError(
            f"Expected `treespec` to be an instance of PyTreeSpec but got item of type {type(treespec)}."
        )
    return treespec.unflatten(leaves)


def tree_iter(tree: Any, is_leaf: IsLeaf = None) -> Iterator[Any]:
    """The leaves one by one."""
    if tree_is_leaf(tree, is_leaf):
        yield tree
        return
    for child in SUPPORTED_NODES[_get_node_type(tree)].flatten_fn(tree)[0]:
        yield from tree_iter(child, is_leaf)


def tree_leaves(tree: Any, is_leaf: IsLeaf = None) -> list[Any]:
    """The leaves in a list."""
    return list(tree_iter(tree, is_leaf))


def arg_tree_leaves(*args: Any, **kwargs: Any) -> list[Any]:
    """The leaves of all arguments."""
    return tree_leaves([list(args), list(kwargs.values())])


def tree_structure(tree: Any, is_leaf: IsLeaf = None) -> TreeSpec:
    """The description of a tree."""
    return tree_flatten(tree, is_leaf)[1]


def _paths(path: tuple[Any, ...], tree: Any, is_leaf: IsLeaf) -> Iterator[tuple[tuple[Any, ...], Any]]:
    if tree_is_leaf(tree, is_leaf):
        yield path, tree
        return
    node = SUPPORTED_NODES[_get_node_type(tree)]
    if node.flatten_with_keys_fn is None:
        raise ValueError(
            f"Did not find a flatten_with_keys_fn for type: {node.type}. Please pass a flatten_with_keys_fn argument to "
            "register_pytree_node."
        )
    for key, child in node.flatten_with_keys_fn(tree)[0]:
        yield from _paths((*path, key), child, is_leaf)


def tree_leaves_with_path(tree: Any, is_leaf: IsLeaf = None) -> list[tuple[tuple[KeyEntry, ...], Any]]:
    """The leaves, each with the path that leads to it."""
    return list(_paths((), tree, is_leaf))


def tree_flatten_with_path(
    tree: Any, is_leaf: IsLeaf = None
) -> tuple[list[tuple[tuple[KeyEntry, ...], Any]], TreeSpec]:
    """The leaves with their paths, and the description."""
    return tree_leaves_with_path(tree, is_leaf), tree_structure(tree, is_leaf)


# -- maps ----------------------------------------------------------------------------------------------------------


def tree_map(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """The tree with ``func(leaf, *others)`` for every leaf, ``others`` being what ``rests`` have at its place.

    Raises:
        ValueError: one of ``rests`` has another form.

    >>> from lamina.utils._pytree import tree_map
    >>> tree_map(lambda x, y: x + y, {"a": 1, "b": (2,)}, {"a": 10, "b": (20,)})
    {'a': 11, 'b': (22,)}
    """
    leaves, treespec = tree_flatten(tree, is_leaf)
    return treespec.unflatten(map(func, leaves, *[treespec.flatten_up_to(r) for r in rests]))


def tree_map_(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """Call ``func`` as :func:`tree_map` does, for its effect, and return the tree itself."""
    leaves, treespec = tree_flatten(tree, is_leaf)
    for arguments in zip(leaves, *[treespec.flatten_up_to(r) for r in rests], strict=True):
        func(*arguments)
    return tree


def tree_map_with_path(func: Callable[..., Any], tree: Any, *rests: Any, is_leaf: IsLeaf = None) -> Any:
    """:func:`tree_map` of ``func(path, leaf, *others)``."""
    pairs, treespec = tree_flatten_with_path(tree, is_leaf)
    paths, leaves = [path for path, _ in pairs], [leaf for _, leaf in pairs]
    return treespec.unflatten(map(func, paths, leaves, *[treespec.flatten_up_to(r) for r in rests]))


def _predicate(kinds: Any) -> Callable[[Any], bool]:
    if isinstance(kinds, (type, tuple, UnionType)):
        return lambda x: isinstance(x, kinds)
    if callable(kinds):
        return kinds
    raise TypeError("Argument must be a type, a tuple of types, or a callable.")


def map_only(type_or_types_or_pred: Any, /) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    """A decorator: the function then leaves alone what is not of the types (or does not fulfil the predicate)."""
    fits = _predicate(type_or_types_or_pred)

    def wrapper(func: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda x: func(x) if fits(x) else x

    return wrapper


def tree_map_only(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: Any, is_leaf: IsLeaf = None
) -> Any:
    """:func:`tree_map` over the leaves of some types (or those that fulfil a predicate)."""
    return tree_map(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_map_only_(
    type_or_types_or_pred: Any, /, func: Callable[[Any], Any], tree: Any, is_leaf: IsLeaf = None
) -> Any:
    """:func:`tree_map_` over the leaves of some types (or those that fulfil a predicate)."""
    return tree_map_(map_only(type_or_types_or_pred)(func), tree, is_leaf=is_leaf)


def tree_all(pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether all leaves fulfil a predicate."""
    return all(map(pred, tree_iter(tree, is_leaf)))


def tree_any(pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether a leaf fulfils a predicate."""
    return any(map(pred, tree_iter(tree, is_leaf)))


def tree_all_only(type_or_types: Any, /, pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether all leaves of some types fulfil a predicate."""
    return all(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


def tree_any_only(type_or_types: Any, /, pred: Callable[[Any], bool], tree: Any, is_leaf: IsLeaf = None) -> bool:
    """Whether a leaf of some types fulfils a predicate."""
    return any(pred(x) for x in tree_iter(tree, is_leaf) if isinstance(x, type_or_types))


def _broadcast_to_and_flatten(tree: Any, treespec: TreeSpec, is_leaf: IsLeaf = None) -> list[Any] | None:
    """One leaf of ``tree`` for each leaf of a description, where ``tree`` may end earlier; ``None`` if the forms differ."""
    if tree_is_leaf(tree, is_leaf):
        return [tree] * treespec.num_leaves
    if treespec.is_leaf() or _get_node_type(tree) is not treespec.type:
        return None
    children, context = SUPPORTED_NODES[treespec.type].flatten_fn(tree)
    if len(children) != treespec.num_children or context != treespec.context:
        return None
    result: list[Any] = []
    for child, spec in zip(children, treespec.children_specs, strict=True):
        flat = _broadcast_to_and_flatten(child, spec, is_leaf)
        if flat is None:
            return None
        result += flat
    return result
