"""Build dibench._cpu: each kernel of csrc/cpu once per instruction set, in parallel, only what changed.

    python setup.py build_ext --inplace                 what pip does
    python setup.py build_ext --flavour count           counts accesses; build/cpu/count/_cpu*.so (tests)
    python setup.py build_ext --flavour sanitize        address and undefined-behaviour sanitizers (tests)

A kernel is any csrc/cpu/*.cpp: adding one touches no other file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.build_py import build_py
from setuptools.errors import CompileError

ROOT = Path(__file__).resolve().parent
SOURCES = Path("csrc/cpu")
COMMON = ["-std=c++17", "-fPIC", "-fopenmp", "-Wall", "-Wextra", "-Wno-psabi"]
# No exceptions or RTTI in kernels: both bring weak symbols, and the linker would keep one copy of such a
# symbol, perhaps the one with AVX-512 in it, for every machine.
KERNEL = ["-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-fno-exceptions", "-fno-rtti"]
MODULE = ["-fvisibility=hidden"]

if platform.machine() in ("x86_64", "AMD64"):
    ISAS = {  # key: (name, flags), worst first
        "v2": ("x86-64-v2", ["-march=x86-64-v2"]),
        "v3": ("x86-64-v3", ["-march=x86-64-v3"]),
        "v4": ("x86-64-v4", ["-march=x86-64-v4", "-mprefer-vector-width=512"]),
    }
else:
    ISAS = {"base": ("base", [])}

SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g1"]
# Flags of kernels, module and linker. The flavours of the tests compile fast; what runs is small.
FLAVOURS = {
    "release": (["-O3"], ["-O2"], []),
    "count": (["-O0", "-DDIBENCH_COUNT"], ["-O0", "-DDIBENCH_COUNT"], []),
    "sanitize": (["-O0", *SANITIZERS], ["-O0", *SANITIZERS], SANITIZERS),
}


def contents(path: Path, seen: set[Path]) -> bytes:
    """A source with all of our headers that it includes: if they are the same, its object is up to date."""
    if path in seen or not path.exists():
        return b""
    seen.add(path)
    text = path.read_bytes()
    for name in re.findall(rb'^\s*#include "([^"]+)"', text, re.MULTILINE):
        text += contents(path.parent / name.decode(), seen)
    return text


def sources_sha() -> str:
    """What `dibench.kernels.extension_sha` says of the sources that this build is made of."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / SOURCES).iterdir()):
        if path.suffix in (".cpp", ".cc", ".h"):
            digest.update(path.name.encode() + b"\0" + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def operators(path: Path) -> str:
    """The operators of a kernel's header, as arguments of a macro: its entry refuses all others."""
    found = re.search(r"^ops\s*=\s*\[(.*)\]$", path.read_text(encoding="utf-8"), re.MULTILINE)
    if not found:
        raise CompileError(f"{path}: its [variant] block needs a line ops = [...]")
    return found[1]


class Build:
    """One flavour of the extension: objects and their keys in build/cpu/<flavour>."""

    def __init__(self, flavour: str, isas: list[str]) -> None:
        import pybind11

        self.kernel_flags, self.module_flags, self.link_flags = FLAVOURS[flavour]
        self.isas = isas
        self.directory = ROOT / "build" / "cpu" / flavour
        self.directory.mkdir(parents=True, exist_ok=True)
        self.kernels = sorted(path.stem for path in (ROOT / SOURCES).glob("*.cpp"))
        self.cxx = shlex.split(os.environ.get("CXX", "g++"))
        version = subprocess.run([*self.cxx, "--version"], capture_output=True, text=True, check=True).stdout
        # The path of pybind11 changes from one isolated build to the next; only its version matters.
        self.salt = version + pybind11.__version__ + sysconfig.get_config_var("EXT_SUFFIX")
        self.includes = [
            f"-I{pybind11.get_include()}",
            f"-I{sysconfig.get_paths()['include']}",
            f"-I{self.directory}",
        ]

    def compile(
        self, source: Path, name: str, flags: list[str], includes: list[str]
    ) -> tuple[Path, str, list[str]]:
        """Compile one object unless it is up to date; returns it, its key and the command."""
        output = self.directory / f"{name}.o"
        command = [
            *self.cxx,
            *COMMON,
            *flags,
            "-c",
            str(source),
            "-o",
            f"build/cpu/{self.directory.name}/{name}.o",
        ]
        seen: set[Path] = set()
        text = contents(ROOT / source, seen)
        if includes:
            text += (self.directory / "kernels.inc").read_bytes()
        key = hashlib.sha256("\0".join([self.salt, *command]).encode() + text).hexdigest()
        stamp = output.with_suffix(".key")
        if not (output.exists() and stamp.exists() and stamp.read_text() == key):
            stamp.unlink(missing_ok=True)
            done = subprocess.run(
                [*command, *includes], cwd=ROOT, capture_output=True, text=True, check=False
            )
            print(f"compiled {name}", done.stderr, sep="\n" if done.stderr else "", flush=True)
            if done.returncode:
                raise CompileError(f"{source} does not compile for {name}")
            stamp.write_text(key)
        return output, key, command

    def run(self, output: Path) -> None:
        """Build the extension and put it at `output`."""
        with (self.directory / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two builds of one checkout must not write the same objects
            self._run(output)

    def _run(self, output: Path) -> None:
        table = [f'ISA({isa}, "{ISAS[isa][0]}")' for isa in self.isas]
        ops = {kernel: operators(ROOT / SOURCES / f"{kernel}.cpp") for kernel in self.kernels}
        table += [f"KERNEL({isa}, {kernel}, {ops[kernel]})" for isa in self.isas for kernel in self.kernels]
        table.append(f'SOURCES("{sources_sha()}")')
        (self.directory / "kernels.inc").write_text("\n".join(table) + "\n")
        flags = [*self.kernel_flags, *KERNEL]
        jobs = [(SOURCES / "module.cc", "module", [*self.module_flags, *MODULE], self.includes)]
        for name, source in [*((k, f"{k}.cpp") for k in self.kernels), ("peaks", "peaks.cc")]:
            for isa in reversed(self.isas):  # the slow compiles first
                isa_flags = [f"-DDIBENCH_ISA={isa}", *ISAS[isa][1]]
                jobs.append((SOURCES / source, f"{name}.{isa}", [*flags, *isa_flags], []))
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            objects = list(pool.map(lambda job: self.compile(*job), jobs))
        commands = [
            {"directory": str(ROOT), "file": c[c.index("-c") + 1], "arguments": c} for _, _, c in objects
        ]
        (self.directory / "compile_commands.json").write_text(json.dumps(commands, indent=1))
        library = self.directory / f"_cpu{sysconfig.get_config_var('EXT_SUFFIX')}"
        key = hashlib.sha256("".join(key for _, key, _ in objects).encode()).hexdigest()
        stamp = self.directory / "_cpu.key"
        if not (library.exists() and stamp.exists() and stamp.read_text() == key):
            stamp.unlink(missing_ok=True)
            link = [*self.cxx, "-shared", "-fopenmp", *self.link_flags, *(str(o) for o, _, _ in objects)]
            subprocess.run([*link, "-o", str(library) + ".new"], check=True)
            Path(str(library) + ".new").replace(library)  # a process may have the old one loaded
            stamp.write_text(key)
        if output != library:
            output.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(library, str(output) + ".new")
            Path(str(output) + ".new").replace(output)


class BuildPython(build_py):
    """build_py into an empty directory: setuptools would also pack modules left there by an earlier build."""

    def run(self) -> None:
        """Empty the directory, then as usual."""
        if not self.editable_mode:
            shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()


class BuildKernels(build_ext):
    """build_ext with a flavour, and with every kernel compiled once per instruction set."""

    user_options = [
        *build_ext.user_options,
        ("flavour=", None, f"one of {', '.join(FLAVOURS)}"),
        ("isas=", None, f"instruction sets, of {' '.join(ISAS)}"),
    ]

    def initialize_options(self) -> None:
        """A release for every instruction set."""
        super().initialize_options()
        self.flavour = "release"
        self.isas = " ".join(ISAS)

    def build_extension(self, ext: Extension) -> None:
        """Build the flavour; only a release goes where setuptools wants it."""
        build = Build(self.flavour, self.isas.split())
        if self.flavour == "release":
            build.run(Path(self.get_ext_fullpath(ext.name)).absolute())
        else:
            build.run(build.directory / f"_cpu{sysconfig.get_config_var('EXT_SUFFIX')}")

    def copy_extensions_to_source(self) -> None:
        """Only a release goes into a checkout."""
        if self.flavour == "release":
            super().copy_extensions_to_source()


sources = sorted(
    str(path.relative_to(ROOT)) for path in (ROOT / SOURCES).iterdir() if path.suffix in (".cpp", ".cc")
)
headers = sorted(str(path.relative_to(ROOT)) for path in (ROOT / SOURCES).glob("*.h"))

setup(
    ext_modules=[Extension("dibench._cpu", sources=sources, depends=headers, language="c++")],
    cmdclass={"build_py": BuildPython, "build_ext": BuildKernels},
)
