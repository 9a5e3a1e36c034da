"""Progress: what is said where, from any number of threads; and that it draws no random number."""

import sys
import threading

import pytest
import torch

import escape.progress as module
from escape.progress import Progress


@pytest.mark.parametrize("show", [None, False])
def test_nothing_is_said_unasked(show, capsys):
    with Progress(10, show) as progress:
        progress.advance(10)
    assert capsys.readouterr() == ("", "")


def test_a_callable_is_told():
    told = []
    with Progress(10, lambda done, total: told.append((done, total))) as progress:
        progress.advance(3)
        progress.advance(7)
    assert told == [(3, 10), (10, 10)]


def test_a_file_gets_timed_lines(capsys, monkeypatch):
    with Progress(10, "walk") as progress:
        progress.advance(4)
        monkeypatch.setattr(module, "_EVERY", 0.0)
        progress.advance(1)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("walk: 50% after ")
    assert lines[1].startswith("walk: done in ")


def test_true_is_labelled(capsys):
    with Progress(1, True):
        pass
    assert capsys.readouterr().err.startswith("simulate: done in ")


def test_a_terminal_gets_a_bar(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with Progress(10, "walk") as progress:
        progress.advance(10)
    err = capsys.readouterr().err
    assert "walk" in err.split("\r")[1]
    assert "|" in err


def test_a_failure_is_not_called_done(capsys):
    with pytest.raises(KeyError), Progress(10, True):
        raise KeyError
    assert "done" not in capsys.readouterr().err


def test_threads_lose_no_count():
    with Progress(80_000, None) as progress:

        def work():
            for _ in range(10_000):
                progress.advance(1)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert progress.done == 80_000


def test_no_random_number_is_drawn(capsys):
    before = torch.get_rng_state()
    with Progress(10, True) as progress:
        progress.advance(10)
    assert torch.equal(torch.get_rng_state(), before)
