"""`patient_by`: the patient in the name of a field, by the rule that the user gives."""

import re

from ..errors import UserError

EACH_FIELD = "field"  # as a rule: each field is its own patient


def patient_by(rule: str, field: str) -> str:
    """Return the patient of a field by a regular expression, which is searched for in the field's name, or "field".

    The patient is the first group of the expression, or the whole match if it has no group. Raises `UserError` for
    another expression, and for a name without a patient.
    """
    if rule == EACH_FIELD:
        return field
    try:
        expression = re.compile(rule)
    except re.error as e:
        raise UserError(f"patient={rule!r} is not a regular expression ({e}).") from e
    match = expression.search(field)
    patient = match and match[1 if expression.groups else 0]  # also None or "", if the group did not match or is empty
    if not patient:
        raise UserError(f"patient={rule!r} finds no patient in the field name {field!r}.")
    return patient
