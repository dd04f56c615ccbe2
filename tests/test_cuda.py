"""Every module and every function of the library on a CUDA device: what a processor gives, too.

`pytest -m gpu` runs these where there is a device; elsewhere they are skipped.
"""

import inspect
import re

import pytest
import torch
from api_calls import Fixed
from test_arrays_api import FUNCTIONS, ROWS, alike, invoke
from torch_modes import Called, build, moving, near, outputs, plain
from torch_modules import CASES

from skytutor.layers.pixel import HaloConv
from skytutor.sht import Harmonics

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here"),
    pytest.mark.filterwarnings("ignore"),
]
DEVICE = "cuda"


@pytest.fixture(autouse=True)
def full_precision():
    """Compare in float32: convolutions of a GPU use fewer digits unless they are asked not to."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


def there(value):
    """Return tensors, also those in a dict or a sequence, on the device."""
    if isinstance(value, torch.Tensor):
        return value.to(DEVICE)
    if isinstance(value, dict):
        return {key: there(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(there(part) for part in value)
    return value


def here(tensors):
    return [t.cpu() for t in tensors]


def gradients(case, module, inputs):
    """Return the gradients of the sum of squares by the first input and by all weights."""
    first, *rest = moving(inputs)
    loss = sum(t.square().sum() for t in outputs(case, module, (first, *rest)))
    found = torch.autograd.grad(loss, [first, *module.parameters()], allow_unused=True)
    return [torch.zeros(()) if one is None else one.cpu() for one in found]


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_module_moved_to_the_device(name):
    case = CASES[name]
    module = build(case).to(DEVICE)
    got = outputs(case, module, there(case.inputs))
    assert {t.device.type for t in got} == {DEVICE}
    near(here(got), plain(case), 1e-4)
    moved = gradients(case, module, there(case.inputs))
    near(moved, gradients(case, build(case), case.inputs), 1e-3)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_module_made_on_the_device(name):
    case = CASES[name]
    with torch.device(DEVICE):
        module = case.make().eval()
    places = {t.device.type for t in [*module.parameters(), *module.buffers()]}
    assert places <= {DEVICE}
    module.load_state_dict(build(case).state_dict())
    near(here(outputs(case, module, there(case.inputs))), plain(case), 1e-4)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_module_under_autocast(name):
    case = CASES[name]
    with torch.autocast(DEVICE, torch.bfloat16):
        got = outputs(case, build(case).to(DEVICE), there(case.inputs))
    near(here(got), plain(case), 0.1)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_module_made_before_the_device_forgets_nothing(name):
    """To the device and back: tables are made again or moved, and the answer stays."""
    case = CASES[name]
    module = build(case).to(DEVICE).to("cpu")
    near(outputs(case, module, case.inputs), plain(case), 1e-6)


@pytest.mark.parametrize("make", [lambda: HaloConv(3, 2, nside=8, order="face"), None])
def test_compiled_on_the_device(make):
    """Compile what networks spend their time in, without a break of the graph."""
    torch._dynamo.reset()
    maps = torch.randn(2, 3, 12, 8, 8) if make else torch.randn(2, 3, 768)
    if make:
        torch.manual_seed(0)
        module = make()
        call = module
    else:
        module = Harmonics(8, 16, order="ring", backend="torch")
        call = _power(module)
    wanted = call(maps)
    module.to(DEVICE)
    got = torch.compile(call, fullgraph=True)(maps.to(DEVICE))
    near([got.cpu()], [wanted], 1e-4)


def _power(module):
    return lambda maps: torch.view_as_real(module.map2alm(maps))


@pytest.mark.parametrize("name", ["HaloConv", "Harmonics", "UNet", "SpinConv"])
def test_a_map_of_another_device_is_refused(name):
    case = CASES[name]
    with pytest.raises((RuntimeError, ValueError), match="device"):
        outputs(case, build(case).to(DEVICE), case.inputs)


@pytest.mark.parametrize("name", ["HaloConv", "UNet"])
def test_a_graph_recorded_and_replayed(name):
    """Record the launches of a module once and replay them for other maps."""
    case = CASES[name]
    whole = Called(case, build(case).to(DEVICE))
    maps = there(case.inputs)
    with torch.no_grad():
        whole(*maps)
        graphed = torch.cuda.make_graphed_callables(whole, maps)
        got = graphed(*[2 * x for x in maps])
        near(here(got), here(whole(*[2 * x for x in maps])), 1e-5)


def _called(function, args, arguments):
    try:
        return invoke(function, args, arguments), None
    except Exception as error:
        return None, error


def _words(function):
    return [*inspect.signature(function).parameters, "device"]


@pytest.mark.parametrize("name", sorted(ROWS))
def test_a_function_of_tensors_on_the_device(name):
    """Arrays on a GPU give what the same arrays give in memory, or are refused by name."""
    args, arguments = ROWS[name]
    if any(isinstance(value, Fixed) for value in [*args, *arguments.values()]):
        pytest.skip("an argument of this call stays where it is")
    function = FUNCTIONS[name]
    wanted, why = _called(function, args, arguments)
    assert why is None
    got, error = _called(function, there(args), there(arguments))
    if error is not None:
        named = any(re.search(rf"\b{re.escape(word)}", str(error)) for word in _words(function))
        assert isinstance(error, TypeError | ValueError) and named, repr(error)
        return
    assert alike(got, wanted, 1e-6)
