import gzip
from pathlib import Path

import pytest

from thence.core.errors import DataError, ThenceError, UsageError
from thence.tasks.files import MISSING, Row, field, need_column, read_rows


def written(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


JSONL = '{"q": "a", "n": {"x": [1, 2]}}\n\n{"q": "b"}\n'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", JSONL),
        ("d.jsonl.gz", gzip.compress(JSONL.encode(), mtime=0)),
        ("d.data", JSONL),
        ("d.json", '[{"q": "a"}, {"q": "b"}]'),
        ("d.json.gz", gzip.compress(b'[{"q": "a"}, {"q": "b"}]', mtime=0)),
        ("d", '[{"q": "a"}, {"q": "b"}]'),
        ("d.csv", '\ufeffq,n\na,"1\n2"\nb,3\n'),
        ("d.csv.gz", gzip.compress(b"q\r\na\r\nb\r\n", mtime=0)),
    ],
)
def test_rows_of_every_format(tmp_path: Path, name: str, content: str | bytes) -> None:
    rows = read_rows(written(tmp_path / name, content), "task")
    assert [row.fields["q"] for row in rows] == ["a", "b"]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    assert [r.where for r in read_rows(written(tmp_path / "d.jsonl", JSONL), "t")] == ["line 1", "line 3"]
    file = written(tmp_path / "d.csv", 'q,n\na,"1\n2"\nb,3\n')
    assert [r.where for r in read_rows(file, "t")] == ["line 3", "line 4"]
    assert len(read_rows(written(tmp_path / "e.jsonl", '{"q": "a\u2028b"}\n'), "t")) == 1


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("d.jsonl", '{"q": 1}\n{"q": \n', "line 2 is not JSON"),
        ("d.jsonl", '{"q": 1}\n<html>\x1b[31m\n', "line 2 is not JSON.*<html>␛"),
        ("d.jsonl", '{"q": NaN}\n', "line 1 is not JSON.*NaN is not allowed"),
        ("d.jsonl", "[1, 2]\n", "line 1: this is an array"),
        ("d.jsonl", "3\n", "line 1: this is a number"),
        ("d.jsonl", "[" * 100_000, "line 1 is nested too deeply"),
        ("d.jsonl", "", "no rows"),
        ("d.jsonl", "\n \n", "no rows"),
        ("d.jsonl", b"\xff\xfe{", "not UTF-8"),
        ("d.jsonl", b"\x1f\x8b\x08broken", "damaged gzip"),
        ("d.jsonl", gzip.compress(JSONL.encode(), mtime=0)[:-9], "damaged gzip"),
        ("d.json", '{"q": 1}', "an object; it must be an array"),
        ("d.json", '[{"q": 1}, 2]', "entry 2: this is a number"),
        ("d.json", "[1", "is not JSON"),
        ("d.csv", "q,n\na\n", "line 2: the row does not have the 2 columns"),
        ("d.csv", "q\na,b\n", "line 2: the row does not have the 1 columns"),
        ("d.csv", 'q\n"a\n', "line"),
    ],
)
def test_bad_files_get_one_clear_line(tmp_path: Path, name: str, content: str | bytes, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        read_rows(written(tmp_path / name, content), "jsonl")
    assert "\n" not in str(caught.value)
    assert name in str(caught.value)


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    written(tmp_path / "questions.jsonl", JSONL)
    with pytest.raises(UsageError, match=r"did you mean questions\.jsonl"):
        read_rows(tmp_path / "question.jsonl", "jsonl")
    with pytest.raises(UsageError, match="is a directory"):
        read_rows(tmp_path, "jsonl")
    with pytest.raises(ThenceError, match="does not exist either"):
        read_rows(tmp_path / "no" / "file", "jsonl")


def test_columns_nest_by_dots() -> None:
    row = Row("line 1", {"a": {"b": [{"c": 1}]}, "a.b": 2, "d": None})
    assert field(row, "a.b") == 2
    assert field(row, "a.b.0.c") == 1
    assert field(row, "d") is None
    for absent in ("a.c", "a.b.1", "a.b.x", "e", "d.e", ""):
        assert field(row, absent) is MISSING


def test_a_missing_column_lists_what_is_there() -> None:
    rows = [Row("line 1", {"question": "q", "meta": {"target": 1}})]
    with pytest.raises(
        UsageError, match=r"no column 'questoin'; did you mean question=question\? .* meta, meta\.target"
    ):
        need_column(rows, "questoin", "question", "jsonl: f")
