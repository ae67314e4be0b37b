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
