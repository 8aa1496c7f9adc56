"""The flags that decide the rows of a dataset, as plain values for `loaders.get_data`."""

from types import SimpleNamespace
from typing import Any

from loaders import DATASETS, option_names, options_of
from loaders.declaration import ChartOptions
from loaders.splits.by_row import Fold


def family_options(flags: SimpleNamespace) -> dict[str, Any]:
    """The flags that are options of some dataset."""
    return {name: getattr(flags, name) for name in option_names()}


def options_for(name: str, flags: SimpleNamespace) -> Any:
    """The options of the dataset `name`, None where it is not one of the program's."""
    return options_of(name, family_options(flags))[0] if name in DATASETS else None


def data_options(flags: SimpleNamespace) -> dict[str, Any]:
    """What of the flags decides the rows of a dataset, as `get_data` takes it."""
    return family_options(flags) | {
        "data_file": flags.data_file,
        "bad_rows": flags.bad_rows,
        "seed": split_seed(flags),
        "val_fraction": Fold.parse(flags.val_fold) if flags.val_fold else flags.val_fraction,
        "detect": flags.task == "detect",
        "normal_class": flags.normal_class,
        "view": flags.view,
        "chart": chart_options(flags),
        "workers": flags.workers,
        "short_batch": short_batch(flags),
    }


def split_seed(flags: SimpleNamespace) -> int:
    """The seed of train, validation and test."""
    return flags.seed if flags.split_seed is None else flags.split_seed


def short_batch(flags: SimpleNamespace) -> int | None:
    """The batch size of a short run, 0 for the default; None for a whole run."""
    return (flags.batch_size or 0) if flags.short_run else None


def chart_options(flags: SimpleNamespace) -> ChartOptions:
    """How rows are drawn."""
    return ChartOptions(flags.chart_layout, flags.chart_leads, flags.chart_size, flags.chart_style)
