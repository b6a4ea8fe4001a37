"""Parametrizations that come ready: orthogonal matrices, and weights of a given norm or of largest singular value one."""

from __future__ import annotations

from typing import Any

from lamina import linalg, ops
from lamina._dtypes import finfo
from lamina._tensor import Tensor
from lamina.autograd import no_grad
from lamina.nn import functional as F
from lamina.nn.modules.module import Module
from lamina.nn.utils import parametrize
from lamina.nn.utils.spectral_norm import as_matrix, output_dim, random_unit
from lamina.nn.utils.weight_norm import norm_except, weight_of

__all__ = ["orthogonal", "spectral_norm", "weight_norm"]

_MAPS = ("matrix_exp", "cayley", "householder")


def _tensor(module: Module, name: str) -> Any:
    tensor = getattr(module, name, None)
    if not isinstance(tensor, Tensor):
        raise ValueError(f"Module '{module}' has no parameter or buffer with name '{name}'")
    return tensor


# -- orthogonal matrices -------------------------------------------------------------------------------------------


def _is_orthogonal(q: Any) -> bool:
    n, k = q.shape[-2:]
    return ops.allclose(q.mH @ q, ops.eye(k, dtype=q.dtype), atol=10.0 * n * finfo(q.dtype).eps)


def _make_orthogonal(a: Any) -> Any:
    """The orthogonal factor of a, with the signs that leave an orthogonal a as it is."""
    x, tau = ops.geqrf(a)
    return linalg.householder_product(x, tau) * x.diagonal(dim1=-2, dim2=-1).sgn().unsqueeze(-2)


class _Orthogonal(Module):
    """Matrices (*, n, k) to such with orthonormal columns (rows, where n < k)."""

    base: Any

    def __init__(self, weight: Any, orthogonal_map: str, *, use_trivialization: bool = True) -> None:
        super().__init__()
        if weight.is_complex() and orthogonal_map == "householder":
            raise ValueError("The householder parametrization does not support complex tensors.")
        self.shape = weight.shape
        self.orthogonal_map = orthogonal_map
        if use_trivialization:
            # the weight is base @ map(x), and x starts where the map gives the identity
            self.register_buffer("base", None)

    def forward(self, x: Any) -> Any:
        wide = x.shape[-2] < x.shape[-1]
        if wide:
            x = x.mT
        q = self._reflections(x) if self.orthogonal_map == "householder" else self._skew(x)
        if hasattr(self, "base"):
            q = self.base @ q
        return q.mT if wide else q

    def _skew(self, x: Any) -> Any:
        """The exponential, or the Cayley transform, of the skew-symmetric matrix with x's lower triangle."""
        n, k = x.shape[-2:]
        x = x.tril()
        if n != k:
            x = ops.cat([x, x.new_zeros(*x.shape[:-1], n - k)], -1)
        a = x - x.mH
        if self.orthogonal_map == "matrix_exp":
            q = linalg.matrix_exp(a)
        else:
            identity = ops.eye(n, dtype=a.dtype)
            q = linalg.solve(identity - 0.5 * a, identity + 0.5 * a)
        return q[..., :k] if n != k else q

    def _reflections(self, x: Any) -> Any:
        """The product of the reflections that x's columns below the diagonal tell; the diagonal holds signs."""
        a = x.tril(-1)
        tau = 2.0 / (1.0 + (a * a).sum(-2))
        return linalg.householder_product(a, tau) * x.diagonal(dim1=-2, dim2=-1).int().unsqueeze(-2)

    @no_grad()
    def right_inverse(self, q: Any) -> Any:
        """An x that the map takes to q, or to the orthogonal matrix nearest to hand if q is none."""
        if q.shape != self.shape:
            raise ValueError(
                f"Expected a matrix or batch of matrices of shape {self.shape}. Got a tensor of shape {q.shape}."
            )
        wide = q.shape[-2] < q.shape[-1]
        tall = q.mT if wide else q
        n, k = tall.shape[-2:]
        if hasattr(self, "base"):
            if n == k:
                self.base = tall.clone() if _is_orthogonal(tall) else _make_orthogonal(tall)
            else:
                self.base = _make_orthogonal(ops.cat([tall, ops.randn(*tall.shape[:-1], n - k, dtype=q.dtype)], -1))
            start = ops.zeros_like(q)
            start.diagonal(dim1=-2, dim2=-1).fill_(-1.0)
            return start
        if self.orthogonal_map != "householder":
            raise NotImplementedError(
                "It is not possible to assign to the matrix exponential or the Cayley parametrizations when "
                "use_trivialization=False."
            )
        a, tau = ops.geqrf(tall)
        # An orthogonal R is diagonal with entries ±1. Where there is no reflection (tau = 0), ours, which knows no tau,
        # reflects the first axis nevertheless, and the sign makes up for it.
        diagonal = a.diagonal(dim1=-2, dim2=-1)
        diagonal.copy_(ops.where(tau == 0, -diagonal.sgn(), diagonal.sgn()))
        return a.mT if wide else a


