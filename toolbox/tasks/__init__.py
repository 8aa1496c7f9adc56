"""Tasks: the loss of a batch, the metrics, the values fixed on validation, and the report.

`classify` gives a row a class, or any number of classes where the data has many labels a row; `detect` reconstructs
rows of the normal class, and a row with a large error is an anomaly. The loop is the same: `rows =
task.per_row(model(x), x)`, then `task.loss(rows, y)`, and in the end `task.predictions(..., rows)`.
"""

from toolbox.tasks.classify import Classify, decided
from toolbox.tasks.classify_labels import ClassifyLabels
from toolbox.tasks.detect import Detect
from toolbox.tasks.task import LAST, Evaluation, Task

TASKS: dict[str, type[Task]] = {task.name: task for task in (Classify, Detect)}
__all__ = ["LAST", "TASKS", "Classify", "ClassifyLabels", "Detect", "Evaluation", "Task", "decided", "kind"]


def kind(name: str, *, many_labels: bool) -> type[Task]:
    """The class of the task `name` for data with one label a row, or many."""
    return ClassifyLabels if many_labels and name == ClassifyLabels.name else TASKS[name]
