"""A name becomes Data(spec, train, val, test).

A new dataset is one file with a `load` and one declaration here; --list datasets, the documentation's table and the
tests then have it.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from loaders.declaration import FAMILIES, ChartOptions, Cohort, Dataset, Files, Remote, Request, loaded
from toolbox import errors
from toolbox.errors import UsageError
from toolbox.flags import DATA, Flag  # noqa: F401 (DATA is for declarations)
from toolbox.registry import listing, pick

if TYPE_CHECKING:
    from loaders.base import Data
    from loaders.splits import Holdout

HEARTBEAT_ZIP = Remote(
    "heartbeat.zip", "https://drive.google.com/uc?id=17Rd4YpGwssSpk4xZAT5AyYskjvs95dAY", folder="ecg"
)
MITDB_ZIP = Remote("mit-bih-arrhythmia-database-1.0.0.zip", "https://physionet.org/content/mitdb/get-zip/1.0.0/")
CHALLENGE_2017 = "https://physionet.org/files/challenge-2017/1.0.0"
FIGSHARE = "https://ndownloader.figshare.com/files"
AAMI, IMPORTANCE = ("N", "S", "V", "F", "Q"), (1.0, 2.0, 2.0, 2.0, 0.5)
KAGGLE_FILES = Files(
    needs="mitbih_train.csv and mitbih_test.csv, or MIT-BIH records (*.hea, *.dat, *.atr)",
    put="mitbih_train.csv and mitbih_test.csv, or the MIT-BIH zip of physionet.org",
    marks=("mitbih_train.csv", "mitbih_test.csv"),
    other_marks=("*.hea",),
    enough=(("mitbih_train.csv", "mitbih_test.csv"), ("*.hea", "*.atr")),
    folders=("ecg",),
    remotes=(HEARTBEAT_ZIP, MITDB_ZIP),
)
DS1 = "101 106 108 109 112 114 115 116 118 119 122 124 201 203 205 207 208 209 215 220 223 230"
DS2 = "100 103 105 111 113 117 121 123 200 202 210 212 213 214 219 221 222 228 231 232 233 234"
MITDB = Cohort(
    train=tuple(DS1.split()),
    test=tuple(DS2.split()),
    words="de Chazal et al. 2004: DS1 trains, DS2 tests, the paced records 102 104 107 217 are in neither",
    person={"202": "201"},
    cites=("dechazal2004",),
)
HALVES = Cohort(
    train=tuple(f"p{number:02}" for number in range(1, 13)),
    test=tuple(f"p{number:02}" for number in range(13, 25)),
    words="the first half of the generated patients trains, the second tests",
)
# The set of one rhythm a record, and the set that several databases share, in --labels.
RHYTHM = {"rhythm": "one rhythm a record, by --label-map"}
CHALLENGE_2021 = {"challenge": "26 diagnoses of the PhysioNet/CinC Challenge 2021"}
UCR_FORMS = (".ts", ".tsv", ".txt", ".arff", "")  # in the order in which they are looked for
OF_BEATS = "fraction of the beat's range"
BOTH_SIDES = "one patient's beats stand on both sides"

ECG = Dataset(
    "loaders.datasets.kaggle_beats:load",
    "109,446 beats of 47 patients in five AAMI classes, split at random",
    source="MIT-BIH Arrhythmia Database",
    licence="ODC-By 1.0",
    cites=("kachuee2018", "moody2001", "goldberger2000"),
    files=KAGGLE_FILES,
    leads=("MLII",),
    classes=AAMI,
    importance=IMPORTANCE,
    rate_hz=125,
    unit=OF_BEATS,
    remark=BOTH_SIDES,
    row_form="kaggle",
    symbol_map="aami",
    lowest=0,
)

DATASETS: dict[str, Dataset] = {
    "chapman": Dataset(
        "loaders.datasets.chapman:load",
        "10,646 twelve-lead records of 10 s, one a patient, with a rhythm each",
        licence="CC BY 4.0",
        cites=("zheng2020",),
        family="twelve_lead",
        files=Files(
            needs="CSV files (ECGDataDenoised) and Diagnostics.xlsx, or WFDB records (*.hea, *.mat)",
            put="ECGDataDenoised.zip, or its folder, and Diagnostics.xlsx of figshare (collection 4560497)",
            remotes=(Remote("ECGDataDenoised.zip", f"{FIGSHARE}/15652862"),),
            extras=(Remote("Diagnostics.xlsx", f"{FIGSHARE}/15653771"),),
            finder="loaders.datasets.chapman_records:find",
        ),
        view="record",
        label_sets={**RHYTHM, **CHALLENGE_2021},
        bad_rows="drop",
    ),
    "cinc2017": Dataset(
        "loaders.datasets.cinc2017:load",
        "8,528 strips of one lead, 9 to 61 s: normal, atrial fibrillation, other rhythm, noise",
        source="PhysioNet/CinC Challenge 2017, training set",
        licence="ODC-By 1.0",
        cites=("clifford2017", "goldberger2000"),
        family="strips",
        files=Files(
            needs="records of the challenge of 2017 (*.hea, *.mat, REFERENCE.csv)",
            put="training2017.zip of physionet.org (challenge-2017), or its folder,",
            marks=("A*.hea",),
            enough=(("*.hea", "*.mat"),),
            remotes=(Remote("training2017.zip", f"{CHALLENGE_2017}/training2017.zip"),),
            extras=(Remote("REFERENCE-v3.csv", f"{CHALLENGE_2017}/REFERENCE-v3.csv"),),
            diagnose="loaders.datasets.cinc2017:diagnose",
        ),
        view="record",
        leads=("I",),
        classes=("N", "A", "O", "~"),
        scored=("N", "A", "O"),
        rate_hz=300,
    ),
    "ecg": ECG,
    "ecg_bin": replace(
        ECG,
        phrase="the beats of ecg as normal and abnormal",
        classes=("normal", "abnormal"),
        importance=(1.0, 2.0),
        symbol_map="binary",
        lowest=None,
    ),
    "ecg5000": Dataset(
        "loaders.datasets.ecg5000:load",
        "5,000 beats of one patient with heart failure, five classes",
        source=(
            "ECG5000 of the UCR archive, from record chf07 of BIDMC CHF; the rate is nominal, as if a beat lasted 1 s"
        ),
        licence="UCR archive: to be cited; BIDMC: ODC-By 1.0",
        cites=("dau2019", "chen2015", "baim1986", "goldberger2000"),
        family="divided",
        files=Files(
            needs="ECG5000_TRAIN and ECG5000_TEST, each as .ts, .tsv, .txt or .arff",
            put="ECG5000_TRAIN and ECG5000_TEST (.ts, .tsv, .txt or .arff), or their zip,",
            marks=tuple(f"ECG5000_{side}{form}" for side in ("TRAIN", "TEST") for form in UCR_FORMS),
            enough=tuple((f"ECG5000_TRAIN{form}",) for form in UCR_FORMS),
            remotes=(Remote("ECG5000.zip", "https://timeseriesclassification.com/aeon-toolkit/ECG5000.zip"),),
            diagnose="loaders.datasets.ecg5000:diagnose",
        ),
        leads=("ECG",),
        classes=("Normal", "R-on-T PVC", "PVC", "SP", "UB"),
        rate_hz=140.0,
        unit="standard deviations of the beat",
        remark="all beats are one patient's",
        lowest=1,
        finds_normal=True,
    ),
    "mitdb": Dataset(
        "loaders.datasets.mitdb:load",
        "every beat of 48 half-hour recordings in mV, divided by patient",
        source="MIT-BIH Arrhythmia Database",
        licence="ODC-By 1.0",
        cites=("moody2001", "goldberger2000"),
        family="beats",
        files=Files(
            needs="MIT-BIH records (*.hea, *.dat, *.atr)",
            put="the MIT-BIH zip of physionet.org, or the folder of its records,",
            marks=("*.hea",),
            enough=(("*.hea", "*.atr"),),
            folders=("mitdb", "ecg"),
            remotes=(MITDB_ZIP,),
        ),
        row_form="window",
        symbol_map="aami",
        cohort=MITDB,
    ),
    "ptbdb": Dataset(
        "loaders.datasets.kaggle_beats:load_ptbdb",
        "14,552 beats of healthy people and of patients",
        source="PTB Diagnostic ECG Database",
        licence="ODC-By 1.0",
        cites=("kachuee2018", "bousseljot1995", "goldberger2000"),
        files=Files(
            needs="ptbdb_normal.csv and ptbdb_abnormal.csv",
            put="ptbdb_normal.csv and ptbdb_abnormal.csv",
            marks=("ptbdb_normal.csv", "ptbdb_abnormal.csv"),
            enough=(("ptbdb_normal.csv", "ptbdb_abnormal.csv"),),
            folders=("ptbdb", "ecg"),
            remotes=(HEARTBEAT_ZIP,),
        ),
        leads=("II",),
        classes=("normal", "abnormal"),
        rate_hz=125,
        unit=OF_BEATS,
        remark=BOTH_SIDES,
        row_form="kaggle",
        lowest=0,
    ),
    "ptbxl": Dataset(
        "loaders.datasets.ptbxl.records:load",
        "21,799 twelve-lead records of 10 s of 18,869 patients, with all their statements, divided by patient",
        source="PTB-XL, PhysioNet",
        licence="CC BY 4.0",
        cites=("wagner2020", "strodthoff2021", "goldberger2000"),
        family="statements",
        files=Files(
            needs="ptbxl_database.csv, scp_statements.csv and WFDB records (*.hea, *.dat)",
            put="the PTB-XL zip of physionet.org (1.0.3 or 1.0.1), or its folder,",
            marks=("ptbxl_database.csv", "scp_statements.csv"),
            enough=(("ptbxl_database.csv", "scp_statements.csv", "*.hea"),),
            remotes=(Remote("ptb-xl-1.0.3.zip", "https://physionet.org/content/ptb-xl/get-zip/1.0.3/"),),
        ),
        view="record",
        label_sets={
            "super": "5 superclasses of the diagnostic statements",
            "sub": "their 23 subclasses",
            "diagnostic": "44 diagnostic statements",
            "form": "19 statements on the form of the ECG",
            "rhythm": "12 statements on the rhythm",
            "all": "all 71 statements",
            **CHALLENGE_2021,
        },
        without=("label_map",),
    ),
    "synth": Dataset(
        "loaders.synthetic.beats:load",
        "15,000 generated beats in the layout and imbalance of ecg",
        source="generated by the model of McSharry et al. 2003; no patient's data",
        licence="as the program",
        cites=("mcsharry2003",),
        generated=True,
        leads=("synthetic",),
        classes=AAMI,
        importance=IMPORTANCE,
        rate_hz=125,
        unit=OF_BEATS,
        row_form="kaggle",
        symbol_map="aami",
    ),
    "synth_patients": Dataset(
        "loaders.synthetic.patients:load",
        "6,000 beats of 24 generated patients, laid out as mitdb",
        source="generated recordings of 24 patients; no patient's data",
        licence="as the program",
        family="beats",
        generated=True,
        row_form="window",
        symbol_map="aami",
        cohort=HALVES,
        without=("leads",),
    ),
    "synth_rhythms": Dataset(
        "loaders.synthetic.twelve_lead:load",
        "240 generated twelve-lead records of 10 s, laid out as chapman",
        source="generated records; no patient's data",
        licence="as the program",
        family="twelve_lead",
        generated=True,
        view="record",
        label_sets={**RHYTHM, "many": "any of rhythm, axis and conduction"},
    ),
    "synth_strips": Dataset(
        "loaders.synthetic.strips:load",
        "260 generated strips of 6 to 20 s, laid out as cinc2017",
        source="generated strips; no patient's data",
        licence="as the program",
        family="strips",
        generated=True,
        view="record",
        leads=("synthetic",),
        classes=("N", "A", "O", "~"),
        scored=("N", "A", "O"),
        rate_hz=300,
    ),
    "table": Dataset(
        "loaders.datasets.table:load",
        "rows of your own, from a CSV or NPZ file",
        licence="the user's own",
        family="table",
        view="row",
    ),
}
BY_DEFAULT = ("ecg", "synth")  # without --dataset; the second if the first cannot be downloaded
NO_CHART = ChartOptions()
NO_OPTIONS: Mapping[str, Any] = MappingProxyType({})
# The kind of a row by name.
VIEWS = {"signal": "its samples", "chart": "a picture of ECG paper"}


def option_names() -> list[str]:
    """The options of all datasets."""
    return list(dict.fromkeys(name for dataset in DATASETS.values() for name in dataset.options))


def own_flags() -> list[Flag]:
    """The flags that datasets declare for themselves, in addition to the options of their families."""
    return list({flag.name: flag for dataset in DATASETS.values() for flag in dataset.flags}.values())


def table() -> str:
    """One line per dataset: kind of a row, origin, description."""
    rows = [("name", "rows", "data", "description")]
    for name, dataset in DATASETS.items():
        rows.append((name, dataset.view, "generated" if dataset.generated else "files", dataset.phrase))
    return listing(rows)


def typed(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with a value: None and False stand for a default."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def options_of(name: str, options: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The options of the family of the dataset `name`, and the values of the dataset's own flags.

    Raises UsageError for an option that this dataset lacks.
    """
    dataset, asked = pick("dataset", DATASETS, name), typed(options)
    if foreign := next((option for option in asked if option not in dataset.options), None):
        having = [other for other, declared in DATASETS.items() if foreign in declared.options]
        flag = f"--{foreign.replace('_', '-')}"
        what = f"{flag} is not for --dataset {name}, it goes with {', '.join(having)}"
        raise UsageError(what, hint=f"leave {flag} out")
    of_file = "challenge" in dataset.label_sets and Path(asked.get("labels", "")).suffix  # a map of codes
    if "labels" in asked and dataset.label_sets and not of_file:
        pick("labels", dataset.label_sets, asked["labels"])
    family = FAMILIES[dataset.family]
    of_family = family.__dataclass_fields__
    own = {option: value for option, value in (dataset.options | asked).items() if option not in of_family}
    return family(**{option: value for option, value in asked.items() if option in of_family}), own


