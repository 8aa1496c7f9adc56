"""What classes and figures mean, in words, for a reader who does not work on ECG every day.

of_classes(("N", "S", "V"))          # name -> meaning, {} where the classes are of no known vocabulary
name_of("gross macro_f1")            # gross macro F1: its name on every page, in texts and at the end of a command
FIGURES["macro_f1"]                  # its name and its definition
headline(test)                       # the figure that sums a test up
"""

from collections.abc import Collection, Sequence

AAMI = {
    "N": "normal beats, and beats conducted with a bundle branch block or as an escape",
    "S": "supraventricular ectopic beats (SVEB): early beats from above the ventricles",
    "V": "ventricular ectopic beats (VEB): premature beats from a ventricle, and ventricular escape",
    "F": "fusion of a ventricular and a normal beat",
    "Q": "paced, or unclassifiable",
}
STRIPS = {
    "N": "normal sinus rhythm",
    "A": "atrial fibrillation",
    "O": "another rhythm",
    "~": "too noisy to be classified",
}
RHYTHMS = {
    "SB": "sinus bradycardia",
    "SR": "sinus rhythm, in a map of four groups also sinus irregularity",
    "AFIB": "atrial fibrillation, in a map of four groups also atrial flutter",
    "GSVT": "supraventricular tachycardias, of the sinus node, the atria or the AV node",
    "ST": "sinus tachycardia",
    "AF": "atrial flutter",
    "SA": "sinus irregularity",
    "SVT": "supraventricular tachycardia",
    "AT": "atrial tachycardia",
    "AVNRT": "tachycardia re-entering in the AV node",
    "AVRT": "tachycardia re-entering through an accessory pathway",
    "SAAWR": "pacemaker wandering from sinus node to atrium",
}
FINDINGS = {
    "1AVB": "first degree AV block: a long PR interval",
    "LAD": "left axis deviation",
    "RAD": "right axis deviation",
    "LBBB": "left bundle branch block",
    "RBBB": "right bundle branch block",
} | {name: RHYTHMS[name] for name in ("AFIB", "SB", "ST")}
BEATS_OF_ONE = {
    "Normal": "normal beats",
    "R-on-T PVC": "premature ventricular beats on the T wave before",
    "PVC": "premature ventricular beats",
    "SP": "supraventricular premature or ectopic beats",
    "UB": "unclassified beats",
}
SYMBOLS = {
    "N": "normal beat", "L": "left bundle branch block", "R": "right bundle branch block",
    "B": "bundle branch block", "A": "atrial premature beat", "a": "aberrated atrial premature beat",
    "J": "junctional premature beat", "S": "supraventricular premature beat", "V": "premature ventricular beat",
    "r": "R-on-T premature ventricular beat", "F": "fusion of ventricular and normal beat",
    "e": "atrial escape beat", "j": "junctional escape beat", "n": "supraventricular escape beat",
    "E": "ventricular escape beat", "/": "paced beat", "f": "fusion of paced and normal beat",
    "Q": "unclassifiable beat", "?": "beat not classified in learning",
}  # fmt: skip
WORDS = {"normal": "no abnormality is labelled", "abnormal": "any abnormality is labelled"}
# With the source of each vocabulary; the first one that has all classes counts.
VOCABULARIES = {
    "AAMI classes, as in ANSI/AAMI EC57": AAMI,
    "rhythms of the PhysioNet/CinC Challenge 2017": STRIPS,
    "rhythms of the Chapman-Shaoxing database": RHYTHMS,
    "findings of generated twelve-lead records": FINDINGS,
    "beats of ECG5000, UCR archive": BEATS_OF_ONE,
    "annotation symbols of PhysioNet": SYMBOLS,
    "two classes": WORDS,
}
ENOUGH = 3  # classes that make a vocabulary certain, or all that it has
GROSS_PREFIX = "gross "  # of the figures by patient among others
# The figure that sums a test up: the first of these that it has.
HEADLINES = (f"{GROSS_PREFIX}macro_f1", "challenge_f1", "macro_f1", "auroc")
OF_LABELS = "fmax"  # a figure of many labels alone, whose headline is macro AUROC

