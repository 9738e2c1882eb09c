"""Without a mark a test sees no optional library, installed or not; `conftest.py` shows them."""

import sys

OPTIONAL = (
    "gradio", "mlflow", "onnx", "onnxruntime", "onnxscript", "optuna", "safetensors", "timm",
    "wandb",
)  # fmt: skip
sys.modules.update(dict.fromkeys(OPTIONAL))  # None: it cannot be imported
