"""What the two networks of the demo share: the training loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from tqdm import tqdm

import lamina as torch
from lamina import nn
from lamina.utils.data import DataLoader, TensorDataset


@dataclass
class History:
    """One number per epoch: the mean loss while learning, and a score on data that the network never sees."""

    loss: list[float] = field(default_factory=list)
    score: list[float] = field(default_factory=list)

    @property
    def epochs(self) -> list[int]:
        return list(range(1, len(self.loss) + 1))


def fit(
    model: nn.Module,
    loss_function: nn.Module,
    data: TensorDataset,
    score: Callable[[nn.Module], float],
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    title: str,
) -> History:
    """Train with Adam, a progress bar over all batches, and the score after each epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=lr)
    loader = DataLoader(data, batch_size=batch_size, shuffle=True)
    history = History()
    with tqdm(total=epochs * len(loader), desc=title, unit="batch") as bar:
        for _ in range(epochs):
            model.train()
            losses = []
            for inputs, targets in loader:
                optimizer.zero_grad()
                loss = loss_function(model(inputs), targets)
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                bar.update()
            model.eval()
            with torch.no_grad():
                history.score.append(score(model))
            history.loss.append(sum(losses) / len(losses))
            bar.set_postfix(loss=f"{history.loss[-1]:.4f}", test=f"{history.score[-1]:.4f}")
    return history
