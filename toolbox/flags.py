"""Every flag, in groups: what it means, its unit and default.

`flag(...)` is argparse's add_argument, which `args` gives.

Names (models, datasets, ...) are looked up later, so that --help answers at once.
"""

from typing import Any


def _data_flags(flag: Any) -> None:
    flag(
        "--dataset",
        metavar="NAME",
        help="dataset (--list datasets); left out it is ecg, or synth where ecg cannot be had",
    )
    flag("--root-dir", metavar="DIR", default="ecg_data", help="folder of data and runs")
    flag(
        "--data-file", metavar="PATH", help="folder, zip or file of the dataset; for ecg also the PhysioNet MIT-BIH zip"
    )
    flag("--download", help="fetch, check and parse the dataset, then stop (for machines that go offline)")
    flag("--explore", help="draw the dataset's classes, example and mean rows, and augmentations, then stop")
    flag(
        "--val-fraction",
        type=float,
        metavar="F",
        default=0.1,
        help="part of the training rows kept for validation, below 1; "
        "0 keeps none and trains on all of them: the last epoch is then the best",
    )
    flag(
        "--val-fold",
        metavar="N/K",
        help="fold N of K of the training rows validates instead, whole records where known",
    )
    flag(
        "--split-seed", type=int, metavar="S", help="of the rows of each side, apart from --seed (default what that is)"
    )
    flag(
        "--split",
        metavar="HOW",
        help="how rows are divided, where the dataset has a choice (README); of mitdb inter-patient "
        "(default), inter-patient-strict, inter-patient-kfold:K (to choose by), random, leave-one-record-out:REC, "
        "kfold-patient:K",
    )
    flag("--fold", type=int, metavar="N", help="which fold tests, from 1 on, of a split with folds (default 1)")
    flag(
        "--label-column",
        metavar="C",
        help="name or number of a table's column of labels, none without (default the last)",
    )
    flag(
        "--record-column",
        metavar="C",
        help="name or number of a table's column that says whose row it is, none "
        "without (default the one called patient, subject, record or group)",
    )
    flag(
        "--rate-hz",
        type=float,
        metavar="HZ",
        help="sampling rate of a table's rows; with --predict of recordings without one",
    )
    flag(
        "--bad-rows",
        metavar="HOW",
        help="rows or records that cannot be used: error (default), or drop (default of chapman)",
    )
    flag(
        "--strict-split",
        help="refuse data of which a test row stands in train or validation too; else such rows are counted",
    )
    flag("--num-classes", type=int, metavar="K", help="classes of the dataset; only checked, the dataset knows them")


def _recording_flags(flag: Any) -> None:
    flag(
        "--leads",
        metavar="L,L",
        help="leads of mitdb, a channel each, | between alternatives: MLII (default), MLII,V1|V5; of "
        "twelve-lead records by name (default all)",
    )
    flag("--window", metavar="S,S", help="start and end of a row in s around the R peak, --window=-0.4,0.8 (default)")
    flag(
        "--rate", type=float, metavar="HZ", help="rate that recordings are resampled to (default 125, twelve leads 500)"
    )
    flag(
        "--filter",
        metavar="F",
        help="none (default), baseline (running medians), bandpass:LOW:HIGH (Hz), or both with +",
    )
    flag(
        "--normalise",
        metavar="HOW",
        help=(
            "none (default, mV), record (its lead's median and IQR), beat (mean 0, sd 1) or typical (less the record's"
            " typical beat); of strips and twelve leads none, record or center (the median at 0, default of strips)"
        ),
    )
    flag("--rr-features", help="RR intervals and their ratios beside the signal; looks one beat ahead, no further")
    flag("--p-waves", help="the P wave against those of the beats before, and how alike these are, beside the signal")
    flag(
        "--label-map",
        metavar="MAP",
        help="classes of the symbols: aami (default; escape beats e, j in N, as de Chazal), "
        "aami-s (in S, as EC57 itself), symbols, or a file; of rhythms: rhythm4 (default), rhythm11, or a file",
    )


