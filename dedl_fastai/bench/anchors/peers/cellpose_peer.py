"""Cellpose 3 (a residual U-Net, published weights `nuclei`) or 4 (SAM, `cpsam`)."""

import tempfile
from importlib.metadata import version

import torch
from cellpose import models
from job import Job, job_of_arguments, threads

_IS_SAM = int(version("cellpose").partition(".")[0]) >= 4


def main(job: Job) -> None:
    """Train or load the model, and segment the fields of the job."""
    torch.set_num_threads(threads())
    images = job.images()
    model, weights = _trained(job) if job.trains else _published()
    with job.timed("predict"):
        labels = [_segment(model, image) for image in images]
    licence = "own" if job.trains else ("CC-BY-NC" if _IS_SAM else "BSD-3")
    job.finish(labels, f"cellpose {version('cellpose')}", weights, licence)


def _published() -> tuple[models.CellposeModel, str]:
    if _IS_SAM:
        return models.CellposeModel(gpu=False), "cpsam"
    return models.CellposeModel(gpu=False, model_type="nuclei"), "nuclei"


def _trained(job: Job) -> tuple[models.CellposeModel, str]:
    if _IS_SAM:
        raise SystemExit("Cellpose 4 has no network that is trained from scratch: install cellpose<4.")
    from cellpose import train

    model = models.CellposeModel(gpu=False, pretrained_model=False)
    with tempfile.TemporaryDirectory() as folder, job.timed("train"):
        model_path = train.train_seg(
            model.net,
            train_data=job.images("train"),
            train_labels=job.ids("train"),
            channels=[0, 0],
            save_path=folder,
            **({"n_epochs": job.epochs} if job.epochs else {}),
        )[0]  # then the losses
        model = models.CellposeModel(gpu=False, pretrained_model=str(model_path))
    return model, "from scratch"


def _segment(model: models.CellposeModel, image):
    if _IS_SAM:
        return model.eval(image)[0]
    return model.eval(image, channels=[0, 0])[0]


if __name__ == "__main__":
    main(job_of_arguments())
