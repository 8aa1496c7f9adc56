"""Where results are written: never over a file of somebody else, never out of the folder, under portable names."""

import json
import os
import unicodedata
from pathlib import Path

import pytest

from loaders.formats import wfdb
from toolbox.errors import ResourceError, UsageError
from toolbox.runs import outputs
from toolbox.runs.outputs import MARKER, Claim, distinct, placed, safe_name

OF = {"output": "test", "source": "1"}
OTHER = {"output": "test", "source": "2"}


def claim(base: Path, within: str = "r1", names: tuple[str, ...] = ("r1.csv", "r1.json"), **how: object) -> Claim:
    return Claim(base, within, names, **{"of": OF, **how})


def written(base: Path, **how: object) -> Claim:
    """A claim that was taken, with its files."""
    made = claim(base, **how)
    made.take()
    for name in made.names:
        (made.folder / name).write_text("ours")
    return made


def put(path: Path, text: str = "theirs") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def assert_refused(made: Claim, path: Path, says: str = "is there already") -> None:
    with pytest.raises(UsageError, match=says) as caught:
        made.check()
    assert caught.value.where == str(path)
    assert caught.value.code == 2


# Names

SAME = ("r1", "100", "201_längste", "p 1", "a.b-c+d", "心電図", "x" * 150, "coms", "a (2)", "r1~", "I,II")
NAMES = dict(zip(SAME, SAME, strict=True)) | {
    "..": "recording",
    "": "recording",
    ".": "recording",
    " ": "recording",
    ".hidden": "hidden",
    "-rf": "rf",
    "--out": "out",
    "../../etc/x": "_.._etc_x",
    "/etc/x": "_etc_x",
    "C:\\x": "C__x",
    "a\nb\tc\x1b[31m\x00": "a_b_c_[31m_",
    "a\u202eb\u200b\u2028": "a_b__",
    "CON": "CON_",
    "com1.x": "com1.x_",
    "a.": "a",
    "a\udcff": "a_",
    'a<b>|"?*': "a_b_____",
    unicodedata.normalize("NFD", "ü"): "ü",
}


def test_a_name_becomes_one_visible_part_of_a_path_and_an_ordinary_one_stays() -> None:
    assert {name: safe_name(name) for name in NAMES} == NAMES
    one, two = (safe_name("µ" * 200 + end) for end in "ab")
    assert max(len(name.encode()) for name in (one, two)) <= outputs.LONGEST
    assert one != two
    assert one.startswith("µ" * 60)


def test_names_become_distinct_also_in_capitals_and_normal_forms() -> None:
    names = ["a", "A", "a", "a_2", "b", "ü", unicodedata.normalize("NFD", "ü")]
    chosen = distinct(names)
    assert chosen[:2] == ["a", "A_2"]
    assert len({outputs.folded(name) for name in chosen}) == len(names)
    assert len(distinct(["r"] * 20_000)) == 20_000


# Files that exist already


def test_a_free_place_is_taken_and_marked_and_taken_again(tmp_path: Path) -> None:
    made = written(tmp_path / "deep" / "out")
    marker = json.loads((made.folder / MARKER).read_text())
    assert marker == {"made_by": "ECG Commander", "of": OF, "files": ["r1.csv", "r1.json"]}
    claim(tmp_path / "deep" / "out").take()
    assert {path.name for path in claim(tmp_path / "deep" / "out").earlier()} == {"r1.csv", "r1.json"}


def test_a_file_of_somebody_else_is_named_and_stays(tmp_path: Path) -> None:
    theirs = put(tmp_path / "r1" / "r1.csv")
    made = claim(tmp_path)
    assert_refused(made, theirs)
    with pytest.raises(UsageError):
        made.take()
    assert os.listdir(tmp_path / "r1") == ["r1.csv"]
    assert not made.is_of_another()


def test_other_files_beside_do_not_matter(tmp_path: Path) -> None:
    theirs = put(tmp_path / "r1" / "notes.txt")
    written(tmp_path)
    assert theirs.read_text() == "theirs"
    later = put(tmp_path / "r1" / "r1.html")  # after ours, in our folder, and not ours
    assert_refused(claim(tmp_path, names=("r1.csv", "r1.html")), later)


def test_results_of_another_source_are_neither_free_nor_ours(tmp_path: Path) -> None:
    written(tmp_path, of=OTHER)
    assert claim(tmp_path).is_of_another()
    assert claim(tmp_path).earlier() == []
    assert_refused(claim(tmp_path), tmp_path / "r1" / "r1.csv")


def test_a_command_that_was_killed_after_the_marker_can_be_repeated(tmp_path: Path) -> None:
    made = claim(tmp_path)
    made.take()
    for name in ("r1.csv", ".r1.csv.123.tmp", ".other.123.tmp"):
        os.utime(put(made.folder / name), (0, 0))
    claim(tmp_path).take()
    assert sorted(os.listdir(made.folder)) == [MARKER, ".other.123.tmp", "r1.csv"]


def test_results_of_an_earlier_version_are_known_by_their_content(tmp_path: Path) -> None:
    for name in ("r1", "r2"):
        put(tmp_path / name / "r1.csv", "ours")
    claim(tmp_path, known=lambda path: OF).take()
    assert claim(tmp_path, "r2", known=lambda path: OTHER).is_of_another()


