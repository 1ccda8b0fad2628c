"""FastAPI as its tutorial does it: a pydantic model for the body, a plain `def`, the session called in it."""

from typing import Any

import numpy as np
import onnx_session
from fastapi import FastAPI
from pydantic import BaseModel

app = FastAPI()
session, name, tail = onnx_session.load()
Row = list[float] if len(tail) == 1 else list[list[list[float]]]


class Request(BaseModel):
    """One or more rows, or images."""

    inputs: list[Row]  # type: ignore[valid-type]


@app.post("/predict")
def predict(request: Request) -> dict[str, Any]:
    """The last output of the model."""
    output = session.run(None, {name: np.array(request.inputs, dtype=np.float32)})[-1]
    return {"predictions": output.tolist()}
