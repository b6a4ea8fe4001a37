"""The table that `lamina.summary` returns: rows of layers, totals, and how they are printed."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lamina.utils._summary import LayerInfo

COLUMNS = {
    "kernel_size": "Kernel Shape",
    "input_size": "Input Shape",
    "output_size": "Output Shape",
    "num_params": "Param #",
    "params_percent": "Param %",
    "mult_adds": "Mult-Adds",
    "trainable": "Trainable",
}
ROW_SETTINGS = ("ascii_only", "depth", "var_names", "hide_recursive_layers")
_UNITS = (("T", 1e12), ("G", 1e9), ("M", 1e6))


class Formatting:
    """What is shown: columns, their width, how deep the rows go, and what their names say."""

    def __init__(
        self, depth: int, verbose: int, columns: tuple[str, ...], col_width: int, row_settings: Iterable[str]
    ) -> None:
        self.max_depth, self.verbose, self.col_names, self.col_width = depth, verbose, columns, col_width
        self.row_settings = frozenset(row_settings)
        self.layer_name_width = 40

    def fit(self, rows: list[LayerInfo]) -> None:
        """Widen the first column, in steps of five, until the longest name fits."""
        longest = max((len(self.name(row)) + row.depth * 5 + 1 for row in rows), default=0)
        if longest >= self.layer_name_width:
            self.layer_name_width = math.ceil(longest / 5) * 5

    @property
    def total_width(self) -> int:
        """The width of the lines between the parts of the table."""
        return len(self.col_names) * self.col_width + self.layer_name_width

    def name(self, row: LayerInfo) -> str:
        """A row's name: its class, and if wanted the attribute and the place in the tree."""
        text = row.class_name
        if "var_names" in self.row_settings and row.var_name:
            text += f" ({row.var_name})"
        if "depth" in self.row_settings and row.depth > 0:
            text += f": {row.depth}-{row.depth_index}"
        return text

    def branch(self, depth: int) -> str:
        """What leads to a row's name."""
        if depth == 0:
            return ""
        plain = "ascii_only" in self.row_settings
        if depth == 1:
            return "+ " if plain else "├─"
        return ("|    " if plain else "│    ") * (depth - 1) + ("+ " if plain else "└─")

    def line(self, name: str, values: dict[str, str]) -> str:
        """One line of the table."""
        cells = [f"{values.get(column, ''):<{self.col_width}} " for column in self.col_names]
        return f"{name:<{self.layer_name_width}} {''.join(cells)}".rstrip() + "\n"

    def header(self) -> str:
        """The line of titles."""
        what = "type"
        if "var_names" in self.row_settings:
            what += " (var_name)"
        if "depth" in self.row_settings:
            what += ":depth-idx"
        return self.line(f"Layer ({what})", COLUMNS)

    def rows(self, rows: list[LayerInfo], total: int) -> str:
        """The lines of the layers down to the greatest depth."""
        text = ""
        for row in rows:
            if row.depth > self.max_depth or (row.is_recursive and "hide_recursive_layers" in self.row_settings):
                continue
            text += self.line(self.branch(row.depth) + self.name(row), self.cells(row, total))
            if self.verbose == 2:
                last = len(row.inner_layers) - 1
                for i, (name, (shape, count)) in enumerate(row.inner_layers.items()):
                    cells = {"kernel_size": str(shape), "num_params": f"{'└─' if i == last else '├─'}{count:,}"}
                    text += self.line(self.branch(row.depth + 1) + name, cells)
        return text

    def cells(self, row: LayerInfo, total: int) -> dict[str, str]:
        """A row's values by column."""
        whole = row.is_leaf_layer or row.depth == self.max_depth  # nothing of it is shown elsewhere
        count = row.num_params if whole else row.leftover_params
        macs = row.macs if row.is_leaf_layer or row.depth < self.max_depth else row.total_macs
        if row.num_params == 0:
            params = "--"
        elif row.is_recursive:
            params = "(recursive)"
        elif whole and not row.trainable_params:
            params = f"({count:,})"
        else:
            params = f"{count:,}" if count > 0 else "--"
        percent = "     --"
        if total and row.is_recursive:
            percent = "(recursive)"
        elif total and count > 0:
            percent = f"{count / total:>7.2%}"
        return {
            "kernel_size": _or_dashes(row.kernel_size),
            "input_size": _or_dashes(row.input_size),
            "output_size": _or_dashes(row.output_size),
            "num_params": params,
            "params_percent": percent,
            "mult_adds": f"{macs:,}" if macs > 0 else "--",
            "trainable": row.trainable,
        }


def _or_dashes(value: Any) -> str:
    return str(value) if value else "--"


class ModelStatistics:
    """What `lamina.summary` found; `str()` of it is the table.

    Attributes:
        summary_list (list of LayerInfo): a row for each call of a layer, in the order of the calls.
        input_size: the shapes of the inputs.
        total_params, trainable_params (int): numbers of parameters; a shared one counts once.
        total_mult_adds (int): multiply-adds of one forward pass.
        total_input, total_output_bytes, total_param_bytes (int): bytes of the inputs; of the results of layers with
            parameters, twice, for forward and backward; of the parameters.
    """

    def __init__(
        self, summary_list: list[LayerInfo], input_size: Any, total_input: int, formatting: Formatting
    ) -> None:
        self.summary_list = summary_list
        self.input_size = input_size
        self.total_input = total_input
        self.formatting = formatting
        root = summary_list[0]
        self.total_params, self.trainable_params = root.num_params, root.trainable_params
        self.total_param_bytes = root.param_bytes
        self.total_mult_adds = sum(row.macs for row in summary_list)
        self.total_output_bytes = sum(
            2 * row.output_bytes for row in summary_list if row.is_leaf_layer and row.num_params
        )
        formatting.fit(summary_list)

    def __repr__(self) -> str:
        form = self.formatting
        line = "=" * form.total_width
        text = (
            f"{line}\n{form.header()}{line}\n{form.rows(self.summary_list, self.total_params)}{line}\n"
            f"Total params: {self.total_params:,}\n"
            f"Trainable params: {self.trainable_params:,}\n"
            f"Non-trainable params: {self.total_params - self.trainable_params:,}\n"
        )
        if self.input_size:
            unit, amount = self.to_readable(self.total_mult_adds)
            shown = f"{int(amount):,}" if amount.is_integer() else f"{amount:,.2f}"
            whole = self.total_input + self.total_output_bytes + self.total_param_bytes
            text += (
                f"Total mult-adds ({unit}): {shown}\n{line}\n"
                f"Input size (MB): {self.to_megabytes(self.total_input):0.2f}\n"
                f"Forward/backward pass size (MB): {self.to_megabytes(self.total_output_bytes):0.2f}\n"
                f"Params size (MB): {self.to_megabytes(self.total_param_bytes):0.2f}\n"
                f"Estimated Total Size (MB): {self.to_megabytes(whole):0.2f}\n"
            )
        return text + line

    @staticmethod
    def to_megabytes(num: float) -> float:
        """Bytes in units of 10⁶."""
        return num / 1e6

    @staticmethod
    def to_readable(num: float) -> tuple[str, float]:
        """A number as a letter (M, G or T) and how many millions, billions or trillions it is."""
        unit, size = next(((u, s) for u, s in _UNITS if num >= s), _UNITS[-1])
        return unit, num / size
