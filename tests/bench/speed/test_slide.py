"""The measurements of slides run and report what they should. Speeds are not tested."""

from dedl_fastai.bench.speed.slide import slide_cost, window_overhead


def test_slide_is_predicted_in_its_own_process(tmp_path):
    found = slide_cost(size=300, tile=128, device="cpu", folder=tmp_path)
    assert found["size"] == [300, 300] and found["cells"] > 3
    assert 100 < found["peak_mb_before"] < found["peak_mb"] < 4000
    assert found["scratch_mb"] == 0 and found["labels_file_mb"] > 0
    assert not list(tmp_path.iterdir())


def test_overhead_is_that_of_the_same_tiles():
    found = window_overhead(size=150, encoder="tu-test_resnet", depth=2, tile=64, rounds=1, device="cpu")
    assert found["tiles"] == 9 and found["window_over_bare"] > 0.5
