"""The commit of a checkout, as manifests name it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path


def commit_of(path: Path) -> str | None:
    """The commit of the checkout that tracks a file, with `+` if anything has changed; None without one."""
    git = shutil.which("git")
    if git is None:
        return None
    folder = path if path.is_dir() else path.parent
    try:
        _git(git, folder, "ls-files", "--error-unmatch", path.resolve())
        head = _git(git, folder, "rev-parse", "HEAD")
        return head + ("+" if _git(git, folder, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.SubprocessError):
        return None


def _git(git: str, folder: Path, *arguments: str | Path) -> str:
    # Without git's lock: a program killed just then would leave it in the checkout.
    command = [git, "--no-optional-locks", "-C", str(folder), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
