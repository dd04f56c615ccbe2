"""Networks that the tests draw: each has something that a walk through a network can miss."""

import torch
import torch.nn.functional as F
from torch import nn


def double_conv(a, b):
    return nn.Sequential(
        nn.Conv2d(a, b, 3, padding=1),
        nn.BatchNorm2d(b),
        nn.ReLU(),
        nn.Conv2d(b, b, 3, padding=1),
        nn.BatchNorm2d(b),
        nn.ReLU(),
    )


class UNet(nn.Module):
    """Three levels, with what is skipped joined along the channels."""

    def __init__(self, width=8):
        super().__init__()
        self.down1 = double_conv(1, width)
        self.down2 = double_conv(width, 2 * width)
        self.bottom = double_conv(2 * width, 4 * width)
        self.up2 = nn.ConvTranspose2d(4 * width, 2 * width, 2, stride=2)
        self.join2 = double_conv(4 * width, 2 * width)
        self.up1 = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.join1 = double_conv(2 * width, width)
        self.last = nn.Conv2d(width, 1, 1)

    def forward(self, image):
        fine = self.down1(image)
        middle = self.down2(F.max_pool2d(fine, 2))
        coarse = self.bottom(F.max_pool2d(middle, 2))
        x = self.join2(torch.cat([middle, self.up2(coarse)], 1))
        x = self.join1(torch.cat([fine, self.up1(x)], 1))
        return self.last(x)


class Encoder(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.conv1 = nn.Conv2d(1, 16, 3, stride=2, padding=1)
        self.conv2 = nn.Conv2d(16, 32, 3, stride=2, padding=1)
        self.mean = nn.Linear(32 * 7 * 7, latent)
        self.log_variance = nn.Linear(32 * 7 * 7, latent)

    def forward(self, image):
        x = F.relu(self.conv2(F.relu(self.conv1(image)))).flatten(1)
        return self.mean(x), self.log_variance(x)


class Decoder(nn.Module):
    def __init__(self, latent):
        super().__init__()
        self.start = nn.Linear(latent, 32 * 7 * 7)
        self.up1 = nn.ConvTranspose2d(32, 16, 2, stride=2)
        self.up2 = nn.ConvTranspose2d(16, 1, 2, stride=2)

    def forward(self, z):
        x = F.relu(self.start(z)).unflatten(1, (32, 7, 7))
        return torch.sigmoid(self.up2(F.relu(self.up1(x))))


class VAE(nn.Module):
    """Mean and log-variance, a draw, and back to a picture."""

    def __init__(self, latent=8):
        super().__init__()
        self.encoder = Encoder(latent)
        self.decoder = Decoder(latent)

    def forward(self, image):
        mean, log_variance = self.encoder(image)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        return {"image": self.decoder(z), "mean": mean, "log_variance": log_variance}


class Residual(nn.Module):
    """Two convolutions beside a short cut."""

    def __init__(self, a, b, stride=1):
        super().__init__()
        self.conv1 = nn.Conv2d(a, b, 3, stride=stride, padding=1)
        self.norm1 = nn.BatchNorm2d(b)
        self.conv2 = nn.Conv2d(b, b, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(b)
        self.short_cut = nn.Conv2d(a, b, 1, stride=stride) if a != b else nn.Identity()

    def forward(self, x):
        inner = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))
        return F.relu(inner + self.short_cut(x))


class ResNet(nn.Module):
    def __init__(self, repeats=3):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(16, 16) for _ in range(repeats)))
        self.wider = Residual(16, 32, stride=2)
        self.head = nn.Linear(32, 5)

    def forward(self, x):
        x = self.wider(self.blocks(F.relu(self.stem(x))))
        return self.head(x.mean((2, 3)))


class Gated(nn.Module):
    """Squeeze and excite: channels are weighed by numbers that are read from all pixels."""

    def __init__(self, channels=16):
        super().__init__()
        self.conv = nn.Conv2d(1, channels, 3, padding=1)
        self.squeeze = nn.Linear(channels, 4)
        self.excite = nn.Linear(4, channels)

    def forward(self, x):
        x = self.conv(x)
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class Looped(nn.Module):
    """One layer three times, with the same weights."""

    def __init__(self, size=6):
        super().__init__()
        self.start = nn.Linear(3, size)
        self.step = nn.Linear(size, size)

    def forward(self, x):
        x = torch.tanh(self.start(x))
        for _ in range(3):
            x = torch.tanh(self.step(x))
        return x


class Products(nn.Module):
    """Weights of its own, in functions of torch."""

    def __init__(self):
        super().__init__()
        self.mix = nn.Parameter(torch.randn(4, 5))
        self.read = nn.Parameter(torch.randn(5, 2))
        self.offset = nn.Parameter(torch.zeros(2))

    def forward(self, x):
        return torch.einsum("bi,io->bo", x, self.mix).relu() @ self.read + self.offset


