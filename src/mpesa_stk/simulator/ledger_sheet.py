"""Write a statement as .xlsx, with the standard library alone. Pure."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterable
from xml.sax.saxutils import escape

from mpesa_stk.simulator.ledger_file import COLUMNS

_NUMBERS = {COLUMNS.index(name) for name in ("Paid In", "Withdrawn", "Balance")}
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?")
# XML has no place for these.
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_OPEN = "http://schemas.openxmlformats.org"
_MAIN = f"{_OPEN}/spreadsheetml/2006/main"
_RELATIONS = f"{_OPEN}/officeDocument/2006/relationships"
_TYPE = "application/vnd.openxmlformats-officedocument.spreadsheetml"
_LINKS = f"{_OPEN}/package/2006/relationships"
_PARTS = {
    "[Content_Types].xml": f"""<Types xmlns="{_OPEN}/package/2006/content-types">\
<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>\
<Override PartName="/xl/workbook.xml" ContentType="{_TYPE}.sheet.main+xml"/>\
<Override PartName="/xl/worksheets/sheet1.xml" ContentType="{_TYPE}.worksheet+xml"/></Types>""",
    "_rels/.rels": f"""<Relationships xmlns="{_LINKS}"><Relationship Id="rId1" \
Type="{_RELATIONS}/officeDocument" Target="xl/workbook.xml"/></Relationships>""",
    "xl/workbook.xml": f"""<workbook xmlns="{_MAIN}" xmlns:r="{_RELATIONS}"><sheets>\
<sheet name="Statement" sheetId="1" r:id="rId1"/></sheets></workbook>""",
    "xl/_rels/workbook.xml.rels": f"""<Relationships xmlns="{_LINKS}"><Relationship Id="rId1" \
Type="{_RELATIONS}/worksheet" Target="worksheets/sheet1.xml"/></Relationships>""",
}


def portal_xlsx(lines: Iterable[Iterable[str]], /) -> bytes:
    """The lines of a statement as .xlsx. Amounts are numbers, all other cells are texts."""
    rows = "".join(f"<row>{''.join(map(_cell, range(64), line))}</row>" for line in lines)
    sheet = f'<worksheet xmlns="{_MAIN}"><sheetData>{rows}</sheetData></worksheet>'
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in {**_PARTS, "xl/worksheets/sheet1.xml": sheet}.items():
            # A `ZipInfo` has a constant date, so the same lines give the same bytes.
            part = zipfile.ZipInfo(name)
            part.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(part, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return file.getvalue()


def _cell(column: int, text: str) -> str:
    if not text:
        return "<c/>"
    if column in _NUMBERS and _NUMBER.fullmatch(text):
        return f"<c><v>{text}</v></c>"
    shown = escape(_UNWRITABLE.sub("\ufffd", text))
    return f'<c t="inlineStr"><is><t xml:space="preserve">{shown}</t></is></c>'
