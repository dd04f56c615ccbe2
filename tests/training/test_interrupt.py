"""skytutor.training.interrupt: whose handler answers a signal, and whose it is again afterwards."""

import signal
import threading

import pytest

from skytutor.training.interrupt import Interrupted, StopRequest, answer_signals


@pytest.fixture
def heard():
    """Give SIGTERM a handler of the test's own that notes the signal, and SIGHUP none."""
    numbers = []
    before = {
        signal.SIGTERM: signal.signal(signal.SIGTERM, lambda number, frame: numbers.append(number)),
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_DFL),
    }
    yield numbers
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_handler_answers_inside_and_the_earlier_one_afterwards(heard):
    answered = []
    with answer_signals(lambda number, frame: answered.append(number)):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    assert answered == [signal.SIGTERM, signal.SIGHUP] and heard == []
    signal.raise_signal(signal.SIGTERM)
    assert heard == [signal.SIGTERM]
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_the_earlier_handlers_come_back_after_an_error(heard):
    earlier = signal.getsignal(signal.SIGTERM)

    def end(number, frame):
        raise InterruptedError(number)

    with pytest.raises(InterruptedError), answer_signals(end):
        signal.raise_signal(signal.SIGHUP)
    assert signal.getsignal(signal.SIGTERM) is earlier
    assert signal.getsignal(signal.SIGHUP) is signal.SIG_DFL


def test_an_ignored_signal_stays_ignored(heard):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    answered = []
    with answer_signals(lambda number, frame: answered.append(number)):
        signal.raise_signal(signal.SIGHUP)
    assert answered == [] and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN


def test_a_handler_of_the_program_stays_where_it_is_asked_for(heard):
    answered = []
    names = ("SIGTERM", "SIGHUP")
    with answer_signals(
        lambda number, frame: answered.append(number), names=names, unhandled_only=True
    ):
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGHUP)
    assert heard == [signal.SIGTERM] and answered == [signal.SIGHUP]


def test_in_another_thread_nothing_changes(heard):
    earlier = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with answer_signals(lambda number, frame: None), StopRequest():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [earlier]


def test_a_name_that_this_system_does_not_have_is_left_out():
    with answer_signals(lambda number, frame: None, names=("SIGNOTHING",)):
        pass


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_exit_statuses_are_a_shell_s(number, status):
    assert Interrupted("stopped", signum=number).exit_status == status
