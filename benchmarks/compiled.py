"""The rows of ``lamina.compile``: on the other side is what PyTorch's users turn to, ``torch.compile`` or ONNX Runtime.

The first call of a row records or compiles, and is not timed. ONNX Runtime (and ``onnx``, to export) must be installed for
its rows, a C++ compiler for those of ``torch.compile``.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

from benchmarks.models import MODELS, Model, dcgan

Step = Callable[[], Any]


def compiled_inference(model: Model, other: str) -> Callable[[ModuleType, int, bool], Step]:
    """A network in use: compiled by lamina, and by ``other`` ("ONNX Runtime", "torch.compile" or "eager") on torch's side."""

    def build(torch: ModuleType, batch: int, backward: bool) -> Step:
        net = model.make(torch).eval()
        x = model.sample(torch, batch, model.shape, model.words)
        if torch.__name__ == "torch" and other == "ONNX Runtime":
            return onnx_runtime(torch, net, x)
        form = net if torch.__name__ == "torch" and other == "eager" else torch.compile(net)

        def infer() -> Any:
            with torch.no_grad():
                return form(x)

        infer()
        return infer

    return build


def onnx_runtime(torch: Any, net: Any, x: Any) -> Step:
    import onnxruntime

    file = io.BytesIO()
    torch.onnx.export(net, (x,), file, dynamo=False, input_names=["x"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])
    feed = {"x": x.numpy()}
    return lambda: torch.from_numpy(session.run(None, feed)[0])


def compiled_training(model: Model, other: str) -> Callable[[ModuleType, int, bool], Step]:
    """A whole training step, compiled by lamina; on torch's side with the network compiled, or eager."""

    def build(torch: ModuleType, batch: int, backward: bool) -> Step:
        x = model.sample(torch, batch, model.training or model.shape, model.words)
        net = model.make(torch)
        if torch.__name__ != "torch":
            step = torch.compile(model.updater(torch, net, x, model.classes))
        else:
            if other == "torch.compile":  # in place: each half of two adversaries is called by itself
                for part in (net.generator, net.critic) if model.build is dcgan else (net,):
                    part.compile()
            step = model.updater(torch, net, x, model.classes)
        step()
        return step

    return build


def kinds() -> Iterator[tuple[Model, str, str, Any, tuple[int, ...], str]]:
    """Per row: model, name, group, build, batches, mode."""
    for model in MODELS:
        shape = "x".join(map(str, model.shape))
        for other in ("ONNX Runtime", "torch.compile", "eager"):
            build = compiled_inference(model, other)
            yield model, f"{model.name} on {shape} / {other}", "compiled in use", build, (1, 16), "inference"
        for other in ("torch.compile", "eager"):
            build = compiled_training(model, other)
            yield model, f"{model.name}, {model.optimizer} / {other}", "compiled training", build, (model.batch,), "step"