def get_data(
    name: str,
    root: Path,
    *,
    data_file: Path | None = None,
    val_fraction: "Holdout" = 0.1,
    seed: int = 42,
    bad_rows: str | None = None,
    detect: bool = False,
    normal_class: str | None = None,
    view: str = "signal",
    chart: ChartOptions = NO_CHART,
    workers: int = 0,
    short_batch: int | None = None,
    **options: Any,
) -> "Data":
    """Load the dataset `name` from below `root`, or from `data_file`.

    Validation rows are drawn from the training rows with `seed`: a part of them, or a `Fold`. `detect` leaves one class
    in train and validation: `normal_class`, or the class with such a name. `view` is one of VIEWS; `chart` and
    `workers` are for the view "chart". `short_batch` is the batch size of a short run (0: the default), which measures
    a part of validation and test. `options` are the options of the dataset's family, None and False for a default.
    Raises UsageError for an option that the dataset lacks.
    """
    from loaders import agreement
    from loaders.families import rows

    dataset = pick("dataset", DATASETS, name)
    pick("view", VIEWS, view)
    of_family, own = options_of(name, options)
    if data_file and dataset.generated:
        what = f"--data-file needs a dataset that is read from files; {name} is generated"
        raise UsageError(what, hint=f"one of {', '.join(key for key, each in DATASETS.items() if not each.generated)}")
    normal = rows.normal_class(dataset.classes, normal_class) if detect and dataset.finds_normal else None
    request = Request(
        name, dataset, root, data_file, of_family, bad_rows or dataset.bad_rows, val_fraction, seed, normal, own,
        workers=workers,
    )  # fmt: skip
    load = loaded(dataset.target)
    data = load(request)
    if errors.is_yours(errors.source(load)[0]):
        data = agreement.checked(data, name, load)
    if detect:
        data = rows.only_normal(data, normal_class)
    drawn = {key: value for key, value in typed(options).items() if not dataset.is_of_sides(key)}
    drawn |= {"bad_rows": bad_rows} if bad_rows else {}
    return as_view(data, root, view, chart, workers=workers, short_batch=short_batch, options=drawn)


def as_view(
    data: "Data",
    root: Path,
    view: str,
    chart: ChartOptions = NO_CHART,
    *,
    workers: int = 0,
    short_batch: int | None = None,
    options: Mapping[str, Any] = NO_OPTIONS,
) -> "Data":
    """The data as rows of signals or of charts: all rows, or the part that a short run measures.

    `options` are the options that change the samples of a row; they are part of the name of a chart store.
    """
    if view == "chart":
        from loaders.charts.rows import as_charts

        return as_charts(
            data, root, layout=chart.layout, leads=chart.leads, size=chart.size, style=chart.style,
            workers=workers, options=options, short_batch=short_batch,
        )  # fmt: skip
    from loaders import base

    return data.part(base.measured_rows(short_batch, len(data.train)))
