"""A name becomes a network sized by the data: (B, C, T) -> logits (B, K), or for detection (B, C, T) -> (B, C, T).

The networks in VISION take charts (B, 3, H, W) in place of signals.

A new network is one file and one line here; --list models, the documentation's table and the tests read this table.
torch and the networks' modules are imported when a network is built, so that --list models answers at once.

The text of --model-args becomes keyword arguments of a network: commas separate arguments, `-` separates the numbers of
a list. Names and types come from the network's signature; a `partial` only changes defaults.

    parse_args("resnet1d_grid", "filters=4-8,layout=cna")  ->  {"filters": (4, 8), "layout": "cna"}
"""

import copy
import importlib
import inspect
from collections import ChainMap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from models.encoders.contract import InputContract, Published
from toolbox import errors
from toolbox.errors import OwnPartError, UsageError
from toolbox.registry import listing, pick

if TYPE_CHECKING:
    from torch import nn

    from loaders.base import DataSpec


@dataclass(frozen=True)
class Network:
    """MODULE:CLASS below this package, or a class, called with `first`, the DataSpec and `sizes`.

    `parameters` for five classes; `cites` are its publications: keys of `toolbox/reports/references.bib`, or BibTeX
    entries. An encoder that others trained has a `contract` and `published` weights.
    """

    target: "str | Callable[..., nn.Module]"
    about: str
    parameters: int | None = None
    first: tuple[Any, ...] = ()
    sizes: Mapping[str, Any] = field(default_factory=dict)
    task: str = "classify"
    view: str = "signal"
    cites: tuple[str, ...] = ()
    contract: InputContract | None = None
    published: Published | None = None

    @property
    def build(self) -> "Callable[..., nn.Module]":
        """The function from a DataSpec to the network. Raises UsageError if the target does not exist."""
        if not isinstance(self.target, str):
            return partial(self.target, *self.first, **self.sizes) if self.first or self.sizes else self.target
        module, _, name = self.target.partition(":")
        try:
            found = getattr(importlib.import_module(f"models.{module}"), name)
        except (ModuleNotFoundError, AttributeError) as error:
            if error.name not in (f"models.{module}", name):
                raise
            what = f"models/__init__.py names {name}, missing in models/{module.replace('.', '/')}.py"
            raise UsageError(what, hint="MODULE:CLASS, as signals.cnn1d:CNN1d") from error
        return partial(found, *self.first, **self.sizes) if self.first or self.sizes else found


def _recurrent(about: str, parameters: int, **sizes: Any) -> Network:
    cites = ("hochreiter1997",) if sizes["kind"] == "lstm" else ("cho2014",)
    return Network("signals.recurrent:Recurrent", about, parameters, sizes=sizes, cites=cites)


def _vision(name: str, about: str, parameters: int, cited: str) -> Network:
    cites = (cited, "torchvision2016")
    return Network("charts.vision:Vision", about, parameters, first=(name,), view="chart", cites=cites)


def _detector(target: str, about: str, parameters: int, *cites: str) -> Network:
    return Network(f"signals.autoencoder:{target}", about, parameters, task="detect", cites=cites)


def _encoder(target: str, about: str, contract: InputContract, published: Published, *cites: str) -> Network:
    first = (contract,)
    return Network(f"encoders.{target}", about, first=first, contract=contract, published=published, cites=cites)


_resnet = partial(Network, "signals.resnet1d:ResNet1d", cites=("he2016",))
_xresnet = partial(Network, "signals.xresnet1d:XResNet1d", cites=("he2019", "strodthoff2021"))
_benchmark = partial(Network, "signals.xresnet1d:DeepXResNet1d", cites=("he2019", "strodthoff2021"))
_s4d = partial(Network, "signals.s4d:S4D", cites=("gu2022", "mehari2023"))
_former = partial(Network, "signals.ecgformer:ECGFormer", cites=("vaswani2017", "dosovitskiy2021"))
_inception = partial(Network, "signals.inception1d:Inception1d", cites=("fawaz2020",))
_ONE, _TWO, _NARROW, _WIDE = (1, 1, 1, 1), (2, 2, 2, 2), (32, 32, 32, 32), (32, 64, 128, 254)

