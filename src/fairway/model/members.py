"""Two sets of weights of one model in one mapping of names: the average's own, and those of the last step (#1048)."""

from collections.abc import Mapping
from typing import TypeVar

from fairway.spec.roles import RAW

T = TypeVar("T")


def with_raw(average: Mapping[str, T], raw: Mapping[str, T]) -> dict[str, T]:
    """Both, the second under names that begin with ``raw_``."""
    return {**average, **{f"{RAW}{name}": value for name, value in raw.items()}}


def split_raw(both: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """What ``with_raw`` put together."""
    average = {name: value for name, value in both.items() if not name.startswith(RAW)}
    return average, {name.removeprefix(RAW): value for name, value in both.items() if name.startswith(RAW)}
