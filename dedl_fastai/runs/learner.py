"""`learn.evaluate` and `learn.save_run`: a Learner of a notebook as a run folder, without training a second time."""

from pathlib import Path
from typing import Any

import torch
from fastcore.basics import patch

from ..data.cohort import Cohort
from ..data.splits import save_splits
from ..errors import UserError
from ..inference.classifier import Classifier
from ..inference.segmenter import Segmenter
from ..io.files import folder_written_whole, write_text
from ..models.weights import write_tensors
from ..training.callbacks import EpochSeed
from ..training.learner import FieldLearner
from ..training.run_folder import RunFolder, history_text, manifest
from ..training.segmentation.learner import SegLearner
from .classification.evaluation import clf_metrics, items_by_split
from .options.clf import ClfConfig
from .options.seg import SegConfig
from .readme import write_readme
from .segmentation.evaluation import evaluate_seg_again, tune_and_evaluate


@patch
def evaluate(self: FieldLearner, cohort: Cohort | None = None) -> dict[str, Any]:
    """Metrics of whole fields, as a run's metrics.json has them, next to the trivial baselines.

    `cohort` has splits; default: that of the loaders. The threshold is tuned on its validation fields and
    kept for `predict` and `save_run`; a cohort without any is scored with the Learner's present threshold.
    """
    cohort = cohort or _own_cohort(self)
    metrics = (_segmentation if isinstance(self, SegLearner) else _classification)(self, cohort)
    self.thresholds = metrics["thresholds"] if "thresholds" in metrics else metrics["threshold"]
    if "nuclei_tuning" in metrics:
        self.nuclei = metrics["nuclei_tuning"]["value"]
    return metrics


@patch
def save_run(self: FieldLearner, folder: str | Path) -> Path:
    """Write the Learner as a run folder, which `load_run` and all commands accept, and return its path.

    Evaluates the model on the cohort of its loaders. The current weights are saved both as `best` and as `last`.
    Raises `UserError` if the folder is not empty or the loaders were not made from a cohort.
    """
    run = RunFolder.at(folder)
    if run.path.exists() and any(run.path.iterdir()):
        raise UserError(f"{run.path} is not empty: choose a new folder for the run.")
    cohort = _own_cohort(self)
    metrics = self.evaluate(cohort)
    with folder_written_whole(run.path) as beside:
        _write_run(self, RunFolder(beside), cohort, metrics)
    return run.path


def _write_run(learn: FieldLearner, run: RunFolder, cohort: Cohort, metrics: dict[str, Any]) -> None:
    for name in ("best", "last"):
        write_tensors(run.path / f"{name}.safetensors", learn.model.state_dict())
    device = torch.device(learn.dls.device)
    run.write("manifest", manifest(_seed_of(learn), learn.dls.train.num_workers, device, cohort))
    save_splits(cohort, run.path / "splits.json")
    run.write("model", (Segmenter if isinstance(learn, SegLearner) else Classifier).of(learn).card)
    write_text(run.path / "history.csv", _history(learn))
    run.write("config", _options(learn, cohort).to_dict())
    run.write("metrics", metrics)
    write_readme(run)


def _seed_of(learn: FieldLearner) -> int:
    """The seed of the epochs, -1 if they are not seeded."""
    return next((cb.seed for cb in learn.cbs if isinstance(cb, EpochSeed)), -1)


def _own_cohort(learn: FieldLearner) -> Cohort:
    cohort = getattr(learn.dls, "cohort", None)
    if cohort is None:
        raise UserError("these loaders were not made from a cohort: give one (`Cohort.load`, `split_cohort`).")
    return cohort.with_masks() if isinstance(learn, SegLearner) else cohort


def _segmentation(learn: SegLearner, cohort: Cohort) -> dict[str, Any]:
    segmenter = Segmenter.of(learn)
    cohort = cohort.with_masks()
    if len(cohort.part("valid")):
        return tune_and_evaluate(segmenter, cohort)
    splits = [s for s in ("test", "train") if len(cohort.part(s))] or ["all"]
    return evaluate_seg_again(segmenter, cohort, splits)


def _classification(learn: FieldLearner, cohort: Cohort) -> dict[str, Any]:
    classifier = Classifier.of(learn)
    items = items_by_split(classifier, cohort)
    probabilities = {split: classifier.probabilities(items[split]) for split in items}
    tuned = None if "valid" in items else classifier.thresholds.tolist()
    return clf_metrics(items, probabilities, classifier.classes, tuned)


def _history(learn: FieldLearner) -> str:
    names = learn.recorder.metric_names[1:-1]
    rows = [dict(zip(names, map(float, v), strict=True)) for v in learn.recorder.values if len(v) == len(names)]
    return history_text([{"epoch": i, **row} for i, row in enumerate(rows)])


def _options(learn: FieldLearner, cohort: Cohort) -> SegConfig | ClfConfig:
    """The options of the command that come closest: what the Learner does not know has its default."""
    facts, spec = learn.dls.facts, learn.spec
    common = {
        "data": str(cohort.root),
        "splits": "",
        "channel": ",".join(facts.channels),
        "percentiles": f"{facts.scaling.low:g},{facts.scaling.high:g}",
        "epochs": max(1, learn.n_epoch if hasattr(learn, "n_epoch") else 1),
        "bs": learn.dls.train.bs,
        "tile": facts.tile,
        "seed": _seed_of(learn),
    }
    if isinstance(learn, SegLearner):
        widths = ",".join(map(str, spec.decoder_channels))
        network = {"arch": spec.arch, "encoder": spec.encoder, "depth": spec.depth, "decoder": widths}
        return SegConfig.resolve({**common, **network, "decoder_attention": spec.attention, "head": spec.head})
    return ClfConfig.resolve({**common, "model": spec.model, "size": facts.size, "input": facts.input})
