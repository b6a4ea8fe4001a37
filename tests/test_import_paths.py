"""Modules that code imports by path, and the small ones among them."""

from __future__ import annotations

import hashlib
import http.server
import importlib
import io
import subprocess
import sys
import threading
import time
import typing
import urllib.error
import warnings
import zipfile
from collections import OrderedDict, defaultdict, deque, namedtuple

import numpy as np
import pytest
from support import assert_same, compare, need_torch, quietly, same_error

import lamina
import lamina.distributed as dist
import lamina.multiprocessing as mp
from lamina import hub
from lamina.futures import Future, collect_all, wait_all
from lamina.utils import _pytree as tree

PATHS = """
nn nn.functional utils.data autograd nn.utils.rnn optim.optimizer optim nn.init utils._pytree distributed utils.checkpoint
optim.lr_scheduler fx jit utils.data.sampler utils.hooks func nn.attention nn.parallel autograd.function nn.utils _dynamo fft
multiprocessing hub futures nn.attention.flex_attention ao.quantization compiler types fx.graph_module jit.annotations
nn.parallel.scatter_gather nn.parallel.distributed nn.parallel.data_parallel utils.data.dataset utils.model_zoo linalg
nn.parameter onnx onnx.operators utils.data.distributed autograd.functional backends.mps nn.modules.batchnorm
nn.modules.instancenorm nn.modules.transformer nn.utils.fusion nn.utils.parametrize nn.utils.stateless utils utils.data.dataloader
xpu nn.modules.utils _dynamo.utils version utils.data._utils utils.data._utils.collate utils.data._utils.worker serialization
random special __config__ cuda mps accelerator nn.quantized distributions distributions.constraints distributions.kl
distributions.utils distributions.categorical distributions.transforms
""".split()
STRICT = """
utils._pytree distributed utils.checkpoint fx jit nn.attention nn.parallel _dynamo hub futures nn.attention.flex_attention
ao.quantization types fx.graph_module jit.annotations nn.parallel.scatter_gather utils.model_zoo onnx onnx.operators
utils.data.distributed utils.data._utils.collate utils.data._utils.worker __config__
""".split()  # the modules that have no names of their own


@pytest.mark.parametrize("path", PATHS)
def test_path(path):
    module = importlib.import_module(f"lamina.{path}")
    assert module.__doc__
    names = getattr(module, "__all__", ())
    assert all(hasattr(module, name) for name in names)
    if path in STRICT:
        theirs = importlib.import_module(f"{need_torch().__name__}.{path}")
        assert [n for n in names if not hasattr(theirs, n)] == []


