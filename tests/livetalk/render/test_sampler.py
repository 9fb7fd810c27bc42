from collections.abc import Callable

import pytest
import torch
from livetalk.render import sampler
from torch import Tensor


@pytest.mark.parametrize(("name", "steps"), [("infer4", 4), ("train1000", 1000), ("teacher50", 50)])
def test_schedules(
    golden_tensors: Callable[[str], dict[str, Tensor]], close: Callable[..., None], name: str, steps: int
) -> None:
    tables = golden_tensors("tables")
    schedule = sampler.schedule(steps)
    close(schedule.sigmas, tables[f"{name}.sigmas"], 1e-6)
    close(schedule.timesteps, tables[f"{name}.timesteps"], 1e-3)


def test_the_student_is_shown_rounded_timesteps_and_exact_noise_levels(
    golden_tensors: Callable[[str], dict[str, Tensor]],
) -> None:
    schedule = sampler.schedule(4, rounding="bfloat16")
    assert schedule.timesteps.tolist() == [1000, 936, 832, 624]
    assert torch.equal(schedule.timesteps, golden_tensors("tables")["infer4.timesteps_bf16_as_f32"])
    assert schedule.sigmas.tolist() == pytest.approx([1, 0.9375, 0.8333333, 0.625])
    assert sampler.schedule(4, rounding="float16").timesteps.tolist() == [1000, 937.5, 833.5, 625]


def test_training_weights(golden_tensors: Callable[[str], dict[str, Tensor]], close: Callable[..., None]) -> None:
    close(sampler.training_weights(), golden_tensors("tables")["train1000.weights"], 1e-5)


@pytest.mark.parametrize("timestep", [1000, 936, 832, 624])
@pytest.mark.parametrize("kind", ["", "_bf16"])
def test_noising_and_its_inverse(
    golden_tensors: Callable[[str], dict[str, Tensor]], close: Callable[..., None], timestep: float, kind: str
) -> None:
    tables = golden_tensors("tables")
    dtype = torch.bfloat16 if kind else torch.float32
    sigma = sampler.sigma_at(timestep, sampler.schedule(4))
    noise, x0 = tables["noising.noise"].to(dtype), tables["noising.x0"].to(dtype)
    noised = sampler.add_noise(x0, noise, sigma)
    assert noised.dtype == dtype
    close(noised, tables[f"noising.xt{kind}_{timestep}"], 1e-6)
    # The table takes the noise itself as the flow.
    clean = sampler.x0_from_flow(noised, noise, sigma)
    assert clean.dtype == dtype
    close(clean, tables[f"noising.x0_from_flow{kind}_{timestep}"], 1e-6)


def test_sigma_is_looked_up_by_the_nearest_timestep() -> None:
    training = sampler.schedule(sampler.TRAINING_STEPS)
    found = sampler.sigma_at(torch.tensor([936.0, 832.0, 624.0, 0.0]), training)
    assert found.tolist() == pytest.approx([0.93593, 0.83222, 0.62375, 0.00498], abs=1e-5)


def test_a_schedule_needs_a_step() -> None:
    with pytest.raises(ValueError, match="at least one"):
        sampler.schedule(0)
