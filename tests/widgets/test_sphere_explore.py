"""The tools made of spheres: a sky of a dragged spectrum, a network level by level."""

import torch

from skytutor.widgets.explore import LayerInspector, SpectrumExplorer

MAP = torch.arange(48.0)


def test_a_slider_sets_the_power_of_its_degrees():
    from skytutor.fields.spectra import alm2cl
    from skytutor.sht import map2alm

    tool = SpectrumExplorer(nside=8)
    for slider in tool.powers:
        slider.value = 0
    tool.powers[1].value = 2000
    cl = alm2cl(map2alm(tool.sky(), nside=8, lmax=16, method="lsq", order="ring"), lmax=16)
    low, high = tool.bands[1]
    assert cl[low : high + 1].sum() > 0.999 * cl.sum()
    before = tool.sky()
    tool._redraw(None)
    assert not torch.equal(before, tool.sky())


def test_levels_of_a_network_are_frames():
    from skytutor.layers.pixel import HaloConv

    net = torch.nn.Sequential(
        HaloConv(1, 3, nside=8, order="face"),
        torch.nn.ReLU(),
        torch.nn.MaxPool3d((1, 2, 2)),
        HaloConv(3, 2, nside=4, order="face"),
    ).train()
    net[1].eval()  # a part that is frozen stays so
    tool = LayerInspector(net, torch.randn(1, 1, 12, 8, 8), order="face")
    assert net.training and not net[1].training
    assert tool.names[-1] == "3 HaloConv, nside 4" and tool.frames().shape == (5, 768)
    assert float(tool.frames().abs().max()) <= 1
    tool.channel.value = 2
    children = tool.frames()[-1].view(-1, 4)
    assert (children == children[:, :1]).all()


def test_a_module_that_is_run_again_is_another_level():
    class Twice(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.act = torch.nn.ReLU()

        def forward(self, x):
            return self.act(-self.act(x - 1) + 2)

    tool = LayerInspector(Twice(), MAP.detach().view(1, 1, 48), order="nested")
    assert tool.names == ["input", "act ReLU, nside 2", "act ReLU, nside 2, call 2"]
    assert tool.names == list(tool.levels)
    assert not torch.equal(tool.frames()[1], tool.frames()[2])
