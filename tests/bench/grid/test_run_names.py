"""Names of run folders: the content of files and runs that options name counts, and not their paths."""

from dedl_fastai.bench.grid.run_names import absolute, run_name


def name(weights):
    return run_name("seg", {"weights": str(weights)}, seed=1, fold=None, fingerprint="data")


def test_the_weights_of_a_run_count_and_not_its_path(tmp_path, monkeypatch):
    for folder, content in (("a", b"1"), ("b", b"1"), ("c", b"2")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "best.safetensors").write_bytes(content)
    assert name(tmp_path / "a") == name(tmp_path / "b") != name(tmp_path / "c")
    assert name(tmp_path / "a") == name(tmp_path / "a" / "best.safetensors")
    assert name("nuclei") != name("none") != name(tmp_path / "a")
    monkeypatch.chdir(tmp_path)
    assert absolute("weights", "a") == str((tmp_path / "a").resolve())
    assert absolute("weights", "nuclei") == "nuclei"


def test_a_log_does_not_make_another_run():
    names = {run_name("seg", {"lr": 1, **log}, seed=1, fold=None, fingerprint="") for log in ({}, {"log": "wandb"})}
    assert len(names) == 1
