"""Real inForm exports and other public files: pixels, segmentation maps and cell tables agree with each other."""

import numpy as np
import pytest

from dedl_fastai.errors import UserError
from dedl_fastai.io import open_field, read_cell_table, read_labels, read_mask, read_segmentation_maps, tissue_classes

LUNG = ["Set4_1-6plex_[11472,51360]", "Set4_1-6plex_[15206,60541]", "Set4_1-6plex_[16142,55840]"]
LUNG += ["Set8_11-6plex_[13394,50883]", "Set8_11-6plex_[14996,59221]", "Set8_11-6plex_[17130,56449]"]
FIHC4_CHANNELS = ["Alexa 594", "Cy3", "Cy5", "DAPI", "FITC"]


@pytest.fixture
def fihc4(shared_data):
    """Path of a FIHC4 file by its ending."""
    return lambda ending: shared_data / "inform_FIHC4" / f"FIHC4__0929309_HP_IM3_2_{ending}"


def per_label_mean(labels, values, ids):
    sums = np.bincount(labels.ravel(), values.ravel().astype(np.float64))
    return (sums / np.bincount(labels.ravel()))[ids]


def test_fihc4_component_has_its_channels_size_position_and_thumbnail(fihc4):
    with open_field(fihc4("component_data.tif")) as field:
        assert (field.format, field.shape, field.channels) == ("inform", (260, 348), FIHC4_CHANNELS)
        assert field.pixel_size_um == pytest.approx(0.4971, abs=1e-4)
        assert field.origin_um == (0, 0)
        assert field.slide_id == "FIHC4__0929309_HP_IM3_2"
        assert field.colors[3] == (0, 16, 255)
        assert field.thumbnail().shape == (65, 87, 3)
        assert field.read("dapi").max() == pytest.approx(70.489, abs=1e-3)


@pytest.mark.parametrize("channel", FIHC4_CHANNELS)
def test_fihc4_channel_means_of_all_270_nuclei_equal_the_table(fihc4, channel):
    table = read_cell_table(fihc4("cell_seg_data.txt"))
    labels = read_segmentation_maps(fihc4("binary_seg_maps.tif"))["nucleus"]
    with open_field(fihc4("component_data.tif")) as field:
        found = per_label_mean(labels, field.read(channel), table["Cell ID"].to_numpy())
    expected = table[f"Nucleus {channel} Mean (Normalized Counts, Total Weighting)"].to_numpy()
    assert len(expected) == 270
    error = np.abs(found - expected)
    assert (error <= 1e-4 * expected + 0.0006).all(), error.max()  # half a digit of the table's 3 decimals


def test_fihc4_areas_of_all_nuclei_equal_the_table(fihc4):
    table = read_cell_table(fihc4("cell_seg_data.txt"))
    labels = read_segmentation_maps(fihc4("binary_seg_maps.tif"))["nucleus"]
    np.testing.assert_array_equal(np.bincount(labels.ravel())[1:], table["Nucleus Area (pixels)"])


def test_fihc4_maps_and_mask(fihc4):
    path = fihc4("binary_seg_maps.tif")
    maps = read_segmentation_maps(path)
    assert set(maps) == {"tissue", "nucleus", "cytoplasm", "membrane"}
    assert {m.dtype for m in maps.values()} == {np.dtype(np.uint16)}
    assert set(np.unique(maps["nucleus"])) == set(range(271))
    assert tissue_classes(path) == ["Tumor", "Stroma", "Background"]
    np.testing.assert_array_equal(read_labels(path), maps["nucleus"])
    np.testing.assert_array_equal(read_mask(path), maps["nucleus"] > 0)


def test_fihc4_tissue_categories_of_the_cells_match_the_tissue_page(fihc4):
    table = read_cell_table(fihc4("cell_seg_data.txt"))
    tissue = read_segmentation_maps(fihc4("binary_seg_maps.tif"))["tissue"]
    names = np.array(tissue_classes(fihc4("binary_seg_maps.tif")))
    y, x = table["Cell Y Position"].astype(int), table["Cell X Position"].astype(int)
    assert (names[tissue[y, x]] == table["Tissue Category"]).mean() > 0.97


def test_fihc4_table_types(fihc4):
    table = read_cell_table(fihc4("cell_seg_data.txt"))
    assert table.attrs["inform_version"] == "2.3.6267.15036"
    assert table["Cell ID"].tolist() == list(range(1, 271))
    assert table["Confidence"].iloc[0] == pytest.approx(0.9757)
    assert table["Nucleus Area (percent)"].iloc[0] == pytest.approx(0.0017)
    assert np.isnan(table["Distance from Tissue Category Edge (pixels)"].iloc[0])
    assert set(table["Slide ID"]) == {"0929309"}
    assert {"B", "Helper T"} <= set(table["Phenotype"])


def test_fihc4_summary_table_keeps_all_as_a_cell_id(fihc4):
    table = read_cell_table(fihc4("cell_seg_data_summary.txt"))
    assert len(table) == 16
    assert "all" in set(table["Cell ID"])


def test_fihc4_one_channel_decodes_one_page(fihc4, decoded):
    with open_field(fihc4("component_data.tif")) as field:
        field.read("DAPI")
        assert decoded == list(range(17))  # 260 rows in strips of 16
        decoded.clear()
        field.read("DAPI", 100, 110)
        assert decoded == [6]


