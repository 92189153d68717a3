"""Published networks as PyTorch modules, for tests and benchmarks: no package of networks is needed."""

from __future__ import annotations

from typing import Any

import torch

nn: Any = torch.nn
F: Any = torch.nn.functional


class Bottleneck(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
    def __init__(self, C: int, width: int, stride: int) -> None:
        super().__init__()
        K = 4 * width
        self.conv1 = nn.Conv2d(C, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, K, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(K)
        self.downsample = None
        if C != K or stride != 1:
            self.downsample = nn.Sequential(nn.Conv2d(C, K, 1, stride, bias=False), nn.BatchNorm2d(K))

    def forward(self, x: Any) -> Any:
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet50(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        C = 64
        for number, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=1):
            stage = []
            for block in range(blocks):
                stage.append(Bottleneck(C, width, 2 if block == 0 and number > 1 else 1))
                C = 4 * width
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.fc = nn.Linear(C, 1000)

    def forward(self, x: Any) -> Any:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(F.adaptive_avg_pool2d(x, 1).flatten(1))


class ViT(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
    """ViT-B/16 at its published sizes."""

    def __init__(self, width: int = 768, heads: int = 12, depth: int = 12) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 16, 16)
        self.token = nn.Parameter(torch.zeros(1, 1, width))
        self.position = nn.Parameter(torch.zeros(1, 197, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, activation="gelu", batch_first=True, norm_first=True
        )
        self.encoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)
        self.head = nn.Linear(width, 1000)

    def forward(self, x: Any) -> Any:
        x = self.patch(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1) + self.position
        return self.head(self.encoder(x)[:, 0])


class InvertedResidual(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
    def __init__(self, C: int, K: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = C * expansion
        self.adds = stride == 1 and C == K
        self.layers = nn.Sequential(
            *([] if expansion == 1 else normalised(C, width, 1)),
            *normalised(width, width, 3, stride, groups=width),
            *normalised(width, K, 1)[:-1],
        )

    def forward(self, x: Any) -> Any:
        y = self.layers(x)
        return x + y if self.adds else y


def normalised(C: int, K: int, size: int, stride: int = 1, groups: int = 1) -> list[Any]:
    conv = nn.Conv2d(C, K, size, stride, size // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(K), nn.ReLU6()]


class MobileNetV2(nn.Module):  # type: ignore[misc]  # untyped base: PyTorch may be absent
    STAGES = (
        (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1),
        (6, 160, 3, 2), (6, 320, 1, 1),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        layers, C = normalised(3, 32, 3, 2), 32
        for expansion, K, blocks, stride in self.STAGES:
            for block in range(blocks):
                layers.append(InvertedResidual(C, K, stride if block == 0 else 1, expansion))
                C = K
        self.features = nn.Sequential(*layers, *normalised(C, 1280, 1))
        self.classifier = nn.Linear(1280, 1000)

    def forward(self, x: Any) -> Any:
        return self.classifier(self.features(x).mean((2, 3)))