def _prediction_flags(flag: Any) -> None:
    flag(
        "--predict",
        metavar="REC",
        nargs="+",
        help=(
            "find the beats of recordings and classify them with a trained run: WFDB (.hea), EDF, BDF, a text table, a"
            " folder, or a RECORDS list; --leads then names leads of theirs, -NAME one that is upside down"
        ),
    )
    flag(
        "--beats",
        metavar="HOW",
        default="detect",
        help="where the beats are: detect, or the ending of an annotation file beside the recording, such as atr",
    )
    flag(
        "--unit",
        metavar="U",
        help="unit of recordings that state none: mV, uV, V, or steps such as 200/mV (default mV)",
    )
    flag("--out", metavar="DIR", help="folder for what --predict writes (default predict in the run's folder)")


def _explanation_flags(flag: Any) -> None:
    flag("--explain", metavar="METHOD", help="draw what a trained run looks at, and doubt it (--list explainers)")
    flag(
        "--explain-class",
        metavar="WHAT",
        default="predicted",
        help="class that is explained: predicted, true or its name",
    )
    flag(
        "--explain-rows",
        metavar="SIDE",
        default="val",
        help="rows that are explained, of val, or of test once it was opened",
    )
    flag(
        "--explain-count",
        type=int,
        metavar="N",
        default=2,
        help="rows of each class and outcome, most and least certain",
    )
    flag("--records", metavar="R,R", help="explain these records, or rows by number in the source, instead")
    flag(
        "--explain-random-labels",
        type=int,
        metavar="E",
        help="doubt it with a network trained E epochs on permuted labels",
    )


def _strip_flags(flag: Any) -> None:
    flag(
        "--drop-labels", metavar="L,L", help="labels whose records are left out, before anything else is done with them"
    )
    flag(
        "--rename-labels",
        metavar="L:NEW,...",
        help="classes of the labels that stay, several may become one: N:NO,O:NO",
    )
    flag(
        "--polarity",
        metavar="HOW",
        help="upright (default): a record whose QRS points down is turned over; or recorded",
    )
    flag(
        "--crops",
        metavar="T:C=N,...",
        help="samples a crop, and crops an epoch takes of a record of class C (default 3000, one of each)",
    )
    flag(
        "--resample",
        type=float,
        metavar="HZ",
        help="standard deviation of the rate that a training crop is resampled to, 0 for none (default 10)",
    )


def _chart_flags(flag: Any) -> None:
    flag(
        "--view",
        metavar="WHAT",
        default="signal",
        help="what a row is: signal, or chart, a picture of ECG paper (25 mm/s, 10 mm/mV)",
    )
    flag(
        "--chart-layout",
        metavar="L,L",
        help=(
            "v1 (4 columns of 2.5 s and a strip of II), v2 (2 of 5 s) or COLUMNSxSECONDS+LEAD, as 1x10; of several a"
            " row has a chart each (default v1 for 12 leads of 10 s, else one column as long as a row)"
        ),
    )
    flag(
        "--chart-leads",
        metavar="L,L",
        help="leads that are drawn, in their order (default all twelve, or all that there are)",
    )
    flag(
        "--chart-size", type=int, metavar="PX", help="height in pixels, the width follows from the paper (default 224)"
    )
    flag(
        "--chart-style",
        metavar="K=V,...",
        help="grid=off, line=MM of a trace (default 0.35), and RRGGBB of trace, paper, minor and major",
    )
    flag(
        "--export-charts",
        metavar="DIR",
        help="draw charts of train and validation for people, as PNG of 300 dots an inch and "
        "PDF to be printed true to scale, then stop; the test rows stay closed",
    )


