"""The verb `watch`: polls what an endpoint answers and draws it, until q or Ctrl-C.

On a terminal the picture fills the screen, and the screen is given back whatever ends the verb; elsewhere one picture is
printed as plain text.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import Parameter

from seaway.cli import output
from seaway.cli.options import COMMON, Common, Flag
from seaway.core.errors import SeawayError, UserError
from seaway.core.sections import seconds as parse_duration

if TYPE_CHECKING:
    from rich.console import Console

    from seaway.cli.watch_model import Memory, Watch
    from seaway.control import views
    from seaway.core.events import Event
    from seaway.core.ports import Clock
    from seaway.wiring.control_access import Control

_LOOK_S: Final = 0.1
"""How soon a key, or a new size of the terminal, is seen."""
_HISTORY_S: Final = 10.0
"""Events change the endpoint's status, but for refusals: so often they are read anyway."""
_PLAIN_COLUMNS: Final = 120
_LATE_S: Final = 5
"""More than the newest whole second is old."""


def watch(
    endpoint: Annotated[str, Parameter(help="The endpoint.")],
    /,
    *,
    interval: Annotated[str, Parameter(help="How often to look, such as 500ms or 2s.")] = "1s",
    once: Annotated[bool, Flag, Parameter(help="Print one picture and end.")] = False,
    common: Common = COMMON,
) -> int:
    """Show an endpoint's traffic, errors, latency, batches, answers and memory, live; q or Ctrl-C ends it."""
    from seaway.wiring import control_access
    from seaway.wiring.home import Home

    interval_s = _interval_s(interval)
    home = Home(common.configuration())
    with control_access.open_control(home) as control:
        poll = Poll(control, endpoint, home.clock)
        view = poll.look()
    if common.json:
        output.print_json(view)
        return 0
    console = output.console()
    if once or not _is_screen(console):
        _print(console, view)
        return 0
    _show(console, poll, view, interval_s)
    return 0


def _interval_s(text: str) -> float:
    try:
        found_s = parse_duration(text)
    except ValueError:
        found_s = 0.0
    if not 0.1 <= found_s <= 3600:
        raise UserError(
            "invalid_request", f"--interval {text[:40]!r} is no time from 100ms to 1h", "such as 1s"
        )
    return found_s


class Poll:
    """Asks control, and remembers what it told."""

    def __init__(self, control: Control, endpoint: str, clock: Clock) -> None:
        from seaway.cli.watch_model import Memory

        self._control, self._endpoint, self._clock = control, endpoint, clock
        self._memory: Memory = Memory()
        self._status: views.EndpointStatus | None = None
        self._events: tuple[Event, ...] = ()
        self._read_s = 0.0

    def look(self) -> Watch:
        """The endpoint now. Raises what control answers."""
        from seaway.cli.watch_model import RECENT_S, Watch

        oldest_s = int(self._clock.now_s()) - RECENT_S - _LATE_S
        told = self._control.seconds(self._endpoint, max(self._memory.asked_after_s, oldest_s))
        now_s = self._clock.monotonic_s()
        if told.endpoint != self._status or now_s - self._read_s >= _HISTORY_S:
            self._events = self._control.history(self._endpoint)
            self._status, self._read_s = told.endpoint, now_s
        self._memory.take(told)
        return Watch.from_pages(told, self._memory.pages(self._endpoint), self._events, self._memory.before)

    def look_again(self, last: Watch) -> Watch:
        """The endpoint now; where nobody answers the last picture, which says so."""
        try:
            return self.look()
        except SeawayError as error:
            now_s = self._clock.now_s()
            since_s = now_s if last.silent_since_s is None else last.silent_since_s
            return msgspec.structs.replace(last, now_s=now_s, silent_since_s=since_s, silence=error.message)


def _is_screen(console: Console) -> bool:
    return console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty() and sys.stdout.isatty()


def _print(console: Console, view: Watch) -> None:
    from seaway.cli import watch_view

    console.print(watch_view.render(view, min(console.width, _PLAIN_COLUMNS)))


def _show(console: Console, poll: Poll, view: Watch, interval_s: float) -> None:
    from rich.live import Live

    from seaway.cli import watch_view

    with _keys() as pressed, Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            size, waited_s = None, 0.0
            while waited_s < interval_s:
                if size != console.size:
                    size = console.size
                    live.update(watch_view.render(view, size.width, size.height), refresh=True)
                if pressed(min(_LOOK_S, interval_s - waited_s)):
                    return
                waited_s += _LOOK_S
            view = poll.look_again(view)


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], bool]]:
    """Reads single keys from the terminal, which is as before at the end; Ctrl-C and SIGTERM end the block in order."""
    keyboard = sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)
    terminated = signal.signal(signal.SIGTERM, _leave)
    hung_up = signal.signal(signal.SIGHUP, _leave)
    try:
        tty.setcbreak(keyboard)
        quiet = termios.tcgetattr(keyboard)
        quiet[6][termios.VSUSP] = b"\0"  # a stopped program would leave the shell on this screen
        termios.tcsetattr(keyboard, termios.TCSADRAIN, quiet)
        yield lambda wait_s: _end_pressed(keyboard, wait_s)
    except KeyboardInterrupt:
        pass
    finally:
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
        signal.signal(signal.SIGTERM, terminated)
        signal.signal(signal.SIGHUP, hung_up)


def _leave(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end_pressed(keyboard: int, wait_s: float) -> bool:
    """Whether q was pressed within this time, or the terminal is gone."""
    if not select.select([keyboard], [], [], wait_s)[0]:
        return False
    keys = os.read(keyboard, 64)
    return not keys or b"q" in keys.lower()
