from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from edge.atomic import remove_leftovers, replacing, replacing_all, write_atomic


def ended_process() -> int:
    """The number of a process that is no more."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


def test_the_new_content_replaces_the_old(tmp_path):
    path = tmp_path / "file.json"
    for content in (b"old", b"new"):
        write_atomic(path, content)
        assert path.read_bytes() == content
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_content_and_no_litter(tmp_path):
    path = tmp_path / "file.json"
    write_atomic(path, b"old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as temporary:
        temporary.write_bytes(b"half")
        assert path.read_bytes() == b"old"
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_atomic(tmp_path / "nowhere" / "file.json", b"new")


def test_of_several_files_none_takes_its_place_until_all_are_on_the_disk(tmp_path, monkeypatch):
    paths = [tmp_path / name for name in ("a.onnx", "b.onnx", "c.json")]
    for path in paths:
        write_atomic(path, b"old")
    synced, sync = [], os.fsync

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"), replacing_all(paths) as temporaries:
        for temporary in temporaries:
            temporary.write_bytes(b"new")
    assert [path.read_bytes() for path in paths] == [b"old"] * 3
    assert sorted(tmp_path.iterdir()) == paths


def test_only_what_killed_processes_left_is_removed(tmp_path):
    """Killed in the middle of writing; beside it are files of a process that is alive, and of somebody else."""
    code = "import os, sys, pathlib; from edge.atomic import replacing\n"
    code += "with replacing(pathlib.Path(sys.argv[1])) as path: path.touch(); os.abort()"
    for name in ("manifest.json", "manifest", "a.b.onnx"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=False)
    assert len(list(tmp_path.iterdir())) == 3
    kept = [".hidden", f".notes.{ended_process()}.txt", f"manifest.{ended_process()}.tmp.json"]
    for name in kept:
        (tmp_path / name).touch()
    with replacing(tmp_path / "manifest.json") as ours:
        ours.touch()
        remove_leftovers(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*kept, ours.name])


def test_there_may_be_no_folder_to_remove_leftovers_from(tmp_path):
    remove_leftovers(tmp_path / "nowhere")
