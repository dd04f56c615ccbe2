"""The walk through a network: what is found, in which order, and that nothing is changed."""

import networks_to_draw as nets
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from skytutor.plot._network.graph import FUNCTION, INPUT, LAYER, OUTPUT, RANDOM, VIEW
from skytutor.plot.trace import trace


def names(graph, *kinds):
    return [node.name for node in graph.nodes if node.kind in (kinds or (LAYER,))]


def reached(graph):
    """Return the names of the nodes from which something reaches an output."""
    found = set()
    waiting = [node for node in graph.nodes if node.kind == OUTPUT]
    while waiting:
        node = waiting.pop()
        if node not in found:
            found.add(node)
            waiting += [value.node for value in node.inputs]
    return {node.name for node in found}


def executed(module, example, kinds):
    """Return the classes of the layers that run, in their order, as hooks see them."""
    order = []
    handles = []
    for part in module.modules():
        if isinstance(part, kinds):
            handles.append(
                part.register_forward_hook(lambda m, *rest: order.append(type(m).__name__))
            )
    with torch.no_grad():
        module.eval()(example)
    for handle in handles:
        handle.remove()
    return order


@pytest.mark.parametrize(
    ("module", "example"),
    [
        (nets.UNet(), torch.rand(1, 1, 16, 16)),
        (nets.VAE(), torch.rand(1, 1, 28, 28)),
        (nets.ResNet(), torch.rand(1, 3, 8, 8)),
        (nets.Looped(), torch.rand(1, 3)),
    ],
    ids=lambda thing: type(thing).__name__ if isinstance(thing, nn.Module) else "",
)
def test_the_order_of_the_walk_is_that_of_execution(module, example):
    layers = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d, nn.ReLU)
    wanted = executed(module, example, layers)
    classes = {kind.__name__ for kind in layers}
    assert [name for name in names(trace(module, example)) if name in classes] == wanted


def test_what_follows_from_what():
    graph = trace(nets.Gated(), torch.rand(1, 1, 8, 8))
    (multiply,) = [node for node in graph.nodes if node.name == "mul"]
    gate = [value.node.name for value in multiply.inputs]
    assert gate == ["Conv2d", "getitem"]
    assert reached(graph) >= {"x", "Conv2d", "mean", "Linear", "relu", "sigmoid"}


def test_mode_buffers_and_random_numbers_are_as_before():
    module = nn.Sequential(nets.VAE(), nn.Identity())
    module.train()
    module[0].decoder.eval()
    norm = nn.BatchNorm2d(1)
    norm.train()
    module = nn.Sequential(norm, module)
    modes = [part.training for part in module.modules()]
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    keys = [sorted(vars(part)) for part in module.modules()]
    random = torch.random.get_rng_state()
    call = nn.Module.__call__
    trace(module, torch.rand(1, 1, 28, 28, generator=torch.Generator().manual_seed(0)))
    assert [part.training for part in module.modules()] == modes
    assert [sorted(vars(part)) for part in module.modules()] == keys
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in module.named_buffers())
    assert torch.equal(torch.random.get_rng_state(), random)
    assert nn.Module.__call__ is call


class Counts(nn.Module):
    """Changes a buffer in each call, and puts another in the place of a second."""

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("last", torch.zeros(2))
        self.read = nn.Linear(2, 2)

    def forward(self, x):
        self.calls += 1
        self.last = x[0]
        return self.read(x)


def test_buffers_that_a_call_changes_are_put_back():
    module = Counts()
    last = module.last
    trace(module, torch.ones(1, 2))
    assert module.calls == 0 and module.last is last and module.last.tolist() == [0, 0]


def test_all_is_as_before_after_an_error_too():
    module = nets.UNet().train()
    keys = [sorted(vars(part)) for part in module.modules()]
    call = nn.Module.__call__
    example = torch.rand(1, 3, 16, 16)
    random = torch.random.get_rng_state()
    with pytest.raises(ValueError, match="example must be what UNet takes: on shape"):
        trace(module, example)
    assert all(part.training for part in module.modules())
    assert [sorted(vars(part)) for part in module.modules()] == keys
    assert nn.Module.__call__ is call
    assert torch.equal(torch.random.get_rng_state(), random)


def test_the_error_of_the_network_is_the_cause():
    with pytest.raises(ValueError, match=r"\(1, 5\) it raised RuntimeError") as caught:
        trace(nn.Sequential(nn.Linear(4, 2)), torch.rand(1, 5))
    assert isinstance(caught.value.__cause__, RuntimeError)


