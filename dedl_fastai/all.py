"""The notebook namespace: `from dedl_fastai.all import *` gives fastai's vision names and those of all rooms."""

from fastai.vision.all import *

# In the order of the rooms
from .io import *
from .phenotypes import *
from .data import *
from .models import *
from .cells import *
from .scores import *
from .training import *
from .inference import *
from .runs import *
from .predict import *

# Verbs of Learners, runs and ensembles that need rooms above their own, patched on in fastai's manner when imported
from .inference import learner as _predict_verbs  # noqa: F401
from .runs import ensembles as _fit_verbs  # noqa: F401
from .runs import evaluation as _evaluate_verbs  # noqa: F401
from .runs import learner as _run_verbs  # noqa: F401
