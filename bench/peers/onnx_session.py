"""The one thing that all peers share: the model's session, with one thread. Their servers import it by PYTHONPATH."""

import os

import onnxruntime


def load() -> tuple[onnxruntime.InferenceSession, str, list[int]]:
    """The session of the file that MODEL names, its input's name, and the input's shape without the batch axis."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0]
    return session, first.name, first.shape[1:]
