"""A small convolutional network learns scikit-learn's handwritten digits (1797 real ones, 8 x 8 pixels).

Run it with ``python examples/digits.py``: of the digits that it never saw it reads about 99 % right, where a linear
classifier gets 96 %. PyTorch prints the same numbers within 1 %.
"""

import argparse

from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

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


def linear_accuracy(train: TensorDataset, test: TensorDataset) -> float:
    """What scikit-learn's logistic regression on the bare pixels gets right."""
    (images, labels), (unseen, truth) = train.tensors, test.tensors
    model = LogisticRegression(max_iter=1000).fit(images.flatten(1).numpy(), labels.numpy())
    return model.score(unseen.flatten(1).numpy(), truth.numpy())


def main(epochs: int) -> None:
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
        print(f"epoch {epoch:2}: test accuracy {accuracy(model, test):.2%}")

    torch.save(model.state_dict(), "digits.pt")  # PyTorch loads this file as well
    again = network()
    again.load_state_dict(torch.load("digits.pt"))
    print(f"network (from digits.pt): {accuracy(again, test):.2%}; logistic regression: {linear_accuracy(train, test):.2%}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=int, default=15)
    main(**vars(parser.parse_args()))
