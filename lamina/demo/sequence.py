"""An LSTM forecasts El Niño, three months ahead, from real sea-surface temperatures.

The data are NOAA's monthly anomalies (differences from the season's normal, in °C) of four regions of the
equatorial Pacific from 1950 to 2016. The network learns on the targets up to 1995 and is judged on the rest.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import numpy as np

import lamina as torch
from lamina import nn, plotting
from lamina.demo import training
from lamina.utils.data import TensorDataset

HISTORY, AHEAD, REGION = 24, 3, 3  # months seen, months ahead, and which region: Niño 3.4
FIRST_TEST_YEAR = 1996


def load() -> tuple[TensorDataset, TensorDataset, np.ndarray]:
    """Windows (N, 24, 6) of four anomalies and the season with what followed (N,), twice; the test dates."""
    # The columns are year, month, and for each region the temperature and the anomaly.
    table = np.load(str(files("pywt") / "data" / "sst_nino3.npz"))["data"]
    angle = 2 * np.pi * table[:, 1] / 12
    months = np.column_stack([table[:, 3::2], np.sin(angle), np.cos(angle)]).astype("float32")
    windows = np.stack([months[i : i + HISTORY] for i in range(len(months) - HISTORY - AHEAD + 1)])
    followed = table[HISTORY + AHEAD - 1 :]
    targets = months[HISTORY + AHEAD - 1 :, REGION]
    late = followed[:, 0] >= FIRST_TEST_YEAR

    def part(rows: np.ndarray) -> TensorDataset:
        return TensorDataset(torch.from_numpy(windows[rows]), torch.from_numpy(targets[rows]))

    return part(~late), part(late), (followed[:, 0] + (followed[:, 1] - 0.5) / 12)[late]


class Forecaster(nn.Module):
    """Reads the months one after the other, and says how far the last one will have changed."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, hidden, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.change = nn.Linear(hidden, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(windows)
        return windows[:, -1, REGION] + self.change(self.dropout(states[:, -1])).squeeze(1)


def error(forecast: torch.Tensor, truth: torch.Tensor) -> float:
    """The root of the mean squared error, in °C."""
    return ((forecast - truth) ** 2).mean().sqrt().item()


def run(folder: Path, epochs: int) -> str:
    torch.manual_seed(0)
    train, test, dates = load()
    windows, truth = test.tensors
    model = Forecaster()
    history = training.fit(
        model, nn.MSELoss(), train, lambda model: error(model(windows), truth),
        epochs=epochs, batch_size=32, lr=5e-3, title="El Niño LSTM",
    )  # fmt: skip
    weights = folder / "sequence.pt"
    torch.save(model.state_dict(), weights)
    again = Forecaster().eval()
    again.load_state_dict(torch.load(weights))
    with torch.no_grad():
        forecast = again(windows)
    ours, unchanged = error(forecast, truth), error(windows[:, -1, REGION], truth)

    picture = draw(history, dates, truth, forecast, ours, unchanged, folder / "sequence.png")
    return (
        f"sequence    error {ours:.2f} °C three months ahead, {unchanged:.2f} °C if one says 'no change', "
        f"by the saved weights {weights}: {picture}"
    )


def draw(
    history: training.History,
    dates: np.ndarray,
    truth: torch.Tensor,
    forecast: torch.Tensor,
    ours: float,
    unchanged: float,
    path: Path,
) -> Path:
    """The learning curve, and the forecast over what was measured in the years that were not learnt."""
    title = f"off by {ours:.2f} °C (saying 'no change': {unchanged:.2f} °C)"
    figure = plotting.new_figure(15, 4.4, f"An LSTM forecasts El Niño three months ahead: {title}")
    learning, years = figure.subplots(1, 2, width_ratios=[1, 2.2])
    training_error = [loss**0.5 for loss in history.loss]
    errors = {"training months (with dropout)": training_error, "test months": history.score}
    plotting.curves(learning, history.epochs, errors, "learning curve", "epoch", "error (°C)", marker="o")
    learning.axhline(unchanged, color="grey", linestyle="--", linewidth=1)
    last = (history.epochs[-1], unchanged)
    learning.annotate("saying 'no change'", last, ha="right", va="bottom", color="grey")
    lines = {"measured": truth, "forecast three months before": forecast}
    unseen = f"{int(dates[0])} to {int(dates[-1])}, which it never saw"
    subtitle = f"temperature anomaly of the central Pacific (Niño 3.4), {unseen}"
    plotting.curves(years, dates, lines, subtitle, "year", "°C above normal", linewidth=1.8)
    years.axhline(0, color="black", linewidth=0.6)
    return plotting.save(figure, path)
