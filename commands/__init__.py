"""What the commander can be asked for, one file a verb; flags become objects here.

The flags that datasets declare for themselves are added to those of `args` when this package is imported.
"""

import args
from loaders import own_flags

args.build_parser(own_flags())
