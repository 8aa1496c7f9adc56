"""What is declared of a dataset is what its loader does: names, options, files and facts; how rows are held out."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import args
from commands.check import datasets
from commands.check.datasets import DATASET, RowSource
from helpers.data import ROOT
from helpers.databases import WRITERS
from helpers.kaggle import NOWHERE, make_zip
from loaders import DATASETS, VIEWS, get_data, options_of
from loaders.base import Data
from loaders.declaration import FAMILIES
from loaders.families.row_forms import FORMS, SYMBOLS
from toolbox.errors import DataError, DownloadError, UsageError

SIDES = ("train", "val", "test")
GENERATED = [name for name, dataset in DATASETS.items() if dataset.generated]
FETCHED = [name for name, dataset in DATASETS.items() if dataset.files.remotes]


def test_declarations_are_read_without_numpy_and_torch() -> None:
    code = "import sys, loaders; sys.exit(any(name in sys.modules for name in ('numpy', 'torch', 'pandas')))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_a_declaration_names_callables_and_known_forms() -> None:
    for name, dataset in DATASETS.items():
        assert datasets.declaration(RowSource(name, get_data)) == "", name
        assert dataset.row_form in {"", *FORMS}, name
        assert dataset.symbol_map in {"", *SYMBOLS}, name
        assert dataset.generated == (not dataset.files.needs) or name == "table"
    assert [*VIEWS] == ["signal", "chart"]


def test_the_options_of_a_family_are_flags_of_their_type() -> None:
    for family, options in FAMILIES.items():
        assert {option.name for option in fields(options)} == {*args.FLAGS.names(family=family)}
        for option in fields(options):
            flag = args.FLAGS.by_name[option.name]
            assert option.default is None or isinstance(option.default, flag.type | int)
            if option.default:
                assert (f"{option.default:g}" if flag.type is float else str(option.default)) in flag.help, option.name


def test_generated_datasets_have_the_options_of_the_database_that_they_imitate() -> None:
    for generated, real, without, more in (
        ("synth_rhythms", "chapman", set(), set()),
        ("synth_patients", "mitdb", {"leads"}, set()),
        ("synth_strips", "cinc2017", set(), set()),
    ):
        assert set(DATASETS[real].options) - set(DATASETS[generated].options) == without
        assert set(DATASETS[generated].options) - set(DATASETS[real].options) == more


def test_omitted_options_have_the_declared_defaults() -> None:
    for name, dataset in DATASETS.items():
        asked, own = options_of(name, {"rr_features": False, **dict.fromkeys(dataset.options)})
        assert asked == FAMILIES[dataset.family]()
        assert own == {}
        assert {*dataset.without} == set(vars(asked)) - set(dataset.options)


def test_options_of_labels_and_splits_alone_are_those_of_sides() -> None:
    of_sides = {name for dataset in DATASETS.values() for name in dataset.options if dataset.is_of_sides(name)}
    of_beats, of_strips = "fold label_map rr_features p_waves", "drop_labels rename_labels crops resample"
    assert of_sides == {*of_beats.split(), *of_strips.split(), "labels", "unlabelled"}


def test_an_option_of_another_family_is_refused_and_its_datasets_are_named(tmp_path: Path) -> None:
    for option in ({"drop_labels": "N"}, {"polarity": "upright"}, {"resample": 5.0}):
        with pytest.raises(UsageError, match="is not for --dataset synth, it goes with cinc2017, synth_strips"):
            get_data("synth", tmp_path, **option)


def test_generated_datasets_refuse_a_data_file(tmp_path: Path) -> None:
    for name in GENERATED:
        with pytest.raises(UsageError, match=f"--data-file needs a dataset .*{name} is generated"):
            get_data(name, tmp_path, data_file=tmp_path / "x.zip")


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder with the small files of a dataset, written once; to be left as it is."""
    written: dict[str, Path] = {}

    def of(name: str) -> Path:
        if name not in written:
            written[name] = WRITERS[name](tmp_path_factory.mktemp(name) / "files")
        return written[name]

    return of


def assert_same(one: Data, other: Data) -> None:
    assert one.checksum == other.checksum
    for side in SIDES:
        for name in ("x", "y", "record", "index"):
            np.testing.assert_array_equal(getattr(getattr(one, side), name), getattr(getattr(other, side), name))


def zipped(path: Path, folder: Path, within: str) -> Path:
    """A zip of all files of a folder, with the files that macOS and other datasets add."""
    paths = [each for each in sorted(folder.rglob("*")) if each.is_file()]
    members = {f"{within}{each.relative_to(folder)}": each for each in paths}
    return make_zip(path, {**members, f"__MACOSX/{within}._{paths[0].name}": "x", "another.txt": ""})


