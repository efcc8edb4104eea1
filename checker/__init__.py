"""Search, traces, reports, and the `check-strategy` command."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from checker.verdict import CheckResult, check

__all__ = ["CheckResult", "check"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from checker import verdict

        return getattr(verdict, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
