"""Mistakes that a user can correct, in one line: where, which field, which rule, which value."""

from __future__ import annotations

_ABSENT = object()


class UserError(Exception):
    """A mistake in the user's input: an option, a file, a plan, a layer.

    The command line prints it as one line and exits with status 2.

    >>> str(UserError("R", "must be at most H + 2*pad_h = 7", 9, where="plan.toml"))
    'plan.toml: R: must be at most H + 2*pad_h = 7 (got 9)'
    """

    def __init__(self, field: str, rule: str, value: object = _ABSENT, *, where: object = "") -> None:
        self.field = field
        self.rule = rule
        self.value = None if value is _ABSENT else value
        self.where = str(where)
        shown = "" if value is _ABSENT else f" (got {_shorten(value)})"
        parts = [part for part in (self.where, field) if part]
        super().__init__(": ".join([*parts, rule]) + shown)


class NoSensorError(UserError):
    """A sensor cannot be read: the cause alone. Who asked for it knows what would do in its place."""

    @classmethod
    def of(cls, error: UserError) -> NoSensorError:
        """What a meter says of itself."""
        return cls(
            error.field, error.rule, _ABSENT if error.value is None else error.value, where=error.where
        )

    def advised(self, advice: str) -> UserError:
        """The error as the user sees it.

        >>> str(NoSensorError("RAPL", "shows no counter").advised("to go on without joules: --meter none"))
        'RAPL: shows no counter; to go on without joules: --meter none'
        """
        value = _ABSENT if self.value is None else self.value
        return UserError(self.field, f"{self.rule}; {advice}", value, where=self.where)


class OutOfMemoryError(UserError):
    """The device has too little memory for a case: its row is `failed`, and the sweep continues."""


def _shorten(value: object) -> str:
    """One printable line of at most 80 characters, whatever the value is."""
    text = repr(value) if isinstance(value, str) else str(value)
    text = "".join(ch if ch.isprintable() else "?" for ch in text)
    return text if len(text) <= 80 else text[:77] + "..."