def test_modules_are_there_without_being_imported():
    code = (
        "import sys, lamina as torch\n"
        "assert not [m for m in sys.modules if m.startswith(('multiprocessing', 'urllib.request', 'lamina.distributions'))]\n"
        "assert torch.jit.is_scripting() is False and torch.distributed.is_available() is False\n"
        "assert torch.nn.attention.sdpa_kernel and torch.hub.get_dir() and torch.utils.checkpoint.checkpoint\n"
        "assert torch.multiprocessing.get_context and torch.futures.Future is torch.Future and torch.distributions.Normal\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- trees ---------------------------------------------------------------------------------------------------------

Pair = namedtuple("Pair", "x y")
TREE = {
    "b": 1, "a": [2, (3, None)], "o": OrderedDict(z=4), "d": defaultdict(list, {"q": 5}), "n": Pair(6, 7),
    "k": deque([1, 2], maxlen=3), "e": [], "t": (),
}  # fmt: skip
TREE_CASES = {
    "flatten": lambda p: (p.tree_flatten(TREE)[0], str(p.tree_flatten(TREE)[1])),
    "unflatten": lambda p: p.tree_unflatten(list("abcdefghijk")[:10], p.tree_structure(TREE)),
    "counts": lambda p: [(s.num_leaves, s.num_nodes, s.num_children) for s in [p.tree_structure(TREE)]],
    "paths": lambda p: [(p.keystr(k), v) for k, v in p.tree_flatten_with_path(TREE)[0]],
    "get": lambda p: [p.key_get(TREE, k) for k, _ in p.tree_leaves_with_path(TREE)],
    "map": lambda p: p.tree_map(lambda x, y: (x, y), [1, {"a": (2,)}], [[3], {"a": ([4, 5],)}]),
    "map dicts": lambda p: p.tree_map(lambda x, y: (x, y), {"a": 1, "b": 2}, {"b": 3, "a": 4}),
    "map with path": lambda p: p.tree_map_with_path(lambda k, x: (p.keystr(k), x), TREE),
    "only": lambda p: p.tree_map_only(int, lambda x: x + 1, [1, "a", 2.0]),
    "only several": lambda p: p.tree_map_only((int, str), lambda x: x * 2, [1, "a", 2.0]),
    "only predicate": lambda p: p.tree_map_only(lambda x: x == 1, lambda x: x * 20, [1, "a", 2.0]),
    "leaf": lambda p: p.tree_leaves(TREE, is_leaf=lambda x: isinstance(x, (list, OrderedDict))),
    "all": lambda p: (p.tree_all(bool, [1, 0]), p.tree_any(bool, [1, 0]), p.tree_any_only(int, bool, [0, "a"])),
    "broadcast": lambda p: [p._broadcast_to_and_flatten(x, p.tree_structure([1, [2, 3]])) for x in (1, [1, 2], [1], (1, 2))],
    "equal": lambda p: [p.tree_structure(TREE) == p.tree_structure(x) for x in (TREE, {}, [1])],
    "args": lambda p: p.arg_tree_leaves(1, [2], a=3),
    "few": lambda p: p.tree_unflatten([1], p.tree_structure(TREE)),
    "no leaves": lambda p: p.tree_unflatten(3, p.tree_structure(TREE)),
    "no spec": lambda p: p.tree_unflatten([1], "x"),
    "arity": lambda p: p.tree_map(lambda x, y: x, [1, 2], [1]),
    "type": lambda p: p.tree_map(lambda x, y: x, [1, 2], (1, 2)),
    "keys": lambda p: p.tree_map(lambda x, y: x, {"a": 1}, {"b": 1}),
    "again": lambda p: p.register_pytree_node(list, 1, 2),
    "no type": lambda p: p.tree_map_only(3, lambda x: x, [1]),
}


@pytest.mark.parametrize("name", TREE_CASES)
def test_trees(name):
    theirs = importlib.import_module(f"{need_torch().__name__}.utils._pytree")
    case = TREE_CASES[name]
    try:
        expected = case(theirs)
    except Exception as error:  # noqa: BLE001
        with pytest.raises(type(error)):
            case(tree)
        return
    assert case(tree) == expected
    assert repr(case(tree)) == repr(expected)


def test_own_containers():
    class Box:
        def __init__(self, a, b):
            self.a, self.b = a, b

    tree.register_pytree_node(Box, lambda b: ([b.a, b.b], "tag"), lambda c, tag: Box(*c))
    assert tree.tree_leaves({"x": Box(1, [2, 3])}) == [1, 2, 3]
    doubled = tree.tree_map(lambda x: 2 * x, Box(1, [2, 3]))
    assert type(doubled) is Box and doubled.b == [4, 6]
    with pytest.raises(ValueError, match="flatten_with_keys_fn"):
        tree.tree_leaves_with_path(Box(1, 2))
    assert tree.tree_leaves(lamina.ones(2, 2).max(0))[1].tolist() == [0, 0]
    assert tree.tree_leaves(time.localtime(0))[0] == 1970


# -- futures -------------------------------------------------------------------------------------------------------


def test_futures():
    f: Future = Future()
    g = f.then(lambda x: x.value() + 1)
    assert not f.done() and not g.done()
    with pytest.raises(RuntimeError, match="not completed"):
        f.value()
    threading.Timer(0.05, f.set_result, (3,)).start()
    assert g.wait() == 4 and f.wait() == f.value() == 3
    with pytest.raises(RuntimeError, match="completed Future"):
        f.set_result(4)
    assert wait_all([f, g]) == [3, 4] and collect_all([f, g]).wait() == [f, g] and collect_all([]).wait() == []
    bad: Future = Future()
    after = bad.then(lambda x: x.wait())
    bad.set_exception(ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        bad.wait()
    with pytest.raises(RuntimeError, match="ValueError: no"):
        after.wait()
    with pytest.raises(AssertionError, match="not an Exception"):
        bad.set_exception(3)
    f.add_done_callback(lambda x: 1 / 0)  # logged


# -- TorchScript ---------------------------------------------------------------------------------------------------


def test_jit_runs_as_python():
    layer = lamina.nn.Linear(2, 2)
    for make in (lambda x: x, lamina.jit.script, lambda x: lamina.jit.trace(x, lamina.ones(2)), lamina.jit.script_if_tracing):
        assert make(layer) is layer

    class Scripted(lamina.jit.ScriptModule):
        __constants__ = ["n"]
        n: lamina.jit.Final[int]

        def __init__(self):
            super().__init__()
            self.layer, self.n = layer, 3

        @lamina.jit.script_method
        def forward(self, x):
            return self.layer(x) * self.n

    assert_same(Scripted()(lamina.ones(2)), layer(lamina.ones(2)) * 3)
    assert not isinstance(layer, lamina.jit.ScriptModule)
    assert lamina.jit.fork(len, [1, 2]).wait() == 2 == lamina.jit.wait(lamina.jit.fork(len, [1, 2]))
    for function in (lamina.jit.freeze, lamina.jit.optimize_for_inference, lamina.jit.load):
        with pytest.raises(RuntimeError, match="no TorchScript"):
            function(layer)
    with pytest.raises(RuntimeError, match="state_dict"):
        lamina.jit.save(layer, "x")


def test_jit_marks_and_types():
    torch = need_torch()
    for t in (lamina, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            marks = [
                decorate(lambda self: 1)._torchscript_modifier
                for decorate in (t.jit.ignore, t.jit.ignore(), t.jit.unused, t.jit.export, t.jit.ignore(drop=True))
            ]
        kinds = [
            t.jit.isinstance(value, kind)
            for value in (1, [1], ["a"], {"a": 1}, (1, "a"), None, [[1]])
            for kind in (int, list[int], dict[str, int], tuple[int, str], typing.Optional[int], list[list[int]], (int, list[str]))  # noqa: UP045
        ]
        if t is lamina:
            ours = marks, kinds
    assert ours == (marks, kinds)
    same_error(lambda t: t.jit.isinstance([1], list))
    assert lamina.jit.annotate(list[int], 3) == 3 and lamina.jit.Attribute(3, int).value == 3
    assert importlib.import_module("lamina.jit.annotations").List is typing.List  # noqa: UP006


# -- one process, one device ---------------------------------------------------------------------------------------


def test_data_parallel():
    need_torch()

    def run(t, x):
        t.manual_seed(0)
        model = t.nn.DataParallel(t.nn.Linear(3, 2))
        assert model.device_ids == [] and list(model.state_dict()) == ["module.weight", "module.bias"]
        assert t.nn.parallel.scatter([1, 2], []) == [] and t.nn.parallel.replicate(model, []) == []
        return model(x)

    compare(run, np.ones((4, 3), np.float32))
    same_error(lambda t: t.nn.parallel.DistributedDataParallel(t.nn.Linear(1, 1)))
    for call in (
        lambda n: n.scatter(lamina.ones(2), [0]), lambda n: n.gather([lamina.ones(1)], 0), lambda n: n.replicate(None, [0]),
        lambda n: n.parallel_apply([abs], [1]), lambda n: n.data_parallel(abs, 1),
    ):  # fmt: skip
        with pytest.raises(RuntimeError):
            call(lamina.nn.parallel)


def test_distributed_is_not_there():
    assert not dist.is_available() and not dist.is_initialized() and not dist.is_nccl_available()
    assert dist.ReduceOp.SUM.name == "SUM" and dist.group.WORLD is None
    for name in ("get_rank", "get_world_size", "barrier"):
        same_error(lambda t, name=name: getattr(importlib.import_module(f"{t.__name__}.distributed"), name)())
    with pytest.raises(ValueError, match="one process"):
        dist.init_process_group("gloo")


def test_marks_of_compilers():
    dynamo = lamina._dynamo
    f = len
    assert dynamo.allow_in_graph(f) is f and dynamo.disable(f) is f and dynamo.disable(recursive=False)(f) is f
    assert lamina.fx.wrap("len") == "len" and lamina.fx.wrap(f) is f
    assert not isinstance(lamina.nn.Linear(1, 1), lamina.fx.GraphModule) and not lamina.onnx.is_in_onnx_export()
    for call in (lamina.fx.symbolic_trace, lamina.onnx.export, dynamo.optimize, lamina.fx.GraphModule):
        with pytest.raises(RuntimeError):
            call(f)
    same_error(lambda t: importlib.import_module(f"{t.__name__}.fx").wrap(3))


def test_quantisation_stubs():
    stubs = lamina.ao.quantization
    x = lamina.ones(2)
    assert stubs.QuantStub()(x) is x and stubs.DeQuantStub()(x) is x
    need_torch()

    def run(t, x, y):
        f = t.nn.quantized.FloatFunctional()
        return (
            f.add(x, y), f.add_scalar(x, 2.0), f.mul(x, y), f.mul_scalar(x, 3.0), f.cat([x, y], 1), f.add_relu(x, y),
            f.matmul(x, y),
        )  # fmt: skip

    rng = np.random.default_rng(0)
    compare(quietly(run), rng.standard_normal((3, 3)), rng.standard_normal((3, 3)))


def test_config():
    assert "oneDNN" in lamina.__config__.show() or "engine" in lamina.__config__.show()
    assert "get_num_threads" in lamina.__config__.parallel_info()


# -- processes -----------------------------------------------------------------------------------------------------


def _write(i, shared, queue, done):
    shared[i] = i + 10
    queue.put((shared, lamina.full((2,), i)))
    done.wait(30)


@pytest.mark.skipif(sys.platform != "linux", reason="memory that can be sent needs Linux")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_tensors_are_shared(method):
    context = mp.get_context(method)
    x = lamina.zeros(3).share_memory_()
    assert x.is_shared() and x.share_memory_() is x and not lamina.zeros(3).is_shared()
    queue, done = context.Queue(), context.Event()
    processes = mp.start_processes(_write, (x, queue, done), 2, start_method=method, join=False)
    received = [queue.get(timeout=60) for _ in range(2)]
    assert x.tolist() == [10.0, 11.0, 0.0]
    x[2] = 5
    for shared, own in received:
        assert shared.is_shared() and shared.tolist() == [10.0, 11.0, 5.0] and not own.is_shared()
    done.set()
    while not processes.join(timeout=60):
        pass


def test_a_shared_module_is_trained_by_a_child():
    model = lamina.nn.Linear(2, 1).share_memory()
    before = model.weight.detach().clone()
    out = model(lamina.ones(1, 2))
    mp.start_processes(_train, (model,), 1, start_method="fork")
    assert (model.weight != before).all() and (model(lamina.ones(1, 2)) != out).all()


def _train(i, model):
    optimizer = lamina.optim.SGD(model.parameters(), lr=0.1)
    model(lamina.ones(1, 2)).sum().backward()
    optimizer.step()


def test_what_cannot_be_shared():
    base = lamina.ones(4)
    with pytest.raises(RuntimeError, match="view"):
        base[:2].share_memory_()
    with pytest.raises(RuntimeError, match="detach"):
        mp.reducer.ForkingPickler.dumps(lamina.ones(1, requires_grad=True) * 2)
    assert mp.get_sharing_strategy() in mp.get_all_sharing_strategies()
    same_error(lambda t: importlib.import_module(f"{t.__name__}.multiprocessing").set_sharing_strategy("x"))


def _fail(i, how):
    if i == 1:
        if how == "raise":
            raise ValueError("boo")
        sys.exit(3)
    time.sleep(30)


@pytest.mark.parametrize(("how", "error", "text"), [
    ("raise", mp.ProcessRaisedException, "Process 1 terminated with the following error:\nTraceback(?s:.*)ValueError: boo"),
    ("exit", mp.ProcessExitedException, "process 1 terminated with exit code 3"),
])  # fmt: skip
def test_a_failing_process_ends_all(how, error, text):
    started = time.monotonic()
    with pytest.raises(error, match=text) as caught:
        mp.start_processes(_fail, (how,), 2, start_method="fork")
    assert caught.value.error_index == 1 and time.monotonic() - started < 20
    assert not mp.active_children()


# -- the hub -------------------------------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path):
    files = tmp_path / "served"
    files.mkdir()
    requests = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, directory=str(files), **kwargs)

        def do_GET(self):  # noqa: N802
            requests.append(self.path)
            if self.path.startswith("/short"):
                self.send_response(200)
                self.send_header("Content-Length", "100")
                self.end_headers()
                self.wfile.write(b"abc")
                return
            super().do_GET()

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}", files, requests
        running.shutdown()


def test_load_state_dict_from_url(server, tmp_path, capsys):
    url, files, requests = server
    state = lamina.nn.Linear(2, 3).state_dict()
    buffer = io.BytesIO()
    lamina.save(state, buffer)
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    name = f"net-{digest[:8]}.pt"
    (files / name).write_bytes(buffer.getvalue())
    (files / "bad-00000000.pt").write_bytes(buffer.getvalue())
    with zipfile.ZipFile(files / "old.zip", "w") as archive:
        archive.writestr("inner.pt", buffer.getvalue())
    cache = tmp_path / "cache"
    for _ in range(2):
        loaded = hub.load_state_dict_from_url(f"{url}/{name}?x=1", str(cache), check_hash=True, progress=False)
        assert_same(list(loaded.values()), list(state.values()))
    assert len(requests) == 1 and [p.name for p in cache.iterdir()] == [name]
    with pytest.raises(RuntimeError, match='invalid hash value .expected "00000000"'):
        hub.load_state_dict_from_url(f"{url}/bad-00000000.pt", str(cache), check_hash=True, progress=False)
    with pytest.raises(RuntimeError, match="3 bytes came of 100"):
        hub.download_url_to_file(f"{url}/short", str(cache / "short"), progress=False)
    with pytest.raises(urllib.error.HTTPError):
        hub.load_state_dict_from_url(f"{url}/none.pt", str(cache), progress=False)
    assert [p.name for p in cache.iterdir()] == [name]
    old = hub.load_state_dict_from_url(f"{url}/old.zip", str(cache), file_name="other.zip", progress=False)
    assert_same(list(old.values()), list(state.values()))
    assert (cache / "other.zip").exists()
    model_zoo = importlib.import_module("lamina.utils.model_zoo")
    assert_same(list(model_zoo.load_url((files / name).as_uri(), str(cache)).values()), list(state.values()))


def test_hub_folder(monkeypatch, tmp_path):
    torch = need_torch()
    assert hub._get_torch_home() == torch.hub._get_torch_home()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    assert hub.get_dir() == str(tmp_path / "hub") == torch.hub.get_dir()
    try:
        hub.set_dir(tmp_path / "other")
        assert hub.get_dir() == str(tmp_path / "other")
    finally:
        hub._hub_dir = None
    for call in (hub.load, hub.list, lambda r: hub.help(r, "m")):
        with pytest.raises(RuntimeError, match="written for PyTorch"):
            call("a/b") if call is not hub.load else call("a/b", "m")


# -- distributed sampler -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [0, 1, 5, 7])
@pytest.mark.parametrize("drop_last", [False, True])
def test_distributed_sampler(n, drop_last):
    def run(t):
        sampler = importlib.import_module(f"{t.__name__}.utils.data").DistributedSampler
        orders = []
        for shuffle in (False, True):
            for rank in range(3):
                s = sampler(range(n), 3, rank, shuffle=shuffle, seed=1, drop_last=drop_last)
                orders.append((list(s), len(s)))
                s.set_epoch(2)
                orders.append(list(s))
        return orders

    assert run(lamina) == run(need_torch())
    same_error(lambda t: importlib.import_module(f"{t.__name__}.utils.data").DistributedSampler(range(3), 2, 5))
