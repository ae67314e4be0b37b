"""A run of ours, or the packaged model, measured as the other tools are: in its own process, on the same pixels."""

from pathlib import Path

import numpy as np
import tifffile
import torch
from job import Job, job_of_arguments, threads

from dedl_fastai.inference import Ensemble
from dedl_fastai.io import open_field
from dedl_fastai.training.run_folder import RunFolder


def main(job: Job) -> None:
    """Load the run, and segment the fields of the job."""
    torch.set_num_threads(threads())
    run, files = job.settings["run"], []
    for i, image in enumerate(job.images()):
        files.append(job.folder / "test" / f"{i}.tif")
        tifffile.imwrite(files[-1], image)
    model = Ensemble.load([run], device="cpu", tta=job.settings["tta"])
    with job.timed("predict"):
        labels = [_segment(model, *field, job.settings["scale"]) for field in zip(files, job.pixel_sizes, strict=True)]
    folder = RunFolder.existing(run)
    manifest = folder.path / "manifest.json"
    if manifest.is_file():
        job.result["train_seconds"] = folder.read("manifest").get("seconds")
    job.finish(labels, "dedl_fastai", _start(folder), "own" if folder.is_started else "Apache-2.0")


def _segment(model: Ensemble, file: Path, pixel_size_um: float | None, scale: str) -> np.ndarray:
    with open_field(file, pixel_size_um) as field:
        return model.segment(field, scale=scale)


def _start(folder: RunFolder) -> str:
    """What the training of the run started from."""
    return f"from {folder.read('config')['weights']}" if folder.is_started else Path(folder.path).name


if __name__ == "__main__":
    main(job_of_arguments())
