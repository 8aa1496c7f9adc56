"""The declaration of every flag of commander.py, and functions over all flags.

`parse` reads a command line; `complaints` lists its errors; `resolve` puts the typed flags over a run's config.json and
the defaults; `needed` drops the flags that a command does not use. `commands.choices` looks up names later.
"""

import logging  # noqa: I001 (three lines of names, not twenty)
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Any

from toolbox.errors import program
from toolbox.flags import COMMAND, CONFIGURATION, COUNT, DATA, FRACTION, LOOK, MACHINE, MODEL, NATURAL, POSITIVE
from toolbox.flags import REPORT, SEED, TEST, TIME, TRAINING, USE, WEIGHTS
from toolbox.flags import Check, Declarations, Flag, Flags, Group, between, flag_name, word_or_number

THREADS = Check("auto or a number from 1 to 1024", lambda text: text in ("auto", *map(str, range(1, 1025))))
DESCRIPTION = f"""Train networks on ECG recordings and test them honestly.

  train    {program()} --dataset ecg --model-name resnet1d_10
  test     {program()} --dataset ecg --model-name resnet1d_10 --test
  predict  {program()} --dataset mitdb --model-name resnet1d_10 --predict recording.edf
  explain  {program()} --dataset ecg --model-name resnet1d_10 --explain gradcam
  study    {program("research")} grids/first.yaml --workers 2"""
EPILOG = """A resumed or tested run takes flags that are not typed from its config.json.
All flags: --help-all. Names: --list datasets, --list models, ... Documentation: README.md and docs/."""
SHORT_HELP = f"""Train networks on ECG recordings and test them honestly. To start with:
  {program()} --model-name resnet1d_10 --sampler equal    train a new run, and test its best epoch
  {program()} --model-name resnet1d_10 --test             test that run again
  {program()} --help                                      more examples and the flags
"""

