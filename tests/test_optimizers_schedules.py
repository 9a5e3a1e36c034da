"""Schedules: torch's own step by step, their formulas, and what makes none."""

import math

import pytest
import torch

from escape import Cosine, GradientDescent, InverseTime, StepDecay, WarmUp, theory

STEPS = 130


def rates_of_torch(make, lr=0.3):
    """Learning rate at every step under a scheduler of torch's, (STEPS,)."""
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=lr)
    scheduler, found = make(optimizer), []
    for _ in range(STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


TORCH = torch.optim.lr_scheduler
PEERS = {
    "StepLR": (StepDecay(0.3, 30, 0.7), lambda peer: TORCH.StepLR(peer, 30, 0.7)),
    "CosineAnnealingLR": (Cosine(0.3, STEPS, 0.01), lambda peer: TORCH.CosineAnnealingLR(peer, STEPS, 0.01)),
    "CosineAnnealingLR to zero": (Cosine(0.3, STEPS), lambda peer: TORCH.CosineAnnealingLR(peer, STEPS)),
    "LinearLR": (WarmUp(0.3, 40, 0.2), lambda peer: TORCH.LinearLR(peer, 0.2, 1.0, 40)),
    "ChainedScheduler": (
        WarmUp(StepDecay(0.3, 30, 0.7), 40, 0.2),
        lambda peer: TORCH.ChainedScheduler([TORCH.LinearLR(peer, 0.2, 1.0, 40), TORCH.StepLR(peer, 30, 0.7)]),
    ),
    "LambdaLR": (InverseTime(3.0, 10.0), lambda peer: TORCH.LambdaLR(peer, lambda t: 10 / (t + 10))),
}


@pytest.mark.parametrize("name", PEERS)
def test_rates_are_those_of_torch(name):
    ours, make = PEERS[name]
    for t, expected in enumerate(rates_of_torch(make)):
        # torch multiplies from step to step, and gathers rounding that a closed form does not.
        assert ours(t) == pytest.approx(expected, rel=1e-12), f"step {t}"


def test_ends():
    assert Cosine(0.3, 50, 0.02)(50) == Cosine(0.3, 50, 0.02)(10**9) == 0.02
    assert Cosine(0.3, 50)(49) > 0 == Cosine(0.3, 50)(50)
    assert WarmUp(0.3, 40, 0.25)(0) == pytest.approx(0.075)
    assert WarmUp(0.3, 40, 0.25)(40) == WarmUp(0.3, 40, 0.25)(10**9) == 0.3
    assert StepDecay(0.3, 5)(4) == 0.3
    assert StepDecay(0.3, 5)(5) == pytest.approx(0.03)
    assert [InverseTime(2.0, 3.0)(t) for t in (0, 1, 7)] == [theory.power_law_lr(t, 2.0, 3.0) for t in (0, 1, 7)]


BAD = {
    "lr": (lambda: StepDecay(0.0, 5), "lr must be a positive finite number"),
    "a schedule in one": (lambda: StepDecay(Cosine(0.1, 5), 5), "only WarmUp goes around another"),
    "a schedule in a cosine": (lambda: Cosine(StepDecay(0.1, 5), 5), "only WarmUp goes around another"),
    "interval": (lambda: StepDecay(0.1, 0), "interval must be an integer of at least 1, got 0"),
    "growth": (lambda: StepDecay(0.1, 5, 1.5), "factor must be at most 1, got 1.5"),
    "factor": (lambda: StepDecay(0.1, 5, 0.0), "factor must be above 0, got 0.0"),
    "scale": (lambda: InverseTime(-1.0), "scale must be above 0, got -1.0"),
    "offset": (lambda: InverseTime(1.0, 0.0), "offset must be above 0, got 0.0"),
    "steps": (lambda: Cosine(0.1, 2.5), "steps must be an integer of at least 1, got 2.5"),
    "final": (lambda: Cosine(0.1, 5, 0.2), "final must be at most lr = 0.1, got 0.2"),
    "below zero": (lambda: Cosine(0.1, 5, -0.2), "final must be at least 0, got -0.2"),
    "start": (lambda: WarmUp(0.1, 5, 0.0), "start_factor must be above 0, got 0.0"),
    "start above one": (lambda: WarmUp(0.1, 5, 2.0), "start_factor must be at most 1, got 2.0"),
    "no rate": (lambda: WarmUp(math.nan, 5), "lr must be a positive finite number"),
}


@pytest.mark.parametrize("what", BAD)
def test_what_makes_no_schedule_is_said_in_one_line(what):
    make, said = BAD[what]
    with pytest.raises(ValueError, match=said) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_schedules_are_values():
    assert Cosine(0.1, 5) == Cosine(0.1, 5)
    assert repr(GradientDescent(WarmUp(StepDecay(0.1, 9), 5))) == (
        "GradientDescent(lr=WarmUp(lr=StepDecay(lr=0.1, interval=9, factor=0.1), steps=5, start_factor=0.1))"
    )
