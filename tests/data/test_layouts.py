"""Layouts of cohorts on disk: manifest, Van Buren's folders, images/ with masks/ or labels.csv, inForm exports."""

import numpy as np
import pandas as pd
import pytest

from dedl_fastai.data import Cohort
from dedl_fastai.errors import UserError


def manifest(folder, **columns):
    """Write a cohort.csv with these columns into `folder`."""
    pd.DataFrame(columns).to_csv(folder / "cohort.csv", index=False)
    return folder


def problems(cohort):
    """Return the problems as {file name: text}."""
    return {p.path.replace("\\", "/").rsplit("/", 1)[-1]: p.what for p in cohort.problems}


def test_manifest_paths_are_relative_to_its_folder_and_loaded_as_absolute(touch):
    root = touch("sub/a.png", "sub/a_mask.png")
    cohort = Cohort.load(manifest(root, image=["sub/a.png"], mask=["sub/a_mask.png"], patient=["P1"]) / "cohort.csv")
    assert cohort.layout == "manifest" and cohort.root == root.resolve()
    row = cohort.table.iloc[0]
    assert row.image == str((root / "sub/a.png").resolve()) and row["mask"] == str((root / "sub/a_mask.png").resolve())
    assert (row.field, row.patient, row.labels, row.split) == ("a", "P1", "", "")


def test_manifest_needs_only_the_image_column_and_may_have_absolute_paths(touch):
    root = touch("elsewhere/a.png", "cohort/note.txt")
    manifest(root / "cohort", image=[str(root / "elsewhere/a.png")])
    cohort = Cohort.load(root / "cohort")
    assert list(cohort.table.field) == ["a"] and cohort.table["mask"].eq("").all()


def test_manifest_keeps_names_that_look_like_numbers_or_missing_values(touch):
    root = touch("x.png", "y.png", "z.png")
    manifest(root, field=["007", "NA", "nan"], image=["x.png", "y.png", "z.png"], patient=["01", "02", "None"])
    table = Cohort.load(root).table.set_index("field")
    assert table.patient.to_dict() == {"007": "01", "NA": "02", "nan": "None"}


def test_images_of_a_manifest_may_be_zarr_folders_but_no_other_folders(touch):
    root = touch("a.png", "slide.ome.zarr/zarr.json", "b.zarr/c/0", "folder/x.png")
    cohort = Cohort.load(manifest(root, image=["a.png", "slide.ome.zarr", "b.zarr", "folder"], mask=["b.zarr"] * 4))
    assert list(cohort.table.field) == ["a", "b", "slide"] and cohort.table["mask"].eq("").all()
    assert problems(cohort)["folder"].startswith("is a folder, but cohort.csv must list files")
    assert problems(cohort).keys() == {"folder", "b.zarr"}


def test_zarr_folders_in_images_are_fields(touch):
    root = touch("images/a.ome.zarr/.zgroup", "images/b.png", "images/.c.zarr/.zgroup")
    (root / "labels.csv").write_text("image,labels\na.ome.zarr,x\nb.png,y\n")
    cohort = Cohort.load(root)
    assert dict(zip(cohort.table.field, cohort.table.labels, strict=True)) == {"a": "x", "b": "y"}
    assert cohort.problems == [] and cohort.table.image[0].endswith("a.ome.zarr")


def test_manifest_keeps_additional_columns(touch):
    root = touch("a.png")
    cohort = Cohort.load(manifest(root, image=["a.png"], stain=["DAPI only"]))
    assert list(cohort.table.columns) == ["field", "patient", "image", "mask", "labels", "split", "stain"]
    assert cohort.table.stain[0] == "DAPI only"


def test_missing_image_or_mask_of_a_manifest_is_a_problem(touch):
    root = touch("a.png", "b.png", "b_mask.png")
    manifest(root, image=["a.png", "b.png", "gone.png"], mask=["lost.png", "b_mask.png", "b_mask.png"])
    cohort = Cohort.load(root)
    assert list(cohort.table.field) == ["a", "b"]
    assert list(cohort.table["mask"].ne("")) == [False, True]
    assert problems(cohort).keys() == {"gone.png", "lost.png"}
    assert "cohort.csv" in problems(cohort)["gone.png"]


