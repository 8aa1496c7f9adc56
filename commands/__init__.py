"""The commands of the commander, one file a command. They turn flags into objects.

The import of this package adds the datasets' own flags to `args.FLAGS`.
"""

import args
from loaders import own_flags

args.add_flags(own_flags())
