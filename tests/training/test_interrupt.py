"""A signal is noted or ends the work, by where it comes; a second Ctrl-C leaves at once."""

from __future__ import annotations

import os
import signal

import pytest

from nextword.training.parallel import interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_needs_no_saving(number: int) -> None:
    with pytest.raises(KeyboardInterrupt) as stopped, interruptible():
        os.kill(os.getpid(), number)
        signal.pause()
    assert stopped.value.args == (number,)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_the_loop_it_is_noted(number: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = signal.getsignal(signal.SIGINT)  # ignored, where the tests run in the background
    with interruptible() as interrupt, interrupt.deferred():
        os.kill(os.getpid(), number)
        assert interrupt.requested == number
    assert "saving, then stopping" in capfd.readouterr().err
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_a_ctrl_c_after_a_signal_leaves_at_once(first: int) -> None:
    child = os.fork()
    if child == 0:
        try:
            with interruptible() as interrupt, interrupt.deferred():
                os.kill(os.getpid(), first)
                os.kill(os.getpid(), signal.SIGINT)
                os._exit(1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 130
