"""Run by tests/backends/test_cpu.py under the sanitizers: every kernel on small layers with all their edges.

    LD_PRELOAD=libasan.so python tests/support/sanitized.py build/cpu/sanitize/_cpu*.so

Each operand is an allocation of its own, so one element too far is a report and a non-zero exit. With the
word `hostile` and a number, so many calls with arguments that a caller should not give: an exception each, or
a launch that stays inside what it was given. With `inconsistent`, a seed and `7 minutes` or `500 calls`,
layers whose dimensions are positive and do not belong together: a refusal each, or the convolution of its
definition.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import random
import signal
import sys
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
from references import box, legal_knobs, operands

from dibench.check.reference import allowance, convolution
from dibench.kernels import registry
from dibench.layer import DIMENSIONS, Layer

LAYERS = [
    Layer(N=2, C=5, H=6, W=13, K=9, R=3, S=3, pad_h=1, pad_w=1),
    Layer(N=1, C=3, H=9, W=12, K=2, R=5, S=5, P=6, Q=7, stride_h=2, stride_w=2, pad_h=2, pad_w=2),
    Layer(N=1, C=2, H=9, W=15, K=3, R=7, S=7, stride_h=2, stride_w=2, pad_h=3, pad_w=3),
    Layer(N=1, C=1, H=15, W=23, K=2, R=11, S=11, stride_h=4, stride_w=4, pad_h=2, pad_w=2),
    Layer(N=1, C=4, H=1, W=17, K=3, R=1, S=7, pad_w=3),
    Layer(N=1, C=3, H=9, W=9, K=2, R=3, S=3, dil_h=2, dil_w=2, pad_h=2, pad_w=2),
    Layer(N=2, C=9, H=3, W=5, K=10, R=1, S=1),
    Layer(N=1, C=6, H=7, W=5, K=7, R=1, S=1, stride_h=2, stride_w=2),
    Layer(N=1, C=8, H=6, W=9, K=12, R=3, S=3, pad_h=1, pad_w=1, groups=4),
    Layer(N=2, C=3, H=6, W=19, K=3, R=3, S=3, pad_h=1, pad_w=1, groups=3),
    Layer(N=1, C=4, H=9, W=18, K=4, R=5, S=5, stride_h=2, stride_w=2, pad_h=2, pad_w=2, groups=4),
    Layer.fc(9, 17, 13),
    Layer.fc(1, 33, 20),
]


HOSTILE_NUMBERS = (
    -(2**63),
    -1,
    0,
    1,
    2,
    3,
    5,
    64,
    2**31 - 1,
    2**31,
    2**32,
    2**62,
    2**63,
    2**70,
    1.5,
    None,
    "3",
    True,
)
REFUSALS = (TypeError, ValueError, OverflowError, MemoryError)


def hostile_array(choose: random.Random, fitting: Any, others: list[Any]) -> Any:
    """The array that fits, or one that is wrong in type, strides, alignment, rights, shape or place."""
    array = fitting.copy()
    match choose.randrange(16):
        case 0:
            return array.astype(choose.choice(["f8", "i4", ">f4", "f2", "c8", "O", "U3", "?", "m8[s]"]))
        case 1:
            return array[..., ::-1]
        case 2:
            return np.asfortranarray(array)
        case 3:
            return np.broadcast_to(np.float32(1), array.shape)
        case 4:
            array.flags.writeable = False
            return array
        case 5:
            return np.zeros(array.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(array.shape)
        case 6:
            return array[:, :, :, :-1] if array.ndim > 3 else array
        case 7:
            return choose.choice(
                [None, 3, "xyz", b"1234", [[1.0]], object(), np.float32(1), np.zeros((), "f4")]
            )
        case 8:
            return np.zeros((0, *array.shape[1:]), np.float32)
        case 9:
            return choose.choice(others)
        case 10:  # shares memory with another operand
            other = choose.choice(others)
            if isinstance(other, np.ndarray) and other.dtype == np.float32 and other.size >= array.size:
                return other.reshape(-1)[: array.size].reshape(array.shape)
            return array
        case 11:
            return np.repeat(array, 2, axis=0)
        case 12:  # zero strides, shapes whose product overflows 64 bits
            return np.lib.stride_tricks.as_strided(array, (1, 2**20, 2**20, 1, 1), (0,) * 5, writeable=False)
        case _:
            return array


def hostile(cpu: Any, calls: int) -> None:
    """Random wrong arguments for every function of the module, seeded."""
    choose = random.Random(2008_02565)
    refused = 0
    variants = list(registry("cpu").values())
    legal = {
        variant.name: [(layer, knobs) for layer in LAYERS for knobs in legal_knobs(variant, layer)]
        for variant in variants
    }

    def number() -> Any:
        return choose.choice(HOSTILE_NUMBERS)

    for _ in range(calls):
        variant = choose.choice(variants)
        layer, knobs = choose.choice(legal[variant.name])
        x, w, y = operands(layer, 1, 3)
        arrays = [hostile_array(choose, fitting, [x, w, y]) for fitting in (x, w, y)]
        shape, boxed = list(layer.shape), list(box(knobs))
        for values in (shape, boxed):
            if choose.random() < 0.4:
                values[choose.randrange(len(values))] = number()
        if choose.random() < 0.05:
            shape = shape[: choose.randrange(17)]
        launches = choose.choice([1, 1, 1, 2, 0, -1, 2**63, 1.5, None])
        threads = choose.choice([1, 2, 3, 64, 0, -1, 4097, 2**40, None])
        name = choose.choice([variant.name] * 9 + ["", "nothing", "conv_no_reuse"])
        isa = choose.choice([cpu.isas()[-1]] * 9 + ["", "x86-64-v9"])
        try:
            match choose.randrange(12):
                case 0:
                    cpu.peak_flops(
                        isa, threads, choose.choice([1e-4, 0, -1.0, float("nan"), float("inf"), None])
                    )
                case 1:
                    small = choose.choice([1, 2, 0, -1, None])
                    cpu.peak_bandwidth(small, choose.choice([4096, 4099, 0, -1, 2**63, 2**41]), 1e-4)
                case 2:
                    cpu.vector_lanes(choose.choice([isa, None, 3, b"x86-64-v3"]))
                case _:
                    cpu.launch(name, isa, shape, boxed, *arrays, threads, launches)
        except REFUSALS:
            refused += 1
    print(calls, "calls,", refused, "refused")
    assert calls / 3 < refused < calls


HUGE = (1000, 2**20 + 1, 2**30, 2**31 - 2, 2**31 - 1)
LONGEST_S = 20
MOST_SCRATCH = 2**26  # bytes: enough for every path, and filled in a moment


def inconsistent_layer(choose: random.Random) -> Any:
    """Dimensions that are positive, with small operands; groups divide C and K, no more is promised."""
    layer = SimpleNamespace()
    layer.groups = choose.choice([1, 1, 1, 2, 3, 8, 32])
    depthwise = choose.random() < 0.3
    layer.N = choose.randint(1, 4)
    layer.C = layer.groups * (1 if depthwise else choose.choice([1, 1, 2, 3, 5, 9, 17]))
    layer.K = layer.groups * choose.choice([1, 1, 2, 3, 4, 7, 16])
    for axis, size, taps, out in (("h", "H", "R", "P"), ("w", "W", "S", "Q")):
        for name, most in ((size, 20), (taps, 11), (out, 35)):
            setattr(layer, name, choose.choice([1, 1, choose.randint(1, most), choose.randint(1, 5)]))
        for name, small in (
            ("stride", (1, 1, 1, 2, 2, 3, 5)),
            ("dil", (1, 1, 1, 2, 3)),
            ("pad", (0, 0, 1, 2, 7)),
        ):
            values = HUGE if choose.random() < 0.04 else small
            setattr(layer, f"{name}_{axis}", choose.choice(values))
    if choose.random() < 0.1:  # no product of its sides, as a fully-connected layer has it
        layer.H = layer.W = layer.R = layer.S = 1
        layer.P, layer.Q = choose.choice([(1, 1), (1, 1), (1, 2), (3, 1)])
    if choose.random() < 0.2:  # dense positions
        layer.P, layer.Q = layer.H, layer.W
    layer.shape = tuple(getattr(layer, name) for name in DIMENSIONS)
    return layer


def limit(seconds: int) -> None:
    """Let a signal end this process after so much processor time; where it waits for ever, after 20 times it.

    A machine that is slow, or stops the process for minutes, makes no hang.
    """
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(20 * seconds)


def inconsistent(cpu: Any, seed: int, amount: float, unit: str) -> None:
    """Random layers and boxes for random kernels; each call is printed before it is made."""
    choose = random.Random(seed)
    variants = list(registry("cpu").values())
    refused = ran = 0
    end = time.monotonic() + 60 * amount
    while (time.monotonic() < end) if unit == "minutes" else (refused + ran < amount):
        layer = inconsistent_layer(choose)
        variant = choose.choice(variants)
        knobs = tuple(choose.choice(values) for values in ((1, 2, 4, 8), (1, 2, 4, 8), (1, 2, 4, 8)))
        taps = choose.choice([1, layer.S, layer.R * layer.S])
        boxed = (*knobs, taps, choose.choice([0, 0, 1])) if choose.random() < 0.9 else (3, 2**31 - 1, 5, 2, 1)
        if choose.random() < 0.5:  # small boxes have kernels most often
            boxed = (choose.choice([1, 2]), choose.choice([1, 2]), 1, taps, 0)
        threads, instances = choose.choice([1, 2, 3]), choose.choice([1, 1, 2])
        print(f"{variant.name} {layer.shape} {boxed} threads {threads} instances {instances}", flush=True)
        limit(LONGEST_S)
        try:
            if cpu.scratch_bytes(variant.name, cpu.isas()[-1], layer.shape, threads) > MOST_SCRATCH:
                raise MemoryError
            x, w, y = operands(layer, instances, choose.randrange(2**32))
            cpu.launch(variant.name, cpu.isas()[-1], layer.shape, boxed, x, w, y, threads, 1)
        except REFUSALS:
            refused += 1
            continue
        for i in range(instances):
            wrong = ~(abs(y[i] - convolution(layer, x[i], w[i])) <= allowance(layer, x[i], w[i]))
            assert not wrong.any(), f"wrong at {np.argwhere(wrong)[:3].tolist()}"
        ran += 1
    limit(0)
    print(f"seed {seed}: {ran} launches, {refused} refused")
    assert ran > refused / 20


def main(path: str) -> None:
    loader = importlib.machinery.ExtensionFileLoader("_cpu", path)
    spec = importlib.util.spec_from_file_location("_cpu", path, loader=loader)
    assert spec is not None
    cpu = importlib.util.module_from_spec(spec)
    loader.exec_module(cpu)
    if "hostile" in sys.argv:
        hostile(cpu, int(sys.argv[-1]))
        return
    if "inconsistent" in sys.argv:
        seed, amount, unit = sys.argv[-3:]
        inconsistent(cpu, int(seed), float(amount), unit)
        return
    choose = random.Random(1)
    ran = 0
    for variant in registry("cpu").values():
        for layer in LAYERS:
            if layer.op not in variant.ops:
                continue
            legal = legal_knobs(variant, layer)
            for knobs in choose.sample(legal, min(8, len(legal))):
                x, w, y = operands(layer, 1, 3)
                cpu.launch(
                    variant.name, cpu.isas()[-1], layer.shape, box(knobs), x, w, y, choose.choice((1, 2)), 1
                )
                np.testing.assert_allclose(y[0], convolution(layer, x[0], w[0]), atol=1e-4)
                ran += 1
    if len(sys.argv) > 2:  # prove that the sanitizer would have spoken: a y that is one image short
        layer = Layer(N=2, C=1, H=64, W=64, K=1, R=1, S=1)
        x, w, y = operands(layer, 1, 3)
        x = x.ravel()[:-4096].copy().reshape(1, 1, 1, 64, 64)
        lies = np.lib.stride_tricks.as_strided(x, (1, 2, 1, 64, 64), (32768, 16384, 16384, 256, 4))
        cpu.launch("conv_no_reuse", cpu.isas()[-1], layer.shape, (0,) * 5, lies, w, y, 1, 1)
    print(ran, "launches")


if __name__ == "__main__":
    main(sys.argv[1])
