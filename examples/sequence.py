"""An LSTM forecasts El Niño: how warm the Pacific will be three months ahead, from the last two years.

The data are NOAA's monthly anomalies (differences from the season's normal, in °C) of four regions, 1950 to
2016, which PyWavelets ships. The network learns on the targets up to 1995 and is judged on those after.
Run it with ``python examples/sequence.py``. PyTorch prints the same numbers within 1 %.
"""

import argparse
from importlib.resources import files

import numpy as np

import lamina as torch
import lamina.nn as nn
from lamina.utils.data import DataLoader, TensorDataset

HISTORY, AHEAD, REGION = 24, 3, 3  # months seen, months ahead, and which region: Niño 3.4


def load() -> tuple[TensorDataset, TensorDataset]:
    """Windows (N, 24, 6) of four anomalies and the season, and the anomaly (N,) three months after each."""
    # The columns are year, month, and for each region the temperature and the anomaly.
    table = np.load(str(files("pywt") / "data" / "sst_nino3.npz"))["data"]
    angle = 2 * np.pi * table[:, 1] / 12
    months = np.column_stack([table[:, 3::2], np.sin(angle), np.cos(angle)]).astype("float32")
    starts = range(len(months) - HISTORY - AHEAD + 1)
    windows = np.stack([months[i : i + HISTORY] for i in starts])
    targets = months[HISTORY + AHEAD - 1 :, REGION]
    late = table[HISTORY + AHEAD - 1 :, 0] >= 1996

    def part(rows: np.ndarray) -> TensorDataset:
        return TensorDataset(torch.from_numpy(windows[rows]), torch.from_numpy(targets[rows]))

    return part(~late), part(late)


class Forecaster(nn.Module):
    """Reads the months one after the other, and says how far the last one will have changed."""

    def __init__(self, hidden: int = 16) -> None:
        super().__init__()
        self.lstm = nn.LSTM(6, hidden, batch_first=True)
        self.dropout = nn.Dropout(0.3)
        self.change = nn.Linear(hidden, 1)

    def forward(self, windows: torch.Tensor) -> torch.Tensor:
        states, _ = self.lstm(windows)
        change = self.change(self.dropout(states[:, -1])).squeeze(1)
        return windows[:, -1, REGION] + change


def error(forecast: torch.Tensor, truth: torch.Tensor) -> float:
    """The root of the mean squared error, in °C."""
    return ((forecast - truth) ** 2).mean().sqrt().item()


def main(epochs: int) -> None:
    torch.manual_seed(0)
    train, test = load()
    windows, truth = test.tensors
    model = Forecaster()
    loss_function = nn.MSELoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    for epoch in range(1, epochs + 1):
        model.train()
        for batch, target in DataLoader(train, batch_size=32, shuffle=True):
            optimizer.zero_grad()
            loss = loss_function(model(batch), target)
            loss.backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            print(f"epoch {epoch:2}: test error {error(model(windows), truth):.3f} °C")

    torch.save(model.state_dict(), "sequence.pt")
    again = Forecaster().eval()
    again.load_state_dict(torch.load("sequence.pt"))
    with torch.no_grad():
        lstm, unchanged = error(again(windows), truth), error(windows[:, -1, REGION], truth)
    print(f"LSTM (from sequence.pt): {lstm:.3f} °C; 'it stays as it is now': {unchanged:.3f} °C")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=12)
    main(**vars(parser.parse_args()))
