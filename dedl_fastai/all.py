"""The notebook namespace: `from dedl_fastai.all import *` gives fastai's vision names and this library's on top."""

from fastai.vision.all import *

from .cells import *
from .data import *
from .inference import *
from .inference import learner as _predicting  # noqa: F401 (patches `learn.predict`)
from .io import *
from .phenotypes import *
from .runs import learner as _keeping  # noqa: F401 (patches `learn.evaluate` and `learn.save_run`)
from .training import *
