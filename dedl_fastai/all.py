"""The notebook namespace: `from dedl_fastai.all import *` gives fastai's vision names and this library's on top."""

from fastai.vision.all import *

from .cells import *
from .data import *
from .inference import *
from .inference import learner as _learner  # noqa: F401 (patches `learn.predict`)
from .io import *
from .phenotypes import *
from .training import *