@pytest.mark.parametrize(
    ("module", "example", "error", "words"),
    [
        (torch.relu, torch.rand(1), TypeError, "module must be a torch.nn.Module, got builtin"),
        (nn.ReLU(), [], TypeError, "example must be a tensor, a tuple .* got list"),
        (nn.ReLU(), 3, TypeError, "got int"),
        (nn.ReLU(), {"x": "a"}, TypeError, "at least one tensor"),
        (nn.ReLU(), "map", TypeError, "got str"),
        (nn.LazyLinear(3), torch.rand(1, 2), ValueError, "weight has none yet"),
    ],
)
def test_what_is_no_network_or_no_example_is_refused(module, example, error, words):
    with pytest.raises(error, match=words):
        trace(module, example)


class Says(nn.Module):
    def forward(self, x):
        return "nothing"


def test_a_network_that_returns_no_tensors_is_refused():
    with pytest.raises(ValueError, match="Says returned str"):
        trace(Says(), torch.rand(1))


def test_a_block_that_cannot_be_followed_is_one_step():
    graph = trace(nn.Sequential(nets.ThroughNumpy(), nn.Linear(4, 2)), torch.rand(1, 4))
    assert names(graph) == ["ThroughNumpy", "Linear"]
    assert graph.nodes[1].weights == 20


class Squared(nn.Module):
    """A layer behind a function with a gradient of its own."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 3)

    def forward(self, x):
        return self.inner(nets.Square.apply(x))


def test_a_function_with_a_gradient_of_its_own_is_followed():
    graph = trace(nn.Sequential(Squared(), nn.ReLU()), torch.rand(1, 4))
    assert reached(graph) >= {"input", "pow", "Linear", "ReLU"}


class Padded(nn.Module):
    """A layer that prepares its input."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(1, 3, 3)

    def forward(self, x):
        return self.inner(torch.cat([x[..., -1:], x, x[..., :1]], -1))


def test_a_module_around_a_single_layer_gives_it_its_name():
    graph = trace(nn.Sequential(Padded(), nn.ReLU()), torch.rand(1, 1, 6, 6))
    assert names(graph) == ["Padded", "ReLU"]
    (layer,) = [node for node in graph.nodes if node.name == "Padded"]
    assert (layer.sizes, layer.details) == ("1 → 3", ["kernel 3 \u00d7 3"])


def test_a_network_that_cannot_be_followed_is_one_step():
    graph = trace(nets.ThroughNumpy(), torch.rand(1, 4))
    assert [node.kind for node in graph.nodes] == [INPUT, LAYER, OUTPUT]
    assert graph.nodes[1].weights == graph.n_weights == 20


def test_leaf_and_depth_keep_blocks_whole():
    example = torch.rand(1, 3, 8, 8)
    by_name = trace(nets.ResNet(), example, leaf="Residual")
    by_several = trace(nets.ResNet(), example, leaf=("Residual", nn.Tanh))
    by_class = trace(nets.ResNet(), example, leaf=nets.Residual)
    by_depth = trace(nets.ResNet(), example, depth=1)
    whole = ["Conv2d", *["Residual"] * 4, "Linear"]
    assert names(by_name) == names(by_class) == names(by_several) == whole
    assert names(by_depth) == whole
    assert names(trace(nn.Sequential(nets.ResNet()), example, depth=1)) == ["ResNet"]


