"""The published network of chapter 1, as it was."""

import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.data.digits import CLASSES
from skytutor.layers.faces import check_input
from skytutor.layers.pixel import HierarchicalConv


class PublishedConv1d(nn.Module):
    """The Conv1D network of jibanCat (2018) [1]_: two hierarchical convolutions, two dense layers.

    It has 403,050 weights and takes maps at nside 8.

    Arguments:
        softmax: end in a softmax as published. The loss takes the logarithm of a second softmax, so
            the output of the first, confined to 0..1, can never say more than e : 1 for a class.
            False gives plain logits.

    Example:
        >>> sum(p.numel() for p in PublishedConv1d().parameters())
        403050

    .. [1] https://github.com/jibanCat/Conv1d-HEALPix
    """

    def __init__(self, *, softmax: bool = True):
        super().__init__()
        self.softmax = softmax
        self.conv1 = HierarchicalConv(1, 32, order="nested")  # nside 8 -> 4
        self.conv2 = HierarchicalConv(32, 64, order="nested")  # nside 4 -> 2
        self.fc1 = nn.Linear(48 * 64, 128)
        self.fc2 = nn.Linear(128, CLASSES)

    def forward(self, maps: Tensor) -> Tensor:
        """Turn maps ``(B, 1, 768)`` into class scores ``(B, 10)``.

        Probabilities if `softmax`, else logits.
        """
        check_input(maps, nside=8, order="nested", channels=1)
        x = F.relu(self.conv1(maps))  # (B, 32, 192)
        x = F.relu(self.conv2(x))  # (B, 64, 48)
        x = F.relu(self.fc1(x.flatten(1)))  # (B, 128)
        x = self.fc2(F.dropout(x, training=self.training))  # (B, 10)
        return x.softmax(1) if self.softmax else x
