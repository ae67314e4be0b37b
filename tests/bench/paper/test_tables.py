"""The paper's tables: counts, sums and single values, which were taken from its text by other means."""

import math
from dataclasses import replace

import pytest

from dedl_fastai.bench.paper.costs import (
    NetworkCost,
    Speed,
    distinct_runs,
    hours,
    measure_speed,
    run_hours,
    stored_cost,
)
from dedl_fastai.bench.paper.networks import count_app, count_network
from dedl_fastai.bench.paper.tables import MORE, SEEDS, TABLES, load_table, parse_printed
from dedl_fastai.bench.paper.variants import variants_of, with_variants
from dedl_fastai.errors import UserError
from dedl_fastai.models.names import PAPER_ENCODERS, choose_encoder, encoder_name
from dedl_fastai.models.paper_models import PAPER_MODELS, clf_model_name
from dedl_fastai.models.segmentation import SegSpec, create_seg_model
from dedl_fastai.runs.options.clf import ClfConfig
from dedl_fastai.runs.options.seg import SegConfig

CONFIGS = {"seg": SegConfig, "clf": ClfConfig}
CELLS = [8, 24, 16, 29, 3, 12, 12, 16, 16, 16, 16, 24, 24]
SUMS = {  # of each column
    "table1": [23014, 23468],
    "table2": [1.6637, 1.7336, 1.8, 1.7566, 1.7662, 1.8274],
    "table3": [1.7336, 1.5582, 1.7662, 1.7848],
    "table4": [24.4557],
    "table5": [2.4108],
    "table6": [1.6637, 1.7336, 1.8],
    "table7": [1.7566, 1.7662, 1.8274],
    "table8": [51096, 52595],
    "table9": [2.8817, 3.1078],
    "table10": [55609, 57102],
    "table11": [3.1446, 3.25],
    "table12": [2.881, 2.9396, 3.0949],
    "table13": [6.664, 6.63423, 6.6918],
}
SPREADS = {
    "table4": [0.138675],
    "table5": [0.0116],
    "table6": [0.00182, 0.0031, 0.00168],
    "table7": [0.0017, 0.0017, 0.00207],
    "table9": [0.00371, 0.0051],
    "table11": [0.0041, 0.0041],
    "table12": [0.00371, 0.0045, 0.0041],
    "table13": [0.01717, 0.01481, 0.01868],
}


def all_cells():
    """The cells of the tables and of the text."""
    return [c for name in (*TABLES, "prior") for c in load_table(name).cells]


def column(name, index, what="value"):
    return [getattr(row.cells[index], what) for row in load_table(name).rows]


def cell(name, key, index=0):
    return next(r for r in load_table(name).rows if r.key == key).cells[index]


def test_cells_and_numbers_of_the_tables():
    assert tuple(f"table{n}" for n in range(1, 14)) == TABLES
    assert [len(load_table(n).cells) for n in TABLES] == CELLS
    assert [load_table(n).number for n in TABLES] == list(range(1, 14))
    assert sum(CELLS) == 216


@pytest.mark.parametrize("name", TABLES)
def test_sums_of_the_columns(name):
    table = load_table(name)
    sums = [math.fsum(column(name, i)) for i in range(len(table.columns))]
    assert sums == pytest.approx(SUMS[name], abs=1e-9)
    spreads = [math.fsum(v or 0 for v in column(name, i, "sd")) for i in range(len(table.columns))]
    assert spreads == pytest.approx(SPREADS.get(name, [0] * len(table.columns)), abs=1e-9)


