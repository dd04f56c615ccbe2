"""The modes of torch in which each public module is tried: the columns of the matrix."""

import copy
import io
import pickle
import sys
import traceback
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch_modules import CASES

import skytutor

HOME = str(Path(skytutor.__file__).parent)


@contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def forget():
    """Forget all tables that this process keeps."""
    for name, module in list(sys.modules.items()):
        if name.startswith("skytutor."):
            for value in list(vars(module).values()):
                if hasattr(value, "cache_clear") and not isinstance(value, type):
                    value.cache_clear()


def build(case, dtype=torch.float32):
    """Make a module whose weights are no zeros, which would hide faults; in evaluation mode."""
    with default_dtype(dtype):
        module = case.make()
    rng = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(0.3 * torch.randn(weight.shape, generator=rng, dtype=torch.float32))
    return module.eval()


def outputs(case, module, inputs):
    out = case.call(module, *inputs)
    return [t for t in (out if isinstance(out, tuple) else (out,)) if t.is_floating_point()]


def near(got, expected, tolerance):
    """Compare on the scale of the largest number."""
    for one, other in zip(got, expected, strict=True):
        assert one.shape == other.shape
        scale = float(other.detach().abs().max()) + 1e-30
        error = float((one.detach().double() - other.detach().double()).abs().max())
        assert error <= tolerance * scale, f"off by {error / scale:.1e} of the largest"


def cast(case, dtype):
    return tuple(x.to(dtype) for x in case.inputs)


def plain(case):
    return outputs(case, build(case), case.inputs)


def autocast(case):
    with torch.autocast("cpu", torch.bfloat16):
        got = outputs(case, build(case), case.inputs)
    near(got, plain(case), 0.1)


def _in_dtype(case, dtype, tolerance):
    got = outputs(case, build(case).to(dtype), cast(case, dtype))
    near(got, plain(case), tolerance)


def double(case):
    exact = outputs(case, build(case), case.inputs)
    got = outputs(case, build(case).double(), cast(case, torch.float64))
    near(got, exact, 1e-3)


def float16(case):
    _in_dtype(case, torch.float16, 0.05)


def bfloat16(case):
    _in_dtype(case, torch.bfloat16, 0.2)


def to_empty(case):
    state = build(case).state_dict()
    module = case.make().to("meta").to_empty(device="cpu").eval()
    module.load_state_dict(state)
    near(outputs(case, module, case.inputs), plain(case), 1e-6)


def built_on_meta(case):
    with torch.device("meta"):
        module = case.make()
    module = module.to_empty(device="cpu").eval()
    module.load_state_dict(build(case).state_dict())
    near(outputs(case, module, case.inputs), plain(case), 1e-6)


def used(case):
    """Return a module that has been called and differentiated: what it keeps of that goes along."""
    module = build(case)
    sum(t.square().sum() for t in outputs(case, module, moving(case.inputs))).backward()
    return module


def moving(inputs):
    first, *rest = inputs
    return (first.clone().requires_grad_(), *rest)


def deepcopied(case):
    near(outputs(case, copy.deepcopy(used(case)), case.inputs), plain(case), 0)


def pickled(case):
    module = pickle.loads(pickle.dumps(used(case)))
    near(outputs(case, module, case.inputs), plain(case), 0)


def saved(case):
    file = io.BytesIO()
    torch.save(used(case), file)
    file.seek(0)
    module = torch.load(file, weights_only=False)
    near(outputs(case, module, case.inputs), plain(case), 0)


class Called(nn.Module):
    """Any call of a module as the forward of one."""

    def __init__(self, case, module):
        super().__init__()
        self.module = module
        self.case = case

    def forward(self, *inputs):
        return outputs(self.case, self.module, inputs)


def vmapped(case):
    whole = Called(case, build(case))
    state = dict(whole.state_dict())

    def one(*inputs):
        out = torch.func.functional_call(whole, state, tuple(x.unsqueeze(0) for x in inputs))
        return [t.squeeze(0) for t in out]

    near(torch.func.vmap(one)(*case.inputs), plain(case), 1e-4)


def _loss(case, module, rest):
    return lambda x: sum(t.square().sum() for t in outputs(case, module, (x, *rest)))


def func_grad(case):
    first, *rest = case.inputs
    loss = _loss(case, build(case), rest)
    x = first.clone().requires_grad_()
    (expected,) = torch.autograd.grad(loss(x), x)
    near([torch.func.grad(loss)(first)], [expected], 1e-4)


def jvp(case):
    first, *rest = case.inputs
    loss = _loss(case, build(case), rest)
    step = torch.randn(first.shape, generator=torch.Generator().manual_seed(9))
    x = first.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(x), x)
    _, got = torch.func.jvp(loss, (first,), (step,))
    scale = float((slope * step).abs().sum())
    assert abs(float(got - (slope * step).sum())) < 1e-4 * scale


