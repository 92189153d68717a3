"""A small library in the place of NVIDIA's driver: one GPU, sm_90, for CUDA 12.8."""

from __future__ import annotations

import subprocess
from pathlib import Path

DRIVER = r"""
#include <string.h>
int cuInit(unsigned flags) { return INIT; }
int cuGetErrorName(int e, const char** s) { *s = "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"; return 0; }
int cuDeviceGetCount(int* n) { *n = COUNT; return 0; }
int cuDriverGetVersion(int* v) { *v = 12080; return 0; }
int cuDeviceGetName(char* s, int n, int d) { strncpy(s, "NVIDIA Test", n); return 0; }
int cuDeviceTotalMem_v2(unsigned long* b, int d) { *b = 1ul << 37; return 0; }
int cuDeviceGetUuid(char* u, int d) { for (int i = 0; i < 16; ++i) u[i] = i ? 16 * i : 0; return 0; }
int cuDeviceGetUuid_v2(char* u, int d) { cuDeviceGetUuid(u, d); u[15] ^= MIG; return 0; }
int cuDeviceGetAttribute(int* v, int a, int d) {
  switch (a) { case 75: *v = 9; break; case 76: *v = 0; break; case 16: *v = 132; break; default: *v = a; }
  return 0;
}
int nvmlInit_v2(void) { return INIT; }
int nvmlSystemGetDriverVersion(char* s, unsigned n) { strncpy(s, "580.159.04", n); return 0; }
"""


def driver(tmp_path: Path, init: int = 0, count: int = 1, mig: int = 0) -> str:
    source, library = tmp_path / "driver.c", tmp_path / f"libcuda-{init}-{count}-{mig}.so"
    source.write_text(DRIVER)
    flags = [f"-DINIT={init}", f"-DCOUNT={count}", f"-DMIG={mig}", "-shared", "-fPIC", "-w"]
    subprocess.run(["gcc", *flags, str(source), "-o", str(library)], check=True)
    return str(library)
