"""Assignment of fields to patients."""

import pandas as pd
import pytest

from dedl_fastai.data import Cohort
from dedl_fastai.errors import UserError


def patients(root, rule=None):
    """Return {field: patient} of the cohort in `root`."""
    return Cohort.load(root, patient=rule).table.set_index("field").patient.to_dict()


def test_myo_number_in_the_name_is_the_patient(touch):
    root = touch("images/121919_Myo089_[7559,39143].png", "images/010120_myo511_x.png")
    assert patients(root) == {"121919_Myo089_[7559,39143]": "Myo089", "010120_myo511_x": "myo511"}


def test_fields_of_one_slide_are_one_patient(touch):
    root = touch("images/Set4_1_[10,20].png", "images/Set4_1_[30,40].png", "images/Set8_[1.5,2.5].png")
    assert set(patients(root).values()) == {"Set4_1", "Set8"}


def test_slide_id_of_the_cell_table_overrides_the_name(touch):
    root = touch("S1_[1,2]_component_data.tif")
    table = "Path\tSlide ID\tCell ID\nx\t0929309\t1\n"
    (root / "S1_[1,2]_cell_seg_data.txt").write_text(table, encoding="latin-1")
    assert patients(root) == {"S1_[1,2]": "0929309"}


def test_name_decides_if_the_cell_table_has_no_slide_id(touch):
    root = touch("S1_[1,2]_component_data.tif")
    (root / "S1_[1,2]_cell_seg_data.txt").write_text("Path\tCell ID\nx\t1\n", encoding="latin-1")
    assert patients(root) == {"S1_[1,2]": "S1"}


def test_manifest_overrides_the_name_and_a_rule_overrides_the_manifest(touch):
    root = touch("Myo1_K7.png", "Myo2_K8.png")
    pd.DataFrame({"image": ["Myo1_K7.png", "Myo2_K8.png"], "patient": ["anna", ""]}).to_csv(root / "cohort.csv")
    assert patients(root) == {"Myo1_K7": "anna", "Myo2_K8": "Myo2"}
    assert patients(root, r"K\d") == {"Myo1_K7": "K7", "Myo2_K8": "K8"}


def test_first_group_of_the_rule_is_the_patient_else_its_whole_match(touch):
    root = touch("images/case12_f1.png", "images/case7_f1.png")
    assert set(patients(root, r"case(\d+)").values()) == {"12", "7"}
    assert set(patients(root, r"case\d+").values()) == {"case12", "case7"}


def test_rule_field_counts_each_field_as_a_patient(touch):
    root = touch("images/Myo1_a.png", "images/Myo1_b.png")
    assert patients(root, "field") == {"Myo1_a": "Myo1_a", "Myo1_b": "Myo1_b"}


def test_fields_without_a_patient_count_as_their_own_patients_with_a_warning(touch, caplog):
    assert patients(touch("images/a.png", "images/b.png")) == {"a": "a", "b": "b"}
    assert "each field counts as its own patient" in caplog.text


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (r"(\d+", "not a regular expression"),
        (r"K\d+", "finds no patient in the field name 'P2'"),
        (r"case(\d+)|P(\d)", "finds no patient in the field name 'P2'"),  # the first group did not match
        (r"\d*", "finds no patient in the field name 'P2'"),  # matches the empty string at the start of every name
    ],
)
def test_rule_without_a_patient_is_an_error(touch, rule, message):
    with pytest.raises(UserError) as error:
        patients(touch("images/case1.png", "images/P2.png"), rule)
    assert "patient=" in str(error.value) and message in str(error.value)