def second(case):
    wanted = torch.float32 if case.dtyped else torch.float64
    first, *rest = cast(case, wanted)
    loss = _loss(case, build(case).to(wanted), rest)
    step = torch.randn(first.shape, generator=torch.Generator().manual_seed(9)).to(first)

    def slope(at, **kwargs):
        x = at.clone().requires_grad_()
        return x, torch.autograd.grad(loss(x), x, **kwargs)[0]

    x, gradient = slope(first, create_graph=True)
    (got,) = torch.autograd.grad((gradient * step).sum(), x)
    # In double precision a step is too short to cross a kink of a ReLU.
    size = 1e-2 if case.dtyped else 1e-6
    change = (slope(first + size * step)[1] - slope(first - size * step)[1]) / (2 * size)
    near([got], [change], 0.03)


def exported(case):
    whole = Called(case, build(case))
    program = torch.export.export(whole, case.inputs)
    near(program.module()(*case.inputs), plain(case), 1e-5)


def compiled(case):
    torch._dynamo.reset()
    whole = torch.compile(Called(case, build(case)), backend="eager", fullgraph=True)
    near(whole(*case.inputs), plain(case), 1e-5)


def after_inference(case):
    module = build(case)
    with torch.inference_mode():
        outputs(case, module, case.inputs)
    other = build(case)
    slopes = []
    for one in (module, other):
        x = case.inputs[0].clone().requires_grad_()
        loss = _loss(case, one, case.inputs[1:])(x)
        slopes.append(torch.autograd.grad(loss, x))
    near(*slopes, 1e-6)


def frozen(case):
    module = build(case).requires_grad_(False)
    first, *rest = case.inputs
    x = first.clone().requires_grad_()
    (got,) = torch.autograd.grad(_loss(case, module, rest)(x), x)
    y = first.clone().requires_grad_()
    (expected,) = torch.autograd.grad(_loss(case, build(case), rest)(y), y)
    near([got], [expected], 1e-6)


def strided(case):
    """Hand in views of other layouts: channels last, and every other number of a longer tensor."""
    inputs = [torch.stack([x, x + 1], -1)[..., 0] for x in case.inputs]
    near(outputs(case, build(case), inputs), plain(case), 1e-5)
    inputs = [x.movedim(1, -1).contiguous().movedim(-1, 1) for x in case.inputs]
    near(outputs(case, build(case), inputs), plain(case), 1e-5)


def default_float64(case):
    with default_dtype(torch.float64):
        module = build(case, torch.float64)
        # Transforms say their precision by name, whatever the default is.
        wanted = torch.float32 if case.dtyped else torch.float64
        got = outputs(case, module, cast(case, wanted))
    near(got, plain(case), 1e-3)


def in_two_places(case, first, second):
    """Compare a network that holds the same weights twice with one that holds them once."""
    network = nn.ModuleList([first, nn.Sequential(second)])
    assert all(part.training for part in network.train().modules())
    assert not any(part.training for part in network.eval().modules())
    weights = dict(first.named_parameters())
    assert len(list(network.parameters())) == len(weights)
    alone = build(case)
    # The gradients of both places add up: as if the step were twice as long.
    step([first, second], list(network.parameters()), case, rate=1e-3)
    step([alone], list(alone.parameters()), case, rate=2e-3)
    for name, weight in alone.named_parameters():
        if weight.grad is None:  # a part that this call does not use
            assert weights[name].grad is None
        else:
            near([weights[name].grad], [2 * weight.grad], 1e-4)
    again = nn.ModuleList([build(case), nn.Sequential(build(case))]).eval()
    again.load_state_dict(network.state_dict())
    expected = outputs(case, alone, case.inputs)
    for module in (first, second, again[0], again[1][0], copy.deepcopy(network)[1][0]):
        near(outputs(case, module, case.inputs), expected, 1e-5)


def step(modules, weights, case, *, rate):
    """Take a step of gradient descent on the sum of squares of what modules return."""
    if not weights:
        return
    optimizer = torch.optim.SGD(weights, lr=rate)
    loss = sum(t.square().mean() for m in modules for t in outputs(case, m, case.inputs))
    loss.backward()
    optimizer.step()


def shared(case):
    module = build(case)
    in_two_places(case, module, module)


def tied(case):
    first = build(case)
    second = build(case)
    for name, weight in first.named_parameters():
        path, _, last = name.rpartition(".")
        setattr(second.get_submodule(path), last, weight)
    in_two_places(case, first, second)


MODES = {
    "autocast": autocast,
    "double()": double,
    "half()": float16,
    "bfloat16()": bfloat16,
    "to_empty": to_empty,
    "built on meta": built_on_meta,
    "shared": shared,
    "tied": tied,
    "deepcopy": deepcopied,
    "pickle": pickled,
    "torch.save": saved,
    "vmap": vmapped,
    "func.grad": func_grad,
    "func.jvp": jvp,
    "second derivative": second,
    "export": exported,
    "compile": compiled,
    "inference first": after_inference,
    "frozen": frozen,
    "strided": strided,
    "default float64": default_float64,
}


def measure(name, mode):
    """Return "yes", or "refused" where our own sentence says why; all else is an error."""
    try:
        MODES[mode](CASES[name])
    except torch._dynamo.exc.Unsupported as error:
        # The compiler tells of an error of ours in its own words, around the sentence.
        if "raised exception" in str(error) and "RuntimeError(" in str(error):
            return f"refused: {error}"
        raise
    except (TypeError, ValueError, RuntimeError, NotImplementedError) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        if last.filename.startswith(HOME) and str(last.line).startswith("raise"):
            return f"refused: {error}"
        raise
    return "yes"
