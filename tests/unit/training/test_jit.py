"""jit_compile=True: the same numbers, the same bits on any number of workers, and what happens where the compiler fails."""

from __future__ import annotations

import re
import subprocess
import sys

import numpy as np
import pytest
import torch
from engine_runs import alone, bits, job_of, on_workers, run_to_end, step

import disttrain as dt
from disttrain import layers
from disttrain.errors import UsageError
from disttrain.training.local import runner
from disttrain.training.step import jit

TORCH_2_7 = torch.__version__.startswith("2.7.")  # its compiler fails at buffers that are variables; that is refused, or told
rng = np.random.default_rng(0)
X, Y = rng.normal(size=(12, 5)).astype(np.float32), rng.integers(0, 3, 12)  # each size of slice is compiled: let there be few


@pytest.fixture(autouse=True)
def fresh():
    dt.clear_session()
    dt.set_random_seed(0)
    with runner.installed(runner.LocalRunner(runner._InProcess())):
        yield
    torch._dynamo.reset()


@pytest.fixture
def without_inductor(monkeypatch):
    """Graphs are found by the compiler and run as they are: its C++ takes seconds for each."""
    monkeypatch.setattr(jit, "_backend", lambda graph, inputs, **how: graph.forward)


def model(jit_compile: bool) -> dt.Sequential:
    dt.clear_session()
    dt.set_random_seed(0)
    made = dt.Sequential(
        [
            dt.Input((5,)),
            layers.Dense(4, activation="relu", kernel_regularizer="l2", activity_regularizer="l1"),
            layers.Dropout(0.3),
            *([] if TORCH_2_7 else [layers.BatchNormalization()]),
            layers.Dense(3, activation="softmax"),
        ]
    )
    made.compile(dt.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=jit_compile)
    return made


@pytest.mark.parametrize("virtual_workers", [1, 3])
def test_the_numbers_are_those_of_an_eager_fit(virtual_workers, without_inductor):
    def trained(jit_compile):
        with runner.installed(runner.LocalRunner(runner._InProcess(virtual_workers))):
            made = model(jit_compile)
            history = made.fit(X, Y, batch_size=6, epochs=2, validation_data=(X[:6], Y[:6]), verbose=0).history
            return history, made.predict(X, batch_size=6, verbose=0), made.evaluate(X, Y, batch_size=6, verbose=0)

    (eager, predicted, evaluated), (quick, also_predicted, also_evaluated) = trained(False), trained(True)
    for name, values in eager.items():
        np.testing.assert_allclose(quick[name], values, rtol=1e-5)
    np.testing.assert_allclose(also_predicted, predicted, rtol=1e-5)
    np.testing.assert_allclose(also_evaluated, evaluated, rtol=1e-5)


def test_the_bits_do_not_depend_on_the_number_of_workers(without_inductor):
    job = job_of(model(True), 3, X, Y, batch_size=6)
    expected = bits(run_to_end(alone(job)))
    for engine in on_workers(job, 2):
        assert bits(engine) == expected


def test_where_the_compiler_fails_one_warning_says_why_and_the_model_runs():
    """In a process of its own: what other tests have compiled, or failed to, is not this one's."""
    script = (
        "import warnings, numpy as np, disttrain as dt, torch._inductor.compile_fx as inductor\n"
        "def broken(*arguments, **how): raise RuntimeError('no C++ compiler here\\nand more words')\n"
        "inductor.compile_fx = broken\n"
        "def evaluated(quick):\n"
        "    dt.clear_session(); dt.set_random_seed(0)\n"
        "    m = dt.Sequential([dt.Input((5,)), dt.layers.Dense(3)]); m.compile('sgd', 'mse', jit_compile=quick)\n"
        "    return m.evaluate(np.ones((4, 5)), np.ones((4, 3)), verbose=0)\n"
        "with warnings.catch_warnings(record=True) as said:\n"
        "    warnings.simplefilter('always')\n"
        "    quick = [evaluated(True), evaluated(False)]\n"
        "print(*quick, *[str(one.message) for one in said if 'jit_compile' in str(one.message)], sep='\\n')"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    quick, eager, *words = done.stdout.strip().splitlines()[-3:]
    assert float(quick) == pytest.approx(float(eager), rel=1e-6)
    assert len(words) == 1 and re.search("jit_compile=True: Sequential .* runs without the compiler, which failed: no C", words[0])


@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiler_that_fails_is_refused_where_other_workers_may_have_one_that_works(monkeypatch):
    def broken(*arguments, **how):
        raise RuntimeError("no C++ compiler here\nand more words")

    monkeypatch.setattr("torch._inductor.compile_fx.compile_fx", broken)
    with (
        runner.installed(runner.LocalRunner(runner._InProcess(2))),
        pytest.raises(UsageError, match=r"Sequential .* cannot be compiled here: no C\+\+ compiler here(.|\n)*jit_compile=False"),
    ):
        model(True).fit(X, Y, batch_size=6, verbose=0)


def test_what_is_compiled_depends_on_sizes_alone_so_that_a_late_worker_computes_as_the_others_do(monkeypatch):
    compiled = []

    def rounding_otherwise(graph, inputs, **how):
        compiled.append([tuple(value.shape) for value in inputs if isinstance(value, torch.Tensor)])

        def run(*arguments):
            return [
                part * (1 + 2.0**-20) if isinstance(part, torch.Tensor) and part.is_floating_point() else part
                for part in graph.forward(*arguments)
            ]

        return run

    monkeypatch.setattr(jit, "_backend", rounding_otherwise)
    job = job_of(model(True), 3, X, Y, batch_size=6, epochs=4)
    one = alone(job)
    step(one)
    first = len(compiled)
    run_to_end(one)
    assert first and len(compiled) == first  # neither keys nor steps are compiled in
    for engine in on_workers(job, 3):
        assert bits(engine) == bits(one)


def test_what_the_models_own_code_raises_comes_through(without_inductor):
    class Odd(layers.Layer):
        def call(self, x, training=False):
            if training:
                raise KeyError("mine")
            return x

    made = dt.Sequential([layers.Dense(2), Odd()])
    made.compile("sgd", "mse", jit_compile=True)
    with pytest.raises(KeyError, match="mine"):
        made.fit(X, X[:, :2], verbose=0)


def test_run_eagerly_wins_over_jit_compile():
    made = model(False)
    with pytest.warns(UserWarning, match="run_eagerly wins"):
        made.compile("sgd", "mse", run_eagerly=True, jit_compile=True)
    assert made.jit_compile is False and made.run_eagerly is True


def test_auto_is_eager_and_imports_no_compiler():
    script = (
        "import sys, torch.utils.checkpoint; own = set(sys.modules)\n"  # which brings sympy in torch 2.7
        "import numpy as np, disttrain as dt\n"
        "m = dt.Sequential([dt.layers.Dense(1)]); m.compile('sgd', 'mse'); m.fit(np.ones((4, 2)), np.ones((4, 1)), verbose=0)\n"
        "assert m.jit_compile is False; print(sorted({'torch._dynamo', 'torch._inductor', 'sympy'} & {*sys.modules} - own))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip().splitlines()[-1] == "[]"
