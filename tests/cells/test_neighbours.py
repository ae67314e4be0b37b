"""Neighbourhood enrichment: counts, what chance is, corrections, several fields of a patient, groups of patients."""

from itertools import combinations, pairwise

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.cells.groups import compare_groups, too_few
from dedl_fastai.cells.neighbours import neighbourhoods
from dedl_fastai.errors import UserError


def scattered(mixed: bool, n: int = 400, seed: int = 1):
    """Cells in a square of 1000 um; unless mixed, a is on its left half and b on its right."""
    rng = np.random.default_rng(seed)
    x, y = rng.uniform(0, 1000, (2, n))
    sides = x < 500
    return pd.DataFrame(
        {"x_um": x, "y_um": y, "phenotype": np.where(rng.permutation(sides) if mixed else sides, "a", "b")}
    )


def by_pair(table):
    return table.set_index(["from", "to"])


def test_neighbour_counts_equal_those_over_all_pairs():
    cells = scattered(mixed=True, n=60)
    table = by_pair(neighbourhoods(cells, 150, permutations=20))
    xy, kind = cells[["x_um", "y_um"]].to_numpy(), cells["phenotype"].to_numpy()
    near = np.hypot(*(xy[:, None] - xy[None]).transpose(2, 0, 1)) <= 150
    np.fill_diagonal(near, False)
    for a, b in table.index:
        assert table.loc[(a, b), "observed"] == pytest.approx(near[kind == a][:, kind == b].sum(axis=1).mean())


def test_mean_and_spread_of_chance_are_those_of_all_arrangements():
    """Four cells in a row, two of each type: the six arrangements can be counted."""
    cells = pd.DataFrame({"x_um": [0.0, 1, 2, 3], "y_um": 0.0, "phenotype": list("aabb")})
    rows = [["ab"[i in chosen] for i in range(4)] for chosen in combinations(range(4), 2)]
    contacts = np.array([sum(x == y == "a" for x, y in pairwise(r)) * 2 for r in rows])
    table = by_pair(neighbourhoods(cells, 1.1, permutations=4000)).loc[("a", "a")]
    assert table["expected"] == pytest.approx(contacts.mean() / 2, rel=0.05)
    assert table["z"] == pytest.approx((2 - contacts.mean()) / contacts.std(), rel=0.05)
    assert table["p"] == pytest.approx(min(1, 2 * (contacts >= 2).mean()), rel=0.05)
    assert table["log2_ratio"] == pytest.approx(np.log2(3 / (contacts.mean() + 1)), rel=0.05)


def test_separated_phenotypes_are_distinguished_from_mixed_ones():
    apart = by_pair(neighbourhoods(scattered(mixed=False), 60, permutations=200))
    assert apart.loc[("a", "a"), "z"] > 5 and apart.loc[("a", "b"), "z"] < -5
    assert apart["p"].max() == pytest.approx(2 / 201)
    mixed = neighbourhoods(scattered(mixed=True), 60, permutations=200)
    assert mixed["p"].min() > 0.05
    np.testing.assert_allclose(mixed["observed"], mixed["expected"], rtol=0.2)


def test_types_that_share_a_tissue_are_no_neighbours_by_that_alone():
    """Types that are frequent in one tissue only look enriched; within their tissues they are mixed."""
    rng = np.random.default_rng(0)
    cells = scattered(mixed=True, n=600)
    is_left = cells["x_um"] < 500
    cells["phenotype"] = np.where(rng.random(600) < np.where(is_left, 0.8, 0.2), "a", "b")
    assert by_pair(neighbourhoods(cells, 60, 200)).loc[("a", "a"), "z"] > 5
    within = neighbourhoods(cells.assign(tissue=np.where(is_left, "Tumor", "Stroma")), 60, 200)
    assert within["q"].min() > 0.05 and within["z"].abs().max() < 3


def test_fields_of_a_patient_are_permuted_apart_and_added_up():
    """A field of a alone and one of b alone say nothing, although a is only next to a."""
    one, other = (scattered(mixed=True, n=100).assign(phenotype=name) for name in "ab")
    table = by_pair(neighbourhoods([one, other], 60, 50))
    assert table.loc[("a", "b"), "observed"] == 0 and table["p"].min() == 1 and table["z"].isna().all()
    fields = [scattered(mixed=True, n=200, seed=s) for s in (1, 2)]
    apart = [by_pair(neighbourhoods(f, 60, 5)) for f in fields]
    both = by_pair(neighbourhoods(fields, 60, 5))
    contacts = sum(t["observed"] * t["cells_from"] for t in apart)
    np.testing.assert_allclose(both["observed"] * both["cells_from"], contacts)
    assert (both["cells_to"] == sum(t["cells_to"] for t in apart)).all()