# fmt: off
CLASSIFIERS = {
    "cnn1d_3": Network("signals.cnn1d:CNN1d", "two convolutions and a linear layer", 4_789, cites=("lecun1998",)),
    "resnet1d_10": _resnet("residual network, four groups of one block, width 32", 45_381,
                           sizes={"blocks": _ONE, "widths": _NARROW}),
    "resnet1d_18": _resnet("residual network, four groups of two blocks, width 32", 87_109,
                           sizes={"blocks": _TWO, "widths": _NARROW}),
    "resnet1d_v2": _resnet("residual network, two blocks a group, widths 32 to 254", 1_560_059,
                           sizes={"blocks": _TWO, "widths": _WIDE}),
    "resnet1d_v2_10": _resnet("residual network, one block a group, widths 32 to 254", 696_991,
                              sizes={"blocks": _ONE, "widths": _WIDE}),
    "resnet1d_v2_18": _resnet("the same as resnet1d_v2", 1_560_059, sizes={"blocks": _TWO, "widths": _WIDE}),
    "lstm_1": _recurrent("LSTM over samples, padding masked", 41_705, kind="lstm", layers=1),
    "lstm_2": _recurrent("LSTM over samples, two layers", 122_505, kind="lstm", layers=2),
    "lstm_3": _recurrent("LSTM over samples, three layers", 203_305, kind="lstm", layers=3),
    "gru_1": _recurrent("GRU over samples, padding masked", 31_405, kind="gru", layers=1),
    "gru_2": _recurrent("GRU over samples, two layers", 92_005, kind="gru", layers=2),
    "gru_3": _recurrent("GRU over samples, three layers", 152_605, kind="gru", layers=3),
    "lstm_1_flat": _recurrent("LSTM fed one step with all samples", 116_105, kind="lstm", layers=1, flat=True),
    "lstm_2_flat": _recurrent("the same with two layers", 196_905, kind="lstm", layers=2, flat=True),
    "lstm_3_flat": _recurrent("the same with three layers", 277_705, kind="lstm", layers=3, flat=True),
    "inception1d": _inception("InceptionTime: convolutions of three lengths in parallel, six modules", 405_381),
    "inception1d_small": _inception("InceptionTime, three modules of 8 filters", 5_973,
                                    sizes={"filters": 8, "depth": 3, "kernels": (19, 9, 5), "bottleneck": 8}),
    "xresnet1d_10": _xresnet("residual network with a stem of three convolutions, one block a group", 345_045,
                             sizes={"blocks": _ONE, "widths": (32, 64, 128, 128)}),
    "xresnet1d_18": _xresnet("the same, narrower, with two blocks a group", 202_965,
                             sizes={"blocks": _TWO, "widths": (32, 32, 64, 64)}),
    "xresnet1d50": _benchmark("residual network of the PTB-XL benchmark, 16 bottleneck blocks", 952_229,
                              sizes={"blocks": (3, 4, 6, 3)}),
    "xresnet1d101": _benchmark("the same with 33 blocks (for a GPU)", 1_870_501, sizes={"blocks": (3, 4, 23, 3)}),
    "net1d": Network("signals.net1d:Net1d", "convolutions in groups, channels weighed; with --model-args the backbone "
                                            "of ECGFounder", 155_909, cites=("hong2020", "radosavovic2020")),
    "s4d": _s4d("diagonal state spaces, four layers of width 64", 40_901),
    "s4d_512": _s4d("the same of width 512, the published one of PTB-XL (for a GPU)", 2_162_181, sizes={"width": 512}),
    "resnet1d_grid": Network("signals.resnet1d:ResNet1dGrid", "residual network of --model-args sizes", 3_844_677,
                             cites=("he2016", "he2016identity")),
    "preact1d": Network("signals.preact1d:Preact1d", "residual network with normalisation first, for strips",
                        1_297_573, cites=("he2016identity",)),
    "ecgformer": _former("transformer over samples, six layers of width 192 (for a GPU)", 2_744_645,
                         sizes={"width": 192, "layers": 6, "heads": 8}),
    "ecgformer_small": _former("transformer, four layers of width 96 (for a GPU)", 475_877,
                               sizes={"width": 96, "layers": 4, "heads": 6}),
    "ecgformer_tiny": _former("transformer, three layers of width 48, three samples a token", 90_917,
                              sizes={"width": 48, "layers": 3, "heads": 4, "patch": 3}),
    "ecgformer_patch": _former("transformer, four layers of width 96, eleven samples a token", 460_517,
                               sizes={"width": 96, "layers": 4, "heads": 6, "patch": 11}),
    "resnet18": _vision("resnet18", "residual network of 18 layers", 11_179_077, "he2016"),
    "resnet50": _vision("resnet50", "residual network of 50 layers, with bottlenecks", 23_518_277, "he2016"),
    "mobilenet_v3_small": _vision("mobilenet_v3_small", "small and fast, for CPUs", 1_522_981, "howard2019"),
    "mobilenet_v3_large": _vision("mobilenet_v3_large", "fast, for CPUs", 4_208_437, "howard2019"),
    "efficientnet_b0": _vision("efficientnet_b0", "scaled convolutions, smallest", 4_013_953, "tan2019"),
    "efficientnet_b3": _vision("efficientnet_b3", "scaled convolutions, larger", 10_703_917, "tan2019"),
    "convnext_tiny": _vision("convnext_tiny", "convolutions arranged as in a transformer", 27_823_973, "liu2022"),
    "convnext_base": _vision("convnext_base", "the same, larger", 87_571_589, "liu2022"),
    "vit_b_16": _vision("vit_b_16", "transformer over squares of 16 x 16 pixels", 85_802_501, "dosovitskiy2021"),
}
AUTOENCODERS = {
    "lstm_ae": _detector("LSTMAutoencoder", "LSTM autoencoder, the last of 64 hidden states "
                                            "repeated", 249_473, "srivastava2015"),
    "conv_ae": _detector("ConvAutoencoder", "denoising convolutional autoencoder, code of 8 values", 62_665,
                         "vincent2010"),
    "linear_ae": _detector("LinearAutoencoder", "denoising linear autoencoder, code of 8 values", 3_187, "vincent2010"),
}
ENCODERS = {
    "ecgfounder": _encoder("ecgfounder:EcgFounder", "Net1D for twelve leads, trained on ten million ECGs",
                           InputContract(500, 10, normalise="zscore"),
                           Published("huggingface.co/PKUDigitalHealth/ECGFounder, 12_lead_ECGFounder.pth",
                                     saw="the Harvard-Emory ECG Database"), "li2025"),
    "ecgfounder_1lead": _encoder("ecgfounder:EcgFounder", "the same for one lead",
                                 InputContract(500, 10, (), normalise="zscore"),
                                 Published("huggingface.co/PKUDigitalHealth/ECGFounder, 1_lead_ECGFounder.pth",
                                           saw="the Harvard-Emory ECG Database"), "li2025"),
    "ecgfm": _encoder("ecgfm:EcgFm", "wav2vec 2.0 over twelve leads, 90 million parameters (for a GPU)",
                      InputContract(500, 5, normalise="zscore_lead"),
                      Published("huggingface.co/wanglab/ecg-fm, mimic_iv_ecg_physionet_pretrained.pt", licence="MIT",
                                saw="MIMIC-IV-ECG and the sets of the Challenge 2021: PTB-XL, PTB, CPSC 2018, Georgia, "
                                    "INCART, Chapman, Ningbo", known=("ptbxl", "chapman")), "mckeen2025"),
    "openecg": _encoder("openecg:OpenEcg", "codec of one lead for waves, beats and rhythm, 1.2 million parameters",
                        InputContract(500, 10, (), normalise="rank"),
                        Published("Python package openecg 0.11.0, models/codec_v6.pt", licence="Apache-2.0",
                                  saw="LUDB, QTDB, ISP, BUT-PDB, MIT-BIH DS1, INCART, LTDB, SVDB, AFDB, NSRDB, VFDB, "
                                      "CUDB, PTB-XL and others",
                                  known=("mitdb", "ecg", "ecg_bin", "ptbxl"), package="openecg",
                                  file="models/codec_v6.pt"), "openecg2026"),
}
# fmt: on
MODELS = CLASSIFIERS | AUTOENCODERS
NETWORKS = ChainMap(MODELS, ENCODERS)  # without a copy: a user's network joins MODELS
VISION = {name: network for name, network in MODELS.items() if network.view == "chart"}
LEAN, PLAIN = FORMS = ("lean", "plain")  # of layers: models/blocks.py
LARGEST, LONGEST = 65_536, 64  # a number of --model-args, and the numbers of a list
ARGS_HINT = "--model-args filters=64-128,dropout=0.4"
TRIED_ROWS = (2, 3)  # of two batches: the outputs must follow the number of rows
READERS: dict[Any, tuple[Callable[[str], Any], str, Callable[[Any], bool]]] = {
    int: (int, f"a whole number from 1 to {LARGEST} (of a list: with - between them)", lambda n: 1 <= n <= LARGEST),
    float: (float, f"a number from 0 to {LARGEST}", lambda number: 0 <= number <= LARGEST),
    bool: ({"true": True, "false": False}.__getitem__, "true or false", lambda _: True),
    str: (str, "a word", lambda word: word.isprintable()),
}


