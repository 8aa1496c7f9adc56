"""One file a verb: what the commander does with resolved flags. The flags of datasets are known from here on."""

import args
from loaders import DATASETS

args.build_parser(flag for dataset in DATASETS.values() for flag in dataset.flags)
