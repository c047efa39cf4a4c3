"""Events of open runs go to their journals; a finished run's journals become a document."""

from yprov_mlflow.recorder.document import Written, write_document
from yprov_mlflow.recorder.recorder import Recorder, RunState

__all__ = ["Recorder", "RunState", "Written", "write_document"]
