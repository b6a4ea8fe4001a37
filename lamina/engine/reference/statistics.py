"""Quantiles, histograms and counts."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["quantile_ranks", "histc", "histogram", "bincount"]

ndarray = np.ndarray


def quantile_ranks(
    rows: ndarray, q: ndarray, interpolation: str, ignore_nan: bool
) -> tuple[tuple[ndarray, ...], ndarray | None]:
    """Between which places of each sorted row its quantiles lie, and at what part of the way (``None``: at the first)."""
    last = rows.shape[-1] - 1
    missing = np.isnan(rows)
    if ignore_nan:
        top = np.maximum(last - missing.sum(-1, keepdims=True), 0)
        rank = q * top.astype(rows.dtype)
    else:
        rank = np.where(missing.any(-1, keepdims=True), rows.dtype.type(last), q * rows.dtype.type(last))
    if interpolation in ("lower", "higher", "nearest"):
        rounding = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}[interpolation]
        return (rounding(rank).astype(np.int64),), None
    low = np.floor(rank)
    weight = rank - low if interpolation == "linear" else np.full_like(rank, 0.5)
    return (low.astype(np.int64), np.ceil(rank).astype(np.int64)), weight


def histc(x: ndarray, bins: int, low: Any, high: Any) -> ndarray:
    """How many elements of [low, high] fall into each of ``bins`` equal parts."""
    flat = x.reshape(-1)
    flat = flat[(flat >= low) & (flat <= high)]
    place = ((flat - x.dtype.type(low)) * x.dtype.type(bins) / x.dtype.type(high - low)).astype(np.int64)
    return np.bincount(np.minimum(place, bins - 1), minlength=bins).astype(x.dtype)


def bincount(x: ndarray, weights: ndarray | None, minlength: int) -> ndarray:
    """How often (or with what total weight) each integer occurs."""
    x = x.astype(np.int64, copy=False)
    if weights is None:
        return np.bincount(x, minlength=minlength)
    return np.bincount(x, weights, minlength).astype(weights.dtype if weights.dtype == np.float32 else np.float64)


def histogram(x: ndarray, edges: ndarray, weight: ndarray | None, density: bool) -> ndarray:
    """How many elements (or with what weight) lie between neighbouring edges; the last edge belongs to the last bin."""
    flat, bins = x.reshape(-1), len(edges) - 1
    place = np.searchsorted(edges, flat, "right") - 1
    place[flat == edges[-1]] = bins - 1
    inside = (place >= 0) & (place < bins)
    weights = None if weight is None else weight.reshape(-1)[inside]
    found: Any = np.bincount(place[inside], weights, bins).astype(x.dtype)
    return found / (found.sum() * np.diff(edges)) if density else found
