"""Makes `wire/oip_pb2.py` and `wire/health_pb2.py` from their .proto files; run it as a script from anywhere.

Needs grpcio-tools 1.76 (protobuf 6), which is part of the extra `dev`; the messages work with later protobufs too.
They go into a descriptor pool of their own: Triton's and KServe's clients put messages of the same names into the
default one, and both may be in one process with this server.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from grpc_tools import protoc

from seaway import wire

WIRE = Path(wire.__file__).parent
SOURCES = {"open_inference.proto": "oip_pb2.py", "health.proto": "health_pb2.py"}


def generate(source: str) -> str:
    """The module for one .proto file. Raises `ValueError` where protoc refuses it."""
    with tempfile.TemporaryDirectory() as directory:
        if protoc.main(["protoc", f"-I{WIRE}", f"--python_out={directory}", source]) != 0:
            raise ValueError(f"protoc refuses {source}")
        (made,) = Path(directory).iterdir()
        return made.read_text().replace("_descriptor_pool.Default()", "_descriptor_pool.DescriptorPool()")


if __name__ == "__main__":
    for name, module in SOURCES.items():
        (WIRE / module).write_text(generate(name))
