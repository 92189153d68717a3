"""What a user types after `python -m dibench`, in this process (the fixture `run` of conftest)."""

from __future__ import annotations

from collections.abc import Callable

Run = Callable[..., tuple[int, str, str]]
"""Words → exit status, standard output, standard error."""


def refused(run: Run, *words: object) -> str:
    """The one line of a refusal: status 2, nothing printed, no traceback."""
    status, out, err = run(*words)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err


def shown(run: Run, *words: object) -> str:
    """What a command that succeeds prints, on one line."""
    status, out, err = run(*words)
    assert (status, err) == (0, "")
    return " ".join(out.split())
