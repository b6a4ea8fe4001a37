"""An LSTM learns English and Python, character by character, from the language reference that ships with Python.

The text is what ``help("topics")`` shows, 65,000 words. What is measured is how many bits the network needs for a
character of pages that it never saw; zlib and a table of character pairs are there to compare with. In the end it
writes a few lines of its own. Run it with ``python examples/characters.py``. PyTorch prints the same numbers within 1 %.
"""

import argparse
import math
import zlib
from pydoc_data.topics import topics

import lamina as torch
import lamina.nn as nn
import lamina.nn.functional as F

SYMBOLS = 128  # ASCII; what else there is becomes a question mark
LENGTH, BATCH = 64, 32


def load() -> tuple[torch.Tensor, torch.Tensor]:
    """The codes of all characters: of nine tenths of the pages, and of every tenth one."""
    pages = [topics[name].encode("ascii", "replace") for name in sorted(topics)]
    train = b"\n\n".join(page for i, page in enumerate(pages) if i % 10)
    test = b"\n\n".join(pages[::10])
    return torch.tensor(list(train)), torch.tensor(list(test))


class Writer(nn.Module):
    """Says of each next character how likely it is, given all before it."""

    def __init__(self, width: int = 32, hidden: int = 192) -> None:
        super().__init__()
        self.embedding = nn.Embedding(SYMBOLS, width)
        self.lstm = nn.LSTM(width, hidden, batch_first=True)
        self.out = nn.Linear(hidden, SYMBOLS)

    def forward(self, codes: torch.Tensor, state: tuple | None = None) -> tuple[torch.Tensor, tuple]:
        features, state = self.lstm(self.embedding(codes), state)
        return self.out(features), state


def bits(model: Writer, text: torch.Tensor) -> float:
    """How many bits a character of the text takes, if what the model finds likely gets short codes."""
    rows = text[: len(text) // 512 * 512].view(-1, 512)  # each row is read from its beginning
    with torch.no_grad():
        logits, _ = model(rows[:, :-1])
    return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten()).item() / math.log(2)


def pair_bits(train: torch.Tensor, test: torch.Tensor) -> float:
    """The same for a table of how often each character follows each other one."""
    counts = torch.full((SYMBOLS, SYMBOLS), 0.01)
    counts.index_put_((train[:-1], train[1:]), torch.ones(len(train) - 1), accumulate=True)
    likely = counts / counts.sum(dim=1, keepdim=True)
    return -likely[test[:-1], test[1:]].log2().mean().item()


def write(model: Writer, start: str, length: int) -> str:
    codes, state, text = torch.tensor([list(start.encode())]), None, start
    with torch.no_grad():
        for _ in range(length):
            logits, state = model(codes, state)
            codes = torch.multinomial(F.softmax(logits[:, -1] / 0.7, dim=-1), 1)
            text += chr(codes.item())
    return text


def main(steps: int, letters: int) -> None:
    torch.manual_seed(0)
    train, test = load()
    model = Writer()
    optimizer = torch.optim.Adam(model.parameters(), lr=4e-3)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)

    for step in range(1, steps + 1):
        starts = torch.randint(len(train) - LENGTH, (BATCH, 1))
        windows = train[starts + torch.arange(LENGTH + 1)]  # (BATCH, LENGTH + 1)
        logits, _ = model(windows[:, :-1])
        loss = F.cross_entropy(logits.transpose(1, 2), windows[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        scheduler.step()
        if step % max(steps // 5, 1) == 0:
            print(f"step {step:4}: {bits(model, test):.3f} bits per character of unseen pages")

    plain = bytes(test.tolist())
    print(f"zlib: {8 * len(zlib.compress(plain, 9)) / len(plain):.3f}; table of pairs: {pair_bits(train, test):.3f}")
    if letters:
        print(write(model, "The ", letters))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--letters", type=int, default=400, help="how much the network writes in the end")
    main(**vars(parser.parse_args()))
