"""What holds memory or a device until it is closed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self  # in typing from Python 3.11


class Closing(ABC):
    """Use it in a `with` statement, which closes it."""

    __slots__ = ()

    @abstractmethod
    def close(self) -> None:
        """Free what it holds. May be called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
