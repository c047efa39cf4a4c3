"""What type checkers see: MLflow's names and ``prov``."""

from mlflow import *
from mlflow import __version__ as __version__
from mlflow import artifacts as artifacts
from mlflow import client as client
from mlflow import data as data
from mlflow import entities as entities
from mlflow import exceptions as exceptions
from mlflow import genai as genai
from mlflow import models as models
from mlflow import pyfunc as pyfunc
from mlflow import pytorch as pytorch
from mlflow import sklearn as sklearn
from mlflow import tracing as tracing
from mlflow import tracking as tracking

from yprov_mlflow import prov as prov
