"""Two threads, two queues: work for the callbacks one way, their questions the other, and nothing re-enters."""

from __future__ import annotations

import signal
import threading

import pytest

from disttrain.controller.mailbox import Done, Gone, Mailbox, Question


def on_a_thread(work) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def test_work_is_done_in_order_on_the_thread_that_serves_and_its_results_come_back():
    mailbox, threads = Mailbox(), []

    def note(value):
        threads.append(threading.current_thread())
        return value

    mailbox.do("a", lambda: note(1))
    mailbox.do("b", lambda: note(2))
    assert not mailbox.idle
    mailbox.end()
    mailbox.serve()
    assert mailbox.answers() == [Done("a", 1), Done("b", 2)] and mailbox.idle
    assert threads == [threading.current_thread()] * 2


def test_a_question_waits_for_its_reply_and_the_other_side_is_woken():
    woken = threading.Event()
    mailbox = Mailbox(woken.set)
    mailbox.do("hook", lambda: mailbox.ask("weights") + 1)
    server = on_a_thread(mailbox.serve)
    assert woken.wait(300)
    (question,) = mailbox.answers(10.0)
    assert isinstance(question, Question) and question.what == "weights"
    question.answer(41)
    assert mailbox.answers(10.0) == [Done("hook", 42)]
    mailbox.end()
    server.join(300)


def test_work_whose_question_will_never_be_answered_ends_and_the_next_is_done():
    mailbox = Mailbox()

    def hook():
        try:
            mailbox.ask("weights")
        except Exception:
            return "went on with half of it"

    mailbox.do("hook", hook)
    mailbox.do("next", lambda: 1)
    server = on_a_thread(mailbox.serve)
    (question,) = mailbox.answers(10.0)
    question.answer(error=Gone())
    found = []
    while len(found) < 2:
        found += mailbox.answers(10.0)
    assert found == [Done("hook", given_up=True), Done("next", 1)]
    mailbox.end()
    server.join(300)


def test_an_error_of_the_controller_is_raised_where_the_script_waits():
    mailbox = Mailbox()
    on_a_thread(lambda: mailbox.end(LookupError("gone")))
    with pytest.raises(LookupError, match="gone"):
        mailbox.serve()


def test_an_error_in_a_callback_passes_through():
    mailbox = Mailbox()
    mailbox.do("hook", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        mailbox.serve()


def test_a_signal_reaches_the_script_while_it_waits_for_work_or_for_a_reply():
    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, interrupt)
    main = threading.main_thread().ident
    try:
        mailbox = Mailbox()
        for prepare in (lambda: None, lambda: mailbox.do("hook", lambda: mailbox.ask("weights"))):
            prepare()
            timer = threading.Timer(0.2, signal.pthread_kill, (main, signal.SIGUSR1))
            timer.start()
            with pytest.raises(KeyboardInterrupt):
                mailbox.serve()
            timer.join()
    finally:
        signal.signal(signal.SIGUSR1, before)
