"""The network of apps/train, row by row, for the peers."""
import torch
from torch import nn

CHANNELS_LAST = torch.channels_last


def conv(inputs, outputs, kernel, stride=1, groups=1):
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class Stem(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv1, self.bn1 = conv(inputs, outputs, 3), nn.BatchNorm2d(outputs)

    def forward(self, x):
        return self.bn1(self.conv1(x)).relu_()


class Block(nn.Module):
    def __init__(self, inputs, outputs, expansion, stride):
        super().__init__()
        inner = expansion * inputs
        self.stride = stride
        self.conv1, self.bn1 = conv(inputs, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv(inner, inner, 3, stride, inner), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv(inner, outputs, 1), nn.BatchNorm2d(outputs)
        self.shortcut = None
        if stride == 1 and inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1), nn.BatchNorm2d(outputs))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu_()
        y = self.bn2(self.conv2(y)).relu_()
        y = self.bn3(self.conv3(y))
        if self.stride != 1:
            return y
        return y + (self.shortcut(x) if self.shortcut is not None else x)


class Classifier(nn.Module):
    def __init__(self, inputs, outputs):
        super().__init__()
        self.bn2, self.linear = nn.BatchNorm2d(inputs), nn.Linear(inputs, outputs)

    def forward(self, x):
        return self.linear(self.bn2(x).relu_().mean([2, 3]))


class Enter(nn.Module):
    def forward(self, x):
        return x.contiguous(memory_format=CHANNELS_LAST)


class Leave(nn.Module):
    """Gloo takes only contiguous tensors."""

    def forward(self, x):
        return x.contiguous()


def rows(width):
    def channels(wanted):
        least = max(8, int(wanted + 4) // 8 * 8)
        return least + 8 if least < 0.9 * wanted else least

    inputs = channels(32 * width)
    all_rows = [Stem(3, inputs)]
    for expansion, outputs, blocks, stride in ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2),
                                               (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)):
        for block in range(blocks):
            all_rows.append(Block(inputs, channels(outputs * width), expansion, stride if block == 0 else 1))
            inputs = channels(outputs * width)
    last = channels(1280 * max(width, 1))
    return all_rows + [conv(inputs, last, 1), Classifier(last, 10)]


def stages(width, after):
    """Two stages, cut after block `after`, channels last inside."""
    every = rows(width)
    cut = after + 2
    return [nn.Sequential(Enter(), *every[:cut], Leave()).to(memory_format=CHANNELS_LAST),
            nn.Sequential(Enter(), *every[cut:]).to(memory_format=CHANNELS_LAST)]