# fmt: off
FLAGS = Declarations(program(), DESCRIPTION, EPILOG, (
    Group("commands other than training", (
        Flag("--test", COMMAND, "test a trained run: its best checkpoint, or the one of --resume", type=bool, mode=TEST,
             elsewhere="eval evaluate test-only eval-only evaluate-only", tags="of-one-run"),
        Flag("--test-on", COMMAND, "test a run on all rows of another file or dataset, or NAME=FILE with the dataset "
             "whose layout it has, and report the rows that it was trained or validated on", metavar="WHAT"),
        Flag("--predict", COMMAND, "classify with a trained run recordings or their beats (WFDB .hea, EDF, BDF, text "
             "tables, folders, a RECORDS list), or new rows (CSV, TSV, Parquet, NPZ, NPY)", metavar="FILE", nargs="+",
             mode=USE, view="signal", elsewhere="infer inference pred"),
        Flag("--explain", COMMAND, "attribution of a trained run's predictions, with checks (--list explainers)",
             metavar="METHOD", choices="explainers", mode=USE),
        Flag("--export", COMMAND, "folder for other programs from a trained run: its weights as onnx or safetensors, "
             "input contract, model card", metavar="FORMAT", choices="formats", mode=USE,
             elsewhere="save-onnx to-onnx"),
        Flag("--features", COMMAND, "NPZ of the last layer's inputs, of a run or --pretrained", metavar="F", mode=USE),
        Flag("--cite", COMMAND, "BibTeX of data, network, protocol and program, of a run or of the typed flags",
             type=bool, mode=USE, elsewhere="citation bibtex"),
        Flag("--compare", COMMAND, "tested runs, by name or folder: each is compared with the first on the same rows",
             metavar="RUN", nargs="+", mode=""),
        Flag("--runs", COMMAND, "page of all runs of --root-dir, runs.html: filters, search, comparison; every "
             "run that ends writes it again", type=bool, mode=""),
        Flag("--report", COMMAND, "write report.html, the page of a run, from its folder, without data and weights; of "
             "several runs a comparison", metavar="RUN", nargs="+", mode=""),
        Flag("--list", COMMAND, "print names: datasets models optimizers schedulers losses samplers metrics "
             "augmentations baselines explainers encoders", metavar="WHAT", mode=""),
        Flag("--check", COMMAND, "check the parts that a file of your own registers, as the tests check the program's",
             metavar="FILE", mode=LOOK),
        Flag("--download", COMMAND, "fetch, check and parse the dataset", type=bool, mode=LOOK),
        Flag("--explore", COMMAND, "draw the dataset: classes, example and mean rows, augmentations", type=bool,
             mode=LOOK, view="signal"),
        Flag("--export-charts", COMMAND, "folder for printable charts of train and validation rows (PNG at 300 dpi, "
             "PDF true to scale)", metavar="DIR", mode=LOOK),
    )),
    Group("run", (
        Flag("--root-dir", MACHINE, "folder of data and runs; ECG_COMMANDER_ROOT in the environment names another "
             "default", metavar="DIR", default="ecg_data", kept=False,
             path="folder", elsewhere="data data-path data-dir dataroot input file csv data-root root "
             "output output-dir out-dir save-dir save-path log-dir logdir exp-dir"),
        Flag("--version", COMMAND, "bump, latest or a number (default bump to train, else latest)", metavar="V",
             check=word_or_number("bump", "latest"), tags="of-one-run"),
        Flag("--resume", COMMAND, "checkpoint to resume or test: best, latest, or an epoch's number (every 5th is "
             "kept)", metavar="WHICH", check=word_or_number("best", "latest"), tags="of-one-run",
             elsewhere="ckpt checkpoint checkpoint-path load restore"),
        Flag("--override", COMMAND, "permission for flags that differ from the run's own; the change is recorded",
             type=bool, tags="of-one-run"),
        Flag("--import", DATA, "file of your own datasets, networks, losses, metrics or augmentations, once for each "
             "file (default those of the run, for a new run those in ECG_COMMANDER_IMPORT)", metavar="FILE",
             repeated=True, kept=False, identifies=False, on_resume="free", used_by="list compare runs report",
             elsewhere="plugin plugins module user-dir extension"),
        Flag("--config", COMMAND, "flags in a file, .yaml, .json or a run's config.json; typed flags and later files "
             "override it", metavar="FILE", repeated=True, tags="of-one-run", elsewhere="cfg conf config-file yaml"),
        Flag("--save-config", COMMAND, "file for the flags of the new run, for --config", metavar="FILE",
             check=CONFIGURATION, tags="of-one-run"),
        Flag("--dry-run", COMMAND, "counts of the data, layers of the network, and the time of an epoch from ten "
             "steps; no run folder is made", type=bool, tags="of-one-run", elsewhere="summary dryrun"),
    )),
    Group("data", (
        Flag("--dataset", DATA, "dataset (--list datasets) (default ecg, or synth if ecg cannot be downloaded)",
             metavar="NAME", choices="datasets"),
        Flag("--data-file", DATA, "folder, zip or file of the dataset; for ecg also the PhysioNet MIT-BIH zip",
             metavar="PATH", path="file", family="any", on_resume="free", unused_by="predict export cite",
             elsewhere="data data-path data-dir dataroot input file csv"),
        Flag("--val-fraction", DATA, "part of the training rows for validation, below 1; with 0 the last epoch counts "
             "as the best", type=float, metavar="F", default=0.1, tags="divides validates", check=FRACTION,
             elsewhere="val-split val-size valid-size validation-split val-ratio val-frac"),
        Flag("--val-fold", DATA, "fold N of K of the training rows for validation, whole records if known",
             metavar="N/K", tags="divides validates", elsewhere="folds n-folds k-fold kfold cv"),
        Flag("--split-seed", DATA, "seed of the data split (default --seed)", type=int, metavar="S", check=SEED),
        Flag("--split", DATA, "split protocol of a dataset with several; of mitdb inter-patient (default), "
             "inter-patient-strict, inter-patient-kfold:K, random, leave-one-record-out:REC, kfold-patient:K; of "
             "strips random (default), kfold:K", metavar="HOW", family="beats divided table strips", tags="divides",
             elsewhere="folds n-folds k-fold kfold cv"),
        Flag("--fold", DATA, "test fold of a split with folds, from 1 (default 1)", type=int, metavar="N", check=COUNT,
             family="beats strips", tags="divides"),
    )),
    Group("checks of the data", (
        Flag("--bad-rows", DATA, "unusable rows or records: error (default), or drop (default of chapman)",
             metavar="HOW", choices="bad rows", family="any", on_resume="free", unused_by="export cite"),
        Flag("--strict-split", DATA, "refuse data in which a test row is also in train or validation (default: count "
             "such rows)", type=bool, on_resume="free", unused_by="predict export cite"),
        Flag("--num-classes", MODEL, "number of classes to compare with the dataset's", type=int, metavar="K",
             check=COUNT, on_resume="free", elsewhere="classes n-classes nclasses"),
    ), rare=True),
    Group("charts", (
        Flag("--view", DATA, "form of a row: signal, or chart, a picture of ECG paper (25 mm/s, 10 mm/mV)",
             metavar="WHAT", default="signal", choices="views", family="any", task="classify"),
        Flag("--chart-layout", DATA, "v1 (4 columns of 2.5 s and a strip of II), v2 (2 of 5 s) or "
             "COLUMNSxSECONDS+LEAD, as 1x10; several make several charts of a row (default v1 for 12 leads of 10 s, "
             "else one column)", metavar="L,L", view="chart"),
        Flag("--chart-leads", DATA, "leads that are drawn, in order (default all twelve, or all there are)",
             metavar="L,L", view="chart"),
        Flag("--chart-size", DATA, "height in pixels; the width follows from the paper (default 224)", type=int,
             metavar="PX", check=between(32, 4096), view="chart", unused_by="export_charts"),
        Flag("--chart-style", DATA, "grid=off, line=MM of a trace (default 0.35), and RRGGBB of trace, paper, minor "
             "and major", metavar="K=V,...", view="chart"),
    ), rare=True),
    Group("model", (
        Flag("--task", DATA, "classify, or detect (rows that are not of one class) (default that of the network)",
             metavar="NAME", choices="tasks"),
        Flag("--model-name", MODEL, "network (--list models), or an encoder that others trained (--list encoders) "
             "(default resnet1d_10; with --view chart resnet18, with --task detect conv_ae)", metavar="NAME",
             choices="models", also=("--encoder",), on_resume="free", tags="network",
             by_task={"classify": "resnet1d_10", "detect": "conv_ae"}, used_by="download explore export_charts",
             elsewhere="model arch architecture net network backbone m"),
        Flag("--model-args", MODEL, "arguments of the network, - between the numbers of a list: "
             "filters=64-128,dropout=0.4", metavar="K=V,...", tags="network"),
        Flag("--members", MODEL, "networks of a committee, each trained on every row in its own order; their "
             "probabilities are averaged", type=int, metavar="N", default=1, check=between(1, 100), task="classify",
             elsewhere="ensemble committee n-models num-models"),
        Flag("--pretrained", MODEL, "initial weights: name, folder or checkpoint of another run, published file of an "
             "encoder; without one, or as imagenet, those of a network for charts, or in an encoder's package",
             metavar="FROM", nargs="?", const="imagenet", path="run", on_resume="never", tags="output",
             elsewhere="ckpt checkpoint checkpoint-path load restore weights init-from finetune fine-tune"),
        Flag("--weights-file", MODEL, "file of published weights, if they cannot be downloaded", metavar="FILE",
             path="file", on_resume="never", tags="output", elsewhere="weights init-from finetune fine-tune"),
        Flag("--train", TRAINING, "trainable part: all, head (last layer only), or probe (last layer fitted to frozen "
             "features, regularisation chosen on validation)", metavar="WHAT", default="all", choices="parts"),
        Flag("--start-epoch", TRAINING, "epochs counted as done when a new run starts", type=int, metavar="N",
             default=0, check=NATURAL, tags="length"),
    )),
    Group("training", (
        Flag("--epochs", TRAINING, "passes over the training rows", type=int, metavar="N", default=20, check=COUNT,
             on_resume="free", tags="length",
             elsewhere="num-epochs n-epochs nepochs max-epochs nb-epochs epoch e"),
        Flag("--batch-size", TRAINING, "rows a step (default 128, halved to no less than 8 until an epoch has ten "
             "steps)", type=int, metavar="B", check=between(1, 100_000), used_with="cost",
             tags="batches resets-best-short", elsewhere="batchsize bs batch b train-batch-size mini-batch-size"),
        Flag("--optimizer", TRAINING, "sgd, adam or adamw", metavar="NAME", default="adamw", choices="optimizers",
             elsewhere="optim opt optimiser"),
        Flag("--lr", TRAINING, "(highest) learning rate (default 0.005 for adam and adamw, 0.05 for sgd)", type=float,
             metavar="LR", check=POSITIVE, tags="optimizer",
             elsewhere="learning-rate learningrate init-lr initial-lr base-lr max-lr"),
        Flag("--backbone-lr", TRAINING, "learning rate of all layers before the head (default --lr)", type=float,
             metavar="LR", check=POSITIVE),
        Flag("--momentum", TRAINING, "momentum (sgd) or beta 1", type=float, metavar="M", default=0.9, check=FRACTION),
        Flag("--weight-decay", TRAINING, "weight decay (default 0.01 for adamw, 0.0001 for sgd, 0 for adam)",
             type=float, metavar="WD", also=("--wd",), check=NATURAL, tags="optimizer", elsewhere="l2 reg weightdecay"),
        Flag("--scheduler", TRAINING, "learning-rate schedule (--list schedulers), or none", metavar="NAME",
             default="OneCycleLR", choices="schedulers", elsewhere="sched schedule lr-scheduler lr-schedule"),
        Flag("--step", TRAINING, "epochs between steps of StepLR, patience of ReduceLROnPlateau", type=int,
             metavar="N", default=5, check=COUNT),
        Flag("--lr-decay", TRAINING, "factor of StepLR, ExponentialLR and ReduceLROnPlateau", type=float, metavar="G",
             default=0.5, check=Check("above 0, at most 1", lambda value: 0 < value <= 1),
             elsewhere="gamma lr-gamma decay"),
        Flag("--criterion", MODEL, "loss (--list losses) (default crossentropy; of many labels a row bce; with --task "
             "detect l1)", metavar="NAME", choices="losses", tags="resets-best", elsewhere="loss loss-fn loss-function "
             "objective", by_task={"classify": "crossentropy", "labels": "bce", "detect": "l1"}),
        Flag("--class-balance", TRAINING, "class weights of the loss: equal shares, or by importance", metavar="HOW",
             choices="balances", task="classify", tags="steps", elsewhere="weight class-weight loss-weights"),
        Flag("--class-weights", TRAINING, "class weights of the training loss, one number a class", metavar="W,W,...",
             check=WEIGHTS, task="classify", tags="steps", elsewhere="weight class-weight loss-weights"),
        Flag("--label-smoothing", TRAINING, "part of the labels that the training loss takes for wrong", type=float,
             metavar="F", default=0.0, check=FRACTION, task="classify", tags="steps", elsewhere="smoothing"),
        Flag("--decision-weights", MODEL, "per-class factors applied to probabilities before argmax; choose them on "
             "validation data", metavar="W,W,...", check=WEIGHTS, task="classify", tags="resets-best"),
        Flag("--augment", TRAINING, "augmentations of training rows, each NAME[:STRENGTH[:PROBABILITY]] (--list "
             "augmentations)", metavar="A,A,...", tags="steps", elsewhere="aug augmentation augmentations transforms"),
        Flag("--sampler", TRAINING, "draw of training rows: by class, equal or importance, or records, for more equal "
             "weights of the records (default each row once)", metavar="HOW", choices="samplers", task="classify",
             tags="batches steps"),
        Flag("--grad-clip", TRAINING, "largest norm of a step's gradient, 0 for no limit", type=float, metavar="NORM",
             default=1.0, check=NATURAL, elsewhere="clip clip-grad clip-norm max-grad-norm gradient-clip-val"),
        Flag("--monitor", MODEL, "validation metric of the best epoch and of --patience, or epoch for the last "
             "(default macro_f1; of many labels a row macro_auroc; with --task detect loss)", metavar="METRIC",
             by_task={"classify": "macro_f1", "labels": "macro_auroc", "detect": "loss"}, tags="resets-best",
             choices="metrics", elsewhere="metric metrics early-stopping-metric"),
        Flag("--patience", TRAINING, "epochs without improvement before the training stops (default no limit)",
             type=int, metavar="N", check=COUNT, on_resume="free", tags="length steps",
             elsewhere="early-stop early-stopping early-stopping-patience"),
        Flag("--seed", DATA, "random seed for initial weights, batch order and data split", type=int, metavar="S",
             default=42, check=SEED, tags="batches", elsewhere="random-seed random-state manual-seed rng"),
        Flag("--short-run", MODEL, "a trial of the whole pipeline: 10 batches of an epoch, of validation and of test",
             type=bool, used_by="export_charts", unused_by="predict explain export cite features",
             tags="batches resets-best-short", elsewhere="quick fast-dev-run debug-run"),
    )),
    Group("detection of anomalies", (
        Flag("--normal-class", DATA, "class that is learned; all others are anomalies (default the one called normal)",
             metavar="CLASS", family="any", task="detect"),
        Flag("--threshold", MODEL, "rule for an anomaly's error, by normal validation rows: percentile:P, sd:K, rate:P "
             "(% of false alarms) or value:V", metavar="RULE", default="percentile:98", task="detect"),
        Flag("--baseline", REPORT, "scikit-learn method to compare with the network (--list baselines) (default "
             "nearest_neighbours)", metavar="NAME", choices="baselines", task="detect",
             by_task={"detect": "nearest_neighbours"}, tags="output"),
    ), rare=True),
    Group("report", (
        Flag("--macro-over", REPORT, "classes of macro F1 by patient (default N,S,V,F if the data has them, else all)",
             metavar="C,C,...", used_by="compare report", tags="one-label"),
        Flag("--from", REPORT, "start of scoring in each record, as 5:00 for EC57's learning period (default 0:00)",
             metavar="TIME", check=TIME, used_by="predict", tags="recording of-beats"),
        Flag("--calibrate", REPORT, "temperature fitted on validation rows (of many labels a line on the logit of each "
             "class), and calibration with and without it", type=bool, used_by="predict export cite", tags="output"),
        Flag("--cost", REPORT, "time of a row, and rows a second", type=bool, identifies=False, tags="output"),
        Flag("--confusion-video", REPORT, "confusion matrices of all epochs as a gif and a page", metavar="KIND",
             nargs="?", const="gif", choices="films", task="classify", tags="output one-label"),
        Flag("--no-figures", REPORT, "test without figures as PNG; --test draws them later", type=bool, kept=False,
             identifies=False),
        Flag("--self-contained", REPORT, "report.html with the library of its figures in it (5 MB), not in the root",
             type=bool, kept=False, identifies=False, used_by="report"),
    )),
    Group("options of --predict and --export", (
        Flag("--from-export", COMMAND, "folder of --export with the network, in place of a run", metavar="DIR",
             command="predict", elsewhere="exported model-dir model-file onnx safetensors"),
        Flag("--read-as", COMMAND, "rows (of CSV, TSV, Parquet, NPZ, NPY) or recordings (default rows for a run whose "
             "rows are no records and not cut from them)", metavar="WHAT", choices="inputs", command="predict"),
        Flag("--beats", COMMAND, "where the beats are: detect, or the ending of annotation files, such as atr",
             metavar="HOW", default="detect", command="predict", tags="recording of-beats",
             check=Check("detect or the letters of a file's ending", str.isalnum)),
        Flag("--unit", COMMAND, "unit of recordings that state none: mV, uV, V, or steps such as 200/mV (default mV)",
             metavar="U", command="predict", tags="recording"),
        Flag("--out", COMMAND, "output folder (default predict, or export/FORMAT, in the run's folder), or the page of "
             "--report (default report.html in the run's folder; of several runs comparison.html in the root)",
             metavar="PATH", also=("-o",), used_by="report",
             command="predict export report",
             elsewhere="output output-dir out-dir save-dir save-path log-dir logdir exp-dir"),
    ), rare=True),
    Group("options of --explain", (
        Flag("--explain-class", COMMAND, "explained class: predicted, true, or a class by name", metavar="WHAT",
             default="predicted", command="explain"),
        Flag("--explain-rows", COMMAND, "split of the explained rows: val, or test if it was opened before",
             metavar="SPLIT", default="val", choices="splits", command="explain"),
        Flag("--explain-count", COMMAND, "rows of each class and outcome, most and least certain", type=int,
             metavar="N", default=2, check=between(1, 100), command="explain"),
        Flag("--records", COMMAND, "records, or row numbers in the source, to explain instead", metavar="R,R",
             command="explain"),
        Flag("--explain-random-labels", COMMAND, "epochs of a network trained on permuted labels, as a check",
             type=int, metavar="E", check=COUNT, command="explain", tags="trains"),
    ), rare=True),
    Group("machine and output", (
        Flag("--device", MACHINE, "cpu, cuda, cuda:N or mps (default cuda if there is one, else cpu)", metavar="NAME",
             tags="batches", elsewhere="gpu gpus gpu-id cuda use-cuda accelerator"),
        Flag("--disable-cuda", MACHINE, "the same as --device cpu", type=bool, tags="batches",
             elsewhere="no-cuda no-gpu cpu"),
        Flag("--threads", MACHINE, "processor threads of the network, kept by the run (default one per core), or auto: "
             "these or one, whichever trains faster now", metavar="N", check=THREADS, elsewhere="num-threads"),
        Flag("--workers", MACHINE, "processes that draw charts (0 for one per core), threads that read them", type=int,
             metavar="N", also=("-j",), default=0, check=between(0, 1024), family="any",
             unused_by="predict export cite", elsewhere="num-workers n-workers nworkers n-jobs jobs"),
        Flag("--precision", TRAINING, "numbers of training: float32, bfloat16 if a device has it, auto (that on CUDA)",
             metavar="TYPE", default="auto", choices="precisions", nargs="?", const="bfloat16", earlier="float32",
             also=("--mixed-precision",), elsewhere="amp fp16 bf16 half dtype"),
        Flag("--form", MODEL, "layers: lean (faster on a CPU, attention without dropout), or plain (torch's own)",
             metavar="FORM", default="lean", choices="forms", earlier="plain"),
        Flag("--deterministic", MACHINE, "deterministic kernels only, even if they are slower (CUDA)", type=bool,
             identifies=True, on_resume="override", tags="batches"),
        Flag("--tensorboard", REPORT, "TensorBoard events of a training (default on); typed with --test, events of the "
             "test; in a study only if the grid sets it", type=bool, default=True, also=("--no-tensorboard",),
             identifies=False, tags="output", elsewhere="tb tensor-board"),
        Flag("--log-to", REPORT, "other recorders of a training and its tests: mlflow (in mlflow.db of the root), "
             "wandb (offline, in wandb of the root)", metavar="NAME,NAME", joined=True, identifies=False, tags="output",
             elsewhere="logger loggers mlflow wandb tracker report-to"),
        Flag("--json", MACHINE, "results as a line of JSON on a terminal too", type=bool, kept=False),
        Flag("--version-info", MACHINE, "versions of program, Python and libraries, commit", type=bool, kept=False),
        Flag("--verbose", MACHINE, "more messages", type=bool, kept=False),
        Flag("--debug", MACHINE, "traceback of an error", type=bool, kept=False),
    )),
))
# fmt: on
CLOSED = "leaves the test rows closed, --strict-split opens them"
log = logging.getLogger("commander")


