"""The measurements run and say what they should; how fast this machine is, is no test."""

from dedl_fastai.bench.loader import loader_speed
from dedl_fastai.bench.step import step_cost


def test_loader_reads_every_tile_in_each_way():
    found = loader_speed(fields=1, size=(96, 128), tile=32, bs=4)
    assert found["tiles"] == 12
    assert set(found["seconds"]) == {"cache", "cache_first", "decode", "npy", "npy_first"}
    assert found["decode_over_cache"] > 1
    assert all(mb > 10 for mb in found["peak_mb"].values())


def test_step_times_both_loops_over_the_same_model():
    found = step_cost(encoder="tu-test_resnet", decoder=(16, 16, 16), tile=32, bs=2, steps=1, rounds=1, device="cpu")
    assert found["learner_over_bare"] > 0 and set(found["seconds"]) == {"learner", "bare"}
    assert found["tiles_per_second"]["bare"] > 0
