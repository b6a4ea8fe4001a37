"""``GradScaler``: a loss is multiplied so that its gradients do not underflow in half precision; steps with inf are skipped."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from lamina.autograd.graph import Variable, bump, wrap

__all__ = ["GradScaler"]


class GradScaler:
    """Scales losses by a factor that grows while gradients are finite and shrinks when one is not.

    Args:
        device (str): ``"cpu"``; for ``"cuda"``, PyTorch's default, a warning says that there is none and the scaler is disabled.
        init_scale, growth_factor, backoff_factor, growth_interval: the first factor, what it is multiplied with after so many
            steps in a row without inf or NaN, and what it is multiplied with after one with.
        enabled (bool): False makes every method do nothing but hand on.
    """

    def __init__(
        self, device: str = "cuda", init_scale: float = 2.0**16, growth_factor: float = 2.0, backoff_factor: float = 0.5,
        growth_interval: int = 2000, enabled: bool = True,
    ) -> None:  # fmt: skip
        self._device, self._enabled = device, enabled
        if enabled and device != "cpu":
            name = f"torch.{device}.amp.GradScaler"
            warnings.warn(f"{name} is enabled, but {device.upper()} is not available.  Disabling.", stacklevel=2)
            self._enabled = False
        if self._enabled:
            if growth_factor <= 1.0:
                raise AssertionError("The growth factor must be > 1.0.")
            if backoff_factor >= 1.0:
                raise AssertionError("The backoff factor must be < 1.0.")
            self._factor = float(init_scale)
            self._growth_factor, self._backoff_factor = growth_factor, backoff_factor
            self._growth_interval, self._growth_tracker = growth_interval, 0
            self._found: dict[int, bool] = {}  # id of an optimiser → whether its gradients, now unscaled, hold inf or NaN
            self._stepped: set[int] = set()
            self._used = False

    def scale(self, outputs: Any) -> Any:
        """A tensor, or a sequence of tensors, times the factor."""
        if not self._enabled:
            return outputs
        self._used = True
        if isinstance(outputs, Variable):
            return outputs * wrap(np.array(self._factor, np.float32))
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(o) for o in outputs)
        if hasattr(outputs, "__iter__"):
            return map(self.scale, outputs)
        raise ValueError("outputs must be a Tensor or an iterable of Tensors")

    def unscale_(self, optimizer: Any) -> None:
        """Divide an optimiser's gradients by the factor, once before its step: to clip them, for example."""
        if not self._enabled:
            return
        self._check("unscale_")
        if id(optimizer) in self._stepped:
            raise RuntimeError("unscale_() is being called after step().")
        if id(optimizer) in self._found:
            raise RuntimeError("unscale_() has already been called on this optimizer since the last update().")
        found, inverse = False, 1.0 / self._factor
        for group in optimizer.param_groups:
            for p in group["params"]:
                g = p.grad
                if g is None:
                    continue
                if g.dtype.name == "float16":
                    raise ValueError("Attempting to unscale FP16 gradients.")
                found = found or not bool(g.isfinite().all())
                with np.errstate(all="ignore"):
                    np.copyto(g._plain(), g._a.astype(np.float64) * inverse, casting="unsafe")
                bump(g)
        self._found[id(optimizer)] = found

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """``optimizer.step()`` on unscaled gradients; nothing if one of them is inf or NaN."""
        if not self._enabled:
            return optimizer.step(*args, **kwargs)
        if "closure" in kwargs:
            raise RuntimeError("Closure use is not currently supported if GradScaler is enabled.")
        self._check("step")
        if id(optimizer) in self._stepped:
            raise RuntimeError("step() has already been called since the last update().")
        if id(optimizer) not in self._found:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        return None if self._found[id(optimizer)] else optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Move the factor, after the steps of an iteration; ``new_scale`` sets it."""
        if not self._enabled:
            return
        self._check("update")
        if new_scale is not None:
            self._factor = float(new_scale)
        else:
            if not self._found:
                raise AssertionError("No inf checks were recorded prior to update.")
            if any(self._found.values()):
                self._factor *= self._backoff_factor
                self._growth_tracker = 0
            else:
                self._growth_tracker += 1
                if self._growth_tracker == self._growth_interval:
                    self._factor *= self._growth_factor
                    self._growth_tracker = 0
        self._found, self._stepped = {}, set()

    def _check(self, name: str) -> None:
        if not self._used:
            raise AssertionError(
                f"Attempted {name} but _scale is None.  This may indicate your script did not use scaler.scale(loss or outputs) "
                "earlier in the iteration."
            )

    def get_scale(self) -> float:
        """The factor; 1 if the scaler is disabled."""
        return self._factor if self._enabled else 1.0

    def get_growth_factor(self) -> float:
        """What the factor grows by."""
        return self._growth_factor

    def set_growth_factor(self, new_factor: float) -> None:
        """Set what the factor grows by."""
        self._growth_factor = new_factor

    def get_backoff_factor(self) -> float:
        """What the factor shrinks by."""
        return self._backoff_factor

    def set_backoff_factor(self, new_factor: float) -> None:
        """Set what the factor shrinks by."""
        self._backoff_factor = new_factor

    def get_growth_interval(self) -> int:
        """After how many good steps the factor grows."""
        return self._growth_interval

    def set_growth_interval(self, new_interval: int) -> None:
        """Set after how many good steps the factor grows."""
        self._growth_interval = new_interval

    def is_enabled(self) -> bool:
        """Whether the scaler does anything."""
        return self._enabled

    def state_dict(self) -> dict[str, Any]:
        """The scaler's state, empty if it is disabled."""
        if not self._enabled:
            return {}
        return {
            "scale": self._factor, "growth_factor": self._growth_factor, "backoff_factor": self._backoff_factor,
            "growth_interval": self._growth_interval, "_growth_tracker": self._growth_tracker,
        }  # fmt: skip

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state; RuntimeError if it is that of a disabled scaler."""
        if not self._enabled:
            return
        if not state_dict:
            raise RuntimeError(
                "The source state dict is empty, possibly because it was saved from a disabled instance of GradScaler."
            )
        self._factor, self._growth_factor = state_dict["scale"], state_dict["growth_factor"]
        self._backoff_factor, self._growth_interval = state_dict["backoff_factor"], state_dict["growth_interval"]
        self._growth_tracker = state_dict["_growth_tracker"]