def add_flags(extra: Iterable[Flag], title: str = "datasets and plug-ins", *, before: str = "") -> None:
    """Add the flags of datasets and plug-ins to `FLAGS`, as a group of the long help; known flags are left out."""
    global FLAGS
    if new := tuple(flag for flag in extra if flag.name not in FLAGS.by_name):
        FLAGS = FLAGS.extended(Group(title, new, rare=True), before=before)


def parse(argv: Sequence[str]) -> dict[str, Any]:
    """The typed flags by name. Raises UsageError if one cannot be read."""
    typed = FLAGS.parse(argv)
    return typed | ({"test": True} if "test_on" in typed else {})


def resolve(typed: Mapping[str, Any], stored: Mapping[str, Any] | None = None) -> Flags:
    """Every flag: as typed, else as the run was started with, else the default; see `Declarations.resolve`."""
    return FLAGS.resolve(typed, stored)


def misfits(stored: Mapping[str, Any]) -> list[str]:
    """Errors in the flags of a config.json, which somebody may have edited."""
    known = {name: value for name, value in stored.items() if name in FLAGS.by_name}
    odd = [f"{name} is {value!r}" for name, value in known.items() if not FLAGS.fits(name, value)]
    return odd or complaints(known)


def complaints(typed: Mapping[str, Any]) -> list[str]:
    """All errors in the typed flags. Touches no disk and no device."""
    pairs = combinations([command.name for command in FLAGS.commands(typed)], 2)
    crossed = [_apart(one, other) for one, other in pairs if {one, other} != {"download", "explore"}]
    return FLAGS.complaints(typed) + crossed + _together(needed(typed))