FIGURES = {
    "loss": ("loss", "mean loss of a row, without class weights; lower is better"),
    "accuracy": ("accuracy", "share of the rows with the right class; a frequent class dominates it"),
    "balanced_accuracy": ("balanced accuracy", "mean over the classes of the sensitivity; every class counts the same"),
    "macro_f1": ("macro F1", "mean over all classes of F1; every class counts the same, however rare"),
    "macro_auroc": (
        "macro AUROC",
        "mean over the classes of the area under the ROC curve: the probability that a row of the class gets a higher"
        " score than a row of another one; 0.5 is chance",
    ),
    "macro_average_precision": (
        "macro average precision",
        "mean over the classes of the area under the precision-recall curve; chance is the share of the class",
    ),
    "mean_iou": (
        "mean IoU",
        "mean over the classes of intersection over union: the rows that are of the class and predicted as it, divided"
        " by the rows that are either",
    ),
    "frequency_weighted_iou": ("frequency-weighted IoU", "mean IoU, in which each class weighs as much as it has rows"),
    "fmax": (
        "Fmax",
        "the largest harmonic mean, over thresholds on these rows, of mean precision and mean recall of a row;"
        " precision over rows with a predicted class",
    ),
    "hamming_loss": ("Hamming loss", "share of all rows and classes with a wrong decision; lower is better"),
    "exact_match": ("exact match", "share of the rows with every class right"),
    "macro_ece": (
        "macro ECE",
        "mean over the classes of the expected calibration error: the mean distance between the probability of "
        "the class"
        " and the share of rows that have it; lower is better",
    ),
    "macro_brier": (
        "macro Brier score",
        "mean over the classes of the mean squared distance of the probability from 0 or 1; lower is better",
    ),
    "challenge_f1": ("challenge F1", "mean F1 of the classes that the publisher of the data scores"),
    "auroc": ("AUROC", "probability that an anomaly has a larger error than a normal row; 0.5 is chance"),
    "average_precision": (
        "average precision",
        "area under the precision-recall curve of anomalies; chance is their share",
    ),
    "normals_kept": ("normals kept", "share of the normal rows at or below the threshold"),
    "anomalies_caught": ("anomalies caught", "share of the anomalies above the threshold"),
    "f1": ("F1 of anomalies", "harmonic mean of the share of anomalies caught and the share of alarms that are true"),
    "kappa": ("Cohen's kappa", "agreement beyond the agreement by chance; 1 is perfect, 0 is chance"),
    "jk": ("j-kappa", "half of kappa, and an eighth of Se and +P of SVEB and of VEB (Mar et al., 2011)"),
    "ece": ("ECE", "expected calibration error: mean distance between confidence and the share that is right"),
    "brier": ("Brier score", "mean squared distance of the probabilities from the truth, over all classes; 0 to 2"),
    "nll": ("negative log likelihood", "mean of minus the logarithm of the probability of the true class"),
}
PARTS = (
    ("Se", "sensitivity, recall: share of the rows of a class that are predicted as this class"),
    ("+P", "positive predictivity, precision: share of the rows predicted as a class that are of this class"),
    ("F1", "harmonic mean of Se and +P; high only if both are"),
)
OF_LABELS_PARTS = (
    ("threshold", "the probability from which on the class is predicted: the best F1 of the class on validation rows"),
    ("ECE", "mean distance between the probability of the class and the share of rows that have it"),
    ("Brier", "mean squared distance of the probability of the class from 0 or 1"),
)
OF_LINES = (
    ("slope, intercept", "of the line on the logit of the class, fitted on validation rows; 1 and 0 change nothing, and"
     " stay where validation lacks rows with the class, or without it"),
    ("threshold, calibrated", "the same threshold of the calibrated probability: both decide alike"),
)  # fmt: skip
FALSE_RATE = ("FPR", "false positive rate: share of the rows of other classes that are predicted as this class")
GROSS = (
    ("gross", "the rows of all records pooled: a record with many rows weighs more"),
    ("average", "the figure of each record alone, and the mean over the records in which it is defined: every record"
     " weighs the same"),
)  # fmt: skip
INTERVAL = "95 % interval"


def unit(view: str) -> str:
    """What rows of one name have in common: a record, or a patient where each row is a record."""
    return "patient" if view == "record" else "record"


def of_classes(classes: Sequence[str]) -> tuple[str, dict[str, str]]:
    """The source and the meaning of each class; ("", {}) where they are of no known vocabulary."""
    for source, words in VOCABULARIES.items():
        if all(name in words for name in classes) and len(classes) >= min(ENOUGH, len(words)):
            return source, {name: words[name] for name in classes}
    return "", {}


def name_of(figure: str, over: Sequence[str] = ()) -> str:
    """The name of a figure in words; `over` are the classes of a macro F1 that is not over all of them."""
    if figure.startswith(GROSS_PREFIX):
        return GROSS_PREFIX + name_of(figure.removeprefix(GROSS_PREFIX), over)
    known = figure if " " in figure else figure.replace("_", " ")  # "a_class F1" has the name of a class
    name = FIGURES.get(figure, (known, ""))[0]
    return f"{name} over {', '.join(over)}" if over and figure == "macro_f1" else name


def part(over: Sequence[str], classes: Collection[str]) -> Sequence[str]:
    """The classes of a macro F1, empty if they are all `classes`."""
    return () if {*classes} <= {*over} else over


def headline(there: Collection[str]) -> str:
    """The figure of `there` that sums a test up; "" for none."""
    first = ("macro_auroc",) if OF_LABELS in there else ()
    return next((name for name in (*first, *HEADLINES) if name in there), next(iter(there), ""))


def definitions(figures: Sequence[str]) -> list[tuple[str, str]]:
    """Name and definition of each known figure."""
    return [FIGURES[figure] for figure in figures if figure in FIGURES]
