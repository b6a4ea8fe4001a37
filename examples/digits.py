"""A small convolutional network learns scikit-learn's handwritten digits (1797 real ones, 8 x 8 pixels).

Run it with ``python examples/digits.py``: about 99 % of the digits it never saw are read correctly.
"""

from sklearn.datasets import load_digits

import lamina as torch
import lamina.nn as nn
from lamina.utils.data import DataLoader, TensorDataset


def load() -> tuple[TensorDataset, TensorDataset]:
    """Three quarters of the digits to learn from, one quarter to be tested on."""
    digits = load_digits()
    images = torch.from_numpy((digits.images / 16).astype("float32")).unsqueeze(1)  # (N, 1, 8, 8), 0 to 1
    labels = torch.from_numpy(digits.target.astype("int64"))
    order = torch.randperm(len(labels))
    train, test = order[:1347], order[1347:]
    return TensorDataset(images[train], labels[train]), TensorDataset(images[test], labels[test])


def network() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.BatchNorm2d(32),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 32, 4, 4)
        nn.Conv2d(32, 64, 3, padding=1),
        nn.BatchNorm2d(64),
        nn.ReLU(),
        nn.MaxPool2d(2),  # (N, 64, 2, 2)
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(64 * 2 * 2, 10),
    )


def accuracy(model: nn.Module, data: TensorDataset) -> float:
    model.eval()
    with torch.no_grad():
        images, labels = data.tensors
        return (model(images).argmax(dim=1) == labels).float().mean().item()


def main(epochs: int = 15, checkpoint: str = "digits.pt") -> float:
    torch.manual_seed(0)
    train, test = load()
    model = network()
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)

    for epoch in range(1, epochs + 1):
        model.train()
        for images, labels in DataLoader(train, batch_size=64, shuffle=True):
            optimizer.zero_grad()
            loss = loss_function(model(images), labels)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch:2}: last loss {loss.item():.4f}, test accuracy {accuracy(model, test):.2%}")

    torch.save(model.state_dict(), checkpoint)  # PyTorch loads this file as well
    again = network()
    again.load_state_dict(torch.load(checkpoint))
    return accuracy(again, test)


if __name__ == "__main__":
    print(f"test accuracy of the saved weights: {main():.2%}")
