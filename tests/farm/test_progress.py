from __future__ import annotations

import io

from farm.progress import Progress, duration


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_durations_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (0, 59.9, 61, 3599, 3600, 19_000)] == [
        "0 s",
        "59 s",
        "1 min 01 s",
        "59 min 59 s",
        "1 h 00 min",
        "5 h 16 min",
    ]


def test_a_terminal_has_one_live_line_that_vanishes() -> None:
    terminal = Terminal()
    with Progress(4, quiet=False, stream=terminal) as progress:
        progress.note("starting Ray")
        progress.advance(px=1_000_000)
        progress.advance(px=0, failed=True)
        line = progress.line(progress._started_s + 10)
    assert line == "[##########..........] 2/4  0.10 MP/s  1 failed  10 s left"
    assert "\n" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_bands_of_a_large_picture_move_the_line() -> None:
    progress = Progress(1, quiet=False, stream=Terminal())
    progress.advance_part(px=2_000_000, partial=0.25)
    assert progress.line(progress._started_s + 10) == "[#####...............] 0/1  0.20 MP/s  30 s left"


def test_a_file_gets_a_line_now_and_then_and_quiet_gets_none() -> None:
    for quiet in (False, True):
        stream = io.StringIO()
        with Progress(2, quiet=quiet, stream=stream) as progress:
            progress.advance(px=1)
            assert stream.getvalue() == ""
            progress._printed_s -= 60
            progress.advance(px=1)
        assert stream.getvalue().count("\n") == (0 if quiet else 1)


def test_films_show_their_frames_and_what_is_left_of_them() -> None:
    progress = Progress(2, quiet=False, stream=Terminal())
    progress._film_s = progress._started_s
    progress.note_film("a", "holiday\x1b[2J.mp4", 48, 181, fresh=48)
    progress.advance_part(px=48, partial=48 / 181)
    assert progress.line(progress._started_s + 10) == (
        "[##..................] 0/2  4.80 frames/s  holiday?[2J.mp4 48/181 27 s left  1 min 05 s left"
    )
    progress.note_film("a", "holiday.mp4", 181, 181, fresh=133)
    assert "holiday" not in progress.line(progress._started_s + 20)


def test_frames_of_an_earlier_run_do_not_count_as_speed() -> None:
    progress = Progress(1, quiet=False, stream=Terminal())
    progress._film_s = progress._started_s
    progress.note_film("a", "a.mp4", 110, 200, fresh=10)
    assert "1.00 frames/s  a.mp4 110/200 1 min 30 s left" in progress.line(progress._started_s + 10)


def test_what_earlier_runs_did_shows_in_the_bar_and_not_in_the_estimate() -> None:
    progress = Progress(1, quiet=False, stream=Terminal())
    progress.advance_part(px=1_000_000, partial=0.75, known=0.5)
    assert progress.line(progress._started_s + 10) == "[###############.....] 0/1  0.10 MP/s  10 s left"


def test_a_film_that_failed_is_not_shown_any_more() -> None:
    progress = Progress(2, quiet=False, stream=Terminal())
    progress.note_film("a", "a.mp4", 48, 181, fresh=48)
    progress.drop_film("a")
    assert "a.mp4" not in progress.line(progress._started_s + 10)