def test_q_counts_each_pair_of_types_once():
    cells = scattered(mixed=True).assign(phenotype=np.random.default_rng(2).choice(list("abc"), 400))
    table = by_pair(neighbourhoods(cells, 60, 200))
    once = table.loc[[p for p in table.index if p[0] <= p[1]]].sort_values("p")
    by_hand = np.minimum.accumulate((once["p"] * 6 / np.arange(1, 7)).to_numpy()[::-1])[::-1]
    np.testing.assert_allclose(once["q"], np.minimum(by_hand, 1))
    assert table.loc[("a", "b"), "q"] == table.loc[("b", "a"), "q"]


def test_types_without_cells_and_cells_without_types():
    cells = scattered(mixed=True, n=50)
    cells["phenotype"] = pd.Categorical(cells["phenotype"].where(cells.index > 4), categories=["a", "b", "none"])
    table = by_pair(neighbourhoods(cells, 100, 20))
    assert table.loc[("none", "a"), ["observed", "log2_ratio", "p", "q"]].isna().all()
    assert table.loc[("a", "b"), "q"] <= 1 and table["cells_from"].max() <= 45


def test_permutations_depend_on_the_seed():
    cells = scattered(mixed=True)
    pd.testing.assert_frame_equal(neighbourhoods(cells, 60, 30, seed=5), neighbourhoods(cells, 60, 30, seed=5))
    assert not neighbourhoods(cells, 60, 30, seed=5)["z"].equals(neighbourhoods(cells, 60, 30, seed=6)["z"])


@pytest.mark.parametrize("with_tissue", [False, True])
def test_z_scores_agree_with_squidpy(with_tissue):
    squidpy = pytest.importorskip("squidpy", reason="squidpy is not installed")
    anndata = pytest.importorskip("anndata", reason="anndata is not installed")
    cells = scattered(mixed=True, n=300).assign(phenotype=np.random.default_rng(3).choice(list("abc"), 300))
    cells["tissue"] = pd.Categorical(np.where(cells["x_um"] < 300, "left", "right"))
    data = anndata.AnnData(
        np.zeros((300, 1)), obs=cells.astype({"phenotype": "category"}).set_index(cells.index.map(str))
    )
    data.obsm["spatial"] = cells[["x_um", "y_um"]].to_numpy()
    squidpy.gr.spatial_neighbors(data, radius=60.0, coord_type="generic")
    key = {"library_key": "tissue"} if with_tissue else {}
    theirs = squidpy.gr.nhood_enrichment(
        data, "phenotype", n_perms=3000, seed=0, copy=True, show_progress_bar=False, **key
    )
    ours = neighbourhoods(cells if with_tissue else cells.drop(columns="tissue"), 60, permutations=3000)
    counts, z = (ours[c].to_numpy().reshape(3, 3) for c in ("observed", "z"))
    np.testing.assert_allclose(counts * ours["cells_from"].to_numpy().reshape(3, 3), theirs[1])
    np.testing.assert_allclose(z, theirs[0], atol=0.15)


def patients(values):
    """A table as of several patients: the same log2 ratio for all pairs of a patient."""
    rows = [{"patient": p, "from": f, "to": t, "log2_ratio": v} for p, v in values.items() for f in "ab" for t in "ab"]
    return pd.DataFrame(rows)


GROUPS = {f"p{i}": "ill" if i < 4 else "well" for i in range(8)}


def test_groups_differ_by_their_means_and_all_ways_to_assign_patients_are_tried():
    table = compare_groups(
        patients({p: float(g == "ill") + 0.01 * i for i, (p, g) in enumerate(GROUPS.items())}), GROUPS
    )
    row = table[table["to"] == "b"].iloc[0]
    assert (row["group"], row["versus"], row["patients"], row["patients_versus"]) == ("ill", "well", 4, 4)
    assert row["effect"] == pytest.approx(0.96) and 0.9 < row["low"] < row["effect"] < row["high"] < 1.0
    assert row["p"] == pytest.approx(2 / 70) and row["q"] == pytest.approx(2 / 70)  # of 70 ways, the most extreme
    alike = compare_groups(patients({p: float(i % 2) for i, p in enumerate(GROUPS)}), GROUPS)
    assert alike["effect"].tolist() == [0] * 3 and alike["p"].tolist() == [1] * 3


def test_a_patient_without_both_types_is_left_out_and_single_patients_have_no_p():
    few = {"p0": "ill", "p1": "ill", "p2": "well"}
    table = compare_groups(patients({"p0": 1.0, "p1": np.nan, "p2": 0.0}), few)
    assert table["patients"].tolist() == [1] * 3 and table["effect"].tolist() == [1] * 3
    assert table[["low", "high", "p", "q"]].isna().all(axis=None)
    with pytest.raises(UserError, match="two groups"):
        compare_groups(patients({"p0": 1.0}), few)


def test_too_few_patients_are_said():
    assert too_few(GROUPS.values()) == []
    (sentence,) = too_few(["ill"] * 2 + ["well"] * 3)
    assert "ill (2 patients) and well (3 patients): the smallest possible p is 0.2" in sentence
    assert "needs 2 patients in each group" in too_few(["ill", "well", "well"])[0]