@pytest.mark.parametrize(
    ("name", "key", "index", "value", "sd"),
    [
        ("table1", "resnet34", 1, 5439, None),
        ("table2", "resnet18", 3, 0.5274, None),
        ("table3", "resnet101", 3, 0.4518, None),
        ("table4", "nfnet-f3", 0, 0.8898, 0.0011),
        ("table4", "swin-base", 0, 0.891, 0.0007),
        ("table4", "swin-large", 0, 0.8839, 0.001),
        ("table4", "vit-large-16", 0, 0.80495, 0.0077),
        ("table5", "vanburen", 0, 0.63, None),
        ("table6", "resnet101", 2, 0.4402, 0.00018),
        ("table7", "resnet50", 1, 0.4685, 0.0002),
        ("table8", "efficientnet-b3", 0, 5880, None),
        ("table9", "efficientnet-b3", 1, 0.2411, 0.0004),
        ("table10", "efficientnet-b7", 1, 9124, None),
        ("table11", "efficientnet-b1", 0, 0.4260, 0.0005),
        ("table12", "efficientnet-b4", 1, 0.4366, 0.0006),
        ("table13", "efficientnet-b3", 2, 0.8457, 0.007),
        ("prior", "resnet34", 0, 0.9834, None),
    ],
)
def test_single_values(name, key, index, value, sd):
    found = cell(name, key, index)
    assert (found.value, found.sd) == (value, sd)


def test_tables_that_repeat_each_other_hold_the_same_numbers_and_runs():
    for index in range(3):
        assert column("table2", index) == column("table6", index)
        assert column("table2", 3 + index) == column("table7", index)
    assert column("table3", 0) == column("table2", 1) and column("table3", 2) == column("table2", 4)
    efficient = load_table("table4").select([f"efficientnet-b{n}" for n in range(8)])
    assert [c.printed for c in efficient.cells] == column("table13", 0, "printed")
    assert not distinct_runs(load_table("table6").cells).keys() - distinct_runs(load_table("table2").cells).keys()
    constant_rate = [row.cells[0] for row in load_table("table3").rows]
    assert not distinct_runs(constant_rate).keys() - distinct_runs(load_table("table6").cells).keys()


@pytest.mark.parametrize(("name", "scored"), [("table1", "table2"), ("table8", "table9"), ("table10", "table11")])
def test_times_are_of_all_epochs_and_of_runs_of_their_own(name, scored):
    cells = load_table(name).cells
    configs = [SegConfig.resolve({**c.options, "preset": "paper"}) for c in cells]
    assert {(c.patience, c.epochs) for c in configs} == {(0, 50)}
    assert [b.metric for b in load_table(name).beside] == ["epoch_seconds"]
    assert not distinct_runs(cells).keys() & distinct_runs(load_table(scored).cells).keys()
    assert {SegConfig.resolve(c.options).patience for c in load_table(scored).cells} == {5}


def test_three_initialisations_are_of_one_network():
    for row in load_table("table12").rows:
        chosen = [choose_encoder(c.options["encoder"], c.options["weights"]).smp_name for c in row.cells]
        network = f"tu-tf_{row.key.replace('-', '_')}"
        assert [c.partition(".")[0] for c in chosen] == [network] * 3 and len(set(chosen)) == 3
    assert any("The paper does not say which it used" in n for n in load_table("table12").notes)


@pytest.mark.parametrize("name", ["table4", "table5", "table13"])
def test_scores_of_the_last_and_the_averaged_weights_are_beside_the_best(name):
    table = load_table(name)
    assert [(b.column, b.metric) for b in table.beside] == [
        ("last weights", "weights.last.test.at_0.5.f1_micro"),
        ("SWA", "weights.swa.test.at_0.5.f1_micro"),
    ]
    assert {c.metric for c in table.cells} == {"test.at_0.5.f1_micro"}
    assert {ClfConfig.resolve(c.options).swa_start for c in table.cells if not c.why_not} == {0.75}


WITH_APP = [f"table{n}" for n in (1, 2, 3, 6, 7, 8, 9, 10, 11)]


@pytest.mark.parametrize("name", WITH_APP)
def test_variants_are_columns_right_of_those_with_app(name):
    table = load_table(name)
    assert any("--app-weight auto" in n and f"bench run {name} --variant" in n for n in table.notes)
    both = with_variants(table, ["summed", " Released"])
    assert [r.key for r in both.rows] == [r.key for r in table.rows]
    for row, before in zip(both.rows, table.rows, strict=True):
        expected = []
        for c in before.cells:
            expected.append((c.column, c.printed, c.options))
            if c.options["app"] != "none":
                expected.append((f"{c.column}, summed", c.printed, {**c.options, "app_weight": "summed"}))
                expected.append((f"{c.column}, released", c.printed, {**c.options, "app_released": True}))
        assert [(c.column, c.printed, c.options) for c in row.cells] == expected
        assert [SegConfig.resolve(c.options) for c in row.cells]
    assert both.columns == tuple(c.column for c in both.rows[0].cells)
    assert variants_of(both.columns) == ["summed", "released"] and not variants_of(table.columns)


