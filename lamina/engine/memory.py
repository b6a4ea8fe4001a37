"""temporary"""
import numpy as np
from typing import Any
def empty(shape, dtype=np.float32, channels_last=False): return np.empty(shape, dtype)
def empty_like(a): return np.empty_like(a)
