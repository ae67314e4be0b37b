"""`dedl-fastai view`: errors of use. The page itself is tested in tests/view."""

import socket

from typer.testing import CliRunner

from dedl_fastai.cli import app


def test_a_folder_without_results_is_one_sentence(tmp_path):
    result = CliRunner().invoke(app, ["view", str(tmp_path), "--no-browser"])
    assert result.exit_code == 2
    assert result.stderr == f"error: {tmp_path} holds no results: give a folder that predict wrote.\n"


def test_a_port_in_use_is_one_sentence(tmp_path):
    from tests.view.results_folder import write_results

    folder = write_results(tmp_path / "res")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        result = CliRunner().invoke(app, ["view", str(folder), "--no-browser", "--port", str(port)])
    assert result.exit_code == 2 and result.stderr.startswith(f"error: --port {port} cannot be used")