def test_variants_that_cannot_be_are_refused():
    assert with_variants(load_table("table2"), [""]) is load_table("table2")
    for name, variant, says in (
        ("table2", "auto", "variant='auto' is unknown; it may be summed, released"),
        ("table4", "summed", "no column of table4 has APP"),
        ("table12", "summed", "no column of table12 has APP"),
        ("app-ablation", "summed", "choose them with `rows`"),
    ):
        with pytest.raises(UserError, match=says):
            with_variants(load_table(name), [variant])


@pytest.mark.parametrize("arch", ["unet", "unetplusplus"])
def test_resnet_50_and_101_are_one_network_in_the_tables(arch):
    shapes = []
    for encoder in ("resnet50", "resnet101"):
        model = create_seg_model(SegSpec(arch, encoder), "none", 64)
        shapes.append({name: tuple(t.shape) for name, t in model.state_dict().items()})
    assert shapes[0] == shapes[1]
    tables = {c.options["arch"]: [] for c in load_table("table2").cells}
    for name in ("table1", "table2", "table3", "table6", "table7"):
        if arch in {c.options["arch"] for c in load_table(name).cells}:
            tables[arch].append(any("one network" in n for n in load_table(name).notes))
    assert len(tables[arch]) == {"unet": 4, "unetplusplus": 3}[arch] and all(tables[arch])


def test_notes_name_the_contradictions():
    ours, theirs = column("table12", 0), column("table9", 0)
    assert [a for a, b in zip(ours, theirs, strict=True) if a != b] == [0.3819]
    assert any("0.3826" in n for n in load_table("table12").notes)
    assert "swapped" in load_table("table2").notes[0] and "swapped" in load_table("table3").notes[0]
    row = load_table("table5").rows[0]
    assert "Large" in row.label and row.key == "swin-base" == row.cells[0].options["model"]
    assert cell("table5", "nfnet-f3").sd != cell("table4", "nfnet-f3").sd
    assert all(load_table(n).notes and load_table(n).behind for n in (*TABLES, *MORE))


def test_every_cell_is_a_run_or_says_why_not():
    why_not = [(c.column, c.why_not) for c in all_cells() if c.why_not]
    assert len(why_not) == 2 and all("Van Buren" in reason for _, reason in why_not)
    for c in all_cells():
        assert bool(c.why_not) == (not c.options) == (not c.seeds)
        if not c.why_not:
            options = CONFIGS[c.task].resolve({**c.options, "preset": "paper"})
            assert {k: getattr(options, k) for k in c.options} == c.options
            assert c.seeds == SEEDS == (26, 77, 334, 517, 994)
            assert c.folds == (6 if c.task == "clf" else 0)


def test_rows_are_the_papers_networks():
    assert [clf_model_name(r.key) for r in load_table("table4").rows] == [m.model for m in PAPER_MODELS.values()]
    assert [clf_model_name(r.label) for r in load_table("table4").rows] == [m.model for m in PAPER_MODELS.values()]
    encoders = {c.options["encoder"] for c in all_cells() if c.task == "seg" and not c.why_not}
    of_timm = {f"tu-tf_efficientnet_b{n}" for n in range(8)}
    assert encoders == {*PAPER_ENCODERS, *of_timm} and {encoder_name(e) for e in encoders} == encoders


def test_columns_set_what_their_heading_says():
    options = {c.column: c.options for c in load_table("table2").rows[1].cells}
    assert options["UNet++, with ReLU AE"] == {"encoder": "resnet34", "arch": "unetplusplus", "app": "relu"}
    assert [c.options["app_schedule"] for c in load_table("table3").rows[0].cells] == ["constant", "cosine"] * 2
    assert [c.options["weights"] for c in load_table("table13").rows[0].cells] == [
        "imagenet",
        "advprop",
        "noisy-student",
    ]
    assert {c.metric for n in ("table1", "table8", "table10") for c in load_table(n).cells} == {"train_seconds"}
    assert "weights" not in cell("table4", "resnet18").options  # a preset may train from scratch


