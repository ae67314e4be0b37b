"""Engines that run an exported network with ONNX Runtime or OpenVINO."""

import logging
from pathlib import Path

import numpy as np
import torch

from ...errors import UserError
from ...extras import optional
from .portable import INPUT

log = logging.getLogger(__name__)

_PRECISIONS = {"no": ("FP32", "f32"), "fp16": ("FP16", "f16"), "bf16": ("BF16", "bf16")}  # OpenVINO's names


class OnnxEngine:
    """ONNX Runtime, on an NVIDIA GPU if onnxruntime-gpu is installed, else on the CPU with torch's threads."""

    def __init__(self, model: bytes | Path, device: torch.device | str = "cpu"):
        ort = optional("onnxruntime", "engines", "predictions with ONNX Runtime")
        options = ort.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # only errors
        providers = _providers(ort.get_available_providers(), torch.device(device))
        source = model if isinstance(model, bytes) else str(model)
        self.session = ort.InferenceSession(source, options, providers=providers)

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Predict a batch: probability of the foreground, float32."""
        return self.session.run(None, {INPUT: np.ascontiguousarray(inputs)})[0]


def _providers(available: list[str], device: torch.device) -> list:
    if device.type == "cuda" and "CUDAExecutionProvider" in available:
        return [("CUDAExecutionProvider", {"device_id": device.index or 0}), "CPUExecutionProvider"]
    if device.type != "cpu":
        log.warning("this ONNX Runtime does not support %s: predicting on the CPU", device)
    return ["CPUExecutionProvider"]


class OpenVinoEngine:
    """OpenVINO on the CPU with torch's threads, in float32 or in a precision that this CPU supports."""

    def __init__(self, model: bytes | Path, device: torch.device | str = "cpu", amp: str = "no"):
        ov = optional("openvino", "engines", "predictions with OpenVINO")
        core = ov.Core()
        capability, precision = _PRECISIONS[amp]
        if amp != "no" and capability not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise UserError(f"this CPU does not support amp={amp}: leave `amp` out.")
        if torch.device(device).type != "cpu":
            log.warning("OpenVINO does not support %s: predicting on the CPU", device)
        properties = {
            "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": precision,
        }
        self.compiled = core.compile_model(
            core.read_model(model if isinstance(model, bytes) else str(model)), "CPU", properties
        )

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Predict a batch: probability of the foreground, float32."""
        return np.array(self.compiled(inputs)[0])  # a copy: the next call writes into the same memory
