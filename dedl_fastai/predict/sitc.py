"""`sitc_text`: what the records know of a study, by the topics of the SITC guidelines on multiplex IHC and IF.

The topics are those that the abstracts of the three articles name. The rows of the checklist itself are in reference 3,
and are not repeated here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from . import sitc_facts as facts
from .study import Study

HUMAN = "to be filled by a human"
REFERENCES = (
    "Taube JM, Akturk G, Angelo M, et al. The Society for Immunotherapy of Cancer statement on best practices for "
    "multiplex immunohistochemistry (IHC) and immunofluorescence (IF) staining and validation. J Immunother Cancer "
    "2020;8:e000155. doi:10.1136/jitc-2019-000155",
    "Taube JM, Sunshine JC, Angelo M, et al. Society for Immunotherapy of Cancer: updates and best practices for "
    "multiplex immunohistochemistry (IHC) and immunofluorescence (IF) image analysis and data sharing. J Immunother "
    "Cancer 2025. doi:10.1136/jitc-2024-008875",
    "Sater S, Bifulco CB, Rodriguez-Canales J, et al. Society for Immunotherapy of Cancer: Standards for Reporting of "
    "Multiplex Immunohistochemistry/Immunofluorescence Assays (STORMI). J Immunother Cancer 2025;13:e012280. "
    "doi:10.1136/jitc-2025-012280",
)


@dataclass(frozen=True)
class Topic:
    """A topic, the articles whose abstracts name it, what the records know, and what they do not hold."""

    title: str
    articles: tuple[int, ...]
    known: Callable[[Study], list[str]]
    missing: str  # "" if the records hold all


def _nothing(study: Study) -> list[str]:
    return []


TOPICS = (
    Topic("Staining and analytical validation", (1, 3), facts.channels, "the antibodies, the protocol, its validation"),
    Topic("Image acquisition", (2, 3), facts.images, "the microscope, its settings, the software that wrote the files"),
    Topic("Image selection", (3,), facts.selection, "how slides and fields were chosen, and which were left out"),
    Topic("Image registration", (3,), _nothing, "whether rounds or slides were registered, and how"),
    Topic(
        "Color deconvolution and spectral unmixing", (2,), _nothing, "how the channels were unmixed, by which software"
    ),
    Topic("Batch-to-batch correction", (2,), facts.batches, "how batches were compared, and other corrections"),
    Topic("Quality control of assembled images", (2,), _nothing, "how stitched images were checked"),
    Topic("Tissue segmentation", (2,), _nothing, "how tissue classes were found: not with this software"),
    Topic("Cell segmentation", (2,), facts.segmentation, "why this model suits these images"),
    Topic("Phenotyping", (2,), facts.phenotyping, "why these rules or classes, and who looked at the cut-offs"),
    Topic("Cell clustering", (3,), _nothing, "whether and how cells were clustered: not with this software"),
    Topic(
        "Algorithm verification", (2,), facts.verification, "a comparison with a pathologist on fields of this study"
    ),
    Topic("Spatial analysis", (3,), facts.spatial, "other spatial statistics, and the tests between patients"),
    Topic("Sharing of raw outputs and processed results", (2,), facts.files, "where they are deposited"),
    Topic("Analysis programs and source code", (2,), facts.software, ""),
    Topic("Representative photomicrographs", (2,), facts.pictures, "which pictures are shown, and why these"),
    Topic("Harmonization between institutions", (2,), _nothing, "how institutions were compared"),
)


def sitc_text(study: Study) -> str:
    """Return the report in Markdown: an overview, and for each topic what is known and what a human has to fill in."""
    known = [(topic, topic.known(study)) for topic in TOPICS]
    title = study.results.name if study.results else ", ".join(study.runs)
    lines = [
        f"# Report of the analysis: {title}",
        "",
        *_INTRODUCTION,
        "",
        "| topic | named in | state |",
        "|---|---|---|",
    ]
    lines += [f"| {topic.title} | {_named_in(topic)} | {_state(topic, found)} |" for topic, found in known]
    for topic, found in known:
        lines += ["", f"## {topic.title}", "", *found, *([""] if found and topic.missing else [])]
        lines += [f"**{HUMAN.capitalize()}**: {topic.missing}."] if topic.missing else []
    return "\n".join([*lines, "", "## References", "", *_references(), ""])


_INTRODUCTION = (
    "The topics are those that the abstracts of the guidelines of the Society for Immunotherapy of Cancer (SITC) on",
    "multiplex immunohistochemistry and immunofluorescence name. The rows of their checklist, STORMI, are in [3]: what",
    "is known here can be copied to them. All of it is from the records of dedl-fastai.",
)


def _named_in(topic: Topic) -> str:
    return " ".join(f"[{n}]" for n in topic.articles)


def _state(topic: Topic, found: Sequence[str]) -> str:
    if not found:
        return HUMAN
    return f"filled in part; the rest {HUMAN}" if topic.missing else "filled"


def _references() -> list[str]:
    return [f"{n}. {text}" for n, text in enumerate(REFERENCES, 1)]
