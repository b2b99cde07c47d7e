"""The bill of materials (CycloneDX): each package of Debian and of Python that the image has a record of."""

from collections.abc import Iterator
from email.parser import HeaderParser
from importlib.metadata import Distribution, distributions
from pathlib import Path
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from packageurl import PackageURL

from tools.image.build import ImageError

VERSION = SchemaVersion.V1_6
SITE_PACKAGES = "opt/moorage/lib/python3*/site-packages"
_DPKG = "var/lib/dpkg/status"


def bill_of_materials(tree: Path, name: str, digest: str) -> str:
    """Return the bill of an image, valid by CycloneDX's own schema."""
    repository, _, version = name.rpartition(":")
    image = Component(
        name=repository,
        version=version,
        type=ComponentType.CONTAINER,
        bom_ref="image",
        purl=PackageURL("oci", None, repository.rpartition("/")[2], f"sha256:{digest}"),
    )
    parts = [*debian_packages(tree), *python_packages(tree)]
    # One image, one bill: its number follows from the digest.
    bill = Bom(components=parts, serial_number=uuid5(NAMESPACE_URL, f"sha256:{digest}"))
    bill.metadata.component = image
    bill.register_dependency(image, parts)
    text: str = make_outputter(bill, OutputFormat.JSON, VERSION).output_as_string(indent=2)
    # Imported here: it builds a parser of addresses for seconds, in each process that collects the tests.
    from cyclonedx.validation.json import JsonStrictValidator

    if problem := JsonStrictValidator(VERSION).validate_str(text):
        raise ImageError(f"the bill of materials is not valid: {problem}")
    return text


def debian_packages(tree: Path) -> Iterator[Component]:
    """Yield what dpkg has installed."""
    for record in (tree / _DPKG).read_text().strip().split("\n\n"):
        fields = HeaderParser().parsestr(record)
        if fields["Status"] != "install ok installed":
            continue
        where = {"arch": fields["Architecture"]}
        purl = PackageURL("deb", "debian", fields["Package"], fields["Version"], where)
        yield _component(fields["Package"], fields["Version"], purl)


def python_packages(tree: Path) -> Iterator[Component]:
    """Yield what pip has installed, Moorage among it."""
    places = [str(path) for path in tree.glob(SITE_PACKAGES)]
    for found in sorted(distributions(path=places), key=lambda each: each.name.lower()):
        purl = PackageURL("pypi", None, found.name, found.version)
        component = _component(found.name, found.version, purl)
        if expression := _license(found):
            component.licenses.add(LicenseFactory().make_from_string(expression))
        yield component


def _license(found: Distribution) -> str:
    """Return the license of a package if it is named and not quoted."""
    named = (found.metadata[field] for field in ("License-Expression", "License") if field in found.metadata)
    text = next(named, "")
    return "" if "\n" in text else text


def _component(name: str, version: str, purl: PackageURL) -> Component:
    return Component(name=name, version=version, type=ComponentType.LIBRARY, purl=purl, bom_ref=str(purl))
