"""Engines that run an exported network with ONNX Runtime or OpenVINO."""

import logging
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from ...errors import UserError
from ...extras import optional

log = logging.getLogger(__name__)

INPUT, OUTPUT = "pixels", "probability"  # names in the exported graph
_PRECISIONS = {"no": ("FP32", "f32"), "fp16": ("FP16", "f16"), "bf16": ("BF16", "bf16")}  # OpenVINO's names


def check_runtime(name: str, amp: str = "no") -> None:
    """Raise `UserError` if onnx or openvino cannot be used: a package is missing, or this CPU has no such precision."""
    if name == "onnx":
        _onnxruntime()
    else:
        _openvino_core(amp)


def _onnxruntime() -> ModuleType:
    return optional("onnxruntime", "engines", "predictions with ONNX Runtime")


def _openvino_core(amp: str) -> Any:
    core = optional("openvino", "engines", "predictions with OpenVINO").Core()
    if amp != "no" and _PRECISIONS[amp][0] not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise UserError(f"this CPU does not support amp={amp}: leave `amp` out.")
    return core


class OnnxEngine:
    """ONNX Runtime, on an NVIDIA GPU if onnxruntime-gpu is installed, else on the CPU with torch's threads."""

    def __init__(self, model: bytes | Path, device: torch.device | str = "cpu"):
        ort = _onnxruntime()
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
        core = _openvino_core(amp)
        if torch.device(device).type != "cpu":
            log.warning("OpenVINO does not support %s: predicting on the CPU", device)
        properties = {
            "PERFORMANCE_HINT": "LATENCY",  # all threads work on one batch
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
            "INFERENCE_PRECISION_HINT": _PRECISIONS[amp][1],
        }
        self.compiled = core.compile_model(
            core.read_model(model if isinstance(model, bytes) else str(model)), "CPU", properties
        )
        self.own = threading.local()  # a request serves one thread at a time

    def __call__(self, inputs: np.ndarray) -> np.ndarray:
        """Predict a batch: probability of the foreground, float32."""
        if not hasattr(self.own, "request"):
            self.own.request = self.compiled.create_infer_request()
        return np.array(self.own.request.infer([inputs])[0])  # a copy: the next call writes into the same memory