def test_imagej_hyperstack_is_a_field_but_not_a_segmentation_map(shared_data):
    path = shared_data / "not_inform" / "instanseg_Fluorescence_example.tif"
    with open_field(path) as field:
        assert (field.format, field.shape, field.channels) == ("imagej", (450, 450), ["channel_0", "channel_1"])
        assert field.pixel_size_um is None
        planes = [field.read(i) for i in range(2)]
        np.testing.assert_array_equal(field.read(1, y0=17, y1=411, x0=3, x1=449), planes[1][17:411, 3:449])
    assert [(p.min(), p.max()) for p in planes] == [(2, 241), (1, 244)]
    with pytest.raises(UserError, match="not an inForm segmentation map"):
        read_segmentation_maps(path)


@pytest.mark.parametrize("field_name", LUNG)
def test_lung_segmentation_maps_have_four_roles_and_the_size_of_the_picture(shared_data, field_name):
    folder = shared_data / "inform_lung_fields"
    maps = read_segmentation_maps(folder / f"{field_name}_binary_seg_maps.tif")
    with open_field(folder / f"{field_name}_composite_image.jpg") as picture:
        assert {m.shape for m in maps.values()} == {picture.shape} == {(1400, 1868)}
    assert maps["nucleus"].max() > 5000
    assert maps["tissue"].max() == 2
    assert set(np.unique(maps["membrane"])) == {0, 1}
    assert set(np.unique(maps["cytoplasm"])) <= set(np.unique(maps["nucleus"]))


def test_lung_cell_ids_match_the_nucleus_page(shared_data):
    base = shared_data / "inform_lung_fields" / "Set4_1-6plex_[16142,55840]"
    table = read_cell_table(f"{base}_cells.tsv")
    labels = read_labels(f"{base}_binary_seg_maps.tif")
    assert set(table["Cell ID"]) == set(np.unique(labels)) - {0}
    on_it = labels[table["y_px"].astype(int), table["x_px"].astype(int)] == table["Cell ID"]
    assert on_it.mean() > 0.95


def test_a_lung_composite_is_refused_as_a_mask(shared_data):
    with pytest.raises(UserError, match="planes that differ"):
        read_mask(shared_data / "inform_lung_fields" / f"{LUNG[0]}_composite_image.jpg")


def test_seven_channel_breast_field_and_its_table(shared_data):
    folder = shared_data / "csm_breast_7ch"
    with open_field(folder / "ABCM22001_B14_component_data.tif") as field:
        assert field.channels == ["DAPI", "PDL1", "GZMB", "PD1", "CK-EPCAM", "CD8a", "FOXP3"]
        assert field.shape == (500, 500)
        assert field.thumbnail().shape == (125, 125, 3)
        with pytest.raises(UserError, match="PDL1, PD1"):
            field.channel_index("PD")
        values = field.read("ck") * 255
    assert values.max() == pytest.approx(59, abs=1e-3)
    np.testing.assert_allclose(values, np.round(values), atol=1e-3)  # 8 bits, scaled to 0..1
    table = read_cell_table(folder / "ABCM22001_B14_cell_seg_data.txt")
    assert len(table) == 818
    assert set(table["Phenotype"]) == {"TUMOR", "OTHER", "CD8_GZMBneg", "CD8_GZMBpos"}
    assert table[["Cell X Position", "Cell Y Position"]].to_numpy().max() <= 500


@pytest.mark.parametrize("number, n_cells", [(2, 2342), (7, 2271)])
def test_melanoma_tables_with_quoted_names_and_percents_without_a_space(shared_data, number, n_cells):
    folder = shared_data / "inform_tables" / "iris_MEL2"
    table = read_cell_table(folder / f"MEL2_080416_{number}_cell_seg_data.txt")
    assert len(table) == n_cells
    assert "Nucleus PD-1 (Opal 540) Mean (Normalized Counts, Total Weighting)" in table.columns
    assert table["Nucleus Area (percent)"].iloc[0] == pytest.approx(0.0001)
    assert table["Confidence"].max() <= 1
    assert {"SOX10+", "CD8+", "OTHER"} <= set(table["Phenotype"])
    numbers = table.drop(columns="Phenotype")
    assert all(numbers[c].dtype.kind in "if" for c in numbers)


def test_melanoma_membrane_map_is_a_mask_and_region_map_is_a_picture(shared_data):
    folder = shared_data / "inform_tables" / "iris_MEL2"
    membrane = read_mask(folder / "MEL2_080416_7_memb_seg_map.tif")
    assert membrane.shape == (1040, 1392)
    assert 0.05 < membrane.mean() < 0.1
    with open_field(folder / "MEL2_080416_7_Tumor.tif") as field:
        assert field.channels == ["red", "green", "blue"]


def test_dsb_label_masks_are_accepted_and_their_images_refused_as_masks(shared_data):
    folder = shared_data / "dsb2018_fluo"
    masks = sorted((folder / "masks").iterdir())
    images = sorted((folder / "images").iterdir())
    assert len(masks) == len(images) == 220
    for mask in masks:
        assert read_labels(mask).max() > 0
    accepted = []
    for image in images:
        try:
            read_mask(image)
            accepted.append(image.name)
        except UserError:
            pass
    assert accepted == []