def table() -> str:
    """One line per network: trainable parameters (for five classes), task, description."""
    rows = [("name", "parameters", "task", "description")]
    for name, network in NETWORKS.items():
        count = "-" if network.parameters is None else f"{network.parameters:,}".rjust(10)
        rows.append((name, count, network.task + ", charts" * (network.view == "chart"), network.about))
    return listing(rows)


def encoders_table() -> str:
    """One line per encoder: its input contract, licence and source."""
    rows = [("name", "input contract", "licence", "weights")]
    for name, network in ENCODERS.items():
        if network.contract and network.published:
            rows.append((name, network.contract.words, network.published.licence, network.published.source))
    return listing(rows)


def get_model(
    name: str, spec: "DataSpec", *, model_args: str | None = None, members: int = 1, form: str = LEAN, **choices: Any
) -> "nn.Module":
    """Build the network `name`, sized for the data of `spec`; features join at its head.

    `choices` are keyword arguments of the network, `model_args` the same as typed text (`parse_args`). `form` is that
    of its layers (`models.blocks`). More than one of `members` gives a committee. Raises UsageError for an unknown
    argument, for the wrong view (charts or signals), and for sizes that do not fit each other.
    """
    from models.blocks import set_form
    from models.committee import Committee, Fused

    if members > 1:
        each = (get_model(name, spec, model_args=model_args, form=form, **choices) for _ in range(members))
        return Committee(each, many_labels=spec.many_labels)
    choices |= parse_args(name, model_args)
    build = pick("model-name", NETWORKS, name).build
    check_view(name, charts=spec.image is not None, where=spec.name)
    network = _tried(partial(build, spec, **choices), name, spec) if model_args else build(spec, **choices)
    if errors.is_yours(errors.source(type(network).forward)[0]):
        check_own(network, name, spec, reconstructs=name in AUTOENCODERS)
    set_form(network, form)
    return Fused(network, len(spec.features), len(spec.classes)) if spec.features else network