OUTSIDE = [json.dumps({"made_by": "ECG Commander", "of": OF, "files": [name]}) for name in ("../r.csv", "/etc/passwd")]


@pytest.mark.parametrize(
    "content",
    ["", "{}", "[]", '{"made_by": "ECG Commander"}', "[" * 9999, '{"made_by": "x", "of": {}, "files": []}', *OUTSIDE],
    ids=range(8),
)
def test_another_file_with_the_name_of_the_marker_is_in_the_way(tmp_path: Path, content: str) -> None:
    marker = put(tmp_path / "r1" / MARKER, content)
    assert claim(tmp_path).earlier() == []
    assert_refused(claim(tmp_path), marker, "not a marker")
    assert not outputs.marked(tmp_path / "r1")


# Links, and files where folders should be


def test_links_are_not_written_through(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "victim").mkdir()
    for name in ("r2", "r3"):
        (out / name).mkdir(parents=True)
    links = {out / "r1": "../victim", out / "r2" / "r1.csv": "../../nowhere", out / "r3" / MARKER: "../../nowhere"}
    for link, target in links.items():
        link.symlink_to(target)
    says = ("is a link", "is there already", "not a marker")
    for within, link, what in zip(("r1", "r2", "r3"), links, says, strict=True):
        assert_refused(claim(out, within), link, what)
    written(out, within="r4")
    (tmp_path / "link").symlink_to("out")
    claim(tmp_path / "link", "r4").take()  # the folder that the user gave


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_refused(claim(tmp_path, "file"), put(tmp_path / "file"), "is no folder")
    for base in ("file", "file/deeper"):
        with pytest.raises(ResourceError, match=r"cannot make the folder: file is a file .*/file\)"):
            claim(tmp_path / base).check()
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(ResourceError, match="cannot make the folder: No space"):
        claim(tmp_path).take()


# Several


def test_places_are_numbered_where_others_have_them(tmp_path: Path) -> None:
    written(tmp_path, of=OTHER)
    (tmp_path / "R2").mkdir()
    names = ["r1", "R1", "r2", "index.html", "r1"]
    claims = placed(tmp_path, names, lambda _, name: claim(tmp_path, name), instead="x", reserved=["index.html"])
    assert [each.within for each in claims] == ["r1_2", "R1_3", "r2_2", "index.html_2", "r1_4"]
    assert len({outputs.folded(each.within) for each in claims}) == 5


def test_an_input_where_results_go_is_named(tmp_path: Path) -> None:
    whole, own = claim(tmp_path, "", ("summary.csv",)), claim(tmp_path)
    outputs.apart([whole, own], [tmp_path / "r0.hea", tmp_path / "r0" / "r1.csv"])
    for path in (tmp_path / "r1" / "deep" / "x.hea", tmp_path / "summary.csv", tmp_path / "a" / ".." / "r1" / "r1.dat"):
        with pytest.raises(UsageError, match="is an input of this command"):
            outputs.apart([whole, own], [path])


def test_a_file_with_another_first_line_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "quality.csv"
    outputs.check_head(path, "record,fault")
    assert not outputs.begins(path, "record,fault")
    path.write_text("record,fault\n")
    outputs.check_head(path, "record,fault")
    path.write_text("record,quality\n")
    with pytest.raises(UsageError, match="not written by this program"):
        outputs.check_head(path, "record,fault")


# The identity of a recording


def test_the_source_of_a_record_is_its_header_and_its_samples(tmp_path: Path) -> None:
    for folder, content in (("a", "1"), ("b", "2"), ("c", "1")):
        put(tmp_path / folder / "r.hea", "# r\nr 2 250 10\nr.dat 16 200\nother.dat 16 200\n")
        put(tmp_path / folder / "r.dat", content)
    one, two, three = (wfdb.source(tmp_path / folder / "r.hea") for folder in "abc")
    assert one == three != two
    assert one["sha256"] == two["sha256"]
    assert one["signals"]["other.dat"] is None
    assert [path.name for path in wfdb.files_of(tmp_path / "a" / "r.hea")] == ["r.hea", "r.dat", "other.dat"]


def test_segments_are_followed_and_loops_pipes_and_broken_headers_end(tmp_path: Path) -> None:
    put(tmp_path / "m.hea", "m/3 1 250 30\ns1 10\n~ 10\nm 10\ns2 10\n")
    put(tmp_path / "s1.hea", "s1 1 250 10\nx/s1.dat 16\nfifo 16\n")
    (tmp_path / "s2.hea").write_bytes(b"\xff\x00\n\x00 1\n")
    os.mkfifo(tmp_path / "fifo")
    names = [str(path.relative_to(tmp_path)) for path in wfdb.files_of(tmp_path / "m.hea")]
    assert names == ["m.hea", "s1.hea", "s2.hea", "x/s1.dat", "fifo", "\x00"]
    assert wfdb.source(tmp_path / "m.hea")["signals"]["fifo"] is None
    assert wfdb.source(tmp_path / "none.edf") == {"file": "none.edf", "sha256": None}