def orthogonal(
    module: Module, name: str = "weight", orthogonal_map: str | None = None, *, use_trivialization: bool = True
) -> Module:  # fmt: skip
    r"""Keep a matrix (*, m, n) orthogonal (unitary, if complex): its columns, or its rows where m < n, are orthonormal.

    Args:
        module (Module): whose tensor is parametrized.
        name (str): the tensor. Default: ``"weight"``.
        orthogonal_map (str, optional): ``"matrix_exp"``, :math:`e^A` of a skew-symmetric A; ``"cayley"``,
            :math:`(I + A/2)(I - A/2)^{-1}`; or ``"householder"``, a product of reflections. By default the first for square
            and complex matrices, else the last.
        use_trivialization (bool): whether a fixed orthogonal matrix is multiplied by the map, which starts from the identity
            and can be assigned to (Lezcano-Casado, 2019). Default: True.

    Raises:
        ValueError: no such tensor, fewer than two dimensions, an unknown map, or ``"householder"`` for a complex tensor.

    >>> layer = nn.utils.parametrizations.orthogonal(nn.Linear(4, 3))
    >>> lamina.allclose(layer.weight @ layer.weight.T, lamina.eye(3), atol=1e-5)
    True
    """
    weight = _tensor(module, name)
    if weight.ndim < 2:
        raise ValueError(f"Expected a matrix or batch of matrices. Got a tensor of {weight.ndim} dimensions.")
    if orthogonal_map is None:
        square = weight.shape[-2] == weight.shape[-1]
        orthogonal_map = "matrix_exp" if square or weight.is_complex() else "householder"
    if orthogonal_map not in _MAPS:
        listed = ", ".join(f'"{m}"' for m in _MAPS)
        raise ValueError(f"orthogonal_map has to be one of {listed}. Got: {orthogonal_map}")
    map_ = _Orthogonal(weight, orthogonal_map, use_trivialization=use_trivialization)
    return parametrize.register_parametrization(module, name, map_, unsafe=True)


# -- weights of a given norm ---------------------------------------------------------------------------------------


class _WeightNorm(Module):
    def __init__(self, dim: int | None = 0) -> None:
        super().__init__()
        self.dim = -1 if dim is None else dim

    def forward(self, weight_g: Any, weight_v: Any) -> Any:
        return weight_of(weight_v, weight_g, self.dim)

    def right_inverse(self, weight: Any) -> Any:
        return norm_except(weight, self.dim), weight