def _model_flags(flag: Any) -> None:
    flag(
        "--task",
        metavar="NAME",
        help="classify, or detect rows that are not of one class (default: what the network is for)",
    )
    flag(
        "--model-name",
        metavar="NAME",
        help="network (--list models) (default resnet1d_10, with --view chart resnet18, with --task detect conv_ae)",
    )
    flag(
        "--model-args",
        metavar="K=V,...",
        help="what this network alone understands, - between the numbers of a list: "
        "filters=64-128,dropout=0.4 (an unknown one is told what there is)",
    )
    flag(
        "--members",
        type=int,
        metavar="N",
        default=1,
        help="train a committee of N such networks, each on every row and "
        "in its own order, and average their probabilities",
    )
    flag(
        "--pretrained",
        metavar="FROM",
        nargs="?",
        const="imagenet",
        help="start from the weights of another run: its name, "
        "folder or a checkpoint file; without one, or as imagenet, from those published with a network for charts",
    )
    flag("--weights-file", metavar="FILE", help="such published weights from a file, where they cannot be fetched")
    flag(
        "--train",
        metavar="WHAT",
        default="all",
        help="what of the network is trained: all, or the head alone (its last part)",
    )
    flag("--version", metavar="V", help="bump, latest or a number (default: bump to train, latest to test or resume)")
    flag(
        "--resume",
        metavar="WHICH",
        help="go on from, or test, the checkpoint best, latest or of epoch N (every 5th is kept)",
    )
    flag("--override", help="let the flags typed with --resume or --test differ from the run's own, and record it")
    flag("--start-epoch", type=int, metavar="N", default=0, help="epochs counted as done when a new run starts")
    flag("--test", help="test a trained run: its best checkpoint, or the one --resume names")
    flag(
        "--test-on",
        metavar="WHAT",
        help="test the run on all rows of another file (a table, or one as its dataset has) or "
        "of a dataset, not divided; rows that the run trained or validated on are counted",
    )
    flag(
        "--list",
        metavar="WHAT",
        help="print names and stop: datasets models optimizers schedulers losses samplers metrics "
        "augmentations baselines explainers",
    )


def _training_flags(flag: Any) -> None:
    flag("--epochs", type=int, metavar="N", default=20, help="passes over the training rows, in all")
    flag(
        "--batch-size",
        type=int,
        metavar="B",
        help="rows a step (default 128, halved to no less than 8 until an epoch has ten steps)",
    )
    flag("--optimizer", metavar="NAME", default="adamw", help="sgd, adam or adamw")
    flag(
        "--lr",
        type=float,
        metavar="LR",
        help="(highest) learning rate (default 0.005 for adam and adamw, 0.05 for sgd)",
    )
    flag(
        "--backbone-lr",
        type=float,
        metavar="LR",
        help="such a rate for all before the network's head (default that of --lr)",
    )
    flag("--momentum", type=float, metavar="M", default=0.9, help="momentum of sgd, beta 1 of adam and adamw")
    flag(
        "--weight-decay", "--wd", type=float, metavar="WD", help="(default 0.01 for adamw, 0.0001 for sgd, 0 for adam)"
    )
    flag(
        "--scheduler", metavar="NAME", default="OneCycleLR", help="learning-rate schedule (--list schedulers), or none"
    )
    flag(
        "--step", type=int, metavar="N", default=5, help="epochs between steps of StepLR, patience of ReduceLROnPlateau"
    )
    flag(
        "--lr-decay", type=float, metavar="G", default=0.5, help="factor of StepLR, ExponentialLR and ReduceLROnPlateau"
    )
    flag(
        "--criterion",
        metavar="NAME",
        help="loss (--list losses) (default crossentropy; l1 to detect, where mse is the other)",
    )
    flag("--class-balance", metavar="HOW", help="weigh the training loss by class: equal shares, or by importance")
    flag("--class-weights", metavar="W,W,...", help="weigh the training loss by class, with a number for each")
    flag(
        "--decision-weights",
        metavar="W,W,...",
        help="multiply the probabilities of the classes before one is said, so that "
        "what matters is missed less often; to be chosen on other rows than those of the test",
    )
    flag(
        "--augment",
        metavar="A,A,...",
        help="change training rows: NAME[:STRENGTH[:PROBABILITY]] each (--list augmentations)",
    )
    flag(
        "--sampler",
        metavar="HOW",
        help="draw training rows by class, equal or by importance, or so that records weigh "
        "more alike; else each row once",
    )
    flag(
        "--grad-clip", type=float, metavar="NORM", default=1.0, help="largest norm of a step's gradient, 0 for no limit"
    )
    flag(
        "--monitor",
        metavar="METRIC",
        help="validation metric of best epoch and --patience (default macro_f1, loss to detect); "
        "epoch takes the last one, where validation is too small to choose by",
    )
    flag("--patience", type=int, metavar="N", help="stop after N epochs without a better one (default never)")
    flag("--seed", type=int, metavar="S", default=42, help="of weights, order and the rows of each side")
    flag("--short-run", help="try the whole pipeline, on 10 batches of training an epoch, of validation and of test")


