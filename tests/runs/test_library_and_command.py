"""The library and the commands agree: the same defaults, and the same weights from the same options."""

import inspect
import json

import pytest
import torch

from dedl_fastai.data import Cohort, clf_block, clf_dataloaders, seg_block, seg_dataloaders, split_cohort
from dedl_fastai.models.weights import read_tensors
from dedl_fastai.runs import ClfConfig, SegConfig, train_clf, train_seg
from dedl_fastai.training import clf_learner, seg_learner

OTHER_NAME = {"attention": "decoder_attention", "decoder_channels": "decoder", "channels": "channel"}
ANOTHER_KIND = {"augment", "scaling", "device", "thresholds"}  # None: what the command builds from several options
SEG, CLF = (seg_block, seg_dataloaders, seg_learner), (clf_block, clf_dataloaders, clf_learner)


@pytest.mark.parametrize(
    ("function", "config"), [(f, c) for functions, c in ((SEG, SegConfig), (CLF, ClfConfig)) for f in functions]
)
def test_defaults_are_those_of_the_papers_preset(function, config):
    ours = {n: p.default for n, p in inspect.signature(function).parameters.items()}
    options = config.resolve({}).to_dict()
    compared = 0
    for name, default in ours.items():
        option = OTHER_NAME.get(name, name)
        if option in options and default is not inspect.Parameter.empty and name not in ANOTHER_KIND:
            text = ",".join(map(str, default)) if isinstance(default, tuple) else default
            assert text == options[option], name
            compared += 1
    assert compared >= 2


def same(learn, run):
    last = read_tensors(run / "last.safetensors")
    return all(torch.equal(v, last[k]) for k, v in learn.model.state_dict().items())


def test_five_lines_of_segmentation_give_the_weights_of_the_command(tiny_folder, tmp_path):
    cohort = split_cohort(Cohort.load(tiny_folder))
    dls = seg_dataloaders(cohort, tile=40, bs=8)  # tiles that reach beyond the field
    network = {"weights": "none", "depth": 2, "encoder": "tu-test_resnet"}
    learn = seg_learner(dls, decoder_channels=(16, 16), path=tmp_path, **network)
    with learn.no_bar(), learn.no_logging():
        learn.lr_find(num_it=5, show_plot=False)  # leaves no trace
        learn.fit_cosine(2)
    given = {"data": str(tiny_folder), "tile": 40, "bs": 8, "epochs": 2, "decoder": "16,16", **network}
    train_seg(SegConfig.resolve(given), tmp_path / "run")
    assert same(learn, tmp_path / "run")
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(1)
    assert not same(learn, tmp_path / "run")


def test_five_lines_of_classification_give_the_weights_of_the_command_with_the_rate_it_found(many_folder, tmp_path):
    given = {"data": str(many_folder), "size": 32, "bs": 8, "epochs": 2, "model": "test_resnet", "weights": "none"}
    train_clf(ClfConfig.resolve({**given, "lr": "find"}), tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert 1e-7 < config["lr"] < 10 and config["lr_min"] == pytest.approx(config["lr"] / 1000)  # the ratio of the paper
    assert (tmp_path / "run" / "figures" / "lr_find.png").is_file()

    cohort = split_cohort(Cohort.load(many_folder))
    dls = clf_dataloaders(cohort, size=32, bs=8)
    learn = clf_learner(dls, "test_resnet", weights="none")
    with learn.no_bar(), learn.no_logging():
        learn.fit_cosine(2, config["lr"])
    assert same(learn, tmp_path / "run")
