"""Recurrent layers: ``RNN``, ``LSTM``, ``GRU`` over sequences, and their cells over one step."""

from __future__ import annotations

import math
import warnings
from typing import Any

from lamina import ops
from lamina._tensor import Tensor
from lamina.autograd.graph import mode
from lamina.nn import init
from lamina.nn.modules.module import Module
from lamina.nn.modules.utils import new_parameter
from lamina.nn.utils.rnn import PackedSequence
from lamina.ops import rnn as networks

__all__ = ["GRU", "LSTM", "RNN", "GRUCell", "LSTMCell", "RNNBase", "RNNCell", "RNNCellBase"]

_GATES = {"RNN_TANH": 1, "RNN_RELU": 1, "LSTM": 4, "GRU": 3}
_CELL = {"RNN_TANH": "tanh", "RNN_RELU": "relu", "LSTM": "lstm", "GRU": "gru"}


class RNNBase(Module):
    """What the three recurrent layers share: their parameters, checks, and the run over layers and directions."""

    __constants__ = [
        "mode", "input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size",
    ]  # fmt: skip

    def __init__(
        self, mode: str, input_size: int, hidden_size: int, num_layers: int = 1, bias: bool = True, batch_first: bool = False,
        dropout: float = 0.0, bidirectional: bool = False, proj_size: int = 0, device: Any = None, dtype: Any = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if isinstance(dropout, bool) or not isinstance(dropout, (int, float)) or not 0 <= dropout <= 1:
            raise ValueError(
                f"dropout should be a number in range [0, 1], the probability of an element being zeroed, got {dropout!r}"
            )
        if dropout > 0 and num_layers == 1:
            warnings.warn(
                "dropout option adds dropout after all but last recurrent layer, so non-zero dropout expects num_layers "
                f"greater than 1, but got dropout={dropout} and num_layers={num_layers}",
                stacklevel=3,
            )
        for name, value in (
            ("input_size", input_size),
            ("hidden_size", hidden_size),
            ("num_layers", num_layers),
        ):
            if isinstance(value, bool) or not isinstance(value, int):
                raise TypeError(f"{name} should be of type int, got: {type(value).__name__}")
            if value <= 0:
                raise ValueError(f"{name} must be greater than zero, got {value}")
        if mode not in _GATES:
            raise ValueError("Unrecognized RNN mode: " + str(mode))
        if proj_size < 0:
            raise ValueError(
                f"proj_size should be a positive integer or zero to disable projections, got {proj_size}"
            )
        if proj_size >= hidden_size:
            raise ValueError(
                f"proj_size has to be smaller than hidden_size, got {proj_size} and {hidden_size}"
            )
        self.mode, self.input_size, self.hidden_size, self.num_layers = (
            mode,
            input_size,
            hidden_size,
            num_layers,
        )
        self.bias, self.batch_first, self.dropout = bias, batch_first, float(dropout)
        self.bidirectional, self.proj_size = bidirectional, proj_size
        self._all_weights: list[list[str]] = []
        out, rows = proj_size or hidden_size, _GATES[mode] * hidden_size
        for layer in range(num_layers):
            for suffix in ("", "_reverse")[: 2 if bidirectional else 1]:
                width = input_size if layer == 0 else out * (2 if bidirectional else 1)
                shapes: dict[str, tuple[int, ...]] = {"weight_ih": (rows, width), "weight_hh": (rows, out)}
                if bias:
                    shapes.update(bias_ih=(rows,), bias_hh=(rows,))
                if proj_size:
                    shapes["weight_hr"] = (proj_size, hidden_size)
                names = [f"{name}_l{layer}{suffix}" for name in shapes]
                for name, shape in zip(names, shapes.values(), strict=True):
                    setattr(self, name, new_parameter(shape, device, dtype))
                self._all_weights.append(names)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(−k, k), k = 1/√hidden_size."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def flatten_parameters(self) -> None:
        """Nothing to do on a CPU."""

    @property
    def all_weights(self) -> list[list[Any]]:
        """The parameters, a list per layer and direction."""
        return [[getattr(self, name) for name in names] for names in self._all_weights]

    @property
    def _flat_weights(self) -> list[Any]:
        return [getattr(self, name) for names in self._all_weights for name in names]

    @property
    def _flat_weights_names(self) -> list[str]:
        return [name for names in self._all_weights for name in names]

    # -- checks ----------------------------------------------------------------------------------------------------

    def check_input(self, input: Tensor, batch_sizes: Tensor | None) -> None:
        """Raise unless the input has the layer's dtype, rank and size."""
        weight = getattr(self, self._all_weights[0][0])
        if input.dtype is not weight.dtype and mode.autocast is None:
            raise ValueError(
                f"{type(self).__name__}: RNN input dtype ({input.dtype}) does not match weight dtype ({weight.dtype}). "
                f"Convert input: input.to({weight.dtype}), or convert model: model.to({input.dtype})"
            )
        expected = 2 if batch_sizes is not None else 3
        if input.ndim != expected:
            raise RuntimeError(
                f"{type(self).__name__}: input must have {expected} dimensions, got {input.ndim}"
            )
        if input.shape[-1] != self.input_size:
            raise RuntimeError(
                f"{type(self).__name__}: input.size(-1) must be equal to input_size. Expected {self.input_size}, "
                f"got {input.shape[-1]}"
            )

    def get_expected_hidden_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """(layers·directions, N, H_out)."""
        batch = int(batch_sizes[0]) if batch_sizes is not None else input.shape[0 if self.batch_first else 1]
        return self.num_layers * (2 if self.bidirectional else 1), batch, self.proj_size or self.hidden_size

    def get_expected_cell_size(self, input: Tensor, batch_sizes: Tensor | None) -> tuple[int, int, int]:
        """(layers·directions, N, H)."""
        return (*self.get_expected_hidden_size(input, batch_sizes)[:2], self.hidden_size)

    def check_hidden_size(
        self,
        hx: Tensor,
        expected_hidden_size: tuple[int, int, int],
        msg: str = "Expected hidden size {}, got {}",
    ) -> None:
        """Raise unless a state has the expected size."""
        if tuple(hx.shape) != tuple(expected_hidden_size):
            raise RuntimeError(
                f"{type(self).__name__}: " + msg.format(tuple(expected_hidden_size), list(hx.shape))
            )

    def check_forward_args(self, input: Tensor, hidden: Any, batch_sizes: Tensor | None) -> None:
        """Raise unless input and state fit the layer."""
        self.check_input(input, batch_sizes)
        self.check_hidden_size(hidden, self.get_expected_hidden_size(input, batch_sizes))

    def permute_hidden(self, hx: Any, permutation: Tensor | None) -> Any:
        """The state's sequences in another order."""
        return hx if permutation is None else hx.index_select(1, permutation)

    # -- the run ---------------------------------------------------------------------------------------------------

    def forward(self, input: Any, hx: Any = None) -> Any:
        """Run over (T, N, I), over (N, T, I) with ``batch_first``, over one sequence (T, I), or over a packed batch."""
        packed, several, name = isinstance(input, PackedSequence), self.mode == "LSTM", type(self).__name__
        alone = False
        if packed:
            x, batch_sizes, sorted_indices, unsorted_indices = input
        else:
            x, batch_sizes, sorted_indices, unsorted_indices = input, None, None, None
            if x.ndim not in (2, 3):
                raise ValueError(f"{name}: Expected input to be 2D or 3D, got {x.ndim}D instead")
            alone = x.ndim == 2
            if alone:
                x = x.unsqueeze(0 if self.batch_first else 1)
        self.check_input(x, batch_sizes)
        states = self._states(x, hx, batch_sizes, alone, packed, sorted_indices, several)
        parameters = [getattr(self, n) for names in self._all_weights for n in names]
        cell = _CELL[self.mode]
        hidden: Any = tuple(states) if several else states[0]
        settings = (parameters, self.bias, self.num_layers, self.dropout, self.training, self.bidirectional)
        if packed:
            y, *last = networks._packed(cell, x, batch_sizes, hidden, *settings)
            last = [self.permute_hidden(s, unsorted_indices) for s in last]
            y = PackedSequence(y, batch_sizes, sorted_indices, unsorted_indices)
        else:
            y, *last = networks._plain(cell, x, hidden, *settings, self.batch_first)
            if alone:
                y, last = y.squeeze(0 if self.batch_first else 1), [s.squeeze(1) for s in last]
        return y, (tuple(last) if several else last[0])

    def _states(
        self, x: Any, hx: Any, batch_sizes: Any, alone: bool, packed: bool, order: Any, several: bool
    ) -> list[Any]:
        """The initial states (h, or h and s): checked, or zeros."""
        expected = [self.get_expected_hidden_size(x, batch_sizes)]
        if several:
            expected.append(self.get_expected_cell_size(x, batch_sizes))
        if hx is None:
            return [ops.zeros(size, dtype=x.dtype) for size in expected]
        given = list(hx) if several else [hx]
        if len(given) != len(expected):
            raise RuntimeError(
                f"{type(self).__name__}: the state must be {len(expected)} tensors, got {len(given)}"
            )
        states = []
        for state, size, label in zip(
            given, expected, ("hidden[0]", "hidden[1]") if several else ("hidden",), strict=True
        ):
            if not packed:
                rank = 2 if alone else 3
                if state.ndim != rank:
                    kind = "unbatched 2-D" if alone else "batched 3-D"
                    raise RuntimeError(
                        f"{type(self).__name__}: For {kind} input, hx should also be {rank}-D but got {state.ndim}-D tensor"
                    )
                if alone:
                    state = state.unsqueeze(1)
            self.check_hidden_size(state, size, f"Expected {label} size {{}}, got {{}}")
            if state._a.dtype != x._a.dtype and mode.autocast is None:
                raise RuntimeError(f"{type(self).__name__}: expected {label} of the input's dtype {x.dtype}, got {state.dtype}")
            states.append(self.permute_hidden(state, order))
        return states

    def extra_repr(self) -> str:
        s = f"{self.input_size}, {self.hidden_size}"
        if self.proj_size != 0:
            s += f", proj_size={self.proj_size}"
        for name, default in (
            ("num_layers", 1),
            ("bias", True),
            ("batch_first", False),
            ("dropout", 0),
            ("bidirectional", False),
        ):
            if getattr(self, name) != default:
                s += f", {name}={getattr(self, name)}"
        return s

    def __setstate__(self, d: dict) -> None:
        super().__setstate__(d)
        if "all_weights" in d:
            self._all_weights = d["all_weights"]
        self.__dict__.setdefault("proj_size", 0)


_NETWORK = r"""<what>

    <equations>

    :math:`x_t` is the input of step :math:`t` and :math:`h_t` the hidden state after it; :math:`W` and :math:`b` belong to the
    input, :math:`U` and :math:`c` to the state, one pair for each of the equations. Layer 2 reads the :math:`h_t` of layer 1,
    and so on.

    Args:
        input_size (int): features of the input, :math:`I`.
        hidden_size (int): features of the hidden state, :math:`H`.
        num_layers (int): layers, each fed by the one below. Default: 1.
<first>        bias (bool): whether there are :math:`b` and :math:`c`. Default: True.
        batch_first (bool): input and output as :math:`(N, T, *)` rather than :math:`(T, N, *)`; states keep their order.
            Default: False.
        dropout (float): probability of zeroing an output of each layer but the last, while training. Default: 0.
        bidirectional (bool): a second run from the end, its outputs appended to those of the first. Default: False.
<last>        device, dtype: where and as what the parameters are made.

    Shape:
        With :math:`D` = 2 if bidirectional, else 1, and :math:`L` = `num_layers`:

        - input: :math:`(T, N, I)`, one sequence :math:`(T, I)`, or a
          :class:`PackedSequence <lamina.nn.utils.rnn.PackedSequence>`;
        - <state>;
        - output: :math:`(T, N, D H)`, the hidden states of the last layer at every step, packed if the input is;
        - last states: as the initial ones.

    Returns:
        The output and the last states.

    Attributes:
        weight_ih_l0, weight_hh_l0: :math:`W` :math:`(<g>H, I)` and :math:`U` :math:`(<g>H, H)` of layer 0<gates>; those of other
            layers end in their number, and those of the run from the end in ``_reverse``.
        bias_ih_l0, bias_hh_l0: :math:`b` and :math:`c`, :math:`(<g>H)`.

    All are drawn from :math:`U(-1/\sqrt{H}, 1/\sqrt{H})`.

    Raises:
        ValueError: a size below 1, a dropout outside [0, 1], an input of another dtype or rank.
        RuntimeError: an input or state of another size.

    See <source>.

    >>> layer = nn.<name>(10, 20, num_layers=2)
    >>> output, <states> = layer(lamina.randn(5, 3, 10))
    >>> output.shape, <state shape>
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]))
    """

_ONE_STATE = r"initial state, zeros if not given: :math:`(D L, N, H)`, or :math:`(D L, H)` for one sequence"
_ORDER = ", the gates {} one below the other"


def _network_doc(name: str, what: str, equations: str, gates: str, source: str, **more: str) -> str:
    values = {
        "name": name, "what": what, "equations": equations, "g": str(len(gates)) if len(gates) > 1 else "", "source": source,
        "gates": _ORDER.format(f":math:`{', '.join(gates)}`") if len(gates) > 1 else "", "first": "", "last": "",
        "state": _ONE_STATE, "states": "state", "state shape": "state.shape", **more,
    }  # fmt: skip
    text = _NETWORK
    for key, value in values.items():
        text = text.replace(f"<{key}>", value)
    return text


class RNN(RNNBase):
    __doc__ = _network_doc(
        "RNN",
        "A recurrent network: each state is computed from the input and from the state before it.",
        r""".. math::
        h_t = f(W x_t + b + U h_{t-1} + c), \qquad f = \tanh \text{ or } \mathrm{ReLU}""",
        "f",
        'J. Elman, "Finding Structure in Time", 1990',
        first="""        nonlinearity (str): :math:`f`, "tanh" or "relu". Default: "tanh".
""",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        if len(args) > 3:
            nonlinearity, args = args[3], args[:3] + args[4:]
        else:
            nonlinearity = kwargs.pop("nonlinearity", "tanh")
        if nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"Unknown nonlinearity '{nonlinearity}'. Select from 'tanh' or 'relu'.")
        super().__init__(f"RNN_{nonlinearity.upper()}", *args, **kwargs)
        self.nonlinearity = nonlinearity


class LSTM(RNNBase):
    __doc__ = _network_doc(
        "LSTM",
        "A long short-term memory: beside the hidden state h it carries a cell s, which gates fill and empty.",
        r""".. math::
        i, f, o &= \sigma(W x_t + b + U h_{t-1} + c) \\
        g &= \tanh(W x_t + b + U h_{t-1} + c) \\
        s_t &= f \odot s_{t-1} + i \odot g \\
        h_t &= o \odot \tanh(s_t)

    with :math:`\odot` the product element by element. With `proj_size` the hidden state is :math:`P h_t` instead.""",
        "ifgo",
        'S. Hochreiter and J. Schmidhuber, "Long Short-Term Memory", 1997',
        last="""        proj_size (int): if above 0, the size to which a matrix :math:`P` (`weight_hr_l0`) projects the hidden
            state; it replaces :math:`H` in the shapes of :math:`h` and of the output. Default: 0.
""",
        state=r"initial states, zeros if not given: the pair :math:`(h, s)`, each :math:`(D L, N, H)`, or :math:`(D L, H)` "
        "for one sequence",
        states="(hidden, cell)",
        **{"state shape": "cell.shape"},
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("LSTM", *args, **kwargs)


class GRU(RNNBase):
    __doc__ = _network_doc(
        "GRU",
        "Gated recurrent units: a gate r says how much of the old state counts, a gate z how much of it stays.",
        r""".. math::
        r, z &= \sigma(W x_t + b + U h_{t-1} + c) \\
        n &= \tanh(W x_t + b + r \odot (U h_{t-1} + c)) \\
        h_t &= (1 - z) \odot n + z \odot h_{t-1}

    with :math:`\odot` the product element by element.""",
        "rzn",
        'K. Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014',
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if "proj_size" in kwargs:
            raise ValueError("proj_size argument is only supported for LSTM, not RNN or GRU")
        super().__init__("GRU", *args, **kwargs)


class RNNCellBase(Module):
    """What the three cells share: two weight matrices, two biases, and the checks."""

    __constants__ = ["input_size", "hidden_size", "bias"]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool,
        num_chunks: int,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__()
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        for name, shape in (
            ("weight_ih", (num_chunks * hidden_size, input_size)),
            ("weight_hh", (num_chunks * hidden_size, hidden_size)),
        ):
            setattr(self, name, new_parameter(shape, device, dtype))
        for name in ("bias_ih", "bias_hh"):
            if bias:
                setattr(self, name, new_parameter((num_chunks * hidden_size,), device, dtype))
            else:
                self.register_parameter(name, None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(−k, k), k = 1/√hidden_size."""
        bound = 1 / math.sqrt(self.hidden_size) if self.hidden_size > 0 else 0
        for weight in self.parameters():
            init.uniform_(weight, -bound, bound)

    def extra_repr(self) -> str:
        s = f"{self.input_size}, {self.hidden_size}"
        if not self.bias:
            s += f", bias={self.bias}"
        if getattr(self, "nonlinearity", "tanh") != "tanh":
            s += f", nonlinearity={self.nonlinearity}"
        return s

    def _step(self, function: Any, input: Tensor, hx: Any, states: int) -> Any:
        shape, name = input._a.shape, type(self).__name__
        if len(shape) not in (1, 2):
            raise ValueError(f"{name}: Expected input to be 1D or 2D, got {len(shape)}D instead")
        if shape[-1] != self.input_size:
            raise RuntimeError(f"{name}: input has inconsistent input_size: got {shape[-1]} expected {self.input_size}")
        size = (*shape[:-1], self.hidden_size)
        given: Any = ()
        if hx is None:
            zero = ops.zeros(size, dtype=input.dtype)
            hx = (zero, zero) if states == 2 else zero
        elif states == 2 and not isinstance(hx, (tuple, list)):
            raise TypeError(f"{name}: the state must be a tuple of two tensors, not {type(hx).__name__}")
        else:
            given = hx if states == 2 else (hx,)
        weight: Any = self.weight_ih
        for i, state in enumerate(given):
            a = state._a
            if a.ndim not in (1, 2):
                raise ValueError(
                    f"{name}: Expected hx{f'[{i}]' if states == 2 else ''} to be 1D or 2D, got {a.ndim}D instead"
                )
            if a.shape != size:
                raise RuntimeError(
                    f"{name}: hidden{i} has inconsistent hidden_size or batch: got {a.shape}, expected {size}"
                )
        for i, tensor in enumerate((input, *given)):
            if tensor._a.dtype != weight._a.dtype:
                what = f"hidden{i - 1}" if i else "input"
                raise RuntimeError(f"{name}: expected {what} of dtype {weight.dtype}, the weights', but got {tensor.dtype}")
        return function(input, hx, weight, self.weight_hh, self.bias_ih, self.bias_hh)


class RNNCell(RNNCellBase):
    r"""One step of an :class:`RNN`: :math:`h' = f(W x + b + U h + c)`.

    Args:
        input_size (int): features of the input, :math:`I`.
        hidden_size (int): features of the state, :math:`H`.
        bias (bool): whether there are :math:`b` and :math:`c`. Default: True.
        nonlinearity (str): :math:`f`, "tanh" or "relu". Default: "tanh".
        device, dtype: where and as what the parameters are made.

    Shape:
        input :math:`(N, I)` or :math:`(I)`, state and result :math:`(N, H)` or :math:`(H)`; the state is zero if not given.

    Attributes:
        weight_ih, weight_hh: :math:`W` :math:`(H, I)` and :math:`U` :math:`(H, H)`.
        bias_ih, bias_hh: :math:`b` and :math:`c`, :math:`(H)`; all drawn from :math:`U(-1/\sqrt{H}, 1/\sqrt{H})`.

    Raises:
        RuntimeError: an input or a state of another size, or an unknown nonlinearity.
        ValueError: an input or a state of another rank.

    >>> cell, state = nn.RNNCell(10, 20), None
    >>> for x in lamina.randn(6, 3, 10):
    ...     state = cell(x, state)
    >>> state.shape
    torch.Size([3, 20])
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 1, device, dtype)
        self.nonlinearity = nonlinearity

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        if self.nonlinearity not in ("tanh", "relu"):
            raise RuntimeError(f"Unknown nonlinearity: {self.nonlinearity}")
        return self._step(
            networks.rnn_tanh_cell if self.nonlinearity == "tanh" else networks.rnn_relu_cell, input, hx, 1
        )


class LSTMCell(RNNCellBase):
    r"""One step of an :class:`LSTM`, on the pair of its states :math:`(h, s)`; the equations are there.

    Args:
        input_size (int): features of the input, :math:`I`.
        hidden_size (int): features of each state, :math:`H`.
        bias (bool): whether there are :math:`b` and :math:`c`. Default: True.
        device, dtype: where and as what the parameters are made.

    Shape:
        input :math:`(N, I)` or :math:`(I)`, states and results :math:`(N, H)` or :math:`(H)`; states are zero if not given.

    Attributes:
        weight_ih, weight_hh: :math:`W` :math:`(4H, I)` and :math:`U` :math:`(4H, H)`, of the gates :math:`i, f, g, o`, one below
            the other.
        bias_ih, bias_hh: :math:`b` and :math:`c`, :math:`(4H)`; all drawn from :math:`U(-1/\sqrt{H}, 1/\sqrt{H})`.

    Raises:
        RuntimeError: an input or a state of another size.
        ValueError: an input or a state of another rank.

    >>> cell, states = nn.LSTMCell(10, 20), None
    >>> for x in lamina.randn(6, 3, 10):
    ...     states = cell(x, states)
    >>> hidden, cell_state = states
    >>> hidden.shape
    torch.Size([3, 20])
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 4, device, dtype)

    def forward(self, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:
        return self._step(networks.lstm_cell, input, hx, 2)


class GRUCell(RNNCellBase):
    r"""One step of a :class:`GRU`; the equations are there.

    Args:
        input_size (int): features of the input, :math:`I`.
        hidden_size (int): features of the state, :math:`H`.
        bias (bool): whether there are :math:`b` and :math:`c`. Default: True.
        device, dtype: where and as what the parameters are made.

    Shape:
        input :math:`(N, I)` or :math:`(I)`, state and result :math:`(N, H)` or :math:`(H)`; the state is zero if not given.

    Attributes:
        weight_ih, weight_hh: :math:`W` :math:`(3H, I)` and :math:`U` :math:`(3H, H)`, of the gates :math:`r, z, n`, one below the
            other.
        bias_ih, bias_hh: :math:`b` and :math:`c`, :math:`(3H)`; all drawn from :math:`U(-1/\sqrt{H}, 1/\sqrt{H})`.

    Raises:
        RuntimeError: an input or a state of another size.
        ValueError: an input or a state of another rank.

    >>> cell, state = nn.GRUCell(10, 20), None
    >>> for x in lamina.randn(6, 3, 10):
    ...     state = cell(x, state)
    >>> state.shape
    torch.Size([3, 20])
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, device: Any = None, dtype: Any = None
    ) -> None:
        super().__init__(input_size, hidden_size, bias, 3, device, dtype)

    def forward(self, input: Tensor, hx: Tensor | None = None) -> Tensor:
        return self._step(networks.gru_cell, input, hx, 1)