def _detection_flags(flag: Any) -> None:
    flag(
        "--normal-class",
        metavar="CLASS",
        help="class that is learned, all others are anomalies (default the one called so)",
    )
    flag(
        "--threshold",
        metavar="RULE",
        default="percentile:98",
        help="error that makes an anomaly, of normal validation rows: "
        "percentile:P, sd:K (mean and K standard deviations) or value:V",
    )
    flag("--baseline", metavar="NAME", help="method of scikit-learn to stand beside the network (--list baselines)")


def _report_flags(flag: Any) -> None:
    flag(
        "--macro-over",
        metavar="C,C,...",
        help="classes of macro F1 by patient (default N,S,V,F where all are there, else all)",
    )
    flag(
        "--from",
        metavar="TIME",
        help="time in each record before which no beat is scored, by patient and with --predict: 5:00 "
        "leaves out the five minutes in which EC57 lets an algorithm learn (default the beginning)",
    )
    flag("--calibrate", help="fit a temperature on validation, and report calibration with and without it")
    flag("--cost", help="measure what the network costs beside what it scores: time of a row, rows a second")
    flag(
        "--compare",
        metavar="RUN",
        nargs="+",
        help="tested runs, by name or folder, each against the first on the same rows; then stop",
    )
    flag(
        "--confusion-video",
        metavar="KIND",
        nargs="?",
        const="gif",
        help="show how the confusion matrices of train and validation evolved, as a gif and as a page",
    )
    flag("--no-figures", help="test without drawing figures; --test draws them later")


def _machine_flags(flag: Any) -> None:
    flag("--device", metavar="NAME", help="cpu, cuda, cuda:N or mps (default cuda where there is one, else cpu)")
    flag("--disable-cuda", help="the same as --device cpu")
    flag(
        "-j",
        "--workers",
        type=int,
        metavar="N",
        default=0,
        help="processes that draw charts (0 for one a core) and threads that read them",
    )
    flag(
        "--mixed-precision",
        help="train in bfloat16 where the device computes in it; weights, losses and figures in float32",
    )
    flag("--deterministic", help="only deterministic kernels, also where they are slower (CUDA)")
    flag("--tensorboard", help="write TensorBoard events into the run folder; with --test those of the test")
    flag("--version-info", help="print the versions of the program and its libraries, and the commit, and stop")
    flag("--verbose", help="say more")
    flag("--debug", help="show the traceback of an error")


GROUPS = {
    "data": _data_flags,
    "recordings (mitdb, synth_patients, chapman, synth_rhythms)": _recording_flags,
    "strips, labelled as a whole (cinc2017, synth_strips)": _strip_flags,
    "charts": _chart_flags,
    "model and run": _model_flags,
    "prediction": _prediction_flags,
    "explanation": _explanation_flags,
    "training": _training_flags,
    "detection of anomalies": _detection_flags,
    "report": _report_flags,
    "machine and output": _machine_flags,
}