class PartlyUsed(nn.Module):
    """A layer that the example does not meet, and one that reaches no output."""

    def __init__(self):
        super().__init__()
        self.used = nn.Linear(4, 4)
        self.other = nn.Linear(4, 7)
        self.lost = nn.Linear(4, 3)

    def forward(self, x, other=False):
        self.lost(x)
        return self.other(x) if other else self.used(x)


class ThroughNumpy(nn.Module):
    """A block whose inside cannot be followed."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(torch.from_numpy(x.numpy() * 2.0)) + x


class Square(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x**2

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class TwoInputs(nn.Module):
    """A picture and a condition, the latter by keyword."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.embed = nn.Embedding(10, 4)
        self.read = nn.Linear(8, 3)

    def forward(self, image, *, label):
        pooled = self.conv(image).amax((2, 3))
        return self.read(torch.cat([pooled, self.embed(label)], 1))


class Attention(nn.Module):
    def __init__(self, size=8):
        super().__init__()
        self.query = nn.Linear(size, size)
        self.key = nn.Linear(size, size)
        self.value = nn.Linear(size, size)

    def forward(self, x):
        scores = self.query(x) @ self.key(x).transpose(1, 2) / 8**0.5
        return scores.softmax(-1) @ self.value(x) + x


class Generator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 64), nn.Tanh())

    def forward(self, z):
        return self.layers(z).unflatten(1, (1, 8, 8))


class Discriminator(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, 4, stride=2, padding=1), nn.LeakyReLU(0.2), nn.Flatten()
        )
        self.read = nn.Linear(8 * 16, 1)

    def forward(self, x):
        return self.read(self.layers(x)).squeeze(1)


class Chain(nn.Module):
    """Parts one after the other, and no mere list of them: a block with a name."""

    def __init__(self, *parts):
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x):
        for part in self.parts:
            x = part(x)
        return x


class Outer(Chain):
    pass


class Middle(Chain):
    pass


class Inner(Chain):
    pass


def layers(n, size=4):
    return [nn.Linear(size, size) for _ in range(n)]


def nested():
    """Return four equal layers in the third of three blocks that stand within each other."""
    inner = Inner(nn.Linear(6, 8), nn.LayerNorm(8), *layers(4, 8), nn.Linear(8, 5))
    return nn.Sequential(Outer(nn.Linear(3, 4), Middle(nn.Linear(4, 6), inner)), nn.Linear(5, 2))


def blocks_in_a_block():
    """Return a block with nothing but three equal ones in it."""
    parts = [Inner(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)) for _ in range(3)]
    return nn.Sequential(nn.Linear(3, 4), Outer(*parts), nn.Linear(4, 2))


def blocks_that_look_alike_out_of_step():
    """Return three blocks whose ends and next starts repeat as well as the last two do."""
    blocks = [Inner(nn.Linear(size, 8), nn.Linear(8, 4)) for size in (3, 4, 4)]
    return nn.Sequential(*blocks, nn.Linear(4, 2))


def shared(order):
    """Return equal layers in an order such as "aab": a layer of the same letter is the same."""
    by_letter = dict(zip("abc", layers(3), strict=True))
    return nn.Sequential(*(by_letter[letter] for letter in order))


class Tied(nn.Module):
    """A layer that takes its weights from another, with a bias of its own."""

    def __init__(self):
        super().__init__()
        self.encode = nn.Linear(4, 4, bias=False)
        self.bias = nn.Parameter(torch.zeros(4))

    def forward(self, x):
        return F.linear(self.encode(x).relu(), self.encode.weight.T, self.bias)


class ScaledPart(nn.Module):
    """A part of the data is changed where it lies, through a view."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(4, 4)
        self.scale = nn.Parameter(torch.ones(2))
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        x = self.first(x)
        x[:, :2].mul_(self.scale)
        return self.last(x)


class Does(nn.Module):
    """A layer, and then a function that a test gives."""

    def __init__(self, function, outputs=4):
        super().__init__()
        self.layer = nn.Linear(4, outputs)
        self.does = [function]

    def forward(self, x):
        return self.does[0](self.layer(x))


class Auxiliary(nn.Module):
    """A head that runs, but is returned in training alone."""

    def __init__(self):
        super().__init__()
        self.read = nn.Linear(4, 2)
        self.auxiliary = nn.Linear(4, 3)

    def forward(self, x):
        extra = self.auxiliary(x)
        return (self.read(x), extra) if self.training else self.read(x)


class ReadsNumber(nn.Module):
    """A factor that is read from data as a number of Python."""

    def __init__(self, read):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.gate = nn.Linear(4, 1)
        self.read = [read]

    def forward(self, x):
        return self.layer(x) * self._factor(x)

    def _factor(self, x):
        return self.read[0](self.gate(x))


class ReadsNumberItself(ReadsNumber):
    def forward(self, x):
        return self.layer(x) * (1 + self.read[0](self.gate(x)))


class Checks(nn.Module):
    """Numbers are read from data to check them, and dropped."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        check_finite(x)
        return self.layer(x)


def check_finite(x):
    if not abs(x.sum().item()) < float("inf"):
        raise ValueError("x must be finite")
