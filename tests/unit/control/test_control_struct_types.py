"""Two threads that decode a type of msgspec for the first time at once end the process; so all are built before."""

from __future__ import annotations

import subprocess
import sys

_RACE = """
import sys, threading
import seaway.wiring.control
from seaway.core.deployments import DeploymentState, Phase, Revision, deployment_of
from seaway.wiring import struct_types
import msgspec
{build}
sys.setswitchinterval(1e-6)
revision = Revision("e", 1, "sha256:" + "0" * 64, "e:v1", deployment_of("e", "e:v1"), "2026", "me")
known = [(Revision, msgspec.json.encode(revision)),
         (DeploymentState, msgspec.json.encode(DeploymentState("e", 1, Phase.LIVE)))]
barrier = threading.Barrier(8)
def decode(kind, data):
    barrier.wait()
    for _ in range(20):
        msgspec.json.decode(data, type=kind)
threads = [threading.Thread(target=decode, args=one) for one in known * 4]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def test_threads_find_every_type_built() -> None:
    for _ in range(3):
        code = _RACE.format(build="assert struct_types.build_all() > 200")
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
