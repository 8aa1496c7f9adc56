"""Tasks: the loss of a batch, the metrics, the values fixed on validation, and the report.

`classify` gives a row a class; `detect` reconstructs rows of the normal class, and a row with a large error is an
anomaly. The loop is the same: `rows = task.per_row(model(x), x)`, then `task.loss(rows, y)`, and in the end
`task.predictions(..., rows)`.
"""

from toolbox.tasks.classify import Classify, decided
from toolbox.tasks.detect import Detect
from toolbox.tasks.task import LAST, Evaluation, Task

TASKS = {task.name: task for task in (Classify, Detect)}
__all__ = ["LAST", "TASKS", "Classify", "Detect", "Evaluation", "Task", "decided"]