def weight_norm(module: Module, name: str = "weight", dim: int = 0) -> Module:
    r"""Split a weight into its norms and its direction, which are learnt apart: :math:`w = g \, v / \|v\|`.

    The module's ``parametrizations.<name>`` has ``original0``, the norms g, and ``original1``, the direction v. State dicts
    of the older :func:`lamina.nn.utils.weight_norm` can be loaded.

    Args:
        module (Module): whose tensor is parametrized.
        name (str): the tensor. Default: ``"weight"``.
        dim (int, optional): the dimension along which each slice has a norm of its own; None for one norm. Default: 0.

    See T. Salimans and D. Kingma, "Weight Normalization", 2016.

    >>> layer = nn.utils.parametrizations.weight_norm(nn.Linear(20, 40))
    >>> layer.parametrizations.weight.original0.shape
    torch.Size([40, 1])
    """
    parametrize.register_parametrization(module, name, _WeightNorm(dim), unsafe=True)

    def rename(state_dict: Any, prefix: str, *rest: Any) -> None:
        old = [f"{prefix}{name}_g", f"{prefix}{name}_v"]
        if all(key in state_dict for key in old):
            for i, key in enumerate(old):
                state_dict[f"{prefix}parametrizations.{name}.original{i}"] = state_dict.pop(key)

    module._register_load_state_dict_pre_hook(rename)
    return module


# -- weights of largest singular value one -------------------------------------------------------------------------


class _SpectralNorm(Module):
    _u: Any
    _v: Any

    def __init__(self, weight: Any, n_power_iterations: int = 1, dim: int = 0, eps: float = 1e-12) -> None:
        super().__init__()
        ndim = weight.ndim
        if not -ndim <= dim < ndim:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-ndim}, {ndim - 1}] but got {dim})")
        if n_power_iterations <= 0:
            raise ValueError(
                f"Expected n_power_iterations to be positive, but got n_power_iterations={n_power_iterations}"
            )
        self.dim = dim % ndim
        self.eps = eps
        if ndim > 1:
            self.n_power_iterations = n_power_iterations
            matrix = as_matrix(weight, self.dim)
            self.register_buffer("_u", random_unit(matrix, matrix.shape[0], eps))
            self.register_buffer("_v", random_unit(matrix, matrix.shape[1], eps))
            self._power_method(matrix, 15)

    @no_grad()
    def _power_method(self, matrix: Any, n_power_iterations: int) -> None:
        """Move u and v towards the singular vectors of the largest singular value."""
        for _ in range(n_power_iterations):
            self._u.copy_(F.normalize(matrix @ self._v, dim=0, eps=self.eps))
            self._v.copy_(F.normalize(matrix.mH @ self._u, dim=0, eps=self.eps))

    def forward(self, weight: Any) -> Any:
        if weight.ndim == 1:
            return F.normalize(weight, dim=0, eps=self.eps)
        matrix = as_matrix(weight, self.dim)
        if self.training:
            self._power_method(matrix, self.n_power_iterations)
        # copies, so that the next iteration does not change what the graph holds
        return weight / ops.vdot(self._u.clone(), matrix @ self._v.clone())

    def right_inverse(self, value: Any) -> Any:
        return value  # any tensor will do: it is divided by its singular value


def spectral_norm(
    module: Module, name: str = "weight", n_power_iterations: int = 1, eps: float = 1e-12, dim: int | None = None
) -> Module:  # fmt: skip
    r"""Keep the largest singular value of a weight, which counts as a matrix, at one: :math:`w / \sigma(w)`.

    Args:
        module (Module): whose tensor is parametrized.
        name (str): the tensor; one of one dimension is divided by its norm. Default: ``"weight"``.
        n_power_iterations (int): how many power iterations every use in training adds to the estimate of the singular
            vectors. Default: 1.
        eps (float): what vectors are divided by at least. Default: 1e-12.
        dim (int, optional): the dimension of the outputs; by default 0, and 1 for transposed convolutions.

    Raises:
        ValueError: no such tensor, or fewer than one power iteration.
        IndexError: no such dimension.

    See T. Miyato et al., "Spectral Normalization for Generative Adversarial Networks", 2018.

    >>> layer = nn.utils.parametrizations.spectral_norm(nn.Linear(20, 40)).eval()
    >>> round(lamina.linalg.matrix_norm(layer.weight, 2).item(), 1)
    1.0
    """
    weight = _tensor(module, name)
    map_ = _SpectralNorm(weight, n_power_iterations, output_dim(module) if dim is None else dim, eps)
    return parametrize.register_parametrization(module, name, map_)