def check_view(name: str, *, charts: bool, where: str = "") -> None:
    """Raise UsageError if the network takes charts and the rows are signals, or the reverse."""
    if name in VISION and not charts:
        raise UsageError(f"{name} is a network for charts, the rows are signals", where=where, hint="--view chart")
    if charts and name not in VISION:
        hint = f"--model-name {next(iter(VISION))}, or leave --view chart out"
        raise UsageError(f"{name} is a network for signals, the rows are charts", where=where, hint=hint)


def parse_args(name: str, text: str | None) -> dict[str, Any]:
    """The keyword arguments of the network `name` in the text of --model-args; {} for an empty text."""
    network = pick("model-name", NETWORKS, name)
    return keywords(name, network.build, text) if text else {}


def keywords(name: str, network: Callable[..., Any], text: str) -> dict[str, Any]:
    """Values by argument. Raises UsageError for an unknown or repeated argument, or a value of another type."""
    known = argument_kinds(network)
    if not known:
        raise UsageError(f"{name} takes no --model-args", hint="leave them out")
    values: dict[str, Any] = {}
    for part in text.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not (key and equals and value):
            raise UsageError(f"--model-args {part[:60]!r} is not key=value", hint=ARGS_HINT)
        if key in values:
            raise UsageError(f"--model-args names {key[:60]} twice", hint="each once")
        values[key] = _value(key, pick(f"model-args of {name}", known, key), value)
    return values


