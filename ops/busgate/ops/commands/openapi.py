"""`busgate openapi`: the OpenAPI document of the contracts, on stdout."""

import argparse
import json

from busgate.contracts.openapi import document
from busgate.ops.catalog_settings import CatalogProcess
from busgate.ops.faults import CommandError
from busgate.ops.loading import read_catalog, read_settings


def run(options: argparse.Namespace) -> int:
    settings = read_settings(CatalogProcess, options)
    if not settings.edge.contracts:
        raise CommandError(["edge.contracts: no contract to describe; name a module: busgate openapi shop.contracts"])
    catalog = read_catalog(settings.edge.contracts)
    print(json.dumps(document(catalog, title=options.title, version=options.api_version), indent=2))
    return 0
