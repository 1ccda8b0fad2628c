"""What the transport asks of the application on top of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from seaway.core.errors import SeawayError

if TYPE_CHECKING:
    from seaway.transport.exchange import Exchange


class Application(Protocol):
    """Answers exchanges. All methods are called on the event loop's thread, and none may block.

    A `SeawayError` out of `head` or `request` is given to `refuse`; any other exception to `fault`.
    """

    def head(self, exchange: Exchange) -> int:
        """The head is whole. Returns how many bytes of body may come; raising refuses the request unread."""

    def request(self, exchange: Exchange) -> None:
        """The body is whole: answer now, or later, with `exchange.respond` or `exchange.open_stream`."""

    def refuse(self, exchange: Exchange, error: SeawayError) -> None:
        """Respond to `exchange` with this error. The transport's own refusals (bad bytes, limits, time) come here
        too; `exchange.method` is "" where not even a head was understood."""

    def fault(self, exchange: Exchange, error: Exception) -> None:
        """Respond to an exchange whose handling raised something that is no `SeawayError`."""

    def finished(self, exchange: Exchange) -> None:
        """The answer was written whole, or its connection was lost before (`exchange.gone`). Called once for each
        exchange that reached `head` or `refuse`."""
