"""A photograph through a convolution and three pools: the tutorial's first program, word for word PyTorch.

Run it with ``python examples/edges.py [IMAGE]``; it draws ``edges.png``.
"""

import sys
from importlib.resources import files

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import lamina as torch
import lamina.nn as nn

# A grey photograph as an array of floats, shaped (batch, channels, height, width).
path = sys.argv[1] if len(sys.argv) > 1 else files("lamina") / "data" / "camera.png"
im = np.array(Image.open(path).convert("L"), dtype="float32")
x = torch.from_numpy(im.reshape((1, 1, im.shape[0], im.shape[1])))

# Two kernels of 5 x 5. The first one answers where a pixel differs from its surroundings: an outline. The
# second one keeps the random weights that every new layer starts with.
torch.manual_seed(0)
conv2d = nn.Conv2d(1, 2, (5, 5), bias=False)
ker = torch.ones((5, 5), dtype=torch.float32) * -1
ker[2, 2] = 24
conv2d.weight.data[0] = ker

conv_out = conv2d(x)
max_out = nn.MaxPool2d(2)(conv_out)
avg_out = nn.AvgPool2d(2)(conv_out)
fixed_out = nn.AdaptiveAvgPool2d((100, 100))(conv_out)
for result in (x, conv_out, max_out, avg_out, fixed_out):
    print(tuple(result.shape))

# `.data` leaves the gradients behind, `squeeze` the batch: matplotlib takes the tensors as they are.
out = conv_out.data.squeeze()
plt.figure(figsize=(12, 6), layout="tight")
plt.subplot(1, 2, 1, title="outline kernel")
plt.imshow(out[0], cmap=plt.cm.gray)
plt.subplot(1, 2, 2, title="random kernel")
plt.imshow(out[1], cmap=plt.cm.gray)
plt.savefig("edges.png")
plt.show()
