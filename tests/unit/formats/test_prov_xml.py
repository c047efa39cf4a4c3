"""PROV-XML from untrusted files."""

from __future__ import annotations

import io

import pytest

from yprov_mlflow.prov.errors import DocumentError
from yprov_mlflow.prov.formats import FORMATS

TEXT = """<?xml version="1.0"?>
<!DOCTYPE document [{}]>
<prov:document xmlns:prov="http://www.w3.org/ns/prov#" xmlns:ex="urn:e:">
<prov:entity prov:id="ex:e"><prov:label>&one;</prov:label></prov:entity>
</prov:document>
"""


@pytest.mark.parametrize("declaration", ['<!ENTITY one SYSTEM "{}">', '<!ENTITY one "a secret">'])
def test_entities_are_not_resolved(declaration, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a secret")
    text = TEXT.format(declaration.format(secret.as_uri()))
    with pytest.raises(DocumentError, match="'one' not defined"):
        list(FORMATS["prov-xml"].load(io.BytesIO(text.encode())))
