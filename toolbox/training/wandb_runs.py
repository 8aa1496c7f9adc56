"""Weights & Biases as a recorder: `--log-to wandb`.

Nothing leaves the machine: runs are written into `<root>/wandb`, and `wandb sync` uploads them. The environment
variable WANDB_MODE=online uploads at once. A project is a dataset, and a resumed run has the identifier of its folder.
"""

import hashlib
import os
from collections.abc import Mapping
from typing import Any

from toolbox.errors import ResourceError
from toolbox.training.recorders import About, Images, Recorder

EPOCH = "epoch"  # the axis of every value


class WandbRun(Recorder):
    """One run of wandb, apart from other runs of the process."""

    def __init__(self, about: About, within: str = "") -> None:
        super().__init__(about, within)
        import wandb

        about.root.mkdir(parents=True, exist_ok=True)
        folder = str(about.run.resolve())
        try:
            self.run: Any = wandb.init(
                project=about.run.parent.parent.name,
                name=about.run.name,
                id=hashlib.sha256(folder.encode()).hexdigest()[:16],
                dir=about.root,
                config=dict(about.settings),
                mode=os.environ.get("WANDB_MODE") or "offline",
                resume="allow",
                reinit="create_new",
                settings=wandb.Settings(console="off", silent=True, disable_git=True, save_code=False),
            )
        except (wandb.Error, OSError) as error:
            what = f"wandb cannot record: {(str(error).splitlines() or ['no reason given'])[0]}"
            hint = "WANDB_MODE=offline, or leave --log-to out"
            raise ResourceError(what, where=str(about.root / "wandb"), hint=hint) from error
        self.run.define_metric(EPOCH)
        self.run.define_metric("*", step_metric=EPOCH)

    def scalars(self, split: str, values: Mapping[str, float], step: int) -> None:
        named = {self.named(split, name): value for name, value in values.items()}
        self.run.log(named | {EPOCH: step})

    def images(self, images: Images, step: int) -> None:
        import wandb

        if images:
            self.run.log({self.named(tag): wandb.Image(image) for tag, image in images.items()} | {EPOCH: step})

    def close(self, *, done: bool) -> None:
        self.run.finish(exit_code=0 if done else 1)
