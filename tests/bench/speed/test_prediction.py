"""The costs of whole commands are those of what they say. Speeds are not tested."""

from dedl_fastai.bench.speed.predict import predict_cost
from dedl_fastai.bench.speed.startup import startup_costs


def test_stages_of_a_prediction_add_up():
    found = predict_cost(size=150)
    assert (found["fields"], found["left_out"], found["megapixels"]) == (2, 0, 0.045)
    assert found["cells"] > 10 and found["megapixels_per_second"] > 0
    assert abs(sum(found["stages"].values()) - found["seconds"]) < 0.1
    assert 0 < found["network_share"] < 1
    assert min(found["stages"][name] for name in ("start-up", "network")) > 0


def test_starts_are_timed():
    costs = startup_costs(["doctor", "report"], rounds=1)
    assert set(costs) == {"doctor --help", "report --help", "report, libraries", "predict, to the first field"}
    assert all(c["cpu_seconds"] > 0 for c in costs.values())
    assert costs["report --help"]["cpu_seconds"] < costs["report, libraries"]["cpu_seconds"]