def test_rows_can_be_selected_in_any_order_and_unknown_ones_are_named():
    table = load_table("table4").select(["efficientnet-b0", " ResNet18"])
    assert [r.key for r in table.rows] == ["resnet18", "efficientnet-b0"]
    assert load_table("table4").select([]) == load_table("table4")
    with pytest.raises(UserError, match=r"no row 'resnet19'.*resnet18, resnet34"):
        load_table("table4").select(["resnet18", "resnet19"])
    with pytest.raises(UserError, match=r"'table14'.*table1, table2"):
        load_table("table14")


def test_arms_of_the_ablation_are_compared_with_none_and_nothing_is_published():
    table = load_table("app-ablation")
    assert table.baseline == table.rows[0].key == "none" and table.row_options == ("app", "app_released")
    assert not table.is_published and all((c.printed, c.value, c.sd) == ("", None, None) for c in table.cells)
    assert [c.metric for c in table.rows[1].cells] == ["test.iou", "test.at_0.5.iou", "history.app_grad_ratio"]
    assert [c.why_not for c in table.cells if c.why_not] == ["without APP there is no gradient of it"]
    runs = [c for c in table.cells if not c.why_not]
    assert {(c.seeds, c.folds) for c in runs} == {(SEEDS, 0)} and len(distinct_runs(runs)) == 8 * 5
    assert all(name.startswith("app") for c in runs for name in c.options)  # network and data are a user's


def test_rows_of_the_nuclei_ablation_differ_from_base_in_one_choice():
    table = load_table("seg-ablation")
    base, *others = [row.cells[0].options for row in table.rows]
    fast = SegConfig.resolve({"preset": "fast"})
    assert table.baseline == "base" and table.rows_paired and not table.is_published
    assert base["augment"] == fast.augment and {"head": "distance", "weights": "packaged"}.items() <= base.items()
    assert all(len(set(options.items()) - set(base.items())) == 1 for options in others)
    assert {name for options in others for name in options} == set(table.row_options)
    assert [c.metric for c in table.rows[0].cells] == ["objects.test.f1_50", "objects.test.f1_mean", "test.iou"]


def test_selected_arms_come_with_the_baseline():
    table = load_table("app-ablation")
    assert [r.key for r in table.select(["relu", "gelu"]).rows] == ["none", "gelu", "relu"]
    assert table.select([]) == table
    with pytest.raises(UserError, match=r"no row 'tanh'.*none, gelu, gelu-cosine"):
        table.select(["tanh"])


def test_arms_cover_activation_schedule_and_weight():
    options = [row.cells[0].options for row in load_table("app-ablation").rows]
    assert {o["app"] for o in options} == {"none", "gelu", "relu"}
    assert any(o.get("app_schedule") == "cosine" for o in options) and any(o.get("app_released") for o in options)
    assert {o["app_weight"] for o in options if "app_weight" in o} == {"1", "summed"}


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("0.4347 ± 0.0006", (0.4347, 0.0006)),
        ("0.63", (0.63, None)),
        ("1h 24m 44s", (5084.0, None)),
        ("1h 38m", (5880.0, None)),
    ],
)
def test_printed_values_are_parsed(text, parsed):
    assert parse_printed(text) == parsed


@pytest.mark.parametrize("text", ["", "1h 24", "0.5 +- 0.1", "n/a"])
def test_other_text_is_no_value(text):
    with pytest.raises(ValueError):
        parse_printed(text)


def test_distinct_runs_count_seeds_and_folds_once():
    assert len(distinct_runs(load_table("table2").cells)) == 24 * 5
    assert len(distinct_runs(load_table("table4").cells)) == 29 * 5 * 6
    assert len(distinct_runs(load_table("table5").cells)) == 2 * 5 * 6
    # 12 U-Nets on ResNet, as many U-Net++, 8 with cosine; 16 and 16 on EfficientNet; 24 with three initialisations;
    # 8, 16 and 16 that are timed
    assert len(distinct_runs(c for n in TABLES for c in load_table(n).cells)) == (88 + 40) * 5 + (29 + 16) * 30


