"""`busgate openapi`: the OpenAPI document of the contracts, on stdout."""

import argparse
import json

from busgate.contracts.openapi import document
from busgate.ops.catalog_settings import CatalogProcess
from busgate.ops.faults import CommandError
from busgate.ops.loading import read_catalog, read_settings
from busgate.ops.yaml import dump


def run(options: argparse.Namespace) -> int:
    settings = read_settings(CatalogProcess, options)
    if not settings.edge.contracts:
        raise CommandError(["edge.contracts: no contract to describe; name a module: busgate openapi shop.contracts"])
    catalog = read_catalog(settings.edge.contracts)
    docs = settings.edge.docs
    described = document(
        catalog, title=docs.title, version=docs.version, description=docs.description, doors=settings.edge.doors
    )
    print(dump(described) if options.yaml else json.dumps(described, indent=2), end="\n")
    return 0