def test_a_function_in_place_is_followed():
    class InPlace(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.last = nn.Linear(3, 3)

        def forward(self, x):
            out = torch.zeros(len(x), 3)
            out[:, :] = self.first(x)
            out += 1
            return self.last(out.relu_())

    graph = trace(InPlace(), torch.rand(1, 3))
    assert reached(graph) >= {"x", "Linear", "setitem", "add", "relu"}
    first = next(node for node in graph.nodes if node.name == "Linear")
    assert any(value in first.outputs for node in graph.nodes for value in node.inputs)


@pytest.mark.parametrize(
    "change",
    [
        lambda h, w: h[:, :2].mul_(w),
        lambda h, w: h.view(-1, 2, 2)[:, 0].copy_(w),
        lambda h, w: h.t().add_(w.sum()),
        lambda h, w: h.narrow(1, 0, 2).__iadd__(w),
    ],
)
def test_a_change_through_a_view_is_seen_in_the_whole(change):
    module = nets.ScaledPart()

    def forward(x):
        x = module.first(x)
        change(x, module.scale)
        return module.last(x)

    module.forward = forward
    graph = trace(module, torch.rand(1, 4))
    (last,) = [node for node in graph.nodes if node.sizes == "4 → 3"]
    (value,) = last.inputs
    assert id(module.scale) in value.node.parameters and value.shape == (1, 4)
    assert "Linear" in reached(graph) and value.node.inputs


@pytest.mark.parametrize("relu", [nn.ReLU(inplace=True), lambda h: F.relu(h, inplace=True)])
def test_a_change_of_the_whole_is_seen_in_its_views(relu):
    class Views(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.relu = relu
            self.last = nn.Linear(2, 3)

        def forward(self, x):
            x = self.first(x)
            part = x[:, :2]
            self.relu(x)
            return self.last(part)

    graph = trace(Views(), torch.rand(1, 4))
    (last,) = [node for node in graph.nodes if node.sizes == "2 → 3"]
    (value,) = last.inputs
    assert value.node.name.lower() == "relu" and value.shape == (1, 2)


def test_a_layer_that_prepares_its_input_in_place_keeps_it():
    class Clears(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 3)

        def forward(self, x):
            x[:, 0] = 0
            return self.layer(x)

    graph = trace(nn.Sequential(nn.Linear(4, 4), Clears(), nn.ReLU()), torch.rand(1, 4))
    assert names(graph) == ["Linear", "Clears", "ReLU"]
    assert [value.node.name for value in graph.nodes[2].inputs] == ["Linear"]
    example = torch.ones(1, 4)
    trace(Clears(), example)
    assert example.tolist() == [[1, 1, 1, 1]]


READERS = [torch.Tensor.item, float, lambda h: h.tolist()[0][0]]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("kind", [nets.ReadsNumber, nets.ReadsNumberItself])
def test_a_block_that_reads_a_number_from_data_is_one_step(kind, read):
    module = nn.Sequential(nn.Linear(4, 4), kind(read), nn.Linear(4, 2))
    graph = trace(module, torch.rand(1, 4))
    assert names(graph) == ["Linear", kind.__name__, "Linear"]
    assert graph.unused() == {}


def test_numbers_that_are_only_checked_close_no_block():
    assert names(trace(nets.Checks(), torch.rand(1, 4))) == ["Linear"]


def test_random_numbers_that_depend_on_data_follow_from_them():
    module = nets.Does(lambda h: torch.normal(h, h.exp()))
    graph = trace(module, torch.rand(1, 4))
    assert names(graph, FUNCTION) == ["exp", "normal"]
    assert reached(graph) >= {"x", "Linear", "exp"}


class Keeps(nn.Module):
    """Holds a method of a module that is not registered, as chapter 3's estimator does."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.read = nn.Linear(2, 1)

    def forward(self, x):
        return self.read(self.function(x))


class Scales(nn.Module):
    def forward(self, x):
        return torch.from_numpy(x.numpy() * 2)


def test_a_method_that_a_network_keeps_is_a_step_of_its_module():
    module = Keeps(Scales().forward)
    before = module.function
    assert names(trace(module, torch.rand(1, 2))) == ["Scales", "Linear"]
    assert module.function is before


def summarise(x):
    return torch.from_numpy(x.numpy()[:, :2] * 2)


def test_a_function_that_a_network_keeps_is_a_step_of_its_name():
    assert names(trace(Keeps(summarise), torch.rand(1, 3))) == ["summarise", "Linear"]


def test_random_numbers_are_seen():
    graph = trace(nets.VAE(), torch.rand(1, 1, 28, 28))
    assert names(graph, RANDOM) == ["randn_like"]
    assert reached(graph) >= {"randn_like", "exp", "image", "mean", "log_variance"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_any_floating_point_type(dtype):
    graph = trace(nets.ResNet().to(dtype), torch.rand(1, 3, 8, 8).to(dtype))
    assert graph.unused() == {}


def test_weights_of_its_own_are_counted_where_they_are_used():
    graph = trace(nets.Products(), torch.rand(1, 4))
    used = {node.name: node.weights for node in graph.nodes if node.kind == FUNCTION}
    assert used == {"einsum": 20, "relu": 0, "matmul": 10, "add": 2}


def test_views_are_told_from_functions():
    graph = trace(nets.VAE(), torch.rand(1, 1, 28, 28))
    assert set(names(graph, VIEW)) == {"flatten", "unflatten"}


def test_a_tuple_and_a_dictionary_are_arguments():
    image = torch.rand(1, 1, 8, 8)
    label = torch.tensor([3])
    graph = trace(nets.TwoInputs(), {"image": image, "label": label})
    assert names(graph, INPUT) == ["image", "label"]
    graph = trace(nets.PartlyUsed(), (torch.rand(1, 4), True))
    assert set(graph.unused()) == {"used.weight", "used.bias"}
    assert names(graph) == ["Linear", "Linear"]