def _together(typed: Mapping[str, Any]) -> list[str]:
    """Flags of the command that exclude each other."""
    flags = resolve(typed)
    of_a_run = flags.test or flags.resume or flags.predict or flags.explain or flags.export or flags.cite
    below = f"must be below --epochs, {flags.epochs}"
    of_another = flags.pretrained not in (None, "imagenet")
    charts = flags.view == "chart" or flags.export_charts or of_a_run  # config.json has the view of an existing run
    of_classes = ("sampler", "class_balance", "class_weights")  # a draw by record keeps the shares of the classes
    weighing = [name for name in of_classes if getattr(flags, name) not in (None, "", "records")]
    together = (
        *((True, _apart(one, other)) for one, other in combinations(weighing, 2)),
        (flags.resume and flags.start_epoch and "start_epoch" in typed, _apart("resume", "start_epoch")),
        (flags.disable_cuda and flags.device not in (None, "cpu"), _apart("disable_cuda", "device")),
        (flags.resume and flags.version == "bump", "--version bump makes a new run, --resume takes an existing one"),
        *(
            (flags.override and getattr(flags, use.name), f"--override cannot be combined with {use.typed}")
            for use in FLAGS.commands(typed)
            if use.mode == USE
        ),
        (flags.from_export and flags.version, _apart("from_export", "version")),
        (flags.from_export and flags.resume, _apart("from_export", "resume")),
        (not of_a_run and flags.version == "latest", "--version latest needs --test or --resume"),
        (flags.val_fold and _typed(flags, "val_fraction"), _apart("val_fold", "val_fraction")),
        *(
            (_typed(flags, name) and not charts, f"{flag_name(name)} goes with --view chart")
            for name in FLAGS.names(view="chart")
        ),
        *(
            (asked and bool(of_a_run or FLAGS.commands(typed)), f"{flag_name(name)} goes with a new run alone")
            for name, asked in (("save_config", flags.save_config), ("dry_run", flags.dry_run))
        ),
        (flags.strict_split and flags.dry_run, f"--dry-run {CLOSED}"),
        (flags.strict_split and flags.explore, f"--explore {CLOSED}"),
        (flags.strict_split and flags.export_charts, f"--export-charts {CLOSED}"),
        (of_another and flags.weights_file, "--weights-file and --pretrained of a run exclude each other"),
        (flags.backbone_lr is not None and flags.train == "head", "--backbone-lr and --train head exclude each other"),
        (flags.override and not of_a_run, "--override goes with --resume or --test"),
        (flags.start_epoch >= flags.epochs > 0, f"--start-epoch is {flags.start_epoch}, {below}"),
    )
    return [text for broken, text in together if broken]


