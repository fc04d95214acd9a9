"""What a run is planned to be follows from the text, the time and the machine's speed."""

from __future__ import annotations

from pathlib import Path

import pytest

from nextword.errors import UserError
from nextword.models.config import TransformerConfig, parameter_count
from nextword.models.sizes import flops_per_token
from nextword.settings import PretrainSettings
from nextword.tokens.store import Store
from nextword.training import planning
from nextword.training.planning import PretrainPlan, plan
from nextword.training.workload import Machine, expected_loss

PEAK = 1e12


def measured(config: TransformerConfig, batch: int, micro: int) -> float:
    return 0.3 * PEAK / flops_per_token(config, config.context_length)


def planned(store: Path, **settings: object) -> PretrainPlan:
    opened = Store.open(store)
    chosen = PretrainSettings.model_validate(settings)
    return plan(chosen, opened.train, Machine(peak=PEAK, measure=measured))


def test_a_budget_is_filled_and_not_overrun(store: Path) -> None:
    planned_run = planned(store, budget="10m", size="1m", context_length=32)
    assert 0.85 * 600 < planned_run.expected_seconds <= 600


def test_more_time_makes_a_model_no_smaller(store: Path) -> None:
    sizes = [parameter_count(planned(store, budget=b).config) for b in ("10s", "10m", "10h")]
    assert sizes == sorted(sizes)


def test_epochs_and_steps_are_kept(store: Path) -> None:
    planned_run = planned(store, epochs=3.0, batch_size=2, context_length=32)
    tokens = len(Store.open(store).train)
    assert planned_run.schedule.steps == pytest.approx(3 * tokens / 64, abs=1)
    assert planned(store, steps=17).schedule.steps == 17


def test_the_same_inputs_give_the_same_plan(store: Path) -> None:
    assert planned(store, budget="1m") == planned(store, budget="1m")


def test_text_too_short_for_a_block_says_what_it_needs(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> float:
        raise AssertionError("speed was measured, for a model that cannot be trained")

    monkeypatch.setitem(globals(), "measured", slow)
    with pytest.raises(UserError, match=f"^{store}: .* needs at least 1,000,001 tokens"):
        planned(store, context_length=1_000_000, steps=1)


def planned_at(store: Path, gigaflops: float, budget: str) -> PretrainPlan:
    """For a machine that trains at so many GFLOP/s."""

    def speed(config: TransformerConfig, batch: int, micro: int) -> float:
        return gigaflops * 1e9 / flops_per_token(config, config.context_length)

    settings = PretrainSettings(budget=budget)  # type: ignore[arg-type]
    return plan(settings, Store.open(store).train, Machine(gigaflops * 4e9, speed))


@pytest.mark.parametrize("gigaflops", [5.0, 50.0, 500.0])
@pytest.mark.parametrize("budget", ["20s", "2m", "20m"])
def test_small_budgets_still_have_steps_to_learn_from(
    store: Path, gigaflops: float, budget: str
) -> None:
    found = planned_at(store, gigaflops, budget)
    rows, context, steps = found.batch_size, found.config.context_length, found.schedule.steps
    assert steps >= 100, "a few hundred steps"
    assert 256 <= rows * context <= max(4096, steps * rows * context / 500)
    assert rows >= 4 and context >= 64
    assert found.schedule.warmup <= steps / 20
    validations = steps / found.eval_every
    assert validations * found.eval_tokens / 3 <= 0.2 * steps * rows * context


def test_a_step_grows_with_the_budget(store: Path) -> None:
    steps = [planned_at(store, 50.0, budget) for budget in ("5s", "1m", "10m", "2h")]
    tokens = [found.batch_size * found.config.context_length for found in steps]
    assert tokens == sorted(tokens) and tokens[0] < tokens[-1]
    assert planned_at(store, 5.0, "5s").schedule.steps >= 50


def test_another_size_is_taken_only_where_its_own_speed_says_so(store: Path) -> None:
    """The first guess of the speed is far too high here, so that a smaller model is proposed."""
    chosen = {}
    for share in (1.0, 0.02):  # of the rate that the smaller ones are expected to reach
        tried: list[int] = []

        def speed(
            config: TransformerConfig, *_: int, tried: list[int] = tried, share: float = share
        ) -> float:
            tried.append(parameter_count(config))
            is_first = tried[0] == tried[-1]
            return (
                (1 if is_first else share) * 2e10 / flops_per_token(config, config.context_length)
            )

        settings = PretrainSettings(budget="10m")  # type: ignore[arg-type]
        found = plan(settings, Store.open(store).train, Machine(8e11, speed))
        chosen[share] = parameter_count(found.config)
        assert len(set(tried)) > 1 and min(tried) < tried[0]
        assert chosen[share] == (min(tried) if share == 1 else tried[0])
    assert chosen[1.0] < chosen[0.02]


def test_a_context_that_is_asked_for_is_kept(store: Path) -> None:
    assert planned(store, budget="1s", context_length=256).config.context_length == 256
    assert planned(store, budget="1s", size="gpt2").config.context_length > 64


def test_what_does_not_fit_the_memory_at_once_is_cut(store: Path) -> None:
    settings = PretrainSettings(batch_size=64, context_length=32, steps=9)
    asked: list[int] = []

    def fitting(config: TransformerConfig, rows: int) -> int:
        asked.append(rows)
        return 4

    train = Store.open(store).train
    found = plan(settings, train, Machine(PEAK, measured, fitting=fitting))
    assert (found.batch_size, found.micro_batch) == (64, 4) and set(asked) == {64}
    given = settings.model_copy(update={"micro_batch": 16})
    assert plan(given, train, Machine(PEAK, measured, fitting=fitting)).micro_batch == 16


def test_repeated_text_is_worth_less_than_new_text() -> None:
    new, repeated = expected_loss(1e6, 1e8, 1e8), expected_loss(1e6, 1e8, 1e6)
    assert new < repeated
    assert (
        expected_loss(1e6, 1e6, 1e6) > expected_loss(1e6, 2e6, 1e6) > expected_loss(1e6, 2e6, 2e6)
    )


def test_compiling_has_to_pay_for_itself() -> None:
    pays = planning.COMPILING / planning.COMPILED_SHARE
    assert planning.worth_compiling("auto", 1.1 * pays, gpu=True)
    assert not planning.worth_compiling("auto", 0.9 * pays, gpu=True)
    assert not planning.worth_compiling("auto", 100 * pays, gpu=False), "a CPU gains little"
    assert planning.worth_compiling("yes", 1.0, gpu=False) and not planning.worth_compiling(
        "no", 1e9, gpu=True
    )
