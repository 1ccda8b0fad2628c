"""The control process: `python -m seaway.wiring.control --home HOME --parent PID [--address HOST:PORT]`.

The supervisor starts it. It holds HOME/lock, since only one process opens the state store. When it ends, by whatever
cause, the workers go on with the last table.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

from starlette.applications import Starlette

from seaway import settings, sockets
from seaway.control import api, doors, locks, peers, routes, server
from seaway.control.bell import Bell
from seaway.control.rollouts.analysis import Analysis
from seaway.control.rollouts.metrics import RolloutMetrics
from seaway.control.upkeep import Upkeep
from seaway.control.webhooks import Webhooks, receivers
from seaway.core.errors import SeawayError
from seaway.core.ports import StateStore
from seaway.wire import status
from seaway.wiring import chores, control_parts, lifeline, struct_types
from seaway.wiring.erasing import open_erasing
from seaway.wiring.feedback import open_feedback
from seaway.wiring.home import Home

_LOCK_WAIT_S: Final = 10.0
_DEPLOYS: Final = 2
"""Deploys, and with them gates, that run at the same time; the others wait in line."""


def main() -> int:
    """The process's entry; ends with 0 after SIGTERM, else with the error's exit code."""
    parser = argparse.ArgumentParser(prog="seaway-control")
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--parent", type=int, required=True, help="the supervisor: this process ends with it")
    parser.add_argument("--address", help="HOST:PORT of the API on TCP, beside the socket")
    parser.add_argument("--allow-open", action="store_true")
    arguments = parser.parse_args()
    lifeline.end_with(arguments.parent)
    struct_types.build_all()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="seaway control: %(message)s")
    home = Home(settings.load(arguments.home))
    allow_open = arguments.allow_open or home.configuration.settings.allow_open
    try:
        with locks.hold(home.paths.lock, _LOCK_WAIT_S), asyncio.Runner() as runner:
            runner.run(_run(home, arguments.address, allow_open))
            sys.stderr.flush()
            os._exit(0)  # a gate that still runs in a thread must not hold the process, and with it the lock
    except SeawayError as error:
        sys.stderr.write(f"seaway control: {error.message} ({error.code})\n")
        return status.STATUS[error.code].exit_code


async def _run(home: Home, address: str | None, allow_open: bool) -> None:
    store = await asyncio.to_thread(control_parts.open_store, home)
    try:
        bell = Bell()
        deployments = control_parts.deployments(home, store, bell.ring)
        loop, effects = control_parts.loop(home, store, bell)
        deploying = ThreadPoolExecutor(_DEPLOYS, "seaway-deploy")
        feedback = open_feedback(home.paths.records, home.clock)
        erasing = open_erasing(home, store, deployments, feedback)
        webhooks = _webhooks(home, store, bell)
        records = home.paths.records
        parts = routes.Parts(
            deployments=deployments,
            rollouts=control_parts.rollouts(home, store, bell.ring),
            effects=effects,
            bell=bell,
            deploying=deploying,
            records=records,
            clock=home.clock,
            metrics=RolloutMetrics(store, home.paths.rollouts, home.clock),
            feedback=feedback,
            erasing=erasing,
            webhooks=webhooks,
        )
        listener = peers.PeerSocket.adopt(sockets.listen_unix(home.paths.control_socket))
        entrances: list[tuple[Starlette, socket.socket]] = [
            (api.create_app(parts, doors.SocketDoor(os.geteuid())), listener)
        ]
        if address is not None:
            entrances.append(_tcp(home, parts, address, allow_open))
        try:
            upkeep = Upkeep(chores.chores(home, store, erasing), home.clock)
            analysis = Analysis(store, effects, bell, home.clock, records, home.paths.rollouts)
            await server.run(loop, effects, [analysis.run, upkeep.run, webhooks.run], entrances)
        finally:
            await asyncio.to_thread(feedback.close)
    finally:
        home.paths.control_socket.unlink(missing_ok=True)
        store.close()


def _webhooks(home: Home, store: StateStore, bell: Bell) -> Webhooks:
    said = home.configuration.settings
    found = receivers(said.webhooks or "")
    return Webhooks(found, said.webhook_secret, store, home.paths.webhooks, home.clock, bell)


def _tcp(home: Home, parts: routes.Parts, address: str, allow_open: bool) -> tuple[Starlette, socket.socket]:
    host, port = sockets.parse_address(address)
    sockets.refuse_open_bind(host, allow_open=allow_open)
    token = doors.read_token(home.paths.token)
    (listener,) = sockets.listen_tcp(host, port)
    return api.create_app(parts, doors.TcpDoor(host, listener.getsockname()[1], token)), listener


if __name__ == "__main__":
    sys.exit(main())