def _apart(one: str, other: str) -> str:
    return f"{flag_name(one)} and {flag_name(other)} exclude each other"


def _typed(flags: Flags, name: str) -> bool:
    return getattr(flags, name) != FLAGS.defaults[name]


def unused(typed: Mapping[str, Any], *, charts: bool = True) -> list[str]:
    """The typed flags that the command does not use, sorted; `charts`: the rows of its run may be charts."""
    found = FLAGS.unused(typed)
    if any(command.mode in (TEST, USE) for command in FLAGS.commands(typed)):
        found |= {"version"} if typed.get("version") == "bump" else set()  # typed to train; the test takes the latest
        found |= {"workers"} & typed.keys() if not charts else set()
    return sorted(found)


def needed(typed: Mapping[str, Any], *, charts: bool = True) -> dict[str, Any]:
    """The typed flags that the command uses."""
    without = unused(typed, charts=charts)
    return {name: value for name, value in typed.items() if name not in without}


def without_unused(typed: Mapping[str, Any], *, charts: bool = True) -> dict[str, Any]:
    """As `needed`; logs the ignored flags, and the outputs that the command does not make."""
    if found := unused(typed, charts=charts):
        commands = " ".join(command.typed for command in FLAGS.commands(typed))
        undone = [flag_name(name) for name in found if name in FLAGS.names("output") and typed[name]]
        more = f"; not done by this command: {', '.join(undone)}" if undone else ""
        names = ", ".join("--version bump" if name == "version" else flag_name(name) for name in found)
        log.info("ignored, %s does not depend on it: %s%s", commands, names, more)
    return needed(typed, charts=charts)
