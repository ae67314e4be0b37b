"""Engines that run a segmentation network: PyTorch, ONNX Runtime, OpenVINO."""