@pytest.mark.parametrize("name", ["chapman", "cinc2017", "ecg", "ecg5000", "ptbdb", "ptbxl"])
def test_files_are_the_same_data_in_every_place(name: str, files: Callable[[str], Path], tmp_path: Path) -> None:
    folder, shelf = files(name), tmp_path / "shelf" / name
    expected = get_data(name, tmp_path / "0", data_file=folder)
    shutil.copytree(folder, tmp_path / "deep" / name / "some" / "where")
    marks = DATASETS[name].files.marks or ("*.csv", "*.xlsx")
    marked = sorted(path for mark in marks for path in folder.rglob(mark))
    places = [marked[0], marked[-1]]
    if name == "chapman":  # its rhythms are a file beside the zip
        shelf = zipped(shelf / "ECGDataDenoised.zip", folder / "ECGDataDenoised", "ECGDataDenoised/").parent
        shutil.copy(folder / "Diagnostics.xlsx", shelf)
        places += [shelf / "ECGDataDenoised.zip", shelf]
    else:
        places += [zipped(shelf / "any name.zip", folder, "in/"), zipped(tmp_path / "flat.zip", folder, "")]
    for place in places:
        assert_same(get_data(name, tmp_path / "0", data_file=place), expected)
    for root in ("deep", "shelf"):
        assert_same(get_data(name, tmp_path / root), expected)


@pytest.mark.parametrize("name", ["chapman", "cinc2017", "ecg", "ecg5000", "ptbdb", "ptbxl", "table"])
def test_files_are_parsed_once(name: str, files: Callable[[str], Path], tmp_path: Path) -> None:
    def stored() -> set[tuple[str, int]]:
        return {(path.name, path.stat().st_ino) for path in (tmp_path / name / "cache").iterdir()}

    first = get_data(name, tmp_path, data_file=files(name))
    assert len(first.test) > 0
    before = stored()
    again = get_data(name, tmp_path, data_file=files(name), seed=3)
    assert len(again.test) == len(first.test)
    assert stored() == before


@pytest.mark.parametrize("name", ["chapman", "cinc2017", "ecg", "ecg5000", "ptbdb", "ptbxl", "table"])
@pytest.mark.parametrize("about", DATASET)
def test_a_dataset_passes_every_check(name: str, about: str, files: Callable[[str], Path], tmp_path: Path) -> None:
    """What --check asks of a user's dataset."""
    how = {"label_column": "label", "record_column": "patient"} if name == "table" else {}
    load = partial(get_data, name, tmp_path, data_file=files(name), **how)
    assert DATASET[about](RowSource(name, load)) == ""


@pytest.mark.parametrize("name", ["synth", *(pytest.param(name, marks=pytest.mark.soak) for name in GENERATED[1:])])
@pytest.mark.parametrize("about", DATASET)
def test_a_generated_dataset_passes_every_check(name: str, about: str, root: Path) -> None:
    assert DATASET[about](RowSource(name, partial(get_data, name, root))) == ""


def assert_one_line(error: Exception, *says: str) -> None:
    assert len(str(error).splitlines()) == 1
    for words in says:
        assert words in str(error)


@pytest.mark.parametrize("name", FETCHED)
def test_without_a_network_one_line_says_what_to_place(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(variable, NOWHERE)
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setattr("loaders.files.sources.BACKOFF_S", 0)
    declared = DATASETS[name].files
    folder = tmp_path / (declared.folders or (name,))[0]
    with pytest.raises(DownloadError) as caught:
        get_data(name, tmp_path)
    assert caught.value.code == 7
    fetched = [f"cannot fetch {remote.name}" for remote in declared.remotes]
    assert_one_line(caught.value, *fetched, declared.put, str(folder), "--data-file")
    assert not list(tmp_path.iterdir())
    (folder / "runs").mkdir(parents=True)
    for own in ("quality.csv", "broken.zip", "runs/table.csv"):  # the program's own files and a damaged zip
        (folder / own).write_bytes(b"PK")
    with pytest.raises(DownloadError, match="cannot be fetched"):
        get_data(name, tmp_path)


def wrong_places(folder: Path) -> Iterable[Path]:
    (folder / "empty").mkdir(parents=True)
    (folder / "other.csv").write_text("1,2,3\n")
    (folder / "broken.zip").write_bytes(b"PK\x03\x04 and no more")
    make_zip(folder / "other.zip", {"readme.txt": "hello"})
    return [folder / "nowhere", *sorted(folder.iterdir())]


@pytest.mark.parametrize("name", FETCHED)
def test_a_data_file_of_the_wrong_kind_is_refused_with_a_hint(name: str, tmp_path: Path) -> None:
    for place in wrong_places(tmp_path / "wrong"):
        if name == "chapman" and place.name == "other.csv":
            continue  # a table of one recording, in a folder without others
        with pytest.raises(DataError) as caught:
            get_data(name, tmp_path, data_file=place)
        assert_one_line(caught.value)
        assert caught.value.where.startswith(str(place)), place
        assert caught.value.hint
