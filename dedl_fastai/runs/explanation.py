"""`draw_explanation`: draw the picture of a field with the class activation map of one class over it."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

from ..data.classification.items import picture_of
from ..errors import UserError
from ..inference.explain import activation_map, display_picture, overlay
from ..inference.load import load_classifier
from .figures import save_figure


def draw_explanation(run: str | Path, image: str | Path, label: str, out: str | Path, device: str = "auto") -> float:
    """Write a PNG and return the probability of the class. `UserError` for an unknown class or a segmentation run."""
    model = load_classifier(run, device=device)
    if not model.sees_pictures:
        raise UserError(f"{run} classifies fields by their cells, and no picture: types of cells say where they are.")
    if label not in model.classes:
        raise UserError(f"{run} has no class {label!r}; its classes are {', '.join(model.classes)}.")
    picture = picture_of(image, model.facts)
    x = (torch.from_numpy(picture).to(model.device) - model.mean) / model.std
    activation = activation_map(model.model, x[None], model.classes.index(label))
    probability = model.probability(image)[label]
    figure = Figure(figsize=(7, 3.8), layout="constrained")
    panels = {Path(image).name: display_picture(picture), f"{label}: {probability:.2f}": overlay(picture, activation)}
    for ax, (title, panel) in zip(figure.subplots(1, 2), panels.items(), strict=True):
        ax.imshow(panel)
        ax.set_title(title, fontsize=9)
        ax.set_axis_off()
    save_figure(figure, Path(out))
    return probability
