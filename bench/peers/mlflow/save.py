"""Writes an ONNX model as an MLflow model folder: `python save.py MODEL.onnx FOLDER`."""

import sys

import mlflow
import onnx

model, folder = sys.argv[1:]
mlflow.onnx.save_model(
    onnx.load(model),
    folder,
    onnx_execution_providers=["CPUExecutionProvider"],
    onnx_session_options={"intra_op_num_threads": 1, "inter_op_num_threads": 1},
)