def test_van_buren_folders_join_image_mask_outlines_and_cells(tiny_folder):
    cohort = Cohort.load(tiny_folder)
    assert cohort.layout == "van-buren" and len(cohort) == 7 and cohort.problems == []
    row = cohort.table.iloc[0]
    for column, ending in (("image", "_data.tif"), ("mask", "_data.tifMask.tif"), ("cells", "_dataMeasured")):
        assert row[column].endswith(f"{row.field}_component{ending}")
    assert row.outlines.endswith("_datalabels") and cohort.table.patient.nunique() == 7


@pytest.mark.parametrize("component", ["CD27 Panel-- Component", "CD27_Panel--_Component", "data/CD27 Panel Component"])
def test_van_buren_folder_names_may_have_spaces_or_underscores(touch, component):
    cohort = Cohort.load(touch(f"{component}/121919_Myo089_[7559,39143]_component_data.tif"))
    assert cohort.layout == "van-buren"
    assert list(cohort.table.field) == ["121919_Myo089_[7559,39143]"]


def test_van_buren_mask_without_image_and_image_without_mask_are_problems(touch):
    masks = "Labels/CD27 cell labels/Mask Labels"
    root = touch(
        "CD27 Panel-- Component/1_Myo1_[1,2]_component_data.tif",
        "CD27 Panel-- Component/1_Myo2_[3,4]_component_data.tif",
        f"{masks}/1_Myo2_[3,4]_component_data.tifMask.tif",
        f"{masks}/1_Myo3_[5,6]_component_data.tifMask.tif",
    )
    cohort = Cohort.load(root)
    assert list(cohort.table["mask"].ne("")) == [False, True]
    assert problems(cohort) == {
        "1_Myo1_[1,2]_component_data.tif": "has no mask in Mask Labels",
        "1_Myo3_[5,6]_component_data.tifMask.tif": "is a mask without an image",
    }


def test_images_and_masks_are_paired_by_name_for_any_extension(touch):
    names = ("images/a.jpg", "images/b.png", "images/c.ome.tif", "images/d.tif")
    cohort = Cohort.load(touch(*names, "masks/a.png", "masks/b_mask.tif", "masks/c-masks.png"))
    assert cohort.layout == "images"
    assert cohort.table.set_index("field")["mask"].map(lambda m: m.rsplit("/", 1)[-1]).to_dict() == {
        "a": "a.png",
        "b": "b_mask.tif",
        "c": "c-masks.png",
        "d": "",
    }
    assert problems(cohort) == {"d.tif": "has no mask"}


def test_mask_without_an_image_is_a_problem(touch):
    cohort = Cohort.load(touch("images/a.png", "masks/a.png", "masks/z.png", "masks/.a.png", "images/Notes.txt"))
    assert list(cohort.table.field) == ["a"]
    assert problems(cohort) == {"z.png": "is a mask without an image"}


