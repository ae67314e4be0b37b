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

# Verbs of the Learner that need the rooms above training, in fastai's manner patched onto it when they are imported
from .inference import learner as _predict_verbs  # noqa: F401
from .runs import learner as _run_verbs  # noqa: F401
