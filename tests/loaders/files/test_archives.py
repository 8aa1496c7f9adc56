"""A zip is unpacked only when it is what its publisher made, and nothing in it can do harm."""

import hashlib
import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.data import MITDB_ZIP
from helpers.servers import CONTENT, PAGE, member, unprivileged, zipped
from loaders.files.archives import opened, unpacked
from toolbox.errors import DataError, DownloadError, ResourceError


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders are made."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def archive_of(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "some.zip"
    path.write_bytes(content)
    return path


def test_a_zip_is_unpacked_into_a_folder_that_is_removed_also_after_an_error(tmp_path: Path, scratch: Path) -> None:
    path = archive_of(tmp_path, zipped({"db/a": "hello"}))
    with unpacked(path) as folder:
        assert (folder / "db" / "a").read_text() == "hello"
        assert folder.is_relative_to(scratch)
    assert os.listdir(scratch) == []
    with pytest.raises(DataError) as caught, unpacked(path) as folder:
        raise DataError("damaged", where=f"{folder / 'db' / 'a'}, line 1")
    assert caught.value.where == f"{path / 'db' / 'a'}, line 1"  # the zip, in place of the folder
    assert os.listdir(scratch) == []


UNSAFE = {
    "..": ("../outside", "leads out"),
    "nested ..": ("a/../../outside", "leads out"),
    "backslashes": ("..\\outside", "leads out"),
    "absolute": ("/outside", "leads out"),
    "drive": ("C:outside", "leads out"),
    "end of text": ("outsideNUL", "leads out"),
    "no name": (".", "no name"),
    "symbolic link": (member("outside", kind=stat.S_IFLNK), "neither a file nor a folder"),
    "named pipe": (member("pipe", kind=stat.S_IFIFO), "neither a file nor a folder"),
    "device": (member("null", kind=stat.S_IFCHR), "neither a file nor a folder"),
    "same name": ("first", "twice"),
    "same name in capitals": ("FIRST", "twice"),
    "same name by another way": (".//first", "twice"),
    "folder of the same name": ("first/", "twice"),
    "folder of the same name with a file": ("first/second", "twice"),
    "bzip2": (member("bomb", method=zipfile.ZIP_BZIP2), "another method"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize(("unsafe", "says"), UNSAFE.values(), ids=UNSAFE)
def test_nothing_of_an_unsafe_zip_is_written(
    tmp_path: Path, scratch: Path, unsafe: str | zipfile.ZipInfo, says: str
) -> None:
    marker = b"cannot be unpacked without an error"
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("first", marker)
        archive.writestr(unsafe, "/etc/passwd")
    path = archive_of(tmp_path, packed.getvalue().replace(marker, marker[::-1]).replace(b"NUL", b"\0.."))
    with pytest.raises(DownloadError, match=f"not safe to read: .* {says}") as caught, unpacked(path):
        pass
    assert caught.value.where == str(path)
    assert len(str(caught.value).splitlines()) == 1
    assert os.listdir(scratch) == []
    assert sorted(os.listdir(tmp_path)) == ["scratch", "some.zip"]


def stating(content: bytes, size: int) -> bytes:
    """The zip whose directory states another size of its only member."""
    begin = content.index(b"PK\x01\x02") + 24
    return content[:begin] + size.to_bytes(4, "little") + content[begin + 4 :]


def test_a_zip_that_would_fill_the_disk_is_refused_by_the_size_it_states(tmp_path: Path, scratch: Path) -> None:
    path = archive_of(tmp_path, stating(zipped({"bomb": bytes(10_000_000)}), 4_000_000_000))
    with pytest.raises(DownloadError, match=f"its {path.stat().st_size} bytes unpack to 4000000000"), unpacked(path):
        pass
    assert os.listdir(scratch) == []


def test_a_zip_that_states_less_than_it_holds_is_stopped_there(tmp_path: Path, scratch: Path) -> None:
    path = archive_of(tmp_path, stating(zipped({"bomb": bytes(10_000_000)}), 1000))
    with pytest.raises(DataError, match="damaged"), unpacked(path):
        pass
    assert os.listdir(scratch) == []
    with pytest.raises(zipfile.BadZipFile), opened(path) as archive, archive.open("bomb") as file:
        assert len(file.read(10**9)) <= 1000


@pytest.mark.parametrize("name", [MITDB_ZIP, "training2017-first2000.zip", "twelve-lead-samples.zip"])
def test_the_zips_of_real_recordings_are_safe(shared: Callable[[str], Path], name: str) -> None:
    with opened(shared(name)) as archive:
        assert archive.namelist()


def sums(**content: str) -> str:
    return "".join(f"{hashlib.sha256(text.encode()).hexdigest()} {name}\n" for name, text in content.items())


def test_a_file_that_does_not_match_the_sums_inside_is_refused(tmp_path: Path, scratch: Path) -> None:
    content = zipped({"db/a": "one", "db/b": "changed", "db/SHA256SUMS.txt": sums(a="one", b="two", elsewhere="three")})
    with pytest.raises(DownloadError, match="b has the SHA-256") as caught, unpacked(archive_of(tmp_path, content)):
        pass
    assert all(hashlib.sha256(text.encode()).hexdigest() in caught.value.what for text in ("two", "changed"))
    assert os.listdir(scratch) == []


@pytest.mark.parametrize("separator", [" ", "  ", " *"])
def test_files_that_match_the_sums_inside_are_accepted(tmp_path: Path, separator: str) -> None:
    listed = sums(a="one", b="two", elsewhere="three").replace(" ", separator)
    with unpacked(archive_of(tmp_path, zipped({"db/a": "one", "db/b": "two", "db/SHA256SUMS.txt": listed}))) as folder:
        assert (folder / "db" / "b").read_text() == "two"


def encrypted(content: bytes) -> bytes:
    """The zip with the flag of encryption set on its only member."""
    begin = content.index(b"PK\x01\x02") + 8
    return content[:6] + b"\x01" + content[7:begin] + b"\x01" + content[begin + 1 :]


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(DownloadError, match="'a' is encrypted"),
        unpacked(archive_of(tmp_path, encrypted(zipped({"a": "1"})))),
    ):
        pass


def test_sums_of_files_outside_are_passed_over(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("secret")
    listed = f"{'0' * 64} {outside}\n{'0' * 64} ../outside\n"
    with unpacked(archive_of(tmp_path, zipped({"db/a": "one", "db/SHA256SUMS.txt": listed}))) as folder:
        assert (folder / "db" / "a").is_file()


@pytest.mark.parametrize("content", [
    pytest.param(b"", id="empty"),
    pytest.param(PAGE, id="a web page"),
    pytest.param(CONTENT[:-1000], id="cut off"),
    pytest.param(CONTENT[:500_000] + b"x" * 1000 + CONTENT[501_000:], id="damaged inside"),
    pytest.param(zipped({"é": "1"}).replace("é".encode(), b"\xff\xff"), id="a name that is no text"),
])  # fmt: skip
def test_a_zip_that_cannot_be_read_is_a_data_error_that_names_it(tmp_path: Path, scratch: Path, content: bytes) -> None:
    path = archive_of(tmp_path, content)
    with pytest.raises(DataError, match="damaged") as caught, unpacked(path):
        pass
    assert caught.value.where == str(path)
    assert os.listdir(scratch) == []


def test_a_zip_that_may_not_be_read_is_a_resource_error_that_names_it() -> None:
    with unprivileged() as folder:
        path = archive_of(folder, CONTENT)
        path.chmod(0)
        with pytest.raises(ResourceError, match="Permission denied") as caught, unpacked(path):
            pass
    assert caught.value.where == str(path)