def argument_kinds(network: Callable[..., Any]) -> dict[str, Any]:
    """The type of each keyword-only argument of a network, by name."""
    hints = get_type_hints(getattr(network, "func", network).__init__)
    arguments = [each for each in inspect.signature(network).parameters.values() if each.kind is each.KEYWORD_ONLY]
    return {each.name: hints.get(each.name, type(each.default)) for each in arguments}


def _value(key: str, kind: Any, text: str) -> Any:
    if get_origin(kind) is None:
        return _one(key, kind, text)
    items = text.split("-")
    if len(items) > LONGEST:
        what = f"--model-args: {key} has {len(items)} numbers, at most {LONGEST} are read"
        raise UsageError(what, hint=f"{key}=64-128")
    return tuple(_one(key, get_args(kind)[0], item) for item in items)


def _one(key: str, kind: Any, text: str) -> Any:
    read, rule, holds = READERS.get(kind, READERS[str])
    try:
        value = read(text)
    except (ValueError, KeyError):
        value = None
    if value is None or not holds(value):
        raise UsageError(f"--model-args: {key} is {text[:40]!r}, must be {rule}", hint=ARGS_HINT)
    return value


def _tried(build: "Callable[[], nn.Module]", name: str, spec: "DataSpec") -> "nn.Module":
    """Build the network and pass one row through it, which fails if typed sizes do not fit each other."""
    import torch

    try:
        network = build().eval()
        with torch.no_grad():
            network(torch.zeros(1, *spec.shape))
    except (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError) as error:
        what = f"{name} cannot be built with these --model-args, {type(error).__name__}: {str(error)[:200]}"
        raise UsageError(what, hint="sizes that fit each other") from error
    return network.train()


def check_own(network: "nn.Module", name: str, spec: "DataSpec", *, reconstructs: bool) -> None:
    """Raise OwnPartError unless a user's network gives (B, K), or (B, C, T) if it reconstructs, in training and test.

    A copy gets a few random rows; torch's random state stays unchanged.
    """
    import torch

    with torch.random.fork_rng(devices=[]), torch.no_grad():
        for training in (True, False):
            try:
                tried = copy.deepcopy(network).train(training)
            except Exception:  # training shows the fault of a network that cannot be copied
                return
            for rows in TRIED_ROWS:
                expected = (rows, *spec.shape) if reconstructs else (rows, len(spec.classes))
                if why := _objection(tried(torch.rand(rows, *spec.shape)), expected):
                    mode = "in training" if training else "in a test"
                    path, line = errors.source(type(network).forward)
                    what = f"your network {name} gives {why} for {rows} rows {mode}, it must give {expected}"
                    raise OwnPartError(what, where=f"{path}, line {line}", hint="mend its forward")


def _objection(outputs: object, expected: tuple[int, ...]) -> str:
    """The type or shape of wrong `outputs`; "" for outputs of the expected shape."""
    import torch

    if not isinstance(outputs, torch.Tensor):
        return f"no tensor but a {type(outputs).__name__}"
    if not outputs.is_floating_point():
        return f"{str(outputs.dtype).removeprefix('torch.')} numbers"
    return "" if tuple(outputs.shape) == expected else str(tuple(outputs.shape))
