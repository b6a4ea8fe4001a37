"""A network learns how heat spreads along a rod by nothing but the equation: a physics-informed network (PINN).

The temperature u(x, t) obeys du/dt = a d²u/dx², is 0 at both ends and known at the beginning. The network is u itself; its own
derivatives, by autograd, say how far it is from the law, and that is the loss, so training needs gradients of
gradients of gradients. The exact solution is known here, to judge it by. Run it with ``python examples/heat.py``. PyTorch prints
the same numbers within 1 %.
"""

import argparse

import lamina as torch
import lamina.nn as nn

A = 0.05
PI = torch.pi


def exact(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """Each sine wave keeps its shape and fades, the shorter the faster."""
    long, short = torch.exp(-A * PI**2 * t), torch.exp(-A * (3 * PI) ** 2 * t)
    return long * torch.sin(PI * x) + 0.5 * short * torch.sin(3 * PI * x)


class Rod(nn.Module):
    """u(x, t) = what it was in the beginning + t x (1 - x) · network: the beginning and both ends are right by construction."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(2, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(), nn.Linear(width, width), nn.Tanh(),
            nn.Linear(width, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return exact(x, torch.zeros_like(t)) + 8 * t * x * (1 - x) * self.layers(torch.cat([x, t], dim=1))


def slope(y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """dy/dx at every point, as a tensor that can be differentiated again."""
    return torch.autograd.grad(y.sum(), x, create_graph=True)[0]


def main(steps: int) -> None:
    torch.manual_seed(0)
    model = Rod()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.01 ** (1 / steps))

    rod, clock = torch.linspace(0, 1, 41), torch.linspace(0, 1, 21)
    x, t = torch.cartesian_prod(rod, clock).split(1, dim=1)  # (861, 1) each
    truth, start = exact(x, t), exact(x, torch.zeros_like(t))

    def error(u: torch.Tensor) -> float:
        return ((u - truth).norm() / truth.norm()).item()

    for step in range(1, steps + 1):
        place = torch.rand(256, 1, requires_grad=True)
        time = torch.rand(256, 1, requires_grad=True)
        u = model(place, time)
        law = slope(u, time) - A * slope(slope(u, place), place)
        loss = law.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        scheduler.step()
        if step % max(steps // 5, 1) == 0:
            with torch.no_grad():
                print(f"step {step:4}: loss {loss.item():.3e}, relative error {error(model(x, t)):.4f}")

    print(f"relative error of 'it stays as warm as it was': {error(start):.4f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1000)
    main(**vars(parser.parse_args()))