def test_labels_csv_gives_labels_patients_and_splits(touch):
    root = touch("images/a.png", "images/b.png", "images/c.png")
    lines = ["image,labels,patient,split,area", "a.png,tfh;b,P1,train,3", "b,,P2,Validation,4", "gone.png,b,P1,train,5"]
    (root / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    cohort = Cohort.load(root)
    table = cohort.table.set_index("field")
    assert table.labels.to_dict() == {"a": "tfh;b", "b": "", "c": ""}
    assert table.split.to_dict() == {"a": "train", "b": "valid", "c": ""}
    assert list(table.patient[:2]) == ["P1", "P2"] and table.area["a"] == "3"
    assert problems(cohort) == {
        "gone.png": "is listed in labels.csv but is not in images/",
        "c.png": "is not listed in labels.csv",
    }


def test_cohort_may_have_both_masks_and_labels(touch):
    root = touch("images/a.png", "masks/a.png")
    (root / "labels.csv").write_text("image,labels\na.png,b\n", encoding="utf-8")
    row = Cohort.load(root).table.iloc[0]
    assert row["mask"].endswith("a.png") and row.labels == "b"


def test_inform_exports_are_found_at_any_depth(touch):
    cohort = Cohort.load(
        touch(
            "batch1/S1_[10,20]_component_data.tif",
            "batch1/S1_[10,20]_binary_seg_maps.tif",
            "batch1/S1_[10,20]_cell_seg_data.txt",
            "batch2/deep/S2_[30.5,40.5]_component_data.tif",
            "batch2/deep/S3_[1,1]_binary_seg_maps.tif",
        )
    )
    assert cohort.layout == "inform"
    assert list(cohort.table.field) == ["S1_[10,20]", "S2_[30.5,40.5]"]
    assert list(cohort.table.patient) == ["S1", "S2"]
    assert list(cohort.table["mask"].ne("")) == [True, False] and list(cohort.table.cells.ne("")) == [True, False]
    assert problems(cohort) == {
        "S2_[30.5,40.5]_component_data.tif": "has no binary_seg_maps.tif next to it",
        "S3_[1,1]_binary_seg_maps.tif": "is a segmentation map without an image",
    }


def test_inform_composites_are_used_for_fields_without_a_component_tiff(touch):
    names = ("A_[1,2]_component_data.tif", "A_[1,2]_composite_image.jpg", "B_[1,2]_composite_image.tif")
    table = Cohort.load(touch(*names, "B_[1,2]_composite_image.txt")).table
    assert [i.rsplit("/", 1)[-1] for i in table.image] == [names[0], names[2]]


def test_saved_cohort_loads_as_the_same_table_and_can_be_moved_with_its_folder(two_fields, tmp_path):
    saved = two_fields.save(tmp_path / "copy.csv")
    assert str(tmp_path) not in saved.read_text(encoding="utf-8")
    pd.testing.assert_frame_equal(Cohort.load(saved).table, two_fields.table)
    moved = tmp_path.rename(tmp_path.with_name(tmp_path.name + "-moved"))
    assert all(i.startswith(str(moved.resolve())) for i in Cohort.load(moved / "copy.csv").table.image)


def test_cohort_saved_in_another_folder_keeps_absolute_paths_and_extra_columns(tiny_cohort, tmp_path):
    again = Cohort.load(tiny_cohort.save(tmp_path / "cohort.csv"))
    pd.testing.assert_frame_equal(again.table, tiny_cohort.table)
    assert {"cells", "outlines"} <= set(again.table.columns)


def test_limited_takes_fields_of_all_patients_and_splits(listed):
    cohort = listed({"a": 5, "b": 5, "c": 1}, ["train"] * 5 + ["valid"] * 5 + ["test"])
    assert sorted(cohort.limited(3).table.field) == ["a_0", "b_0", "c_0"]
    assert set(cohort.limited(1).table.split) == {"train", "valid", "test"}
    assert np.bincount(cohort.limited(7).table.patient.map({"a": 0, "b": 1, "c": 2})).tolist() == [3, 3, 1]


@pytest.mark.parametrize("n", [0, -1, 3, 99])
def test_limited_without_a_limit_is_the_whole_cohort(listed, n):
    assert len(listed({"a": 2, "b": 1}).limited(n)) == 3


def test_with_masks_leaves_fields_without_one_out_and_says_so(touch, caplog):
    cohort = Cohort.load(touch("images/a.png", "images/b.png", "masks/b.png")).with_masks()
    assert list(cohort.table.field) == ["b"]
    assert "1 of 2 fields have no mask" in caplog.text


def test_cohort_without_any_mask_is_an_error_that_says_what_to_do(touch):
    with pytest.raises(UserError, match=r"no masks.*masks/"):
        Cohort.load(touch("images/a.png", "images/b.png")).with_masks()
