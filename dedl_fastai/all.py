"""The notebook namespace: `from dedl_fastai.all import *` gives fastai's vision names and this library's on top."""

from fastai.vision.all import *

from .cells import *
from .data import *
from .inference import *
from .io import *
from .phenotypes import *
from .training import *