@pytest.mark.parametrize(
    ("task", "options", "network", "size"),
    [
        ("seg", {"arch": "unet", "encoder": "resnet18"}, "unet resnet18", 480),
        ("seg", {"arch": "unetplusplus", "encoder": "efficientnet-b0"}, "unetplusplus efficientnet-b0", 480),
        ("clf", {"model": "resnet18"}, "resnet18", 384),
        ("clf", {"model": "vit-base-32"}, "vit-base-32", 384),
    ],
)
def test_stored_costs_are_those_of_the_networks(task, options, network, size):
    counted, stored = count_network(task, network, size), stored_cost(task, options)
    assert stored.gmacs == pytest.approx(counted.gmacs, rel=1e-3)
    assert stored.mega_activations == pytest.approx(counted.mega_activations, rel=1e-3)


def test_resnet18_at_224_has_its_published_multiply_adds():
    assert count_network("clf", "resnet18", 224).gmacs == pytest.approx(1.82, abs=0.01)


def test_app_costs_eleven_layers_on_a_quarter_of_the_rows():
    assert count_app(480).gmacs == pytest.approx(120 * 11_514_880 / 1e9, rel=1e-6)
    plain = stored_cost("seg", {"arch": "unet", "encoder": "resnet18", "app": "none"})
    with_app = stored_cost("seg", {"arch": "unet", "encoder": "resnet18", "app": "gelu"})
    assert with_app.gmacs - plain.gmacs == pytest.approx(1.382, abs=1e-3)


def test_every_run_has_a_stored_cost():
    cells = [*all_cells(), *load_table("app-ablation").cells]
    assert all(stored_cost(c.task, c.options).gmacs > 0.1 for c in cells if not c.why_not)


def test_hours_are_seconds_of_a_step_times_items_and_epochs():
    speed = Speed(1.0, "test")
    one = cell("table6", "resnet18")
    expected = stored_cost("seg", one.options).work * (1452 + 720 / 3) * 50 / 3600
    assert run_hours(one, speed) == pytest.approx(expected)
    assert hours([one, one], speed) == pytest.approx(5 * expected)
    member = cell("table4", "resnet18")
    assert hours([member], speed) == pytest.approx(
        30 * stored_cost("clf", member.options).work * (132 + 26.4 / 3) * 20 / 3600
    )
    assert hours([cell("table5", "vanburen")], speed) == 0


def test_smaller_tiles_are_cheaper_and_more():
    prior = cell("prior", "resnet34")
    whole = replace(prior, options={k: v for k, v in prior.options.items() if k != "tile"})
    assert run_hours(prior, Speed(1, "")) == pytest.approx(run_hours(whole, Speed(1, "")))


def test_work_counts_activations_too():
    resnet, efficient = (stored_cost("clf", {"model": m}) for m in ("resnet50", "efficientnet-b3"))
    assert resnet.gmacs > 4 * efficient.gmacs and resnet.work < 2 * efficient.work
    assert Speed(0.5, "cpu").seconds(NetworkCost(10, 0)) == 5


def test_measured_speed_is_of_this_machine_and_kept():
    speed = measure_speed("cpu", rounds=1)
    assert speed.seconds(stored_cost("seg", {"arch": "unet", "encoder": "resnet18"})) > 0
    assert "threads" in speed.device and measure_speed("cpu", rounds=1) is speed


def test_each_start_of_the_efficiency_curve_has_a_column_with_app():
    columns = load_table("efficiency").columns
    assert columns[1::2] == tuple(f"{start}, APP" for start in columns[::2])


def test_columns_of_a_table_can_be_chosen_beside_its_rows():
    table = load_table("efficiency").select(["5", "1"], ["Packaged", "packaged, APP"])
    assert [r.key for r in table.rows] == ["1", "5", "100"], "with the baseline"
    assert table.columns == ("packaged", "packaged, APP")
    assert [c.options["train_share"] for c in table.rows[1].cells] == [0.05, 0.05]
    with pytest.raises(UserError, match="efficiency has no column 'imagenet'; it has packaged"):
        load_table("efficiency").select([], ["imagenet"])
